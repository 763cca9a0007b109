//! What the kernel says about a device, and what can go wrong with one.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GreDevice, Netns, NetnsError};
use crate::NetnsName;

/// An Ethernet address (IEEE 802 MAC-48), as `02:00:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// A text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a MAC address; accepted are six hexadecimal bytes, as 02:00:00:00:00:01")]
pub struct MacError {
    /// The text as given.
    pub text: String,
}

impl Mac {
    /// The six bytes, in the order they are sent.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let refused = || MacError { text: text.to_owned() };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            let hexadecimal = part.bytes().all(|b| b.is_ascii_hexdigit());
            *octet = u8::from_str_radix(part, 16).ok().filter(|_| hexadecimal).ok_or_else(refused)?;
        }
        parts.next().is_none().then_some(Self(octets)).ok_or_else(refused)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|octet| write!(f, ":{octet:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A network device as `ip -details link show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique in its namespace and never given to another device while it lives.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The largest packet without the link-layer header, in bytes.
    pub mtu: u32,
    /// Whether it is administratively up (`IFF_UP`, netdevice(7)).
    pub up: bool,
    /// Whether its lower layer is there: for a veth, whether both ends are up.
    pub carrier: bool,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// The driver: `veth`, `bridge`, `tun`…; nothing for hardware and for `lo`.
    pub kind: Option<String>,
    /// What it takes and sends, if it is a GRE device.
    pub gre: Option<GreDevice>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of the device it stands on; for a veth, of its other end, in that end's namespace.
    pub peer_index: Option<u32>,
    /// The kernel's id (`ip netns list-id`) of the other end's namespace, when that is another one.
    pub link_netns: Option<i32>,
    /// The text that people and programs tell devices apart by (`ip link set alias`).
    pub alias: Option<String>,
    /// Packets received since it was made; OVS's own counters of the same lag by seconds.
    pub rx_packets: u64,
    /// Packets sent since it was made.
    pub tx_packets: u64,
}

impl Link {
    pub(super) fn from_message(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            mac: None,
            kind: None,
            gre: None,
            master: None,
            peer_index: None,
            link_netns: None,
            alias: None,
            rx_packets: 0,
            tx_packets: 0,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Carrier(carrier) => link.carrier = carrier != 0,
                LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac),
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Link(index) => link.peer_index = Some(index),
                LinkAttribute::LinkNetNsId(id) => link.link_netns = Some(id),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Stats64(stats) => {
                    link.rx_packets = stats.rx_packets;
                    link.tx_packets = stats.tx_packets;
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(InfoKind::Other(kind)) => link.kind = Some(kind),
                            LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                            LinkInfo::Data(data) => link.gre = GreDevice::from_info(&data),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }

    /// Whether it is one end of a veth pair (veth(4)).
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }
}

/// An address on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The index of its device.
    pub index: u32,
    /// The address with its prefix length.
    pub network: IpNetwork,
    /// Whether it is of global scope, and not one of the link (`fe80::…`) or of the host (`127.0.0.1`).
    pub global: bool,
}

/// A veth pair to be made (veth(4)): both ends are born in one request, each in its namespace and with its MTU, and
/// both down (the kernel refuses, with `ENOTCONN`, to make one whose far end is up).
#[derive(Debug, Clone)]
pub struct VethSpec {
    /// The name of the end in the namespace of the [`super::Links`] that makes it.
    pub name: String,
    /// That end's MTU in bytes.
    pub mtu: u32,
    /// That end's Ethernet address; the kernel draws one when there is none.
    pub mac: Option<Mac>,
    /// The other end's name.
    pub peer_name: String,
    /// The other end's MTU in bytes.
    pub peer_mtu: u32,
    /// The other end's Ethernet address.
    pub peer_mac: Option<Mac>,
    /// The other end's namespace, if it is another.
    pub peer_netns: Option<Netns>,
}

impl VethSpec {
    /// A pair with one MTU, both ends in one namespace, both down.
    pub fn new(name: impl Into<String>, peer_name: impl Into<String>, mtu: u32) -> Self {
        Self {
            name: name.into(),
            mtu,
            mac: None,
            peer_name: peer_name.into(),
            peer_mtu: mtu,
            peer_mac: None,
            peer_netns: None,
        }
    }
}

/// A device and where it is, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRef {
    /// The device's name.
    pub device: String,
    /// Its namespace; none is the namespace of the process.
    pub netns: Option<NetnsName>,
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device `{}`", self.device)?;
        match &self.netns {
            Some(netns) => write!(f, " in network namespace `{netns}`"),
            None => Ok(()),
        }
    }
}

/// Why a device could not be read, made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A device of that name is there already; either end's name of a pair may be the one.
    #[error("{device} cannot be made: the name is taken")]
    AlreadyExists {
        /// The device that was to be made.
        device: DeviceRef,
    },
    /// There is no such device.
    #[error("there is no {device}")]
    Absent {
        /// The device asked for.
        device: DeviceRef,
    },
    /// The kernel refused.
    #[error("cannot {step} {device}")]
    Kernel {
        /// What was attempted.
        step: &'static str,
        /// The device.
        device: DeviceRef,
        /// The kernel's reason; changes take `CAP_NET_ADMIN` (capabilities(7)).
        #[source]
        source: io::Error,
    },
    /// The kernel did not answer in time; somebody may be holding the RTNL lock.
    #[error("cannot {step} {device}: rtnetlink did not answer in {} s", waited.as_secs_f32())]
    Timeout {
        /// What was attempted.
        step: &'static str,
        /// The device.
        device: DeviceRef,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The answer was not one of those that rtnetlink(7) describes, or the connection's task is gone.
    #[error("cannot {step} {device}: rtnetlink gave no usable answer")]
    Protocol {
        /// What was attempted.
        step: &'static str,
        /// The device.
        device: DeviceRef,
        /// What rtnetlink's client says.
        #[source]
        source: Box<rtnetlink::Error>,
    },
}

/// Why no rtnetlink connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum LinksOpenError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The socket was refused.
    #[error("cannot open an rtnetlink socket")]
    Socket(#[source] io::Error),
    /// The connection needs a tokio runtime to live in, and there is none here.
    #[error("an rtnetlink connection can only be opened inside a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_have_one_text() {
        assert_eq!("02:00:00:00:aB:01".parse::<Mac>().unwrap().to_string(), "02:00:00:00:ab:01");
        for bad in [
            "",
            "02:00:00:00:ab",
            "02:00:00:00:ab:01:02",
            "+2:00:00:00:00:01",
            "2:0:0:0:0:1",
            "zz:00:00:00:00:01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad} must be refused");
        }
    }
}
