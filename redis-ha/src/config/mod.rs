//! The service's file, `redis-ha.toml`: which tenants have Redis, behind which proxies.

mod certificate;
mod check;
mod draft;
mod profile;
mod secret;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use ovs_mesh::file::{Fault, FileError};
use ovs_mesh::{Container, Ctid, HostName, NetnsName, TenantName, Topology, TopologyError, gateway_netns};

use crate::aws::{InterfaceId, Region, RouteTableId};

pub use certificate::{Certificate, CertificateError, Certificates};
pub use profile::{Pace, Profile, Watch};
pub(crate) use secret::hex;
pub use secret::{Credentials, PasswordError, Secret, SecretError, Secrets};

/// The port of every Redis, inside its tenant's network.
pub const REDIS_PORT: u16 = 6379;
/// The port of every Sentinel, inside its tenant's network.
pub const SENTINEL_PORT: u16 = 26379;
/// The name by which replicas, Sentinels and the agent log in to a Redis.
pub const OPERATOR_USER: &str = "operator";

/// Why a service's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The service's file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The service's file says what cannot be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The topology file that it names says what cannot be.
    #[error("the topology of the service")]
    Topology {
        /// What is wrong with it.
        #[source]
        source: TopologyError,
    },
}

/// An amount of memory in bytes, as `512MiB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// A text that is no amount of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of memory")]
pub struct BytesError(String);

impl Bytes {
    pub(crate) const ACCEPTED: &str = "a whole number with its unit, KiB, MiB, GiB or TiB, as \"512MiB\"";
    /// The units, largest first.
    const UNITS: [(&'static str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

    /// That many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match unit {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, BytesError> {
        let (number, size) = Self::UNITS
            .iter()
            .find_map(|(unit, size)| text.strip_suffix(unit).map(|number| (number, *size)))
            .ok_or_else(|| BytesError(text.to_owned()))?;
        let number = number.trim_end().parse::<u64>().ok().and_then(|number| number.checked_mul(size));
        number.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| BytesError(text.to_owned()))
    }
}

/// What a Redis does when it has no memory left for a write (`maxmemory-policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Eviction(&'static str);

impl Eviction {
    /// All that Redis 7 has.
    pub const ALL: [Self; 8] = [
        Self("noeviction"),
        Self("allkeys-lru"),
        Self("allkeys-lfu"),
        Self("allkeys-random"),
        Self("volatile-lru"),
        Self("volatile-lfu"),
        Self("volatile-random"),
        Self("volatile-ttl"),
    ];

    /// The word of redis.conf.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// What of its data a Redis keeps on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Persistence {
    /// Nothing: what all nodes forget at once is lost.
    None,
    /// Snapshots (`save`): up to five minutes of writes are lost when all nodes stop at once.
    Rdb,
    /// The append-only file, synced each second.
    Aof,
}

/// Where the VIPs live on AWS, when they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsVip {
    /// A secondary private address of the active proxy's network interface: both proxies are in one subnet.
    Address,
    /// An overlay route to the active proxy: the proxies are in different zones, the VIP in no subnet of the VPC.
    Route {
        /// The tables that have the route (`rtb-…`).
        tables: Vec<RouteTableId>,
    },
}

/// AWS, where the proxies are its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// Where the VIPs live.
    pub vip: AwsVip,
    /// The region; the instance's own unless the file says.
    pub region: Option<Region>,
    /// The proxies' network interfaces; found by their subnets unless the file says.
    pub interfaces: BTreeMap<HostName, InterfaceId>,
    /// An interface of no machine that has the VIPs until a proxy takes them.
    pub reserve: Option<InterfaceId>,
}

/// The proxies that all tenants share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    /// Their hosts; the first is the one that is active when nothing is wrong at the start.
    pub hosts: Vec<HostName>,
    /// The device of the underlay on them, that has the VIPs.
    pub interface: String,
    /// The addresses that clients know, with their prefix lengths.
    pub vips: Vec<IpNetwork>,
    /// The VRRP router id, 1..=255 (RFC 5798, section 5.2.3), unique on the underlay.
    pub router_id: u8,
    /// How fast they watch each other.
    pub profile: Profile,
    /// On AWS, who is told where the VIPs are.
    pub aws: Option<Aws>,
}

