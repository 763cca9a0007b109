//! What each planned object has come to: the row, and what ovs-vswitchd made of it. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::diff::{Change, Diff};
use crate::plan::{Bridge, Plan, Tunnel, Tuple};
use crate::snapshot::{InterfaceRow, Opening, PortRole, PortRow, Snapshot};
use crate::unixctl::{ListedKey, ListedRemote, ListedTunnel};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A tenant's bridge.
    Bridge,
    /// A tunnel to a peer.
    Tunnel,
    /// A tenant's gateway.
    Gateway,
    /// A container's, or another attached interface's port.
    Container,
}

impl ObjectKind {
    /// The field's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Tunnel => "tunnel",
            Self::Gateway => "gateway",
            Self::Container => "container",
        }
    }
}

/// How far an object has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// It is as planned, and ovs-vswitchd has it.
    Applied,
    /// Its rows are as planned; ovs-vswitchd has not come to it yet.
    Configured,
    /// Its rows are as planned; ovs-vswitchd cannot set it up.
    Failing {
        /// Why, in OVS's own words where it has some.
        reason: String,
    },
    /// It is planned and not there.
    Missing,
    /// It is there and not as planned.
    Drifted {
        /// What differs.
        differences: Vec<String>,
    },
    /// It is ours and not planned.
    Stale {
        /// Why it should go.
        reason: String,
    },
}

impl State {
    /// Whether a sync would change something.
    pub fn is_drift(&self) -> bool {
        matches!(self, Self::Missing | Self::Drifted { .. } | Self::Stale { .. })
    }

    /// The state in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Configured => "configured",
            Self::Failing { .. } => "failing",
            Self::Missing => "missing",
            Self::Drifted { .. } => "drifted",
            Self::Stale { .. } => "stale",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Applied | Self::Configured | Self::Missing => Ok(()),
            Self::Failing { reason } | Self::Stale { reason } => write!(f, ": {reason}"),
            Self::Drifted { differences } => write!(f, ": {}", differences.join("; ")),
        }
    }
}

/// Packets that an interface has carried (ovs-vswitchd.conf.db(5), `statistics`; OVS refreshes them every 5 s).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

/// One object and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The tenant it belongs to, as far as known.
    pub tenant: String,
    /// The bridge, or the bridge it is on.
    pub bridge: String,
    /// Its name in OVS.
    pub name: String,
    /// What it is for: a tunnel's peer and tuple, a gateway's address, a container's id.
    pub detail: String,
    /// How far it has come.
    #[serde(flatten)]
    pub state: State,
    /// What it has carried, where that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// What OVS has made of a plan.
///
/// `listed` is ovs-vswitchd's own list of tunnels (`ofproto/list-tunnels`): a tunnel can have a valid `ofport`, no
/// `error`, and still not be in it, because another has its tuple. None where the list could not be had.
pub fn assess(plan: &Plan, snapshot: &Snapshot, diff: &Diff, listed: Option<&[ListedTunnel]>) -> Vec<Object> {
    let listed = listed.map(|list| list.iter().map(|tunnel| (tunnel.name.as_str(), tunnel)).collect());
    let mut assessor = Assessor { snapshot, listed, deviations: deviations(diff), seen: HashSet::new() };
    let ports: HashMap<&str, &PortRow> =
        snapshot.ports.values().map(|port| (port.name.as_str(), port)).collect();
    let mut objects = Vec::new();
    for bridge in &plan.bridges {
        let object = |kind, name: &str, detail, state| Object {
            kind,
            tenant: bridge.tenant.to_string(),
            bridge: bridge.name.to_string(),
            name: name.to_owned(),
            detail,
            state,
            traffic: None,
        };
        let port = |name: &str| ports.get(name).copied();
        let detail = format!("datapath {}, mtu {}", bridge.datapath.as_str(), bridge.mtu);
        let name = bridge.name.as_str();
        objects.push(object(ObjectKind::Bridge, name, detail, assessor.state(name, port(name), None)));
        for tunnel in &bridge.tunnels {
            let name = tunnel.port.as_str();
            let detail = format!("to {}, {}", tunnel.peer, tunnel.tuple);
            objects.push(object(
                ObjectKind::Tunnel,
                name,
                detail,
                assessor.state(name, port(name), Some(tunnel)),
            ));
        }
        if let Some(gateway) = &bridge.gateway {
            let name = gateway.port.as_str();
            let detail = format!("{} in netns {}", gateway.address, gateway.netns);
            objects.push(object(ObjectKind::Gateway, name, detail, assessor.state(name, port(name), None)));
        }
        for attached in attached(plan, snapshot, bridge) {
            let detail = attached
                .ctid()
                .map_or_else(|| "attached interface".to_owned(), |ctid| format!("CTID {ctid}"));
            let state = assessor.state(&attached.name, Some(attached), None);
            objects.push(object(ObjectKind::Container, &attached.name, detail, state));
        }
    }
    objects.extend(stale(plan, diff, &assessor.seen));
    objects
}

