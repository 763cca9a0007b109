//! Isolated layer-2 networks for many tenants over plain Open vSwitch.
mod names;
pub mod ovsdb;
pub mod unixctl;
pub use names::{
    BridgeName, Ctid, HostName, Local, MeshName, NameError, NetnsName, PortName, Remote, TenantName,
    TunnelKey, TunnelKind,
};
