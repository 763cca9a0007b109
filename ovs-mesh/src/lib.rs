//! Isolated layer-2 networks for many tenants over plain Open vSwitch.
mod announce;
mod attach;
mod chain;
mod diff;
pub mod file;
mod gre;
pub mod isolation;
pub mod link;
mod lower;
mod mesh;
mod names;
mod openflow;
pub mod ovsdb;
mod plan;
mod render;
mod snapshot;
mod status;
mod switch;
mod sync;
#[cfg(test)]
mod testing;
mod topology;
mod underlay;
pub mod unixctl;

pub use announce::{AnnounceError, attach_and_announce};
pub use attach::{AttachError, Attachment, Decision, NotApplied, attach, attached_for, decide, detach};
pub use chain::Chain;
pub use diff::{
    Change, ColumnChange, ColumnValue, Conflict, Diff, HostDevice, HostDevices, KeptBridge, Step,
    removals_at_once,
};
pub use gre::{GreFrame, parse_gre};
pub use lower::lower;
pub use mesh::{Mesh, TunnelEnd};
pub use names::{
    BridgeName, Ctid, HostName, Local, MeshName, NameError, NetnsName, PortName, Remote, TenantName,
    TunnelKey, TunnelKind,
};
pub use openflow::OpenFlowError;
pub use plan::{
    Bridge, CTID_ID, GATEWAY_DEVICE, GATEWAY_ID, GatewayPort, IFINDEX_ID, MAC_TABLE_SIZE, MESH_ID, PEER_ID,
    Plan, PlanError, TENANT_ID, Tunnel, Tuple, gateway_netns, gateway_port, tunnel_port,
};
pub use render::OvsVsctl;
pub use snapshot::{
    BridgeRow, EffectiveTuple, InterfaceRow, Opening, PortRole, PortRow, RELEASED, ReadError, Snapshot,
    StringMap, TunnelClass,
};
pub use status::{Object, ObjectKind, State, Traffic, assess};
pub use switch::{ControlError, DATABASE, RowWatch, Switch, SwitchError, SwitchOptions};
pub use sync::{Progress, Report, Status, SyncError, dry_run, status, sync};
pub use topology::{Container, Datapath, Gateway, Host, Tenant, Topology, TopologyError};