/// A tenant's Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The tenant, whose name is the cluster's.
    pub tenant: TenantName,
    /// Its nodes: containers of the tenant, each with a Redis and a Sentinel. The first is the first master.
    pub nodes: Vec<Ctid>,
    /// Where clients reach the master: one of the VIPs, and a port.
    pub listen: SocketAddr,
    /// The most that one node's data may take.
    pub max_memory: Bytes,
    /// What happens then.
    pub eviction: Eviction,
    /// What is kept on disk.
    pub persistence: Persistence,
    /// The file with the password of the tenant's clients.
    pub password_file: PathBuf,
    /// How fast a dead master is replaced.
    pub profile: Profile,
    /// The file with the certificate that the proxies show to clients, those of its issuers, and its key (PEM); without one, clients
    /// speak plainly.
    pub tls: Option<PathBuf>,
}

/// A node of a cluster with all that the topology says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// The container.
    pub ctid: &'a Ctid,
    /// The host that it is on.
    pub host: &'a HostName,
    /// Its address in the tenant's network.
    pub ip: IpAddr,
}

/// What one service's file says, and the topology that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The mesh.
    pub topology: Topology,
    /// The proxies.
    pub proxies: Proxies,
    /// The tenants' Redis, at least one.
    pub clusters: Vec<Cluster>,
    /// The file with the operator's secret, from which the passwords between the parts of the service are derived.
    pub secret_file: PathBuf,
    /// How much memory hosts have for containers, where that is said.
    pub host_memory: BTreeMap<HostName, Bytes>,
}

impl Config {
    /// Reads the service's file and the topology file that it names; paths in it are relative to its directory.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let (draft, mut faults) = draft::read(&text);
        let Some((mesh, span)) = draft.mesh.as_ref().map(|mesh| (dir.join(&mesh.value), mesh.span.clone()))
        else {
            return Err(FileError::new(path, &text, faults).into());
        };
        let topology = match std::fs::read_to_string(&mesh) {
            Ok(topology) => topology,
            Err(error) => {
                // The place that names it is where it is mended, as a rule.
                let remedy = if error.kind() == std::io::ErrorKind::PermissionDenied {
                    "run it as root, or as the user that may read it"
                } else {
                    "name the topology file that the hosts have, relative to this file's directory, or absolute"
                };
                let problem = format!("cannot read the topology file {}: {error}", mesh.display());
                faults.push(Fault::new(span, problem, remedy));
                return Err(FileError::new(path, &text, faults).into());
            }
        };
        let topology =
            Topology::parse(&topology, &mesh).map_err(|source| ConfigError::Topology { source })?;
        Ok(check::check(draft, faults, topology, dir)
            .map_err(|faults| FileError::new(path, &text, faults))?)
    }

    /// The same from texts, without a file; `path` only names the file in errors and is what its paths are relative to.
    pub fn parse(text: &str, path: &Path, topology: Topology) -> Result<Self, FileError> {
        let (draft, faults) = draft::read(text);
        let dir = path.parent().unwrap_or(Path::new(""));
        check::check(draft, faults, topology, dir).map_err(|faults| FileError::new(path, text, faults))
    }

    /// Gives the proxies and every cluster the same times.
    pub fn set_profile(&mut self, profile: Profile) {
        self.proxies.profile = profile;
        for cluster in &mut self.clusters {
            cluster.profile = profile;
        }
    }

    /// A tenant's Redis.
    pub fn cluster(&self, tenant: &TenantName) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.tenant == *tenant)
    }

    /// A cluster's nodes, in the file's order.
    pub fn nodes<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = Node<'a>> {
        let known = cluster.nodes.iter().filter_map(|ctid| self.topology.container(ctid));
        known.map(|(_, container): (_, &Container)| Node {
            ctid: container.ctid(),
            host: container.host(),
            ip: container.ip(),
        })
    }

    /// The namespace by which a proxy reaches a tenant.
    pub fn gateway(&self, proxy: &HostName, tenant: &TenantName) -> NetnsName {
        gateway_netns(self.topology.name(), proxy, tenant)
    }
}

impl Cluster {
    /// How many Sentinels are a majority of them all.
    pub fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// Whether every node begins as a replica of nobody, and only Sentinels make masters; not so in the article's way.
    pub fn starts_as_replica(&self) -> bool {
        matches!(self.profile.pace().watch, Watch::Agent { .. })
    }
}
