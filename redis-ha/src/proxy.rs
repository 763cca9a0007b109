//! What a proxy sees: `HAProxy`'s servers, and where the VIPs are.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use ovs_mesh::HostName;
use ovs_mesh::link::{LinkError, Links};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::config::{Config, Proxies};

/// How long `HAProxy`, or who has a VIP, may take to answer.
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

impl StatsError {
    /// The cause alone, for where it is said already that `HAProxy` does not answer.
    pub fn cause(&self) -> String {
        let (path, source) = match self {
            Self::Socket { path, source } => (path, source),
            Self::Answer { path, source } => return format!("{}: {source}", path.display()),
        };
        let means = match source.kind() {
            ErrorKind::NotFound => "there is no such socket: HAProxy does not run, or is told another",
            ErrorKind::ConnectionRefused => "nobody listens there: HAProxy has ended",
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                "it ended while it was asked"
            }
            ErrorKind::PermissionDenied => "permission denied: run it as root",
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                "it takes questions, but gives no answer within 2 s"
            }
            _ => return format!("{}: {source}", path.display()),
        };
        format!("{}: {means}", path.display())
    }
}

/// A server of a proxy, as `show stat` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// The tenant; `HAProxy` has a proxy of its name, and a `#` before the first column's.
    #[serde(rename(deserialize = "# pxname"))]
    pub tenant: String,
    /// The node.
    #[serde(rename(deserialize = "svname"))]
    pub node: String,
    /// `UP`, `DOWN`, `MAINT`, …
    pub status: String,
}

/// Where a VIP is, as a proxy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whereabouts {
    /// On this proxy.
    Here,
    /// On another machine: connections to it come about, or that machine is seen to have it.
    Elsewhere,
    /// On another machine, which refuses connections.
    Refused,
    /// On none that answers.
    Nobody,
    /// This proxy could not ask.
    Unknown,
    /// Not on this proxy, and nobody was asked.
    Unasked,
}

/// A VIP, as a proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VipView {
    /// The address.
    pub vip: IpAddr,
    /// Where it is.
    pub at: Whereabouts,
    /// Why that is not known.
    pub why: Option<String>,
}

/// What one proxy sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProxyView {
    /// The proxy.
    pub host: HostName,
    /// Whether it has all VIPs.
    pub has_vips: bool,
    /// Where each of them is.
    pub vips: Vec<VipView>,
    /// The nodes that `HAProxy` sends clients to, and all others; none where it does not answer.
    pub servers: Option<Vec<ServerView>>,
    /// Why it does not answer, where it does not.
    pub unanswered: Option<String>,
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

    /// Whether the VIPs are as they should be: all on this proxy, or all elsewhere. What nobody was asked about may be anywhere.
    pub fn is_placed(&self) -> bool {
        self.has_vips
            || self.vips.iter().all(|vip| matches!(vip.at, Whereabouts::Elsewhere | Whereabouts::Unasked))
    }

    /// Asks for the VIPs that are not here: whether connections come about to one of the addresses at which tenants' clients find them.
    ///
    /// All at once, by the underlay's device in the network of the calling thread, within 2 s. A VIP that is no tenant's is not asked for.
    pub async fn locate(&mut self, config: &Config) {
        let away = self.vips.iter_mut().filter(|view| view.at == Whereabouts::Unasked);
        join_all(away.map(|view| {
            let listen = config.clusters.iter().map(|cluster| cluster.listen);
            let own: Vec<SocketAddr> = listen.filter(|at| at.ip() == view.vip).collect();
            async move { (view.at, view.why) = whereabouts(&config.proxies.interface, &own).await }
        }))
        .await;
    }
}

/// A connection by a device: who has a VIP has it there, and that it is found there need not show in this host's routes.
async fn connect(device: &str, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.connect(to).await
}

