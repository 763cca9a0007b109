//! All that a host has and that isolation rests on, in one file.

mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::links::HostLinks;
use crate::names::{HostName, MeshName};
use crate::snapshot::{Snapshot, StringMap};
use crate::unixctl::ListedTunnel;

/// The version of the file's form. A file of another version is refused, not guessed at.
pub const FORMAT: u32 = 1;

/// One host as verification sees it: what a sync reads of OVSDB, what only verification reads of it, and the kernel.
///
/// It is also a file (`ovsmesh snapshot`), so that hosts that do not reach each other are judged together elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// [`FORMAT`].
    pub format: u32,
    /// The mesh that the host belongs to.
    pub mesh: MeshName,
    /// The host's name in the topology.
    pub host: HostName,
    /// When it was taken, in seconds since 1970 (UTC); nobody judges by it.
    pub taken_at: Option<u64>,
    /// The rows that a sync reads.
    pub rows: Snapshot,
    /// What else is in the database.
    pub switch: SwitchDetails,
    /// The tunnels that ovs-vswitchd really has (`ofproto/list-tunnels`); none if it was not asked.
    pub tunnels: Option<Vec<ListedTunnel>>,
    /// The kernel's devices; none if they were not read, as where the database is on another machine.
    pub links: Option<HostLinks>,
}

/// What only verification reads of OVSDB (ovs-vswitchd.conf.db(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchDetails {
    /// Column `ovs_version` of table `Open_vSwitch`.
    pub ovs_version: Option<String>,
    /// Of table Bridge, by row id.
    pub bridges: BTreeMap<Uuid, BridgeDetails>,
    /// Of table Interface, by row id.
    pub interfaces: BTreeMap<Uuid, InterfaceDetails>,
}

/// Columns of a Bridge row beyond [`BridgeRow`](crate::BridgeRow)'s, what they refer to resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "columns are what they are")]
pub struct BridgeDetails {
    /// The targets of its controllers.
    pub controllers: Vec<String>,
    /// Its mirrors.
    pub mirrors: Vec<Mirror>,
    /// Whether it samples frames with sFlow.
    pub sflow: bool,
    /// Whether it counts flows with `NetFlow`.
    pub netflow: bool,
    /// Whether it counts flows with IPFIX.
    pub ipfix: bool,
    /// Column `stp_enable`.
    pub stp: bool,
    /// Column `rstp_enable`.
    pub rstp: bool,
    /// Column `mcast_snooping_enable`.
    pub mcast_snooping: bool,
    /// Column `flood_vlans`.
    pub flood_vlans: Vec<i64>,
    /// The numbers of the flow tables that are configured.
    pub flow_tables: Vec<i64>,
}

/// A row of table Mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Column `name`.
    pub name: String,
    /// Column `select_all`.
    pub select_all: bool,
    /// Column `select_src_port`: the ports whose incoming frames are copied.
    pub select_src_port: Vec<Uuid>,
    /// Column `select_dst_port`: the ports whose outgoing frames are copied.
    pub select_dst_port: Vec<Uuid>,
    /// Column `output_port`.
    pub output_port: Option<Uuid>,
    /// Column `output_vlan`.
    pub output_vlan: Option<i64>,
}

/// Columns of an Interface row beyond [`InterfaceRow`](crate::InterfaceRow)'s.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceDetails {
    /// Column `ofport`, where ovs-vswitchd has the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ofport: Option<u32>,
    /// Column `mtu`, in bytes; only of interfaces with a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<i64>,
    /// Column `mac_in_use`; only of interfaces with a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_in_use: Option<String>,
    /// Column `admin_state`: whether the device is up; only of interfaces with a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_up: Option<bool>,
    /// Column `link_state`: whether the device has a link; only of interfaces with a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_up: Option<bool>,
    /// Column `external_ids`.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub external_ids: StringMap,
}

/// Why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// It is not in a snapshot's form.
    #[error("this is no snapshot of a host: write one with `ovsmesh snapshot`")]
    Json(#[from] serde_json::Error),
    /// It is in another version's form.
    #[error("this snapshot has format {found}; this ovsmesh reads format {FORMAT}: take it again")]
    Format {
        /// The file's.
        found: u32,
    },
}

impl HostSnapshot {
    /// A host of which nothing is known yet.
    pub fn new(mesh: MeshName, host: HostName) -> Self {
        Self {
            format: FORMAT,
            mesh,
            host,
            taken_at: None,
            rows: Snapshot::default(),
            switch: SwitchDetails::default(),
            tunnels: None,
            links: None,
        }
    }

    /// The snapshot that a file's text holds.
    pub fn from_json(text: &str) -> Result<Self, SnapshotFileError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        // The version first: another version's fields are not this one's faults.
        let Head { format } = serde_json::from_str(text)?;
        if format != FORMAT {
            return Err(SnapshotFileError::Format { found: format });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The snapshot as a file's text, which is the same for the same snapshot.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    pub(super) fn bridge_details(&self, bridge: Uuid) -> Option<&BridgeDetails> {
        self.switch.bridges.get(&bridge)
    }

    pub(super) fn interface_details(&self, interface: Uuid) -> Option<&InterfaceDetails> {
        self.switch.interfaces.get(&interface)
    }
}

#[cfg(test)]
mod tests;
