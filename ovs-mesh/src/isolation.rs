//! Isolation, proved: that tenants reach each other nowhere, and that each tenant's own mesh stands.
//!
//! What judges is pure; what a host has is handed in:
//!
//! | level | what is handed in | what judges it |
//! | --- | --- | --- |
//! | static | a [`HostSnapshot`] of one or many hosts: OVSDB's rows, the kernel's devices | [`StaticChecks`] |
//! | trace | the replies of `dpif/show` and `ofproto/trace` | [`Tracing`] |
//! | probe | what live packets met | [`probe()`], which sends them |
//!
//! All of it ends in one [`Report`]. [`Verifier`] is the shell around it, that of `ovsmesh verify`; it reads by [`collect`] and
//! [`Machine`], which can be used alone.
//!
//! ```
//! # let topology: ovs_mesh::Topology = r#"
//! # mesh = { name = "prod", underlay_mtu = 1500 }
//! # host = [{ name = "a", underlay_ip = "10.0.0.1" }, { name = "b", underlay_ip = "10.0.0.2" }]
//! # tenant = [{ name = "acme", key = 7, subnet = "192.168.0.0/24" }]
//! # "#.parse()?;
//! use ovs_mesh::isolation::{Check, HostSnapshot, Severity, StaticChecks};
//!
//! // A switch that no sync has been to: nothing leaks, and nothing works.
//! let empty = HostSnapshot::new(topology.name().clone(), "a".parse()?);
//! let mut checks = StaticChecks::new(&topology);
//! checks.host(&empty)?;
//! let report = checks.finish();
//! assert_eq!(report.worst(), Some(Severity::Degraded));
//! assert_eq!(report.findings()[0].check, Check::BridgeMissing);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod collect;
mod findings;
mod host;
mod junit;
mod links;
mod machine;
mod origin;
mod probe;
mod render;
mod report;
mod static_checks;
mod trace;
mod tracer;
mod verify;

pub use collect::{Collected, collect};
pub use findings::{Check, Finding, Level, Severity, UnknownCheck};
pub use host::{
    BridgeDetails, FORMAT, HostSnapshot, InterfaceDetails, Mirror, SnapshotFileError, SwitchDetails,
};
pub use links::{Device, Forwarding, HostLinks, NetnsLinks, PeerNetns};
pub use machine::{Machine, MachineError};
pub use origin::{OriginError, origin};
pub use probe::{Claim, Content, Cookie, Mark, Outer, Owners, ProbeError, ProbeOptions, Seen, Stage, probe};
pub use report::{Cell, HostMatrix, Probed, Report, Skipped};
pub use static_checks::{StaticChecks, StaticError, static_checks};
pub use trace::{
    Action, DatapathPorts, DatapathPortsError, DpPort, End, Expected, FlowTable, KnownMac, LearnedMac,
    ListedPort, Packet, Push, Round, Trace, TraceCase, TraceError, Tracing, TunnelKeySet, parse_actions,
    parse_learned,
};
pub use verify::{Progress, Target, Verifier, VerifyOptions};
