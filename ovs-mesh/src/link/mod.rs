//! Network devices and namespaces of this machine, over netlink: what a mesh needs from the kernel besides OVS.
//!
//! Everything here touches the system, and most of it needs `CAP_NET_ADMIN` or `CAP_SYS_ADMIN` (capabilities(7)).
//! Nothing decides: callers say what should be, and get back what was done.

mod datapath;
mod gateway;
mod genl;
mod gre;
mod links;
mod netns;
mod offload;
mod types;

pub use datapath::{Datapath, DatapathError, Vport, VportKind, datapaths, vports};
pub use gateway::{
    GatewayDiffers, GatewayError, GatewayOutcome, GatewaySpec, GatewayState, ensure_gateway, gateway_state,
    gateways_on, remove_gateway,
};
pub use genl::GenlError;
pub use gre::GreDevice;
pub use links::Links;
pub use netns::{Netns, NetnsError, NetnsId};
pub use offload::{Features, OffloadError, features, set_tx_checksum};
pub use types::{Address, DeviceRef, Link, LinkError, LinksOpenError, Mac, MacError, VethSpec};
