//! The topology file's model: hosts, tenants and containers, valid by construction.
//!
//! A [`Topology`] is only ever had from a text that passed every check, so what is computed from it needs no second
//! look. A text with faults yields all of them together, each with its place: see [`TopologyError`].

mod check;
mod draft;
mod write;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::file::FileError;
use crate::names::{BridgeName, Ctid, HostName, MeshName, TenantName, TunnelKey, TunnelKind};

/// A topology text that cannot be used: all of its faults, in the text's order.
pub type TopologyError = FileError;

/// The `datapath_type` of a mesh's bridges (ovs-vswitchd.conf.db(5), table Bridge).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// The kernel's datapath: what a production host has.
    #[default]
    System,
    /// The userspace datapath, which needs no kernel module: labs, and hosts with DPDK or `AF_XDP`.
    Netdev,
}

impl Datapath {
    /// The column's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Netdev => "netdev",
        }
    }
}

/// A machine that carries tenants' bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    pub(crate) name: HostName,
    pub(crate) underlay_ip: IpAddr,
}

impl Host {
    /// The name by which `--host` selects it.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// The address that its tunnels start from and that its peers' tunnels go to.
    pub fn underlay_ip(&self) -> IpAddr {
        self.underlay_ip
    }
}

/// A container as the topology places it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    pub(crate) ctid: Ctid,
    pub(crate) host: HostName,
    pub(crate) ip: IpAddr,
}

impl Container {
    /// Its id, unique in the mesh.
    pub fn ctid(&self) -> &Ctid {
        &self.ctid
    }

    /// The host that runs it.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Its address in the tenant's subnet.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// A tenant's own address on a host, in a namespace of its own, that belongs to no container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateway {
    pub(crate) host: HostName,
    pub(crate) ip: IpAddr,
}

impl Gateway {
    /// The host that has it.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Its address in the tenant's subnet.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// One isolated layer-2 network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tenant {
    pub(crate) name: TenantName,
    pub(crate) key: TunnelKey,
    pub(crate) subnet: IpNetwork,
    pub(crate) bridge: BridgeName,
    /// Positions in the topology's hosts, ascending.
    #[serde(skip)]
    pub(crate) members: Vec<usize>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) containers: Vec<Container>,
}

impl Tenant {
    /// The tenant's name.
    pub fn name(&self) -> &TenantName {
        &self.name
    }

    /// The GRE key of all its tunnels, unique in the mesh.
    pub fn key(&self) -> TunnelKey {
        self.key
    }

    /// Its subnet; other tenants may have the same.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// Its bridge's name on every host, unique in the mesh.
    pub fn bridge(&self) -> &BridgeName {
        &self.bridge
    }

    /// Its gateways, at most one a host.
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// Its containers.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// An address of this tenant with its subnet's prefix length, as an interface carries it.
    pub fn with_prefix(&self, ip: IpAddr) -> IpNetwork {
        IpNetwork::new(ip, self.subnet.prefix()).unwrap_or_else(|_| IpNetwork::from(ip))
    }
}

/// A whole mesh: what one topology file says.
///
/// ```
/// let topology: ovs_mesh::Topology = r#"
///     mesh = { name = "prod", underlay_mtu = 9001 }
///     host = [
///         { name = "redis1", underlay_ip = "10.0.1.11" },
///         { name = "redis2", underlay_ip = "10.0.1.12" },
///     ]
///     [[tenant]]
///     name = "acme"
///     key = 101
///     subnet = "192.168.10.0/24"
///     containers = [{ ctid = "101", host = "redis1", ip = "192.168.10.11" }]
/// "#.parse()?;
/// assert_eq!(topology.tenant_mtu(), 9001 - 42);
/// # Ok::<(), ovs_mesh::TopologyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topology {
    pub(crate) name: MeshName,
    pub(crate) underlay_mtu: u16,
    pub(crate) datapath: Datapath,
    pub(crate) kind: TunnelKind,
    pub(crate) hosts: Vec<Host>,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) conf_dir: PathBuf,
    pub(crate) default_bridge: Option<BridgeName>,
}

impl Topology {
    /// Reads a topology from a file's text; `path` only names the file in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TopologyError> {
        let (draft, faults) = draft::read(text);
        check::check(draft, faults).map_err(|faults| TopologyError::new(path, text, faults))
    }

    /// The same mesh under another name and on another datapath: a copy for a lab, that shares no row, device or
    /// namespace with the original.
    #[must_use]
    pub fn copied_as(mut self, name: MeshName, datapath: Datapath) -> Self {
        self.name = name;
        self.datapath = datapath;
        self
    }

    /// The same mesh with OpenVZ's configurations in another directory.
    #[must_use]
    pub fn with_openvz_conf_dir(mut self, conf_dir: PathBuf) -> Self {
        self.conf_dir = conf_dir;
        self
    }

    /// The mesh's name, which every row of ours carries.
    pub fn name(&self) -> &MeshName {
        &self.name
    }

    /// The underlay's MTU in bytes.
    pub fn underlay_mtu(&self) -> u16 {
        self.underlay_mtu
    }

    /// The MTU of everything on a tenant's network, in bytes: the underlay's less the tunnel's overhead.
    pub fn tenant_mtu(&self) -> u16 {
        self.underlay_mtu - self.kind.overhead()
    }

    /// The `datapath_type` of the mesh's bridges.
    pub fn datapath(&self) -> Datapath {
        self.datapath
    }

    /// The tunnels' type, decided by the underlay's address family.
    pub fn tunnel_kind(&self) -> TunnelKind {
        self.kind
    }

    /// All hosts, in the file's order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// All tenants, in the file's order.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// The host of that name.
    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// The tenant of that name.
    pub fn tenant(&self, name: &TenantName) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name == *name)
    }

    /// The tenant that a container belongs to, and the container.
    pub fn container(&self, ctid: &Ctid) -> Option<(&Tenant, &Container)> {
        self.tenants.iter().find_map(|tenant| {
            tenant.containers.iter().find(|container| container.ctid == *ctid).map(|found| (tenant, found))
        })
    }

    /// The hosts that a tenant's mesh spans, in the file's order.
    pub fn members<'a>(&'a self, tenant: &'a Tenant) -> impl Iterator<Item = &'a Host> + 'a {
        tenant.members.iter().map(|&at| &self.hosts[at])
    }

    /// The directory of OpenVZ's container configurations; `/etc/vz/conf` unless the file says otherwise.
    pub fn openvz_conf_dir(&self) -> &Path {
        &self.conf_dir
    }

    /// The Linux bridge, outside the mesh, of those containers' interfaces that neither their configuration nor the
    /// topology puts anywhere; without one they are an error.
    pub fn openvz_default_bridge(&self) -> Option<&BridgeName> {
        self.default_bridge.as_ref()
    }

    /// The topology as a file: what it says when it is read again is this topology.
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }

    pub(crate) fn position(&self, name: &HostName) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == *name)
    }
}

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, TopologyError> {
        Self::parse(text, Path::new("topology"))
    }
}

#[cfg(test)]
mod tests;
