//! Attaches OpenVZ containers at start, in place of the `vznetaddbr` script.
//!
//! OpenVZ calls a hook for every network interface of a container. What it asks ([`Call`]), what the container's
//! configuration says ([`Configuration`]) and what the topology and the host are ([`Site`]) make a [`Decision`]: onto
//! the tenant's bridge, onto a Linux bridge outside the mesh, or a refusal that says why. Nothing of it touches the
//! system, and no configuration is ever executed.
//!
//! ```
//! use ovz_net::{Call, Configuration, Decision, Devices, Site, decide};
//!
//! let topology: ovs_mesh::Topology = r#"
//!     mesh = { name = "prod", underlay_mtu = 9001 }
//!     host = [{ name = "redis1", underlay_ip = "10.0.1.11" }]
//!     [[tenant]]
//!     name = "acme"
//!     key = 101
//!     subnet = "192.168.10.0/24"
//!     containers = [{ ctid = "101", host = "redis1", ip = "192.168.10.11" }]
//! "#.parse()?;
//!
//! // As vzctl calls: `/usr/sbin/vznetcfg init veth veth101.0`, with VEID in the environment.
//! let call = Call::parse(["init", "veth", "veth101.0"], [("VEID", "101")])?;
//! let text = br#"NETIF="ifname=eth0,bridge=br-acme,mac=00:18:51:AB:CD:EF""#;
//! let own = Configuration::read("/etc/vz/conf/101.conf".as_ref(), text, call.generation());
//! let devices = Devices { present: true, ..Devices::default() };
//! let host = "redis1".parse()?;
//!
//! let site = Site { topology: &topology, host: &host, global: None, own: Some(&own), devices: &devices };
//! let Decision::Attach { attachment, bridge, by } = decide(&call, &site)? else { panic!() };
//! assert_eq!((attachment.tenant.as_str(), bridge.as_str()), ("acme", "br-acme"));
//! assert_eq!(attachment.mac, Some("00:18:51:ab:cd:ef".parse()?));
//! assert_eq!(by.to_string(), "/etc/vz/conf/101.conf:1 (eth0)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod call;
mod conf;
mod decide;
mod hook;
mod install;
mod networks;
mod reconcile;
mod vznet_conf;

pub use call::{Call, CallError, Environment, Request};
pub use conf::{Configuration, Generation, Netif, NetifError, NetifKind, Place, Problem, Vport, Warning};
pub use decide::{Decision, Devices, Refusal, Site, Voice, decide};
pub use hook::{HookError, HookOptions, HookReport, hook};
pub use install::{
    Content, InstallAction, InstallError, InstallOptions, InstallReport, InstalledFile, Mode,
    UninstallAction, UninstallReport, UninstalledFile, install, uninstall,
};
pub use reconcile::{Reconciled, Unattached, reconcile, unattached};
pub use vznet_conf::vznet_conf;
