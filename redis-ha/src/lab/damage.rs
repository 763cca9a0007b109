//! What of a lab does not run or is cut off.

use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};

use ovs_mesh::link::Links;
use ovs_mesh::{Chain, Datapath};
use ovsmesh_lab::LabStatus;

use super::mend::is_cut_from_others;
use super::{ServiceLab, ServiceLabError};

/// What of a lab does not run or is cut off, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// What [`ServiceLab::mend`] makes whole.
    pub mendable: Vec<String>,
    /// What it does not: of the mesh below. Such a lab is taken down and made anew.
    pub lost: Vec<String>,
}

impl Damage {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.mendable.is_empty() && self.lost.is_empty()
    }
}

impl ServiceLab {
    /// Looks at all daemons, cables and cuts of the lab, and changes nothing.
    pub async fn damage(&self) -> Result<Damage, ServiceLabError> {
        let standing = self.mesh.lab().status();
        let standing = standing.map_err(|source| ovsmesh_lab::LabError::Processes { source })?;
        let mut damage = Damage { lost: lost(&standing), mendable: Vec::new() };
        for service in self.services() {
            if self.is_stopped(&service) {
                damage.mendable.push(format!("{service} is stopped"));
            } else if self.pid(&service).is_none() {
                damage.mendable.push(format!("{service} does not run"));
            }
        }
        // Where a part of the mesh is not there, its cables and flows cannot be asked for.
        if damage.lost.is_empty() {
            let links = Links::open_in(&self.client_netns()?)?;
            let plan = self.mesh.lab().plan();
            if let Some(aws) = &self.config.proxies.aws {
                damage.mendable.extend(self.ec2()?.fault(&self.config, aws)?);
            }
            let cut = self.cut_off(&links.list().await?);
            damage.mendable.extend(cut.iter().map(|host| format!("{} is off the underlay", host.name)));
            if self.mesh.topology().datapath() == Datapath::Netdev {
                for (host, is_cut) in at_once(&plan.hosts, is_cut_from_others) {
                    match is_cut {
                        Ok(false) => {}
                        Ok(true) => damage.mendable.push(format!("{} does not reach all hosts", host.name)),
                        // A switch that hangs is no reason to show nothing.
                        Err(why) => damage.lost.push(Chain(&why).to_string()),
                    }
                }
            }
        }
        Ok(damage)
    }
}

/// What comes of asking for each, with the answers in their order. Each is asked on a thread of its own: one that hangs keeps only its own
/// waiting.
pub(super) fn at_once<T: Sync, A: Send>(all: &[T], ask: impl Fn(&T) -> A + Sync) -> Vec<(&T, A)> {
    thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = all.iter().map(|one| (one, scope.spawn(move || ask(one)))).collect();
        let answer =
            |thread: ScopedJoinHandle<'_, A>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        asked.into_iter().map(|(one, thread)| (one, answer(thread))).collect()
    })
}

/// What is not there of the mesh. Pure.
fn lost(standing: &LabStatus) -> Vec<String> {
    let mut lost = Vec::new();
    if !standing.underlay {
        lost.push("the underlay is gone".to_owned());
    }
    for host in &standing.hosts {
        if !host.netns {
            lost.push(format!("host {} is gone", host.name));
        }
        let dead = host.daemons.iter().filter(|daemon| daemon.pid.is_none());
        lost.extend(dead.map(|dead| format!("{} on {} does not run", dead.daemon.name(), host.name)));
    }
    let containers = standing.containers.iter().filter(|container| !container.netns);
    lost.extend(containers.map(|container| format!("node {} is gone", container.ctid)));
    let gateways = standing.gateways.iter().filter(|gateway| !gateway.netns);
    lost.extend(
        gateways.map(|gateway| format!("the gateway of `{}` on {} is gone", gateway.tenant, gateway.host)),
    );
    lost
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use ovsmesh_lab::{ContainerStatus, Daemon, DaemonStatus, GatewayStatus, HostStatus};

    use super::*;

    #[test]
    fn one_that_hangs_keeps_nobody_waiting() {
        let (begun, started) = (AtomicUsize::new(0), Instant::now());
        // Each answers once all are asked.
        let answers = at_once(&["a", "b", "c"], |name| {
            begun.fetch_add(1, Ordering::Relaxed);
            while begun.load(Ordering::Relaxed) < 3 && started.elapsed() < Duration::from_secs(10) {
                thread::sleep(Duration::from_millis(1));
            }
            (begun.load(Ordering::Relaxed), name.to_uppercase())
        });
        let of = |name: &str| (3, name.to_owned());
        assert_eq!(answers, [(&"a", of("A")), (&"b", of("B")), (&"c", of("C"))]);
    }

    #[test]
    fn what_is_not_there_of_the_mesh() {
        let daemon = |daemon, pid| DaemonStatus { daemon, pid };
        let mut standing = LabStatus {
            name: "x".parse().unwrap(),
            underlay: true,
            hosts: vec![HostStatus {
                name: "redis1".parse().unwrap(),
                underlay: "10.0.1.11/27".parse().unwrap(),
                netns: true,
                daemons: vec![daemon(Daemon::OvsdbServer, Some(7)), daemon(Daemon::OvsVswitchd, Some(8))],
            }],
            containers: vec![ContainerStatus {
                ctid: "101".parse().unwrap(),
                host: "redis1".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                address: "192.168.10.11/24".parse().unwrap(),
                netns: true,
            }],
            gateways: vec![GatewayStatus {
                host: "proxy1".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                netns: true,
            }],
        };
        assert_eq!(lost(&standing), Vec::<String>::new());
        standing.hosts[0].daemons[1].pid = None;
        standing.containers[0].netns = false;
        standing.gateways[0].netns = false;
        let expected = [
            "ovs-vswitchd on redis1 does not run",
            "node 101 is gone",
            "the gateway of `acme` on proxy1 is gone",
        ];
        assert_eq!(lost(&standing), expected);
    }
}
