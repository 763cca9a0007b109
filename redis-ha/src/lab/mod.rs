//! The whole service on one machine: a lab of hosts, and on them the real daemons with the files that are rendered for them.

mod damage;
mod ec2;
mod mend;
mod service;
mod up;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use ovs_mesh::link::{LinkError, Links, LinksOpenError, Netns, NetnsError, OffloadError};
use ovs_mesh::{Chain, Ctid, HostName, MeshName};
use ovsmesh_lab::{LabError, MeshLab};

use self::ec2::LabEc2;
use crate::config::{Config, ConfigError, SecretError, Secrets};
use crate::proxy::{ProxyError, ProxyView, compare};
use crate::render::{Layout, Place};

pub use damage::Damage;
pub use ec2::LabEc2Error;
pub use service::{Service, ServiceError};
pub use up::ServiceOptions;

/// Of a lab with an EC2: what moto says, and the Python that has it.
const MOTO_LOG: &str = "moto.log";
const PYTHON: &str = "moto.python";

/// Why the service's lab is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ServiceLabError {
    /// The mesh below it.
    #[error(transparent)]
    Mesh(#[from] LabError),
    /// The lab of that name has no such service.
    #[error(
        "lab `{name}` runs no redis-ha: `{maker} up` made it; name another lab with --name, or take it down with: {maker} down \
         --name {name}"
    )]
    None {
        /// The lab.
        name: MeshName,
        /// The command that made it.
        maker: String,
    },
    /// The service's file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The secrets.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The lab has no such host.
    #[error("the lab has no host `{host}`")]
    NoHost {
        /// The host.
        host: HostName,
    },
    /// A flow could not be put on a host's underlay bridge or taken off it, or its flows could not be read.
    #[error("cannot read or change the flows of host `{host}`: {reason}")]
    Flow {
        /// The host.
        host: HostName,
        /// What `ovs-ofctl` said.
        reason: String,
    },
    /// A host's switch hangs.
    #[error("ovs-vswitchd on {host} does not answer")]
    Silent {
        /// The host.
        host: HostName,
    },
    /// A file of the lab's.
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
    /// Some of what was broken could not be mended; all the rest was.
    #[error("{} of the lab could not be mended: {}", failed.len(), failed.iter().map(|why| Chain(why).to_string()).collect::<Vec<_>>().join("; "))]
    Mend {
        /// What failed.
        failed: Vec<ServiceLabError>,
    },
    /// A daemon.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A device.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A namespace's devices.
    #[error(transparent)]
    Links(#[from] LinksOpenError),
    /// The checksum offload of the clients' device.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// The underlay has no free address for the clients.
    #[error("the underlay {underlay} has no address left for the lab's clients")]
    Full {
        /// The underlay's network.
        underlay: IpNetwork,
    },
    /// Its EC2.
    #[error(transparent)]
    Ec2(#[from] LabEc2Error),
    /// A proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The first masters could not be made.
    #[error(transparent)]
    Bootstrap(#[from] crate::bootstrap::BootstrapError),
    /// The service did not come to work in time.
    #[error("the service does not work after {} s: {what}", seconds)]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// What is missing.
        what: String,
    },
}

pub(crate) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServiceLabError {
    let path = path.to_owned();
    move |source| ServiceLabError::File { step, path, source }
}

/// A lab that runs the service.
#[derive(Debug)]
pub struct ServiceLab {
    mesh: MeshLab,
    config: Config,
    secrets: Secrets,
}

impl ServiceLab {
    /// The lab of that name, with what it runs; not one that is half made.
    pub fn open(name: &MeshName) -> Result<Self, ServiceLabError> {
        let mesh = MeshLab::open(name)?;
        let path = config_path(&mesh);
        if !path.exists() {
            return Err(ServiceLabError::None { name: name.clone(), maker: mesh.lab().maker() });
        }
        let config = Config::read(&path)?;
        let secrets = Secrets::read(&config)?;
        Ok(Self { mesh, config, secrets })
    }

    /// The mesh below it.
    pub fn mesh(&self) -> &MeshLab {
        &self.mesh
    }

    /// What it runs, under the lab's names.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its passwords, which the lab made.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The service's file of the lab.
    pub fn config_path(&self) -> PathBuf {
        config_path(&self.mesh)
    }

    /// Where a place's files are.
    pub fn layout(&self, place: &Place) -> Layout {
        let dir = dir(&self.mesh).join(match place {
            Place::Node(ctid) => format!("node-{ctid}"),
            Place::Proxy(host) | Place::Host(host) => host.to_string(),
        });
        Layout { conf: dir.clone(), state: dir.join("state"), run: dir }
    }

    /// The namespace of a node.
    pub fn node_netns(&self, ctid: &Ctid) -> Result<Netns, ServiceLabError> {
        let plan = self.mesh.lab().plan();
        let found = plan.containers.iter().find(|container| container.ctid == *ctid);
        let found = found.ok_or_else(|| LabError::NoContainer { ctid: ctid.clone() })?;
        Ok(Netns::open(&found.netns)?)
    }

    /// The namespace of a host.
    pub fn host_netns(&self, host: &HostName) -> Result<Netns, ServiceLabError> {
        let found = self.mesh.lab().plan().host(host);
        let found = found.ok_or_else(|| ServiceLabError::NoHost { host: host.clone() })?;
        Ok(Netns::open(&found.netns)?)
    }

    /// The namespace of the underlay, in which the lab's clients are.
    pub fn client_netns(&self) -> Result<Netns, ServiceLabError> {
        Ok(Netns::open(&self.mesh.lab().plan().underlay)?)
    }

    /// The clients' address on the underlay, which nobody else has.
    pub fn client_address(&self) -> Result<IpNetwork, ServiceLabError> {
        client_address(&self.config, self.mesh.lab().plan().hosts[0].underlay_address)
    }

    /// What every proxy sees.
    pub async fn proxies(&self) -> Result<Vec<ProxyView>, ServiceLabError> {
        let mut views = Vec::new();
        for host in &self.config.proxies.hosts {
            let links = Links::open_in(&self.host_netns(host)?)?;
            let socket = self.layout(&Place::Proxy(host.clone())).haproxy_socket();
            views.push(ProxyView::of(&self.config.proxies, host, &links, &socket).await?);
        }
        compare(&mut views);
        Ok(views)
    }

    /// The proxies that EC2 leads all VIPs to; none if the lab has no EC2.
    pub fn led(&self) -> Result<Option<Vec<HostName>>, ServiceLabError> {
        let aws = self.config.proxies.aws.as_ref();
        aws.map(|aws| self.ec2()?.holders(&self.config, aws)).transpose()
    }

    fn ec2(&self) -> Result<LabEc2, ServiceLabError> {
        Ok(LabEc2::new(self.client_netns()?, self.client_address()?.ip()))
    }

    /// Cuts a host off the underlay, or joins it again, as its cable does.
    pub async fn plug(&self, host: &HostName, is_in: bool) -> Result<(), ServiceLabError> {
        let found = self.mesh.lab().plan().host(host);
        let found = found.ok_or_else(|| ServiceLabError::NoHost { host: host.clone() })?;
        let links = Links::open_in(&self.client_netns()?)?;
        let device = found.underlay_device.as_str();
        if is_in {
            links.set_up(device).await?;
        } else {
            links.set_down(device).await?;
        }
        Ok(())
    }
}

fn dir(mesh: &MeshLab) -> PathBuf {
    mesh.lab().plan().dir().join("redis-ha")
}

fn config_path(mesh: &MeshLab) -> PathBuf {
    dir(mesh).join("redis-ha.toml")
}

/// An address of the underlay for clients, by one host's address there: the last that nobody has, in IPv6 one of few beyond what
/// people count to. Where there is one, it is of the part of the underlay that hosts reach without the VIPs. Pure.
fn client_address(config: &Config, underlay: IpNetwork) -> Result<IpNetwork, ServiceLabError> {
    // The VIPs say how large the underlay really is; a lab's own prefix is only as wide as its hosts need.
    let network =
        config.proxies.vips.iter().find(|vip| vip.contains(underlay.ip())).copied().unwrap_or(underlay);
    let taken = |ip: IpAddr| {
        config.topology.hosts().iter().any(|host| host.underlay_ip() == ip)
            || config.proxies.vips.iter().any(|vip| vip.ip() == ip)
    };
    let last = |network: IpNetwork| {
        let found = match network {
            IpNetwork::V4(network) => {
                let last = u32::from(network.broadcast());
                (1..64).map(|back| IpAddr::V4((last.saturating_sub(back)).into())).find(|ip| !taken(*ip))
            }
            IpNetwork::V6(network) => {
                let first = u128::from(network.network());
                (1..64).map(|on| IpAddr::V6((first + 0xff00 + on).into())).find(|ip| !taken(*ip))
            }
        };
        found.filter(|ip| network.contains(*ip) && *ip != network.network())
    };
    last(underlay)
        .or_else(|| last(network))
        .and_then(|ip| IpNetwork::new(ip, network.prefix()).ok())
        .ok_or(ServiceLabError::Full { underlay: network })
}

/// A directory for the service's files alone: they hold passwords.
pub(crate) fn create_dir(path: &Path) -> Result<(), ServiceLabError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(file("create", path))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), ServiceLabError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(mode).open(path);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = include_str!("../../../examples/redis-ha.toml");
    const MESH: &str = include_str!("../../../examples/ha-redis.toml");

    #[test]
    fn clients_have_an_address_that_nobody_has() {
        let table = [
            (SERVICE.to_owned(), "10.0.1.11/27", "10.0.1.30/24"),
            (SERVICE.replace("10.0.1.100", "10.0.1.30"), "10.0.1.11/27", "10.0.1.29/24"),
            // Beside .11 to .13 nobody fits.
            (SERVICE.to_owned(), "10.0.1.12/31", "10.0.1.254/24"),
            (SERVICE.replace("10.0.1.100", "10.0.1.254"), "10.0.1.12/31", "10.0.1.253/24"),
            // A VIP of another network does not say how large the underlay is.
            (SERVICE.replace("10.0.1.100", "10.9.9.9"), "10.0.1.11/26", "10.0.1.62/26"),
        ];
        for (service, underlay, expected) in table {
            let config = Config::parse(&service, Path::new("redis-ha.toml"), MESH.parse().unwrap()).unwrap();
            let found = client_address(&config, underlay.parse().unwrap()).unwrap();
            assert_eq!(found, expected.parse().unwrap(), "{underlay}");
        }
    }
}
