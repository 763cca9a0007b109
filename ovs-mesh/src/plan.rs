//! One host's desired state, row by row. Pure: the same topology and host give the same plan.
//!
//! The rows are a contract that other tools may rely on:
//!
//! | row | name | what identifies it as ours |
//! | --- | --- | --- |
//! | Bridge | the tenant's `bridge` | `external_ids`: [`MESH_ID`], [`TENANT_ID`] |
//! | tunnel Port and Interface | [`tunnel_port`] of key, local and remote address | Port `external_ids`: both and [`PEER_ID`] |
//! | gateway Port and Interface | [`gateway_port`] | Port `external_ids`: both and [`GATEWAY_ID`] |
//! | container Port and Interface | the veth's | Port `external_ids`: both and [`CTID_ID`] |

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::mesh::{Mesh, TunnelEnd};
use crate::names::{
    BridgeName, Ctid, HostName, Local, MeshName, NetnsName, PortName, Remote, TenantName, TunnelKey,
    TunnelKind,
};
use crate::topology::{Datapath, Tenant, Topology};

/// `external_ids` key: the mesh that owns a Bridge or Port row.
pub const MESH_ID: &str = "ovsmesh-mesh";
/// `external_ids` key: the tenant that a row belongs to.
pub const TENANT_ID: &str = "ovsmesh-tenant";
/// `external_ids` key: the host at a tunnel's far end.
pub const PEER_ID: &str = "ovsmesh-peer";
/// `external_ids` key: the container that a port belongs to.
pub const CTID_ID: &str = "ovsmesh-ctid";
/// `external_ids` key: the index of the device that was attached. An index is never given to another device while the
/// machine runs, so that a row can be told whose device has been made anew since, whatever ovs-vswitchd says of it.
pub const IFINDEX_ID: &str = "ovsmesh-ifindex";
/// `external_ids` key: the network namespace of a gateway's far end.
pub const GATEWAY_ID: &str = "ovsmesh-gateway";

/// Entries of a bridge's MAC table. OVS's own default of 8192 is less than a large tenant has; entries cost memory
/// only when used (ovs-vswitchd.conf.db(5), `other_config:mac-table-size`, at most 1,000,000).
pub const MAC_TABLE_SIZE: u32 = 65_536;

/// A tunnel's tuple: what ovs-vswitchd tells tunnels apart by, on all bridges of one datapath type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Tuple {
    /// The tunnel's type.
    #[serde(rename = "type")]
    pub kind: TunnelKind,
    /// The GRE key, both ways.
    pub key: TunnelKey,
    /// The underlay address of this end; written always, multi-homed hosts need it.
    pub local_ip: Local<IpAddr>,
    /// The underlay address of the far end.
    pub remote_ip: Remote<IpAddr>,
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {} {} → {}", self.kind, self.key, self.local_ip, self.remote_ip)
    }
}

/// A tunnel as this host should have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// The port's and interface's name, derived from the tuple: one tuple has one name for life.
    pub port: PortName,
    /// The host at the far end.
    pub peer: HostName,
    /// What OVS tells it apart by.
    #[serde(flatten)]
    pub tuple: Tuple,
}

/// A gateway as this host should have it: a veth pair, one end on the bridge, the other in a namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayPort {
    /// The end on the bridge.
    pub port: PortName,
    /// The namespace of the far end, [`GATEWAY_DEVICE`].
    pub netns: NetnsName,
    /// The far end's address.
    pub address: IpNetwork,
}

/// The name of a gateway's device in its namespace.
pub const GATEWAY_DEVICE: &str = "eth0";

/// A tenant's bridge on this host, with all that the mesh puts on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// The bridge's name.
    pub name: BridgeName,
    /// The tenant it carries.
    pub tenant: TenantName,
    /// Its `datapath_type`.
    pub datapath: Datapath,
    /// The MTU of everything on it, in bytes.
    pub mtu: u16,
    /// One tunnel to every other host of the tenant.
    pub tunnels: Vec<Tunnel>,
    /// The tenant's gateway on this host, if it has one.
    pub gateway: Option<GatewayPort>,
    /// The containers that the topology puts on this bridge.
    pub containers: Vec<Ctid>,
}

/// What one host should hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The mesh that owns the rows.
    pub mesh: MeshName,
    /// The host.
    pub host: HostName,
    /// Its bridges, by name.
    pub bridges: Vec<Bridge>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The topology has no such host.
    #[error("the topology of mesh `{mesh}` has no host `{host}`; its hosts are: {hosts}")]
    UnknownHost {
        /// The host asked for.
        host: HostName,
        /// The mesh.
        mesh: MeshName,
        /// The hosts there are.
        hosts: String,
    },
    /// Two tunnels got one name: a collision of 55-bit digests, about once in a million hosts of 100,000 tunnels.
    #[error(
        "the tunnels {first} and {second} would have the same port name `{port}`; change either tenant's key"
    )]
    NameCollision {
        /// The name.
        port: PortName,
        /// A tunnel with it.
        first: Box<Tuple>,
        /// The other.
        second: Box<Tuple>,
    },
}

