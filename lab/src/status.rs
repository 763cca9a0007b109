//! What of a lab is there.

use std::io;

use ipnetwork::IpNetwork;
use ovs_mesh::link::Netns;
use ovs_mesh::{Ctid, HostName, MeshName, TenantName};
use serde::Serialize;

use crate::process::Daemon;
use crate::state::Lab;

/// A lab, part by part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabStatus {
    /// The lab.
    pub name: MeshName,
    /// Whether the underlay's namespace is there.
    pub underlay: bool,
    /// The hosts.
    pub hosts: Vec<HostStatus>,
    /// The containers.
    pub containers: Vec<ContainerStatus>,
    /// The gateways.
    pub gateways: Vec<GatewayStatus>,
}

/// A host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: HostName,
    /// Its address on the underlay.
    pub underlay: IpNetwork,
    /// Whether its namespace is there.
    pub netns: bool,
    /// Its daemons.
    pub daemons: Vec<DaemonStatus>,
}

/// A daemon of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DaemonStatus {
    /// Which of the two.
    pub daemon: Daemon,
    /// Its process, if it is alive.
    pub pid: Option<u32>,
}

/// A container of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerStatus {
    /// Its id.
    pub ctid: Ctid,
    /// Its host.
    pub host: HostName,
    /// Its tenant.
    pub tenant: TenantName,
    /// Its address.
    pub address: IpNetwork,
    /// Whether its namespace is there.
    pub netns: bool,
}

/// A gateway of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayStatus {
    /// Its host.
    pub host: HostName,
    /// Its tenant.
    pub tenant: TenantName,
    /// Whether its namespace is there.
    pub netns: bool,
}

impl LabStatus {
    /// Whether every part is there and alive.
    pub fn whole(&self) -> bool {
        let Self { name: _, underlay, hosts, containers, gateways } = self;
        *underlay
            && hosts.iter().all(|host| host.netns && host.daemons.iter().all(|daemon| daemon.pid.is_some()))
            && containers.iter().all(|container| container.netns)
            && gateways.iter().all(|gateway| gateway.netns)
    }
}

impl Lab {
    /// Looks at every part of the lab.
    pub fn status(&self) -> io::Result<LabStatus> {
        let plan = self.plan();
        let daemon =
            |dir, daemon: Daemon| Ok(DaemonStatus { daemon, pid: daemon.pids(dir)?.first().copied() });
        let hosts = plan.hosts.iter().map(|host| {
            Ok(HostStatus {
                name: host.name.clone(),
                underlay: host.underlay_address,
                netns: Netns::exists(&host.netns),
                daemons: Daemon::ALL
                    .into_iter()
                    .map(|which| daemon(&host.dir, which))
                    .collect::<io::Result<_>>()?,
            })
        });
        let containers = plan.containers.iter().map(|container| ContainerStatus {
            ctid: container.ctid.clone(),
            host: container.host.clone(),
            tenant: container.tenant.clone(),
            address: container.address,
            netns: Netns::exists(&container.netns),
        });
        let gateways = plan.gateways.iter().map(|gateway| GatewayStatus {
            host: gateway.host.clone(),
            tenant: gateway.tenant.clone(),
            netns: Netns::exists(&gateway.netns),
        });
        Ok(LabStatus {
            name: plan.name.clone(),
            underlay: Netns::exists(&plan.underlay),
            hosts: hosts.collect::<io::Result<_>>()?,
            containers: containers.collect(),
            gateways: gateways.collect(),
        })
    }
}
