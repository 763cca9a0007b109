//! What the kernel has on a host, as a shell reads it over rtnetlink.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::link::{Address, GreDevice, Link, Mac};

/// The devices of a host and of the named network namespaces on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLinks {
    /// The devices beside ovs-vswitchd, in its network namespace.
    pub devices: Vec<Device>,
    /// Whether packets are forwarded between them.
    pub forwarding: Forwarding,
    /// Every named network namespace, a gateway's or not: what joins two tenants may stand in any.
    pub netns: Vec<NetnsLinks>,
}

impl HostLinks {
    /// The other end of the veth pair that a port of the host's is one end of.
    pub(super) fn behind(&self, port: &str) -> Option<&Device> {
        let outer = self.devices.iter().find(|device| device.name == port && device.is_kind("veth"))?;
        let there = match &outer.peer_netns {
            PeerNetns::Same | PeerNetns::Host => &self.devices,
            PeerNetns::Named(name) => &self.netns.iter().find(|space| space.name == *name)?.devices,
            PeerNetns::Unknown => return None,
        };
        let mut ends = there.iter().filter(|far| far.is_kind("veth") && Some(far.index) == outer.peer_index);
        ends.find(|far| far.peer_index == Some(outer.index))
    }
}

/// A named network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsLinks {
    /// Its name (`ip netns`).
    pub name: String,
    /// Its devices.
    pub devices: Vec<Device>,
    /// Whether packets are forwarded between them.
    pub forwarding: Forwarding,
}

/// Whether a namespace forwards packets (ip-sysctl).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// `net.ipv4.ip_forward`.
    pub ipv4: bool,
    /// `net.ipv6.conf.all.forwarding`.
    pub ipv6: bool,
}

impl Forwarding {
    /// Whether it forwards packets of this address's family.
    pub(super) fn carries(self, address: &IpNetwork) -> bool {
        match address {
            IpNetwork::V4(_) => self.ipv4,
            IpNetwork::V6(_) => self.ipv6,
        }
    }

    pub(super) fn any(self) -> bool {
        self.ipv4 || self.ipv6
    }
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its index, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its Ethernet address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The driver: `veth`, `bridge`, `openvswitch`, `vlan`, `tun`…; nothing for hardware and for `lo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it takes and sends, if it is a GRE device. A snapshot of an older ovsmesh does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gre: Option<GreDevice>,
    /// The index of the bridge, bond or VRF that it is a port of, in its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
    /// The index of the device it stands on (`IFLA_LINK`); for a veth, of its other end; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_index: Option<u32>,
    /// Where that device is; for a tunnel, where its packets are on the underlay, with such a device or without.
    #[serde(default)]
    pub peer_netns: PeerNetns,
    /// Its addresses of global scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNetwork>,
}

/// Where the other end of a veth is, or what a device stands on. Indexes are a namespace's own: that each of two devices
/// names the other's index proves nothing on a machine with many namespaces, whose devices are all numbered alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerNetns {
    /// In the device's own namespace.
    #[default]
    Same,
    /// In the host's.
    Host,
    /// In the named one.
    Named(String),
    /// In one that has no name, as a container's, or that was not found out.
    Unknown,
}

impl Device {
    /// The device that rtnetlink tells of. `addresses` may be those of other devices too; `netns` knows the namespaces by
    /// the ids that they have in the device's own (`IFLA_LINK_NETNSID`, `ip netns list-id`).
    pub fn new(link: &Link, addresses: &[Address], netns: impl Fn(i32) -> PeerNetns) -> Self {
        let own = addresses.iter().filter(|address| address.index == link.index && address.global);
        Self {
            index: link.index,
            name: link.name.clone(),
            mtu: link.mtu,
            up: link.up,
            mac: link.mac,
            kind: link.kind.clone(),
            gre: link.gre.clone(),
            master: link.master,
            peer_index: link.peer_index,
            peer_netns: link.link_netns.map_or(PeerNetns::Same, netns),
            addresses: own.map(|address| address.network).collect(),
        }
    }

    pub(super) fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}
