//! Isolated layer-2 networks for many tenants over plain Open vSwitch.
pub mod link;
mod names;
pub use names::{
    BridgeName, Ctid, HostName, Local, MeshName, NameError, NetnsName, PortName, Remote, TenantName,
    TunnelKey, TunnelKind,
};
