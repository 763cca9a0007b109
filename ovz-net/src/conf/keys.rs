//! Reads the keys of one interface: what stands between two `;` of a `NETIF`.

use std::str::FromStr;

use ipnetwork::IpNetwork;
use ovs_mesh::link::Mac;

use super::line::split_once;
use super::netif::MAX_NAME;
use super::{Generation, Netif, NetifError, NetifKind, Vport};

/// libvzctl's buffer for most values, in bytes, with the NUL.
const MAX_VALUE: usize = 256;
/// libvzctl's longest network name, in bytes.
const MAX_NETWORK: usize = 64;

/// A key of `NETIF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Ifname,
    HostIfname,
    Mac,
    HostMac,
    MacFilter,
    Bridge,
    Network,
    Type,
    Vport,
    IfaceId,
    Ip,
    Ip6,
    Gw,
    Gw6,
    Dhcp,
    Dhcp6,
    IpFilter,
}

impl Key {
    const ALL: [Self; 17] = [
        Self::Ifname,
        Self::HostIfname,
        Self::Mac,
        Self::HostMac,
        Self::MacFilter,
        Self::Bridge,
        Self::Network,
        Self::Type,
        Self::Vport,
        Self::IfaceId,
        Self::Ip,
        Self::Ip6,
        Self::Gw,
        Self::Gw6,
        Self::Dhcp,
        Self::Dhcp6,
        Self::IpFilter,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ifname => "ifname",
            Self::HostIfname => "host_ifname",
            Self::Mac => "mac",
            Self::HostMac => "host_mac",
            Self::MacFilter => "mac_filter",
            Self::Bridge => "bridge",
            Self::Network => "network",
            Self::Type => "type",
            Self::Vport => "vport",
            Self::IfaceId => "ifaceid",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Gw => "gw",
            Self::Gw6 => "gw6",
            Self::Dhcp => "dhcp",
            Self::Dhcp6 => "dhcp6",
            Self::IpFilter => "ip_filter",
        }
    }

    fn named(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str().as_bytes() == text)
    }

    /// Whether a program knows the key. What it does not know cannot make it refuse the interface.
    fn is_known_to(self, generation: Generation) -> bool {
        match self {
            Self::Ifname | Self::HostIfname | Self::Mac | Self::HostMac | Self::MacFilter => true,
            Self::Bridge => generation == Generation::Vzctl,
            _ => generation == Generation::Libvzctl,
        }
    }
}

/// An interface that is being read, and the keys that are no key because of a space before them.
pub(super) struct Reading {
    pub(super) netif: Result<Netif, NetifError>,
    pub(super) spaced: Vec<&'static str>,
}

/// Reads what stands between two `;`.
pub(super) fn read(text: &[u8], line: usize, generation: Generation) -> Reading {
    let mut draft = Draft::new(line, generation);
    let mut spaced = Vec::new();
    for item in text.split(|byte| *byte == b',') {
        let Some((name, value)) = split_once(item, b'=') else {
            // The `,` between IPv6 addresses is the one between keys.
            draft.continue_ip6(item);
            continue;
        };
        let Some(key) = Key::named(name) else {
            spaced.extend(Key::named(name.trim_ascii()).map(Key::as_str));
            continue;
        };
        let outcome = draft.set(key, value);
        if let Err(error) = outcome
            && key.is_known_to(generation)
        {
            return Reading { netif: Err(error), spaced };
        }
    }
    let netif = if draft.netif.ifname.is_empty() { Err(NetifError::NoIfname) } else { Ok(draft.netif) };
    Reading { netif, spaced }
}

struct Draft {
    netif: Netif,
    generation: Generation,
    /// Whether there was a `gw=`, a `gw6=`: of each only the first is looked at.
    gateway: [bool; 2],
    in_ip6: bool,
}

impl Draft {
    fn new(line: usize, generation: Generation) -> Self {
        let netif = Netif {
            line,
            ifname: String::new(),
            host_ifname: None,
            mac: None,
            host_mac: None,
            bridge: None,
            network: None,
            kind: None,
            vport: None,
            iface_id: None,
            ips: Vec::new(),
        };
        Self { netif, generation, gateway: [false; 2], in_ip6: false }
    }

