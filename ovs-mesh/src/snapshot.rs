//! What OVSDB holds, as much of it as the mesh reads: typed rows, one struct a table.
//!
//! Column names and meanings are those of ovs-vswitchd.conf.db(5).

pub(crate) mod read;
mod stored;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use read::ReadError;

use crate::names::MeshName;
use crate::plan::{CTID_ID, GATEWAY_ID, IFINDEX_ID, MESH_ID, PEER_ID, TENANT_ID};

/// The `type` of an interface that ovs-vswitchd is to let go of before it is given back: one that no Open vSwitch has.
pub const RELEASED: &str = "ovsmesh-released";

/// An OVSDB map column of strings.
pub type StringMap = BTreeMap<String, String>;

/// A row of table Bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeRow {
    /// The row's id.
    pub uuid: Uuid,
    /// Column `name`.
    pub name: String,
    /// Column `datapath_type`; empty means `system`.
    pub datapath_type: String,
    /// Column `fail_mode`.
    pub fail_mode: Option<String>,
    /// Column `external_ids`.
    pub external_ids: StringMap,
    /// Column `other_config`.
    pub other_config: StringMap,
    /// Column `ports`.
    pub ports: Vec<Uuid>,
}

/// A row of table Port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// The row's id.
    pub uuid: Uuid,
    /// Column `name`.
    pub name: String,
    /// Column `external_ids`.
    pub external_ids: StringMap,
    /// Column `interfaces`.
    pub interfaces: Vec<Uuid>,
    /// Column `protected`: two protected ports never forward to each other.
    pub protected: bool,
    /// Column `tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<i64>,
    /// Column `trunks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunks: Vec<i64>,
    /// Column `vlan_mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_mode: Option<String>,
}

/// A row of table Interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// The row's id.
    pub uuid: Uuid,
    /// Column `name`.
    pub name: String,
    /// Column `type`; empty means `system`, a device of the kernel's.
    pub kind: String,
    /// Column `options`.
    pub options: StringMap,
    /// Column `external_ids`.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub external_ids: StringMap,
    /// Column `mtu_request`, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_request: Option<i64>,
    /// Column `ofport`, as far as it tells whether ovs-vswitchd has the interface.
    pub opening: Opening,
    /// Column `error`: ovs-vswitchd's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Column `ifindex`: the device that ovs-vswitchd opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<i64>,
}

/// What ovs-vswitchd has made of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opening {
    /// It has not come to it: `ofport` is empty.
    Pending,
    /// It could not open it: `ofport` is −1.
    Failed,
    /// It has it: `ofport` is the `OpenFlow` port number.
    Done,
}

/// One consistent view of the switch's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The one row of table `Open_vSwitch`.
    pub root: Uuid,
    /// Its column `next_cfg`: the configuration asked for.
    pub next_cfg: i64,
    /// Its column `cur_cfg`: the configuration that ovs-vswitchd has finished with.
    pub cur_cfg: i64,
    /// Its column `bridges`.
    pub bridge_set: Vec<Uuid>,
    /// Table Bridge, by row id.
    #[serde(with = "stored::by_id")]
    pub bridges: HashMap<Uuid, BridgeRow>,
    /// Table Port, by row id.
    #[serde(with = "stored::by_id")]
    pub ports: HashMap<Uuid, PortRow>,
    /// Table Interface, by row id.
    #[serde(with = "stored::by_id")]
    pub interfaces: HashMap<Uuid, InterfaceRow>,
}

impl Snapshot {
    /// The interface of a port that has exactly one, as all of ours do.
    pub fn only_interface(&self, port: &PortRow) -> Option<&InterfaceRow> {
        match port.interfaces.as_slice() {
            [one] => self.interfaces.get(one),
            _ => None,
        }
    }

    /// All interfaces with the bridge and port they belong to.
    pub fn placed_interfaces(&self) -> impl Iterator<Item = (&BridgeRow, &PortRow, &InterfaceRow)> {
        self.bridges.values().flat_map(move |bridge| {
            let ports = bridge.ports.iter().filter_map(|uuid| self.ports.get(uuid));
            ports.flat_map(move |port| {
                let interfaces = port.interfaces.iter().filter_map(|uuid| self.interfaces.get(uuid));
                interfaces.map(move |interface| (bridge, port, interface))
            })
        })
    }
}

impl BridgeRow {
    /// Whether this mesh made the row, and so may change it.
    pub fn is_owned_by(&self, mesh: &MeshName) -> bool {
        self.external_ids.get(MESH_ID).is_some_and(|owner| owner == mesh.as_str())
    }

    /// The datapath, with the empty text's meaning filled in.
    pub fn datapath(&self) -> &str {
        if self.datapath_type.is_empty() { "system" } else { &self.datapath_type }
    }
}

/// What an owned port is for, by its `external_ids` and its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRole {
    /// A tunnel to a peer.
    Tunnel,
    /// A gateway's host-side veth.
    Gateway,
    /// A container's, or any other interface that was attached.
    Attached,
}

impl PortRow {
    /// Whether this mesh made the row, and so may change it.
    pub fn is_owned_by(&self, mesh: &MeshName) -> bool {
        self.external_ids.get(MESH_ID).is_some_and(|owner| owner == mesh.as_str())
    }

    /// The tenant that an owned port says it belongs to.
    pub fn tenant(&self) -> Option<&str> {
        self.external_ids.get(TENANT_ID).map(String::as_str)
    }

