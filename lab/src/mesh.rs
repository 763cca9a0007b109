//! A topology as a lab: hosts and containers from the file, programmed by the same calls that real hosts make.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use ipnetwork::IpNetwork;
use ovs_mesh::link::{LinkError, Links, LinksOpenError, Netns, NetnsError};
use ovs_mesh::ovsdb::Endpoint;
use ovs_mesh::{
    ControlError, Ctid, Datapath, HostName, MeshName, Plan, PlanError, Report, Status, Switch, SwitchError,
    SwitchOptions, SyncError, Topology, TopologyError, gateway_netns, status, sync,
};

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::down::DownError;
use crate::exec::ExecError;
use crate::making::WhileMade;
use crate::phy;
use crate::plan::{HostPlan, LabContainer, LabGateway, LabHost, LabPlanError, LabSpec};
use crate::state::{Lab, StateError, finished};
use crate::status::LabStatus;
use crate::up::{Progress, UpError};
use crate::vz::VzError;

/// The longest that any single wait of a lab's syncs may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long hosts may take to learn each other's addresses on the underlay.
const NEIGHBOURS: Duration = Duration::from_secs(10);

/// Why a lab is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The topology cannot be a lab.
    #[error(transparent)]
    Plan(#[from] LabPlanError),
    /// The lab did not come up.
    #[error(transparent)]
    Up(#[from] UpError),
    /// It was stopped while it came up, and nothing of it is left.
    #[error("lab `{name}` was stopped while it came up; nothing of it is left")]
    Stopped {
        /// The lab.
        name: MeshName,
    },
    /// The lab did not go down.
    #[error(transparent)]
    Down(#[from] DownError),
    /// There is no such lab, or its state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A command could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The machine's processes cannot be looked at.
    #[error("cannot look for the lab's daemons among the processes")]
    Processes {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The lab's own topology file cannot be read or written.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was attempted.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The lab's own topology file was changed by hand, and not for the better.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The topology has no such host.
    #[error(transparent)]
    Host(#[from] PlanError),
    /// A host's namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A host's switch cannot be reached.
    #[error("host `{host}`")]
    Switch {
        /// The host.
        host: HostName,
        /// Why.
        #[source]
        source: SwitchError,
    },
    /// A host's vswitchd does not answer.
    #[error("host `{host}`")]
    Control {
        /// The host.
        host: HostName,
        /// Why.
        #[source]
        source: ControlError,
    },
    /// A host could not send to its peers.
    #[error("host `{host}` cannot send to the other hosts on the underlay")]
    Meet {
        /// The host.
        host: HostName,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A host's vswitchd did not learn a peer's address on the underlay.
    #[error("host `{host}` does not reach {peer} on the underlay within {} s", NEIGHBOURS.as_secs())]
    Neighbour {
        /// The host.
        host: HostName,
        /// The peer's underlay address.
        peer: String,
    },
    /// A host did not converge.
    #[error("host `{host}`")]
    Sync {
        /// The host.
        host: HostName,
        /// Why.
        #[source]
        source: SyncError,
    },
    /// Something was committed on a host that ovs-vswitchd cannot set up.
    #[error("host `{host}`: {reason}")]
    NotApplied {
        /// The host.
        host: HostName,
        /// What failed.
        reason: String,
    },
    /// The lab has no such container.
    #[error("the lab has no container {ctid}")]
    NoContainer {
        /// The container.
        ctid: Ctid,
    },
    /// A container's device could not be looked at.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A container's devices could not be looked at.
    #[error(transparent)]
    Links(#[from] LinksOpenError),
    /// The lab's topology and what was read of its hosts do not go together.
    #[error(transparent)]
    Verify(ovs_mesh::isolation::StaticError),
    /// A container could not be put on its tenant's bridge.
    #[error(transparent)]
    Vz(#[from] VzError),
}

/// How a topology is to run as a lab.
#[derive(Debug, Clone)]
pub struct LabOptions<'a> {
    /// The lab's, and its mesh's, name.
    pub name: MeshName,
    /// The hosts' datapath: the userspace one, or the kernel's where it has one.
    pub datapath: Datapath,
    /// The `ovsmesh` program, which the containers' hook is.
    pub hook: &'a Path,
}

/// A lab that runs a topology.
#[derive(Debug)]
pub struct MeshLab {
    lab: Lab,
    topology: Topology,
    /// What runs on when the making is dropped holds it.
    claim: WhileMade,
}

impl MeshLab {
    pub(crate) fn of(lab: Lab, topology: Topology, claim: WhileMade) -> Self {
        Self { lab, topology, claim }
    }

    /// The lab of that name, with the topology that it runs; not one that is half made.
    pub fn open(name: &MeshName) -> Result<Self, LabError> {
        let lab = Lab::open(name)?;
        finished(name)?;
        let path = lab.topology_path();
        let text = fs::read_to_string(&path).map_err(file("read", &path))?;
        let topology = Topology::parse(&text, &path)?;
        Ok(Self { lab, topology, claim: WhileMade::new() })
    }

    /// The lab's, and its mesh's, name.
    pub fn name(&self) -> &MeshName {
        self.topology.name()
    }

    /// What it is made of.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What it runs.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(crate) async fn program(&self, hook: &Path, progress: &dyn Progress) -> Result<(), LabError> {
        let path = self.lab.topology_path();
        fs::write(&path, self.topology.to_toml()).map_err(file("write", &path))?;
        self.sync_all(&self.topology, progress).await?;
        if self.topology.datapath() == Datapath::Netdev {
            self.neighbours().await?;
        }
        self.lab.install_hook(hook)?;
        let containers = &self.lab.plan().containers;
        for (at, container) in containers.iter().enumerate() {
            self.start(&container.ctid).await?;
            progress.step(at + 1, containers.len(), &format!("container {}", container.ctid));
        }
        Ok(())
    }

    /// Starts a container as vzctl does, as far as its network goes: its configuration is written, and the hook called.
    pub async fn start(&self, ctid: &Ctid) -> Result<(), LabError> {
        let container = self.lab.plan().containers.iter().find(|container| container.ctid == *ctid);
        let container = container.ok_or_else(|| LabError::NoContainer { ctid: ctid.clone() })?.clone();
        let absent = || StateError::Absent { name: self.name().clone() };
        let host = self.lab.plan().host(&container.host).ok_or_else(absent)?.clone();
        let inside = Links::open_in(&Netns::open(&container.netns)?)?;
        let mac = inside.get(phy::CARD).await?.and_then(|link| link.mac);
        if let Some(tenant) = self.topology.tenant(&container.tenant) {
            self.lab.configure(&container, tenant.bridge(), mac)?;
        }
        let claim = self.claim.upgrade();
        let call = move || {
            let _claim = claim;
            Lab::call_hook(&container, &host)
        };
        Ok(spawn_blocking(call).await.map_err(UpError::from)??)
    }

    /// Makes every vswitchd know its peers' addresses on the underlay, as on hosts that have talked before: it drops the
    /// first packet to a peer that it does not know, and learns, once it has tunnels, from the answers that its host gets.
    async fn neighbours(&self) -> Result<(), LabError> {
        let started = Instant::now();
        let underlay: Vec<IpAddr> = self.topology.hosts().iter().map(ovs_mesh::Host::underlay_ip).collect();
        for host in &self.lab.plan().hosts {
            let met = phy::meet(&Netns::open(&host.netns)?, host.underlay_address.ip(), &underlay)?;
            met.map_err(|source| LabError::Meet { host: host.name.clone(), source })?;
        }
        for host in self.topology.hosts() {
            let switch = self.switch(host.name()).await?;
            let plan = Plan::new(&self.topology, host.name())?;
            let peers: BTreeSet<String> =
                plan.tunnels().map(|(_, tunnel)| tunnel.tuple.remote_ip.to_string()).collect();
            loop {
                let failed = |source| LabError::Control { host: host.name().clone(), source };
                let known = switch.control("tnl/neigh/show", &[]).await.map_err(failed)?;
                let known: Vec<&str> =
                    known.lines().filter_map(|line| line.split_whitespace().next()).collect();
                match peers.iter().find(|peer| !known.contains(&peer.as_str())) {
                    None => break,
                    Some(peer) if started.elapsed() > NEIGHBOURS => {
                        return Err(LabError::Neighbour { host: host.name().clone(), peer: peer.clone() });
                    }
                    Some(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        }
        Ok(())
    }

    /// Syncs every host at once with a topology, the lab's own or another of the same hosts.
    pub async fn sync_all(
        &self,
        topology: &Topology,
        progress: &dyn Progress,
    ) -> Result<Vec<Report>, LabError> {
        let total = self.lab.plan().hosts.len();
        let done = std::cell::Cell::new(0);
        let all = self.lab.plan().hosts.iter().map(async |host| {
            let report = self.sync_host(topology, &host.name).await?;
            done.set(done.get() + 1);
            progress.step(done.get(), total, &format!("mesh on {}", host.name));
            Ok(report)
        });
        try_join_all(all).await
    }

    /// Syncs one host with a topology.
    pub async fn sync_host(&self, topology: &Topology, host: &HostName) -> Result<Report, LabError> {
        let plan = Plan::new(topology, host)?;
        let switch = self.switch(host).await?;
        let failed = |source| LabError::Sync { host: host.clone(), source };
        let report = sync(&switch, &plan, &()).await.map_err(failed)?;
        if let Some(object) = report.failing.first() {
            let reason = format!("{} {}: {}", object.kind.as_str(), object.name, object.state);
            return Err(LabError::NotApplied { host: host.clone(), reason });
        }
        Ok(report)
    }

    /// A connection to a host's switch, as a program on that host has it.
    pub async fn switch(&self, host: &HostName) -> Result<Switch, LabError> {
        let known = || Plan::new(&self.topology, host).err();
        let Some(place) = self.lab.plan().host(host) else {
            return Err(known()
                .map_or_else(|| StateError::Absent { name: self.name().clone() }.into(), LabError::Host));
        };
        connect(place).await.map_err(|error| match error {
            ConnectError::Netns(error) => error.into(),
            ConnectError::Switch(source) => LabError::Switch { host: host.clone(), source },
        })
    }

    /// What stands of the lab, and every host's mesh status; none for a host that does not answer.
    pub async fn status(&self) -> Result<(LabStatus, Vec<(HostName, Result<Status, LabError>)>), LabError> {
        let standing = self.lab.status().map_err(|source| LabError::Processes { source })?;
        let mut hosts = Vec::new();
        for host in self.topology.hosts() {
            let found = async {
                let switch = self.switch(host.name()).await?;
                let plan = Plan::new(&self.topology, host.name())?;
                let failed = |source| LabError::Sync { host: host.name().clone(), source };
                status(&switch, &plan).await.map_err(failed)
            };
            hosts.push((host.name().clone(), found.await));
        }
        Ok((standing, hosts))
    }
}

enum ConnectError {
    Netns(NetnsError),
    Switch(SwitchError),
}

async fn connect(host: &HostPlan) -> Result<Switch, ConnectError> {
    let netns = Netns::open(&host.netns).map_err(ConnectError::Netns)?;
    let options = SwitchOptions {
        netns: Some(netns),
        timeout: TIMEOUT,
        ..SwitchOptions::new(Endpoint::Unix(host.db_socket()))
    };
    Switch::connect(&options).await.map_err(ConnectError::Switch)
}

fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
    let path = path.to_owned();
    move |source| LabError::File { step, path, source }
}

/// What a lab has to know of a topology. Pure.
pub(crate) fn spec(topology: &Topology) -> LabSpec {
    let addresses: Vec<IpAddr> = topology.hosts().iter().map(ovs_mesh::Host::underlay_ip).collect();
    let prefix = common_prefix(&addresses);
    let hosts = topology.hosts().iter().map(|host| LabHost {
        name: host.name().clone(),
        underlay: IpNetwork::new(host.underlay_ip(), prefix).unwrap_or_else(|_| host.underlay_ip().into()),
    });
    let mut containers = Vec::new();
    let mut gateways = Vec::new();
    for tenant in topology.tenants() {
        containers.extend(tenant.containers().iter().map(|container| LabContainer {
            ctid: container.ctid().clone(),
            host: container.host().clone(),
            tenant: tenant.name().clone(),
            address: tenant.with_prefix(container.ip()),
            mtu: u32::from(topology.tenant_mtu()),
        }));
        gateways.extend(tenant.gateways().iter().map(|gateway| LabGateway {
            host: gateway.host().clone(),
            tenant: tenant.name().clone(),
            netns: gateway_netns(topology.name(), gateway.host(), tenant.name()),
        }));
    }
    LabSpec {
        name: topology.name().clone(),
        underlay_mtu: u32::from(topology.underlay_mtu()),
        datapath: topology.datapath(),
        hosts: hosts.collect(),
        containers,
        gateways,
    }
}

/// The longest prefix by which all addresses are neighbours, and none the network's or its broadcast address: a lab's
/// underlay is one link, whatever routers the real one has.
fn common_prefix(addresses: &[IpAddr]) -> u8 {
    let longest = if addresses.iter().all(IpAddr::is_ipv4) { 30 } else { 126 };
    let fits = |prefix: u8| {
        let networks = addresses.iter().map(|address| IpNetwork::new(*address, prefix).ok());
        let networks: Option<Vec<IpNetwork>> = networks.collect();
        networks.is_some_and(|all| {
            let same = all.windows(2).all(|pair| pair[0].network() == pair[1].network());
            let usable = all.iter().all(|one| one.ip() != one.network() && one.ip() != one.broadcast());
            same && usable
        })
    };
    (0..=longest).rev().find(|prefix| fits(*prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underlay_is_one_link() {
        let prefix =
            |list: &[&str]| common_prefix(&list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(prefix(&["10.0.1.1", "10.0.1.2"]), 30);
        assert_eq!(prefix(&["10.0.1.3", "10.0.1.2"]), 29);
        assert_eq!(prefix(&["10.0.1.11", "10.0.2.21"]), 22);
        assert_eq!(prefix(&["10.0.1.11", "192.168.2.21"]), 0);
        assert_eq!(prefix(&["fd00::1", "fd00::2"]), 126);
        assert_eq!(prefix(&["fd00::1", "fd01::2"]), 15);
    }
}