    /// Of two names or networks the first is kept, of two of anything else the last: so do both programs.
    fn set(&mut self, key: Key, value: &[u8]) -> Result<(), NetifError> {
        let Self { netif, generation, gateway, in_ip6 } = self;
        match key {
            Key::Ifname => {
                if let Some(name) = name(key, value, *generation)?.filter(|_| netif.ifname.is_empty()) {
                    netif.ifname = name;
                }
            }
            Key::HostIfname => first(&mut netif.host_ifname, name(key, value, *generation)?),
            Key::Bridge => first(&mut netif.bridge, name(key, value, *generation)?),
            Key::Mac => last(&mut netif.mac, mac(key, value, *generation)?),
            Key::HostMac => last(&mut netif.host_mac, mac(key, value, *generation)?),
            Key::Network if netif.network.is_none() => netif.network = network(value)?,
            Key::Network => {}
            Key::Type => netif.kind = Some(one_of(key, value, "`bridge` or `routed`", kind)?),
            Key::Vport => netif.vport = Some(one_of(key, value, "`ovs`", vport)?),
            Key::IfaceId if value.len() >= MAX_VALUE => {
                return Err(refused(key, value, "an id of at most 255 bytes"));
            }
            Key::IfaceId => last(&mut netif.iface_id, Some(lossy(value)).filter(|id| !id.is_empty())),
            Key::Ip => netif.ips.extend(value.split(|byte| *byte == b':').filter_map(parsed::<IpNetwork>)),
            Key::Ip6 => {
                netif.ips.extend(parsed::<IpNetwork>(value));
                *in_ip6 = true;
            }
            Key::Gw | Key::Gw6 => {
                let seen = &mut gateway[usize::from(key == Key::Gw6)];
                if !value.is_empty() && !*seen {
                    *seen = true;
                    let address = parsed::<IpNetwork>(value).map(|network| network.ip());
                    address.ok_or_else(|| refused(key, value, "an IP address"))?;
                }
            }
            Key::Dhcp | Key::Dhcp6 => switch(key, value, [b"yes", b"no"], "`yes` or `no`")?,
            Key::MacFilter | Key::IpFilter => switch(key, value, [b"on", b"off"], "`on` or `off`")?,
        }
        Ok(())
    }

    fn continue_ip6(&mut self, item: &[u8]) {
        if self.in_ip6 {
            self.netif.ips.extend(parsed::<IpNetwork>(item));
        }
    }
}

fn first<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn last<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn refused(key: Key, value: &[u8], accepted: &'static str) -> NetifError {
    NetifError::Value { key: key.as_str(), value: lossy(value), accepted }
}

fn parsed<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A device's name; an empty one is none. libvzctl counts one byte too many, and leaves it to the kernel to refuse.
fn name(key: Key, value: &[u8], generation: Generation) -> Result<Option<String>, NetifError> {
    let max = match generation {
        Generation::Libvzctl if key != Key::Bridge => MAX_NAME + 1,
        _ => MAX_NAME,
    };
    if value.len() > max {
        return Err(NetifError::TooLong { key: key.as_str(), value: lossy(value) });
    }
    Ok(Some(lossy(value)).filter(|name| !name.is_empty()))
}

/// Six hexadecimal bytes, with any byte between two of them, or (libvzctl alone) nothing at all between them.
///
/// vzctl takes shorter texts too and fills them up with what happens to be in its memory; here they are refused.
fn mac(key: Key, value: &[u8], generation: Generation) -> Result<Option<Mac>, NetifError> {
    if value.is_empty() {
        return Ok(None);
    }
    let step = if value.len() == 12 && generation == Generation::Libvzctl { 2 } else { 3 };
    let mut octets = [0; 6];
    for (octet, at) in octets.iter_mut().zip((0..).step_by(step)) {
        let digits = value.get(at..at + 2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|pair| std::str::from_utf8(pair).ok());
        let byte =
            byte.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| value.len() < MAX_VALUE);
        *octet = byte.ok_or_else(|| refused(key, value, "a MAC address, as 00:18:51:ab:cd:ef"))?;
    }
    Ok(Some(octets.into()))
}

fn network(value: &[u8]) -> Result<Option<String>, NetifError> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"#() -_.".contains(byte) || *byte >= 127;
    if value.len() > MAX_NETWORK || !value.iter().all(allowed) {
        let accepted = "a name of at most 64 bytes: letters, digits, spaces and any of # ( ) - _ .";
        return Err(refused(Key::Network, value, accepted));
    }
    Ok(Some(lossy(value)).filter(|name| !name.is_empty()))
}

fn one_of<T>(
    key: Key,
    value: &[u8],
    accepted: &'static str,
    read: fn(&[u8]) -> Option<T>,
) -> Result<T, NetifError> {
    read(value).ok_or_else(|| refused(key, value, accepted))
}

pub(crate) fn kind(value: &[u8]) -> Option<NetifKind> {
    [NetifKind::Bridge, NetifKind::Routed].into_iter().find(|kind| kind.as_str().as_bytes() == value)
}

pub(crate) fn vport(value: &[u8]) -> Option<Vport> {
    (value == b"ovs").then_some(Vport::Ovs)
}

/// A value that is only looked at because a wrong one makes OpenVZ refuse the interface.
fn switch(
    key: Key,
    value: &[u8],
    words: [&'static [u8]; 2],
    accepted: &'static str,
) -> Result<(), NetifError> {
    if value.is_empty() || words.contains(&value) { Ok(()) } else { Err(refused(key, value, accepted)) }
}