    /// The container that an owned port says it belongs to.
    pub fn ctid(&self) -> Option<&str> {
        self.external_ids.get(CTID_ID).map(String::as_str)
    }

    /// The index that an attached port's device had when it was attached.
    pub fn ifindex(&self) -> Option<u32> {
        self.external_ids.get(IFINDEX_ID)?.parse().ok()
    }

    /// What an owned port is for. A tunnel whose peer id was taken away is still a tunnel.
    pub fn role(&self, interface: Option<&InterfaceRow>) -> PortRole {
        if self.external_ids.contains_key(PEER_ID) || interface.is_some_and(InterfaceRow::is_tunnel) {
            PortRole::Tunnel
        } else if self.external_ids.contains_key(GATEWAY_ID) {
            PortRole::Gateway
        } else {
            PortRole::Attached
        }
    }

    /// Who made the row, for a message about a row that is not ours.
    pub fn owner(&self) -> String {
        owner_of(&self.external_ids)
    }
}

/// Who made a row, as far as its `external_ids` tell.
pub(crate) fn owner_of(external_ids: &StringMap) -> String {
    match external_ids.get(MESH_ID) {
        Some(mesh) => format!("mesh `{mesh}`"),
        None if external_ids.is_empty() => "somebody who left no external_ids".to_owned(),
        None => {
            let ids: Vec<String> = external_ids.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("the owner of external_ids {}", ids.join(" "))
        }
    }
}

/// A tunnel's tuple as ovs-vswitchd understands the options, right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectiveTuple {
    /// Whether the type is for IPv6 underlays.
    pub class: TunnelClass,
    /// The far end; none for `flow`.
    pub remote: Option<IpAddr>,
    /// This end; none for `flow` and where it is left out.
    pub local: Option<IpAddr>,
    /// The key on incoming packets, cut to the 32 bits of the wire; none for `flow`. No key is 0.
    pub key: Option<u32>,
}

/// GRE tunnels by type; other types do not collide with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TunnelClass {
    /// `gre`.
    Gre,
    /// `ip6gre`.
    Ip6Gre,
}

impl InterfaceRow {
    /// Whether the type is one of OVS's tunnels.
    pub fn is_tunnel(&self) -> bool {
        is_tunnel_type(&self.kind)
    }

    /// The type and options in words, for a message.
    pub fn describe(&self) -> String {
        let options: Vec<String> = self.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let kind = if self.kind.is_empty() { "system" } else { &self.kind };
        format!("{kind} {}", options.join(" ")).trim_end().to_owned()
    }

    /// The tuple in ovs-vswitchd's own reading (lib/netdev-vport.c, `parse_key`): `in_key` before `key`, number bases
    /// by prefix, what does not parse is 0. None if this is no GRE tunnel.
    pub fn effective_tuple(&self) -> Option<EffectiveTuple> {
        let class = match self.kind.as_str() {
            "gre" => TunnelClass::Gre,
            "ip6gre" => TunnelClass::Ip6Gre,
            _ => return None,
        };
        let address = |option: &str| self.options.get(option).and_then(|text| text.parse().ok());
        let key = match self.options.get("in_key").or_else(|| self.options.get("key")).map(String::as_str) {
            Some("flow") => None,
            Some(text) => Some(wire_key(text)),
            None => Some(0),
        };
        Some(EffectiveTuple { class, remote: address("remote_ip"), local: address("local_ip"), key })
    }

    /// The key that a tunnel sends with, in ovs-vswitchd's own reading: `out_key` before `key`, cut to the 32 bits of the
    /// wire; none for `flow`. No key is 0.
    pub(crate) fn outgoing_key(&self) -> Option<u32> {
        match self.options.get("out_key").or_else(|| self.options.get("key")).map(String::as_str) {
            Some("flow") => None,
            Some(text) => Some(wire_key(text)),
            None => Some(0),
        }
    }
}

/// Whether an Interface's type is one of OVS's tunnels; also of those that are not known here.
pub(crate) fn is_tunnel_type(kind: &str) -> bool {
    !matches!(
        kind,
        "" | "system"
            | "internal"
            | "tap"
            | "patch"
            | "dpdk"
            | "afxdp"
            | "dummy"
            | "dummy-internal"
            | RELEASED
    )
}

/// The low 32 bits of a key's text, which are what goes out on the wire.
#[expect(clippy::cast_possible_truncation, reason = "ovs-vswitchd truncates in the same way")]
fn wire_key(text: &str) -> u32 {
    strtoull_base_0(text) as u32
}

/// strtoull(3) with base 0: how ovs-vswitchd reads a key.
pub(crate) fn strtoull_base_0(text: &str) -> u64 {
    let text = text.trim_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_hexdigit()) => (rest, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let number = digits
        .chars()
        .map_while(|digit| digit.to_digit(radix))
        .try_fold(0_u64, |sum, digit| sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit)));
    // Out of range gives ULLONG_MAX, whatever the sign.
    number.map_or(u64::MAX, |number| if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_vswitchd_reads_them() {
        let table = [
            ("101", 101),
            ("0x65", 101),
            ("010", 8),
            ("abc", 0),
            ("", 0),
            ("4294967301", 5),
            ("99999999999999999999", u32::MAX),
            (" 7x", 7),
            ("-1", u32::MAX),
            ("0x", 0),
            ("09", 0),
        ];
        for (text, key) in table {
            assert_eq!(wire_key(text), key, "{text:?}");
        }
    }
}
