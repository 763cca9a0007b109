//! What the proxies of a lab see.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ovs_mesh::HostName;
use ovs_mesh::link::Links;
use serde::{Deserialize, Serialize};

use super::{ServiceLab, ServiceLabError};
use crate::render::Place;

/// How long `HAProxy` may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why `HAProxy` does not say what it sees.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// It cannot be asked.
    #[error("HAProxy does not answer on {}", path.display())]
    Socket {
        /// The control socket.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Its answer is not what it should be.
    #[error("HAProxy's answer on {} cannot be read", path.display())]
    Answer {
        /// The control socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: csv::Error,
    },
}

/// A server of a proxy, as `show stat` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// The tenant.
    #[serde(rename = "# pxname")]
    pub tenant: String,
    /// The node.
    #[serde(rename = "svname")]
    pub node: String,
    /// `UP`, `DOWN`, `MAINT`, …
    pub status: String,
}

/// What one proxy sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProxyView {
    /// The proxy.
    pub host: HostName,
    /// Whether it has all VIPs.
    pub has_vips: bool,
    /// The nodes that `HAProxy` sends clients to, and all others; none where it does not answer.
    pub servers: Option<Vec<ServerView>>,
}

impl ProxyView {
    /// The nodes that clients of a tenant are sent to.
    pub fn masters(&self, tenant: &str) -> Vec<&str> {
        let servers = self.servers.iter().flatten();
        servers
            .filter(|server| server.tenant == tenant && server.status.starts_with("UP"))
            .map(|server| server.node.as_str())
            .collect()
    }
}

/// Asks a `HAProxy` for its servers' states (management guide, section 9.3, `show stat`).
pub fn servers(socket: &Path) -> Result<Vec<ServerView>, StatsError> {
    let failed = |source| StatsError::Socket { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    // -1: every proxy; 4: servers.
    stream.write_all(b"show stat -1 4 -1\n").map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let all: Result<Vec<ServerView>, csv::Error> = reader.deserialize().collect();
    all.map_err(|source| StatsError::Answer { path: socket.to_owned(), source })
}

impl ServiceLab {
    /// What every proxy sees.
    pub async fn proxies(&self) -> Result<Vec<ProxyView>, ServiceLabError> {
        let mut views = Vec::new();
        for host in &self.config.proxies.hosts {
            let links = Links::open_in(&self.host_netns(host)?)?;
            let addresses = links.addresses(&self.config.proxies.interface).await?;
            let vips = &self.config.proxies.vips;
            let has_vips =
                vips.iter().all(|vip| addresses.iter().any(|address| address.network.ip() == vip.ip()));
            let socket = self.layout(&Place::Proxy(host.clone())).haproxy_socket();
            views.push(ProxyView { host: host.clone(), has_vips, servers: servers(&socket).ok() });
        }
        Ok(views)
    }
}