/// Whether ovs-vswitchd's own list has every planned tunnel with its tuple.
pub(crate) fn lists_every_tunnel(plan: &Plan, listed: &[ListedTunnel]) -> bool {
    let listed: HashMap<&str, &ListedTunnel> =
        listed.iter().map(|tunnel| (tunnel.name.as_str(), tunnel)).collect();
    plan.tunnels().all(|(_, tunnel)| {
        listed.get(tunnel.port.as_str()).is_some_and(|found| has_tuple(found, &tunnel.tuple))
    })
}

fn has_tuple(listed: &ListedTunnel, tuple: &Tuple) -> bool {
    listed.remote == ListedRemote::Address(tuple.remote_ip.0)
        && listed.in_key == ListedKey::Exact(u64::from(tuple.key.get()))
}

/// The containers' and other attached ports on a planned bridge, by name.
fn attached<'a>(plan: &Plan, snapshot: &'a Snapshot, bridge: &Bridge) -> Vec<&'a PortRow> {
    let row = snapshot.bridges.values().find(|row| row.name == bridge.name.as_str());
    let on_it = row.into_iter().flat_map(|row| &row.ports).filter_map(|uuid| snapshot.ports.get(uuid));
    let mut ports: Vec<&PortRow> = on_it
        .filter(|port| port.is_owned_by(&plan.mesh))
        .filter(|port| port.role(snapshot.only_interface(port)) == PortRole::Attached)
        .collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

/// What the diff says of an object, by its name.
#[derive(Default)]
struct Deviation {
    added: bool,
    removed: Option<String>,
    differences: Vec<String>,
}

fn deviations(diff: &Diff) -> HashMap<&str, Deviation> {
    let mut found: HashMap<&str, Deviation> = HashMap::new();
    for change in &diff.changes {
        match change {
            Change::AddBridge { bridge, .. } => found.entry(bridge.as_str()).or_default().added = true,
            Change::AddTunnel { tunnel, .. } => found.entry(tunnel.port.as_str()).or_default().added = true,
            Change::AddGateway { gateway, .. } => {
                found.entry(gateway.port.as_str()).or_default().added = true;
            }
            Change::ReleasePort { port, reason, .. } => {
                found.entry(port).or_default().differences.push(reason.clone());
            }
            Change::FixDevice { device, problems, .. } => {
                found.entry(device.as_str()).or_default().differences.extend(problems.iter().cloned());
            }
            Change::TakePort { port, bridge, .. } => {
                let difference = format!("released, to be taken on {bridge}");
                found.entry(port).or_default().differences.push(difference);
            }
            Change::RemoveBridge { bridge, .. } => {
                found.entry(bridge).or_default().removed =
                    Some("its tenant is not in the topology".to_owned());
            }
            Change::RemovePort { port, reason, .. } => {
                found.entry(port).or_default().removed = Some(reason.clone());
            }
            Change::ChangeBridge { bridge, columns } => {
                found
                    .entry(bridge.as_str())
                    .or_default()
                    .differences
                    .extend(columns.iter().map(ToString::to_string));
            }
            Change::ChangePort { port, columns, .. } => {
                found.entry(port).or_default().differences.extend(columns.iter().map(ToString::to_string));
            }
            Change::FixLink { gateway, problems, .. } => {
                found.entry(gateway.port.as_str()).or_default().differences.extend(problems.iter().cloned());
            }
        }
    }
    found
}

/// Ours, but nothing that the plan knows.
fn stale(plan: &Plan, diff: &Diff, seen: &HashSet<String>) -> Vec<Object> {
    let tenant_of = |bridge: &str| {
        let planned = plan.bridges.iter().find(|planned| planned.name.as_str() == bridge);
        planned.map(|bridge| bridge.tenant.to_string()).unwrap_or_default()
    };
    let objects = diff.changes.iter().filter_map(|change| match change {
        Change::RemovePort { bridge, port, gateway, tuple, reason, row: _ } if !seen.contains(port) => {
            Some(Object {
                kind: match (tuple, gateway) {
                    (Some(_), _) => ObjectKind::Tunnel,
                    (None, Some(_)) => ObjectKind::Gateway,
                    (None, None) => ObjectKind::Container,
                },
                tenant: tenant_of(bridge),
                bridge: bridge.clone(),
                name: port.clone(),
                detail: String::new(),
                state: State::Stale { reason: reason.clone() },
                traffic: None,
            })
        }
        Change::RemoveBridge { bridge, tenant, row: _ } if !seen.contains(bridge) => Some(Object {
            kind: ObjectKind::Bridge,
            tenant: tenant.clone().unwrap_or_default(),
            bridge: bridge.clone(),
            name: bridge.clone(),
            detail: String::new(),
            state: State::Stale { reason: "its tenant is not in the topology".to_owned() },
            traffic: None,
        }),
        _ => None,
    });
    objects.collect()
}

