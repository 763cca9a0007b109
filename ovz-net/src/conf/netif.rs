//! One network interface of a container, as `NETIF` describes it.

use std::fmt;

use ipnetwork::IpNetwork;
use ovs_mesh::Ctid;
use ovs_mesh::link::Mac;

use super::Generation;

/// A device name's longest, in bytes (`IFNAMSIZ` − 1, netdevice(7)).
pub(super) const MAX_NAME: usize = 15;

/// How OpenVZ 7 connects an interface (`type=`, `NETWORK_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetifKind {
    /// `network=` is the name of a bridge.
    Bridge,
    /// The host routes for it; no bridge has a part in it.
    Routed,
}

impl NetifKind {
    /// The value as OpenVZ writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Routed => "routed",
        }
    }
}

/// The switch that an OpenVZ 7 interface is a port of (`vport=`, `VPORT_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vport {
    /// An Open vSwitch bridge, which is all that OpenVZ 7 knows.
    Ovs,
}

/// A network interface of a container.
///
/// Values that are not UTF-8 have a replacement character in their place, which no device name may contain: they
/// match nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netif {
    /// The line it is on, from 1.
    pub line: usize,
    /// The device in the container.
    pub ifname: String,
    /// The host-side device, where the configuration names it; see [`Netif::device`].
    pub host_ifname: Option<String>,
    /// The Ethernet address in the container; what its frames come from.
    pub mac: Option<Mac>,
    /// The host-side device's Ethernet address.
    pub host_mac: Option<Mac>,
    /// `bridge=`, which vzctl's hook reads.
    pub bridge: Option<String>,
    /// `network=`, which libvzctl hands to its hook.
    pub network: Option<String>,
    /// `type=`.
    pub kind: Option<NetifKind>,
    /// `vport=`.
    pub vport: Option<Vport>,
    /// `ifaceid=`: the port's `iface-id` in Open vSwitch.
    pub iface_id: Option<String>,
    /// `ip=` and `ip6=`, those that can be read.
    pub ips: Vec<IpNetwork>,
}

/// Why an interface of a `NETIF` is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetifError {
    /// There is no name, the one thing that is required.
    #[error("it has no `ifname=`; add one, as `ifname=eth0`")]
    NoIfname,
    /// The kernel could not have a device of that name.
    #[error("`{key}={value}` has a name of {} bytes; at most 15 are accepted", value.len())]
    TooLong {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A value that OpenVZ refuses, and the whole interface with it.
    #[error("`{key}={value}` is not valid; accepted is {accepted}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
}

impl Netif {
    /// The host-side device: as configured, else as OpenVZ derives it; nothing where that takes a MAC address which
    /// libvzctl is yet to draw.
    pub fn device(&self, ctid: &Ctid, generation: Generation) -> Option<String> {
        self.host_ifname.clone().or_else(|| match generation {
            Generation::Vzctl => {
                let veid: u32 = ctid.as_str().parse().ok()?;
                let mut name = format!("veth{veid}.{}", first_integer(&self.ifname));
                // A long VEID costs the name its end: vzctl's buffer is a device name's.
                name.truncate(MAX_NAME);
                Some(name)
            }
            Generation::Libvzctl => {
                let [_, _, a, b, c, d] = self.mac?.octets();
                Some(format!("veth{a:02x}{b:02x}{c:02x}{d:02x}"))
            }
        })
    }
}

/// As glibc's `sscanf("%*[^0-9]%d")`: a name that starts with a digit has none, and one too large is cut to 32 bits.
fn first_integer(ifname: &str) -> i32 {
    let digits = ifname.trim_start_matches(|c: char| !c.is_ascii_digit());
    if digits.len() == ifname.len() {
        return 0;
    }
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return 0;
    }
    let number = digits[..end].parse::<i64>().unwrap_or(i64::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "vzctl's own cut")]
    let cut = number as i32;
    cut
}

impl fmt::Display for NetifKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
