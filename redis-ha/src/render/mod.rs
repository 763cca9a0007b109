//! Every configuration file and command of the service, from its file. Pure.

mod containers;
mod haproxy;
mod keepalived;
mod own;
mod redis;
mod sentinel;
mod sysctl;
#[cfg(test)]
mod tests;
mod units;
mod wait;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ovs_mesh::{Ctid, HostName, TenantName};

use crate::config::{Certificates, Cluster, Config, Credentials, Node, Secrets};
use crate::mesh_unit::mesh_unit;

pub use containers::container_memory;
pub use haproxy::haproxy_cfg;
pub use keepalived::keepalived_conf;
pub use redis::redis_conf;
pub use sentinel::sentinel_conf;
pub(crate) use units::{AGENT_RESTART, after_agent, notify_options};

/// The name of the VRRP instance that has the VIPs.
const VRRP_INSTANCE: &str = "redis-ha";
/// The port of the loopback device by which a script sees that `HAProxy` is alive, in the article's way.
const ALIVE_PORT: u16 = 9378;

/// Where files are on the machine that uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The directory of configuration files.
    pub conf: PathBuf,
    /// The directory of what must survive a restart.
    pub state: PathBuf,
    /// The directory of sockets.
    pub run: PathBuf,
}

impl Default for Layout {
    /// As on a host or in a container.
    fn default() -> Self {
        Self { conf: "/etc/redis-ha".into(), state: "/var/lib/redis-ha".into(), run: "/run/redis-ha".into() }
    }
}

impl Layout {
    /// The control socket of `HAProxy`.
    pub fn haproxy_socket(&self) -> PathBuf {
        self.run.join("haproxy.sock")
    }

    /// The file that says to keepalived whether `HAProxy` is alive: 0, or else 1.
    pub fn track_file(&self) -> PathBuf {
        self.run.join("haproxy.dead")
    }

    /// The certificate that a proxy shows to a tenant's clients.
    pub fn certificate(&self, tenant: &TenantName) -> PathBuf {
        self.conf.join(own::certificate(tenant))
    }

    /// The FIFO on which keepalived says what became of it.
    pub fn notify_fifo(&self) -> PathBuf {
        self.run.join("notify")
    }
}

/// Whose machine a file is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A container's.
    Node(Ctid),
    /// A proxy's.
    Proxy(HostName),
    /// A host's, that runs containers.
    Host(HostName),
}

impl Place {
    /// Its directory below that of all.
    fn dir(&self) -> PathBuf {
        match self {
            Self::Node(ctid) => Path::new("nodes").join(ctid.as_str()),
            Self::Proxy(host) => Path::new("proxies").join(host.as_str()),
            Self::Host(host) => Path::new("hosts").join(host.as_str()),
        }
    }
}

/// A file as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Whose it is.
    pub place: Place,
    /// Its path there.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// Its mode.
    pub mode: u32,
}

impl RenderedFile {
    /// Its path below the directory of all files: each place's files lie as they will at that place, below its directory.
    pub fn relative(&self) -> PathBuf {
        self.place.dir().join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }
}

/// The directories above files, below that of all, with their modes: a daemon that is not root must come to its files, and nobody to
/// where all are root's alone. Those above come first.
pub fn directories(files: &[RenderedFile]) -> BTreeMap<PathBuf, u32> {
    let mut modes = BTreeMap::new();
    for file in files {
        let relative = file.relative();
        for dir in relative.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()) {
            let mode = modes.entry(dir.to_owned()).or_insert(0o700);
            if file.mode & 0o077 != 0 {
                *mode = 0o755;
            }
        }
    }
    modes
}

/// All files of the service.
pub fn render(config: &Config, secrets: &Secrets, certificates: &Certificates) -> Vec<RenderedFile> {
    let layout = Layout::default();
    let mut files = Vec::new();
    for (cluster, credentials) in secrets.of(config) {
        for node in config.nodes(cluster) {
            files.extend(node_files(config, cluster, credentials, node, &layout));
        }
    }
    for proxy in &config.proxies.hosts {
        files.extend(proxy_files(config, (secrets, certificates), proxy, &layout));
    }
    files.extend(containers::files(config));
    files
}

fn node_files(
    config: &Config,
    cluster: &Cluster,
    credentials: &Credentials,
    node: Node<'_>,
    layout: &Layout,
) -> Vec<RenderedFile> {
    let file = |path: PathBuf, text: String, mode: u32| RenderedFile {
        place: Place::Node(node.ctid.clone()),
        path,
        text,
        mode,
    };
    let unit = |name: &str, text: String| file(Path::new("/etc/systemd/system").join(name), text, 0o644);
    let mut files = vec![
        file(layout.conf.join("redis.conf"), redis_conf(config, cluster, credentials, node, layout), 0o640),
        file(
            layout.conf.join("sentinel.conf"),
            sentinel_conf(config, cluster, credentials, node, layout),
            0o640,
        ),
        unit("redis-ha-redis.service", units::redis(cluster, layout)),
        unit("redis-ha-sentinel.service", units::sentinel(layout)),
        file("/etc/network/interfaces".into(), containers::interfaces(config, cluster, node), 0o644),
        file(sysctl::PATH.into(), sysctl::node(), 0o644),
    ];
    if cluster.starts_as_replica() {
        files.push(file(wait::path(layout), wait::script(cluster, node, layout), 0o755));
    }
    files
}

fn proxy_files(
    config: &Config,
    (secrets, certificates): (&Secrets, &Certificates),
    proxy: &HostName,
    layout: &Layout,
) -> Vec<RenderedFile> {
    let file = |path: PathBuf, text: String, mode: u32| RenderedFile {
        place: Place::Proxy(proxy.clone()),
        path,
        text,
        mode,
    };
    let unit = |name: &str, text: String| file(Path::new("/etc/systemd/system").join(name), text, 0o644);
    let mut files = vec![
        file(layout.conf.join("haproxy.cfg"), haproxy_cfg(config, secrets, proxy, layout), 0o600),
        file(layout.conf.join("keepalived.conf"), keepalived_conf(config, proxy, layout), 0o644),
        unit("redis-ha-haproxy.service", units::haproxy(layout)),
        unit("redis-ha-keepalived.service", units::keepalived(config, layout)),
        unit("redis-ha-agent.service", units::agent(proxy, layout)),
        unit("ovsmesh.service", head("systemd unit of a host") + &mesh_unit(proxy)),
        file(sysctl::PROXY_PATH.into(), sysctl::proxy(), 0o644),
    ];
    files.extend(
        own::files(config, secrets, layout).into_iter().map(|(path, text, mode)| file(path, text, mode)),
    );
    for (cluster, certificate) in certificates.of(config) {
        files.push(file(layout.certificate(&cluster.tenant), certificate.expose().to_owned(), 0o600));
    }
    if let Some(aws) = &config.proxies.aws {
        files.push(unit("redis-ha-notify.service", units::notify(config, aws, proxy, layout)));
    }
    files
}

/// The first line of every file.
fn head(what: &str) -> String {
    format!("# {what}. Written by `redis-ha render`: change the service's file and render again.\n")
}