impl Plan {
    /// What `host` should hold so that, with every other host's plan, the mesh of `topology` stands.
    ///
    /// ```
    /// # let topology: ovs_mesh::Topology = r#"
    /// # mesh = { name = "prod", underlay_mtu = 1500 }
    /// # host = [{ name = "a", underlay_ip = "10.0.0.1" }, { name = "b", underlay_ip = "10.0.0.2" }]
    /// # tenant = [{ name = "acme", key = 7, subnet = "192.168.0.0/24" }]
    /// # "#.parse()?;
    /// let plan = ovs_mesh::Plan::new(&topology, &"a".parse()?)?;
    /// let tunnel = &plan.bridges[0].tunnels[0];
    /// assert_eq!(tunnel.tuple.to_string(), "gre key 7 10.0.0.1 → 10.0.0.2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(topology: &Topology, host: &HostName) -> Result<Self, PlanError> {
        if topology.position(host).is_none() {
            let names: Vec<&str> = topology.hosts().iter().map(|host| host.name().as_str()).collect();
            return Err(PlanError::UnknownHost {
                host: host.clone(),
                mesh: topology.name().clone(),
                hosts: names.join(", "),
            });
        }
        let mesh = Mesh::new(topology);
        let mut bridges: Vec<Bridge> =
            mesh.tenants_on(host).map(|tenant| bridge(topology, tenant, host)).collect();
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        let plan = Self { mesh: topology.name().clone(), host: host.clone(), bridges };
        plan.distinct_names()?;
        Ok(plan)
    }

    /// All tunnels of all bridges.
    pub fn tunnels(&self) -> impl Iterator<Item = (&Bridge, &Tunnel)> {
        self.bridges.iter().flat_map(|bridge| bridge.tunnels.iter().map(move |tunnel| (bridge, tunnel)))
    }

    /// The bridge of a tenant.
    pub fn bridge_of(&self, tenant: &TenantName) -> Option<&Bridge> {
        self.bridges.iter().find(|bridge| bridge.tenant == *tenant)
    }

    /// The tenant that the topology puts a container in, on this host.
    pub(crate) fn placement(&self, ctid: Option<&str>) -> Option<&TenantName> {
        let ctid = ctid?;
        let holder =
            self.bridges.iter().find(|bridge| bridge.containers.iter().any(|own| own.as_str() == ctid))?;
        Some(&holder.tenant)
    }

    fn distinct_names(&self) -> Result<(), PlanError> {
        let mut seen: HashMap<&PortName, &Tuple> = HashMap::new();
        for (_, tunnel) in self.tunnels() {
            if let Some(first) = seen.insert(&tunnel.port, &tunnel.tuple) {
                return Err(PlanError::NameCollision {
                    port: tunnel.port.clone(),
                    first: Box::new(*first),
                    second: Box::new(tunnel.tuple),
                });
            }
        }
        Ok(())
    }
}

/// The one place that decides the layout: which bridge a tenant's ports are on.
fn bridge(topology: &Topology, tenant: &Tenant, host: &HostName) -> Bridge {
    let mut tunnels: Vec<Tunnel> =
        Mesh::new(topology).tunnels(tenant, host).map(|end| tunnel(topology.tunnel_kind(), end)).collect();
    tunnels.sort_by(|a, b| a.port.cmp(&b.port));
    let gateway =
        tenant.gateways().iter().find(|gateway| gateway.host() == host).map(|gateway| GatewayPort {
            port: gateway_port(topology.name(), host, tenant.name()),
            netns: gateway_netns(topology.name(), host, tenant.name()),
            address: tenant.with_prefix(gateway.ip()),
        });
    let here = tenant.containers().iter().filter(|container| container.host() == host);
    let mut containers: Vec<Ctid> = here.map(|container| container.ctid().clone()).collect();
    containers.sort_unstable();
    Bridge {
        name: tenant.bridge().clone(),
        tenant: tenant.name().clone(),
        datapath: topology.datapath(),
        mtu: topology.tenant_mtu(),
        tunnels,
        gateway,
        containers,
    }
}

fn tunnel(kind: TunnelKind, end: TunnelEnd<'_>) -> Tunnel {
    let tuple = Tuple { kind, key: end.key(), local_ip: end.local(), remote_ip: end.remote() };
    Tunnel { port: tunnel_port(&tuple), peer: end.peer.name().clone(), tuple }
}

/// A tunnel port's name: `gre-` and 55 bits of SHA-256 over the tuple's text.
///
/// The name follows from the tuple alone, because OVS 3.1 fails with `File exists` when one transaction removes a
/// tunnel and adds another of the same tuple under a different name.
pub fn tunnel_port(tuple: &Tuple) -> PortName {
    let Tuple { kind, key, local_ip, remote_ip } = tuple;
    let digest = digest(&[kind.as_str(), &key.to_string(), &local_ip.to_string(), &remote_ip.to_string()]);
    PortName::derived("gre-", digest)
}

/// The name of a gateway's host-side veth: `gw-` and 60 bits of SHA-256 over mesh, host and tenant.
pub fn gateway_port(mesh: &MeshName, host: &HostName, tenant: &TenantName) -> PortName {
    PortName::derived("gw-", digest(&[mesh.as_str(), host.as_str(), tenant.as_str()]))
}

/// The namespace of a tenant's gateway on a host: `<mesh>-<host>-<tenant>`.
pub fn gateway_netns(mesh: &MeshName, host: &HostName, tenant: &TenantName) -> NetnsName {
    NetnsName::joined(mesh, host, tenant)
}

/// The first 64 bits of SHA-256 over the words, each followed by a zero byte.
fn digest(words: &[&str]) -> u64 {
    let mut sha = Sha256::new();
    for word in words {
        sha.update(word.as_bytes());
        sha.update([0]);
    }
    let bytes = sha.finalize();
    bytes.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests;
