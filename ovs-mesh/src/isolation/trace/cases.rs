//! Which packets to trace on a host, and where each should get to.

use std::fmt;

use super::judge::Tracing;
use super::ports::ListedPort;
use crate::link::Mac;
use crate::names::{HostName, TenantName};
use crate::plan::{Bridge, Tunnel};

/// Source and unknown destination of traced packets: locally administered, `ovsm` inside. A trace is not learned from.
const SOURCE: &str = "02:6f:76:73:6d:01";
const NOBODY: &str = "02:6f:76:73:6d:02";

/// What kind of packet is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packet {
    /// An ARP request to all.
    Broadcast,
    /// IPv4 to an address that no bridge has learned.
    UnknownUnicast,
    /// IPv4 multicast (224.0.0.18, VRRP).
    Multicast,
    /// IPv4 to an address that is known.
    Known(Mac),
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broadcast => f.write_str("a broadcast"),
            Self::UnknownUnicast => f.write_str("a frame to an unknown address"),
            Self::Multicast => f.write_str("a multicast"),
            Self::Known(mac) => write!(f, "a frame to {mac}"),
        }
    }
}

impl Packet {
    fn flow(self) -> String {
        match self {
            Self::Broadcast => "dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0806".to_owned(),
            Self::UnknownUnicast => format!("dl_dst={NOBODY},dl_type=0x0800"),
            Self::Multicast => "dl_dst=01:00:5e:00:00:12,dl_type=0x0800".to_owned(),
            Self::Known(mac) => format!("dl_dst={mac},dl_type=0x0800"),
        }
    }
}

/// Where a packet should get to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// To every port of the tenant's on this host, and unless it came by a tunnel, to every other host of the tenant.
    Everybody,
    /// To this port.
    Port(String),
    /// Wherever it is the tenant's: nobody knows where its destination is.
    Anywhere,
}

/// A MAC address that a tenant's network is known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMac {
    /// The tenant.
    pub tenant: TenantName,
    /// The address.
    pub mac: Mac,
    /// The port of this host, a container's or a tunnel's, behind which it is, where that is known (`fdb/show`).
    pub port: Option<String>,
}

/// One packet to be traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceCase {
    /// The tenant.
    pub tenant: TenantName,
    /// Its bridge.
    pub bridge: String,
    /// The port that the packet comes in by.
    pub in_port: String,
    /// The peer, if that port is a tunnel.
    pub from_peer: Option<HostName>,
    /// The packet.
    pub packet: Packet,
    /// Where it should get to.
    pub expected: Expected,
    /// The arguments of `ofproto/trace`.
    pub arguments: [String; 2],
}

impl TraceCase {
    /// Whether it is to an address that is known, of which there can be thousands.
    pub(in crate::isolation) fn is_known(&self) -> bool {
        matches!(self.packet, Packet::Known(_))
    }
}

impl Tracing<'_> {
    /// The packets to trace on this host: from every port of a tenant's, and from every tunnel. Ports that ovs-vswitchd
    /// does not have are left out; the static checks tell of those.
    pub fn cases(&self, known: &[KnownMac]) -> Vec<TraceCase> {
        let mut cases = Vec::new();
        for bridge in &self.plan.bridges {
            let known: Vec<&KnownMac> = known.iter().filter(|known| known.tenant == bridge.tenant).collect();
            for port in self.ports.on(bridge.name.as_str()).filter(|port| !port.is_local()) {
                let tunnel = bridge.tunnels.iter().find(|tunnel| tunnel.port.as_str() == port.name);
                if port.kind == "patch" || (port.is_tunnel() && tunnel.is_none()) {
                    continue;
                }
                let all = [Packet::Broadcast, Packet::UnknownUnicast, Packet::Multicast];
                cases.extend(all.map(|packet| case(bridge, port, tunnel, packet, Expected::Everybody)));
                // A bridge does not send a frame back to where it came from.
                let others = known.iter().filter(|known| known.port.as_deref() != Some(port.name.as_str()));
                cases.extend(others.map(|known| {
                    let behind = known.port.clone();
                    // What came by a tunnel leaves by none, though the address is known to be there.
                    let is_tunnel = |name: &String| bridge.tunnels.iter().any(|it| it.port.as_str() == name);
                    let behind = behind.filter(|name| tunnel.is_none() || !is_tunnel(name));
                    let expected = behind.map_or(Expected::Anywhere, Expected::Port);
                    case(bridge, port, tunnel, Packet::Known(known.mac), expected)
                }));
            }
        }
        cases
    }
}

fn case(
    bridge: &Bridge,
    port: &ListedPort,
    tunnel: Option<&Tunnel>,
    packet: Packet,
    expected: Expected,
) -> TraceCase {
    let mut flow = format!("in_port={},dl_src={SOURCE},{}", port.ofport, packet.flow());
    if let Some(Tunnel { port: _, peer: _, tuple }) = tunnel {
        let (remote, local) = (tuple.remote_ip, tuple.local_ip);
        let outside = match remote.0 {
            std::net::IpAddr::V4(_) => format!("tun_src={remote},tun_dst={local}"),
            std::net::IpAddr::V6(_) => format!("tun_ipv6_src={remote},tun_ipv6_dst={local}"),
        };
        flow = format!("{flow},tun_id={},{outside}", tuple.key);
    }
    TraceCase {
        tenant: bridge.tenant.clone(),
        bridge: bridge.name.to_string(),
        in_port: port.name.clone(),
        from_peer: tunnel.map(|tunnel| tunnel.peer.clone()),
        packet,
        expected,
        arguments: [bridge.name.to_string(), flow],
    }
}