/// What becomes of connections to the addresses of one VIP, and why they could not be tried.
async fn whereabouts(device: &str, addresses: &[SocketAddr]) -> (Whereabouts, Option<String>) {
    let tries = addresses.iter().map(|at| timeout(TIMEOUT, connect(device, *at)));
    let ends: Vec<io::Result<TcpStream>> =
        join_all(tries).await.into_iter().map(|end| end.unwrap_or_else(|late| Err(late.into()))).collect();
    let silent = [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
    let mut failed = ends.iter().filter_map(|end| end.as_ref().err());
    let found = if ends.is_empty() {
        Whereabouts::Unasked
    } else if ends.iter().any(Result::is_ok) {
        Whereabouts::Elsewhere
    } else if failed.clone().any(|why| why.kind() == ErrorKind::ConnectionRefused) {
        Whereabouts::Refused
    } else if let Some(why) = failed.find(|why| !silent.contains(&why.kind())) {
        return (Whereabouts::Unknown, Some(why.to_string()));
    } else {
        Whereabouts::Nobody
    };
    (found, None)
}

/// Where the VIPs are that a proxy does not have, where all proxies are seen: none need be asked. Pure.
pub(crate) fn compare(views: &mut [ProxyView]) {
    let all = views.iter().flat_map(|view| &view.vips);
    let held: Vec<IpAddr> = all.filter(|vip| vip.at == Whereabouts::Here).map(|vip| vip.vip).collect();
    for vip in views.iter_mut().flat_map(|view| &mut view.vips) {
        vip.at = match vip.at {
            Whereabouts::Here => continue,
            _ if held.contains(&vip.vip) => Whereabouts::Elsewhere,
            _ => Whereabouts::Nobody,
        };
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
    // It begins with the columns' names, also where there are no servers.
    if text.is_empty() {
        return Err(failed(ErrorKind::UnexpectedEof.into()));
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let all: Result<Vec<ServerView>, csv::Error> = reader.deserialize().collect();
    all.map_err(|source| StatsError::Answer { path: socket.to_owned(), source })
}

/// Why a proxy's view cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The host's addresses cannot be read.
    #[error("cannot read the addresses of {interface} on `{host}`")]
    Addresses {
        /// The host.
        host: HostName,
        /// The device.
        interface: String,
        /// Why.
        #[source]
        source: LinkError,
    },
}

impl ProxyView {
    /// What the proxy sees whose devices these are, and whose `HAProxy` listens there. Nobody is asked for the VIPs that it does not have.
    pub async fn of(
        proxies: &Proxies,
        host: &HostName,
        links: &Links,
        socket: &Path,
    ) -> Result<Self, ProxyError> {
        let interface = proxies.interface.clone();
        let addresses = links.addresses(&interface).await;
        let addresses =
            addresses.map_err(|source| ProxyError::Addresses { host: host.clone(), interface, source })?;
        let is_here = |vip: &IpAddr| addresses.iter().any(|address| address.network.ip() == *vip);
        let place = |vip: IpAddr| VipView {
            at: if is_here(&vip) { Whereabouts::Here } else { Whereabouts::Unasked },
            vip,
            why: None,
        };
        let vips: Vec<VipView> = proxies.vips.iter().map(|vip| place(vip.ip())).collect();
        let has_vips = vips.iter().all(|vip| vip.at == Whereabouts::Here);
        let (servers, unanswered) = match servers(socket) {
            Ok(servers) => (Some(servers), None),
            Err(error) => (None, Some(error.cause())),
        };
        Ok(Self { host: host.clone(), has_vips, vips, servers, unanswered })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};

    use super::*;

    #[test]
    fn why_haproxy_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("haproxy.sock");
        let told = || {
            let cause = servers(&socket).unwrap_err().cause();
            cause.strip_prefix(&format!("{}: ", socket.display())).unwrap().to_owned()
        };
        assert_eq!(told(), "there is no such socket: HAProxy does not run, or is told another");
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(told(), "it takes questions, but gives no answer within 2 s");
        let killed = std::thread::spawn(move || {
            // The question above still waits to be taken.
            for stream in listener.incoming().take(2) {
                let read = stream.unwrap().read(&mut [0; 64]).unwrap();
                assert!(read > 0, "it was asked");
            }
        });
        assert_eq!(told(), "it ended while it was asked");
        killed.join().unwrap();
        fs::remove_file(&socket).unwrap();
        // One that never listened. A listener that is dropped may live on for a moment, in a child that another test
        // is starting.
        let bound =
            nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .unwrap();
        nix::sys::socket::bind(bound.as_raw_fd(), &UnixAddr::new(&socket).unwrap()).unwrap();
        assert_eq!(told(), "nobody listens there: HAProxy has ended");
        for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe] {
            let ended = StatsError::Socket { path: "x".into(), source: kind.into() };
            assert_eq!(ended.cause(), "x: it ended while it was asked");
        }
        // root is refused nothing.
        let refused = StatsError::Socket { path: "x".into(), source: ErrorKind::PermissionDenied.into() };
        assert_eq!(refused.cause(), "x: permission denied: run it as root");
        let other = StatsError::Socket { path: "x".into(), source: io::Error::other("why") };
        assert_eq!(other.cause(), "x: why");
    }

    fn view(at: &[Whereabouts]) -> ProxyView {
        let vip = |(number, at): (u8, &Whereabouts)| VipView {
            vip: IpAddr::from([10, 0, 1, number]),
            at: *at,
            why: None,
        };
        ProxyView {
            host: "proxy1".parse().unwrap(),
            has_vips: at.iter().all(|at| *at == Whereabouts::Here),
            vips: (100..).zip(at).map(vip).collect(),
            servers: None,
            unanswered: None,
        }
    }

    #[test]
    fn where_the_vips_should_be() {
        use Whereabouts::{Elsewhere, Here, Nobody, Refused, Unasked, Unknown};
        let table: [(&[Whereabouts], bool); 9] = [
            (&[Unknown], false),
            (&[Here, Here], true),
            (&[Elsewhere, Elsewhere], true),
            (&[Elsewhere, Unasked], true),
            // keepalived moves all of them.
            (&[Here, Elsewhere], false),
            (&[Here, Nobody], false),
            (&[Here, Unasked], false),
            (&[Elsewhere, Nobody], false),
            (&[Refused], false),
        ];
        for (at, expected) in table {
            assert_eq!(view(at).is_placed(), expected, "{at:?}");
        }
    }

    #[test]
    fn who_is_seen_need_not_be_asked() {
        use Whereabouts::{Elsewhere, Here, Nobody, Unasked};
        let mut views = [view(&[Here, Unasked, Unasked]), view(&[Unasked, Here, Unasked])];
        compare(&mut views);
        assert_eq!(views, [view(&[Here, Elsewhere, Nobody]), view(&[Elsewhere, Here, Nobody])]);
    }

    #[tokio::test]
    async fn a_vip_is_where_a_connection_comes_about() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        // It has the port, and takes no connections.
        let bound = crate::wire::dial::listener("127.0.0.1:0".parse().unwrap()).unwrap();
        let shut = bound.local_addr().unwrap();
        // Nobody has this one (RFC 919, section 7).
        let nowhere: SocketAddr = "255.255.255.255:1".parse().unwrap();
        let table: [(&[SocketAddr], Whereabouts); 5] = [
            (&[], Whereabouts::Unasked),
            (&[nowhere], Whereabouts::Nobody),
            (&[nowhere, shut], Whereabouts::Refused),
            (&[nowhere, shut, open], Whereabouts::Elsewhere),
            (&[open], Whereabouts::Elsewhere),
        ];
        for (addresses, expected) in table {
            assert_eq!(whereabouts("lo", addresses).await, (expected, None), "{addresses:?}");
        }
        // The device is none, and nothing was sent.
        let (at, why) = whereabouts("nosuchdevice", &[open]).await;
        assert_eq!((at, why.as_deref()), (Whereabouts::Unknown, Some("No such device (os error 19)")));
    }

    #[test]
    fn haproxys_names_are_not_ours() {
        let table = "# pxname,svname,qcur,status,weight\nacme,101,0,UP 1/2,1\n";
        let read: Vec<ServerView> =
            csv::Reader::from_reader(table.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap();
        let shown = serde_json::to_value(&read).unwrap();
        assert_eq!(shown, serde_json::json!([{ "tenant": "acme", "node": "101", "status": "UP 1/2" }]));
    }
}