struct Assessor<'a> {
    snapshot: &'a Snapshot,
    listed: Option<HashMap<&'a str, &'a ListedTunnel>>,
    deviations: HashMap<&'a str, Deviation>,
    seen: HashSet<String>,
}

impl Assessor<'_> {
    fn state(&mut self, name: &str, port: Option<&PortRow>, tunnel: Option<&Tunnel>) -> State {
        self.seen.insert(name.to_owned());
        if let Some(deviation) = self.deviations.get(name) {
            return match deviation {
                Deviation { added: true, removed: None, .. } => State::Missing,
                Deviation { added: false, removed: Some(reason), .. } => {
                    State::Stale { reason: reason.clone() }
                }
                Deviation { removed, differences, .. } => {
                    State::Drifted { differences: removed.iter().chain(differences).cloned().collect() }
                }
            };
        }
        let Some(interface) = port.and_then(|port| self.snapshot.only_interface(port)) else {
            return State::Missing;
        };
        match (interface, tunnel) {
            (InterfaceRow { error: Some(error), .. }, _) => State::Failing { reason: error.clone() },
            (InterfaceRow { opening: Opening::Pending, .. }, _) => State::Configured,
            (InterfaceRow { opening: Opening::Failed, .. }, _) => {
                State::Failing { reason: "ovs-vswitchd could not open it; its log says why".to_owned() }
            }
            (_, Some(tunnel)) => self.listed_state(tunnel),
            (_, None) => State::Applied,
        }
    }

    fn listed_state(&self, tunnel: &Tunnel) -> State {
        let Some(listed) = &self.listed else { return State::Applied };
        match listed.get(tunnel.port.as_str()) {
            None => State::Failing {
                reason: "ovs-vswitchd does not list it: another tunnel has its tuple".to_owned(),
            },
            Some(found) if has_tuple(found, &tunnel.tuple) => State::Applied,
            Some(found) => State::Failing {
                reason: format!("ovs-vswitchd has it with remote {:?}, key {:?}", found.remote, found.in_key),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hosts::healthy_hosts;

    fn topology() -> crate::topology::Topology {
        "mesh = { name = \"m\", underlay_mtu = 1500 }
         host = [{ name = \"a\", underlay_ip = \"10.0.0.1\" }, { name = \"b\", underlay_ip = \"10.0.0.2\" }]
         tenant = [{ name = \"acme\", key = 7, subnet = \"10.1.0.0/24\" }]"
            .parse()
            .unwrap()
    }

    /// A row can have its `ofport` and no `error`, and yet its tunnel be missing from ovs-vswitchd's own list, or be
    /// there with another tuple: that is not applied.
    #[test]
    fn a_tunnel_that_is_not_listed_is_not_applied() {
        let topology = topology();
        let plan = Plan::new(&topology, topology.hosts()[0].name()).unwrap();
        let host = healthy_hosts(&topology).swap_remove(0);
        let listed = host.tunnels.unwrap();
        let state = |listed: &[ListedTunnel]| {
            let objects = assess(&plan, &host.rows, &Diff::default(), Some(listed));
            objects.into_iter().find(|object| object.kind == ObjectKind::Tunnel).unwrap().state
        };
        assert_eq!(state(&listed), State::Applied);
        assert!(lists_every_tunnel(&plan, &listed));
        let failing = |listed: &[ListedTunnel], word: &str| {
            let state = state(listed);
            assert!(!lists_every_tunnel(&plan, listed));
            assert!(matches!(&state, State::Failing { reason } if reason.contains(word)), "{state}");
        };
        failing(&[], "another tunnel has its tuple");
        let mut other_key = listed.clone();
        other_key[0].in_key = ListedKey::Exact(8);
        failing(&other_key, "8");
        let mut other_remote = listed.clone();
        other_remote[0].remote = ListedRemote::Address("10.0.0.9".parse().unwrap());
        failing(&other_remote, "10.0.0.9");
    }
}
