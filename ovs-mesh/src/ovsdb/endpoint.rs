//! Where an OVSDB server listens (ovsdb(7), "Active Database Connection Methods").

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The port that IANA registered for OVSDB (RFC 7047 section 7), taken where none is given.
pub const DEFAULT_PORT: u16 = 6640;

/// Where an OVSDB server listens, in the words of ovs-vsctl's `--db`.
///
/// ```
/// use ovs_mesh::ovsdb::Endpoint;
///
/// let local: Endpoint = "unix:/var/run/openvswitch/db.sock".parse()?;
/// let remote: Endpoint = "ssl:[fd00::1]".parse()?;
/// assert_eq!(remote.to_string(), "ssl:[fd00::1]:6640");
/// # Ok::<(), ovs_mesh::ovsdb::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `unix:PATH`, a socket on this machine.
    Unix(PathBuf),
    /// `tcp:IP[:PORT]`: neither private nor authenticated.
    Tcp(SocketAddr),
    /// `ssl:IP[:PORT]`: TLS, with a certificate on both sides.
    Ssl(SocketAddr),
}

impl Endpoint {
    /// Whether the other end may be on another machine, and so may vanish without a word.
    pub fn is_network(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(_) | Self::Ssl(_) => true,
        }
    }
}

/// The text is no endpoint; says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It begins with none of the methods known.
    #[error("`{text}` is no OVSDB endpoint; accepted are unix:PATH, tcp:IP[:PORT] and ssl:IP[:PORT]")]
    Method {
        /// The text as given.
        text: String,
    },
    /// The path is empty, or longer than a socket's name can be (unix(7)).
    #[error("`{text}` has a socket path of {bytes} bytes; accepted are 1 to 107 bytes without a NUL")]
    Path {
        /// The text as given.
        text: String,
        /// The path's length, in bytes.
        bytes: usize,
    },
    /// What follows the method is no address.
    #[error(
        "`{text}` has no IP address that can be read; accepted are as 192.0.2.1, 192.0.2.1:6640, [2001:db8::1] \
         and [2001:db8::1]:6640, with a port from 1 to 65535"
    )]
    Address {
        /// The text as given.
        text: String,
    },
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.split_once(':') {
            Some(("unix", path)) => {
                if path.is_empty() || path.len() > 107 || path.contains('\0') {
                    return Err(EndpointError::Path { text: text.to_owned(), bytes: path.len() });
                }
                Ok(Self::Unix(path.into()))
            }
            Some(("tcp", rest)) => address(text, rest).map(Self::Tcp),
            Some(("ssl", rest)) => address(text, rest).map(Self::Ssl),
            _ => Err(EndpointError::Method { text: text.to_owned() }),
        }
    }
}

fn address(text: &str, rest: &str) -> Result<SocketAddr, EndpointError> {
    let bracketed = || rest.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let bare = || rest.parse().ok().map(IpAddr::V4);
    rest.parse()
        .ok()
        .or_else(|| bracketed().or_else(bare).map(|ip| SocketAddr::new(ip, DEFAULT_PORT)))
        .filter(|address| address.port() != 0)
        .ok_or_else(|| EndpointError::Address { text: text.to_owned() })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Ssl(address) => write!(f, "ssl:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_those_of_ovs() {
        for (text, canonical) in [
            ("unix:/run/db.sock", "unix:/run/db.sock"),
            ("unix:db.sock", "unix:db.sock"),
            ("tcp:192.0.2.1:6641", "tcp:192.0.2.1:6641"),
            ("tcp:192.0.2.1", "tcp:192.0.2.1:6640"),
            ("ssl:[2001:db8::1]:6641", "ssl:[2001:db8::1]:6641"),
            ("ssl:[2001:db8::1]", "ssl:[2001:db8::1]:6640"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(endpoint));
        }
        assert_eq!("tcp:[::1]".parse(), Ok(Endpoint::Tcp((Ipv6Addr::LOCALHOST, 6640).into())));
    }

    #[test]
    fn what_is_no_endpoint_says_what_would_be() {
        for (text, part) in [
            ("", "accepted are unix:PATH"),
            ("/run/db.sock", "accepted are unix:PATH"),
            ("ptcp:6640", "accepted are unix:PATH"),
            ("unix:", "of 0 bytes"),
            (&format!("unix:{}", "x".repeat(108)), "of 108 bytes"),
            ("tcp:", "accepted are as 192.0.2.1"),
            ("tcp:6640", "accepted are as 192.0.2.1"),
            ("tcp:localhost", "accepted are as 192.0.2.1"),
            ("tcp:192.0.2.1:0", "accepted are as 192.0.2.1"),
            ("tcp:192.0.2.1:65536", "accepted are as 192.0.2.1"),
            ("tcp:2001:db8::1", "accepted are as 192.0.2.1"),
            ("ssl:[192.0.2.1]", "accepted are as 192.0.2.1"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
