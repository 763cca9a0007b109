//! What of a lab does not run or is cut off.

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
                for host in &plan.hosts {
                    match is_cut_from_others(host) {
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
    use ovsmesh_lab::{ContainerStatus, Daemon, DaemonStatus, GatewayStatus, HostStatus};

    use super::*;

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
