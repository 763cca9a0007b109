//! Where the copies of a traced packet end.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::actions::{Action, DpPort, Push, TunnelKeySet};
use super::{Round, Trace};

/// Where one copy of a packet ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// At a port of this host.
    Port {
        /// The port.
        port: DpPort,
        /// What was done to the copy.
        changes: Vec<String>,
    },
    /// At the far end of a tunnel.
    Tunnel {
        /// The tunnel's header, where the trace says: the kernel's does not.
        kind: Option<String>,
        /// This host's end.
        local: Option<IpAddr>,
        /// The far end.
        remote: Option<IpAddr>,
        /// The key.
        key: Option<u64>,
        /// The ports by which the packet outside leaves; none with the kernel's datapath, which routes it.
        through: Vec<DpPort>,
        /// What was done to the copy before.
        changes: Vec<String>,
    },
    /// With ovs-vswitchd: a controller's, a collector's or its own.
    Userspace {
        /// For whom.
        what: String,
    },
    /// Nobody can say.
    Unknown {
        /// The action that is not understood, or not followed.
        what: String,
    },
}

impl Trace {
    /// The ends of all copies. `is_tunnel` says of a port whether it is tunnels'.
    pub fn ends(&self, is_tunnel: impl Fn(DpPort) -> bool) -> Vec<End> {
        let followed = self.rounds.iter().filter_map(|round| round.recirculated).collect();
        let mut walk = Walk { is_tunnel, followed, ends: Vec::new() };
        for Round { recirculated: _, actions } in &self.rounds {
            walk.actions(actions, &mut State::default());
        }
        walk.ends
    }
}

struct Walk<F> {
    is_tunnel: F,
    /// The recirculations that have a round of their own.
    followed: BTreeSet<u32>,
    ends: Vec<End>,
}

/// What is true of the packet at a point of its way.
#[derive(Clone, Default)]
struct State {
    tunnel: TunnelKeySet,
    /// The end, by position, that the packet is encapsulated for.
    pushed: Option<usize>,
    changes: Vec<String>,
    cut: Option<String>,
}

impl<F: Fn(DpPort) -> bool> Walk<F> {
    fn actions(&mut self, actions: &[Action], state: &mut State) {
        for action in actions {
            match action {
                Action::Output(port) => self.output(*port, state),
                Action::Clone(inside) | Action::Sample(inside) => self.actions(inside, &mut state.clone()),
                Action::Branch(ways) => ways.iter().for_each(|way| self.actions(way, &mut state.clone())),
                Action::Push(Push { port: _, kind, local, remote, key, out: _ }) => {
                    let kind = Some(kind.clone());
                    self.tunnel(kind, *local, *remote, *key, state);
                    state.pushed = Some(self.ends.len() - 1);
                }
                Action::SetTunnel(tunnel) => state.tunnel = tunnel.clone(),
                Action::Change(what) if state.pushed.is_none() => state.changes.push(what.clone()),
                Action::Truncate(to) => state.cut = Some(format!("trunc({to})")),
                Action::Userspace(what) => self.ends.push(End::Userspace { what: what.clone() }),
                Action::Recirculate(id) if self.followed.contains(id) => {}
                Action::Recirculate(id) => {
                    self.unknown(format!("recirc({id:#x}), which the trace does not follow"));
                }
                Action::Pop(port) => self.unknown(format!("tnl_pop({port})")),
                Action::Unknown(what) => self.unknown(what.clone()),
                Action::Change(_) | Action::Neutral(_) | Action::Drop => {}
            }
        }
    }

    fn unknown(&mut self, what: String) {
        self.ends.push(End::Unknown { what });
    }

    fn output(&mut self, port: DpPort, state: &mut State) {
        let cut = state.cut.take();
        if let Some(End::Tunnel { through, changes, .. }) = state.pushed.and_then(|at| self.ends.get_mut(at))
        {
            through.push(port);
            changes.extend(cut);
        } else if (self.is_tunnel)(port) {
            let TunnelKeySet { local, remote, key } = state.tunnel.clone();
            self.tunnel(None, local, remote, key, state);
            if let Some(End::Tunnel { changes, .. }) = self.ends.last_mut() {
                changes.extend(cut);
            }
        } else {
            let changes = state.changes.iter().cloned().chain(cut).collect();
            self.ends.push(End::Port { port, changes });
        }
    }

    fn tunnel(
        &mut self,
        kind: Option<String>,
        local: Option<IpAddr>,
        remote: Option<IpAddr>,
        key: Option<u64>,
        state: &State,
    ) {
        let changes = state.changes.clone();
        self.ends.push(End::Tunnel { kind, local, remote, key, through: Vec::new(), changes });
    }
}
