//! The changes a diff is made of, and how they read.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use crate::names::{BridgeName, NetnsName, PortName, TenantName};
use crate::plan::{GatewayPort, Tunnel};
use crate::snapshot::{EffectiveTuple, StringMap};
use crate::topology::Datapath;

/// A column's new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ColumnValue {
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A string.
    Text(String),
    /// The empty set.
    Empty,
    /// These keys of a map; its others stay.
    Keys(StringMap),
    /// A map, whole.
    Map(StringMap),
}

/// One column of one row that is not as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnChange {
    /// The table.
    pub table: &'static str,
    /// The row.
    #[serde(skip)]
    pub row: Uuid,
    /// The column.
    pub column: &'static str,
    /// What it holds.
    pub from: String,
    /// What it should hold.
    pub to: ColumnValue,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A bridge is missing.
    AddBridge {
        /// Its name.
        bridge: BridgeName,
        /// The tenant it carries.
        tenant: TenantName,
        /// Its `datapath_type`.
        datapath: Datapath,
        /// The MTU of its local device, in bytes.
        mtu: u16,
    },
    /// A bridge has columns that are not as planned.
    ChangeBridge {
        /// Its name.
        bridge: BridgeName,
        /// The columns.
        columns: Vec<ColumnChange>,
    },
    /// A bridge of ours is no longer planned.
    RemoveBridge {
        /// Its name.
        bridge: String,
        /// Its row.
        #[serde(skip)]
        row: Uuid,
        /// The tenant it carried.
        tenant: Option<String>,
    },
    /// A tunnel is missing.
    AddTunnel {
        /// The bridge it goes on.
        bridge: BridgeName,
        /// The tenant it carries.
        tenant: TenantName,
        /// The tunnel.
        tunnel: Tunnel,
    },
    /// A gateway's port is missing.
    AddGateway {
        /// The bridge it goes on.
        bridge: BridgeName,
        /// The tenant it belongs to.
        tenant: TenantName,
        /// The gateway.
        gateway: GatewayPort,
    },
    /// An attached interface is not with its device or its tenant: ovs-vswitchd must let go of it first.
    ReleasePort {
        /// The bridge it is on.
        bridge: String,
        /// Its name.
        port: String,
        /// Its row.
        #[serde(skip)]
        row: Uuid,
        /// Its interface's row.
        #[serde(skip)]
        interface: Uuid,
        /// Why it cannot stay as it is.
        reason: String,
    },
    /// A released interface is put on its tenant's bridge.
    TakePort {
        /// The bridge it is on.
        from: String,
        /// The bridge it belongs on; it may be the same.
        bridge: BridgeName,
        /// Its tenant.
        tenant: TenantName,
        /// Its name.
        port: String,
        /// Its row.
        #[serde(skip)]
        row: Uuid,
        /// Its interface's row.
        #[serde(skip)]
        interface: Uuid,
        /// The ids that it gets.
        #[serde(skip)]
        ids: StringMap,
    },
    /// A port, or its interface, has columns that are not as planned.
    ChangePort {
        /// The bridge it is on.
        bridge: BridgeName,
        /// Its name.
        port: String,
        /// The columns.
        columns: Vec<ColumnChange>,
    },
    /// An attached interface's device is not as planned.
    FixDevice {
        /// The bridge it is on.
        bridge: BridgeName,
        /// The device.
        device: PortName,
        /// The MTU that it gets, in bytes.
        mtu: u16,
        /// The datapath that its packets pass.
        datapath: Datapath,
        /// What is not as planned.
        problems: Vec<String>,
    },
    /// A port of ours is not as planned and cannot be mended in place, or not planned at all.
    RemovePort {
        /// The bridge it is on.
        bridge: String,
        /// Its name.
        port: String,
        /// Its row.
        #[serde(skip)]
        row: Uuid,
        /// The tuple that it gives free, if it is a tunnel.
        #[serde(skip)]
        tuple: Option<EffectiveTuple>,
        /// The namespace that goes with it, if it is a gateway.
        gateway: Option<NetnsName>,
        /// Why it goes.
        reason: String,
    },
    /// A gateway's veth pair, namespace or address is not as planned.
    FixLink {
        /// The gateway.
        gateway: GatewayPort,
        /// The tenant it belongs to.
        tenant: TenantName,
        /// The MTU of both ends, in bytes.
        mtu: u16,
        /// The datapath that its packets pass.
        datapath: Datapath,
        /// What is not as planned.
        problems: Vec<String>,
    },
}

/// `{key=value, …}`, as ovs-vsctl(8) writes a map.
pub(super) fn map_text(map: &StringMap) -> String {
    let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

impl fmt::Display for ColumnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Empty => f.write_str("[]"),
            Self::Keys(map) | Self::Map(map) => f.write_str(&map_text(map)),
        }
    }
}

impl fmt::Display for ColumnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table: _, row: _, column, from, to } = self;
        let from = if from.is_empty() { "[]" } else { from };
        write!(f, "{column} {from} → {to}")
    }
}

/// One line a change: `+` is made, `~` is mended, `-` goes.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns_text =
            |columns: &[ColumnChange]| columns.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match self {
            Self::AddBridge { bridge, tenant, datapath, mtu } => {
                write!(f, "+ bridge  {bridge}: tenant {tenant}, datapath {}, mtu {mtu}", datapath.as_str())
            }
            Self::ChangeBridge { bridge, columns } => {
                write!(f, "~ bridge  {bridge}: {}", columns_text(columns))
            }
            Self::RemoveBridge { bridge, row: _, tenant } => {
                let tenant = tenant.as_deref().unwrap_or("unknown");
                write!(f, "- bridge  {bridge}: tenant {tenant} is not in the topology")
            }
            Self::AddTunnel { bridge, tenant: _, tunnel } => {
                write!(f, "+ tunnel  {bridge} {}: to {}, {}", tunnel.port, tunnel.peer, tunnel.tuple)
            }
            Self::AddGateway { bridge, tenant: _, gateway } => {
                write!(
                    f,
                    "+ gateway {bridge} {}: {} in netns {}",
                    gateway.port, gateway.address, gateway.netns
                )
            }
            Self::ReleasePort { bridge, port, row: _, interface: _, reason } => {
                write!(f, "~ port    {bridge} {port}: {reason}, released to be taken anew")
            }
            Self::TakePort { from: _, bridge, tenant, port, row: _, interface: _, ids: _ } => {
                write!(f, "~ port    {bridge} {port}: taken for tenant {tenant}")
            }
            Self::ChangePort { bridge, port, columns } => {
                write!(f, "~ port    {bridge} {port}: {}", columns_text(columns))
            }
            Self::FixDevice { bridge, device, mtu: _, datapath: _, problems } => {
                write!(f, "~ link    {bridge} {device}: {}", problems.join("; "))
            }
            Self::RemovePort { bridge, port, row: _, tuple: _, gateway: _, reason } => {
                write!(f, "- port    {bridge} {port}: {reason}")
            }
            Self::FixLink { gateway, tenant, mtu: _, datapath: _, problems } => {
                write!(f, "~ link    {} of tenant {tenant}: {}", gateway.port, problems.join("; "))
            }
        }
    }
}
