//! Whole multi-host meshes on one machine, in network namespaces, with real Open vSwitch daemons.
//!
//! A lab is decided first and made afterwards: [`LabPlan`] is pure, and its text is the manifest that stands in the
//! lab's state directory before anything else of it exists. [`Lab::down`] needs nothing but that manifest, so that a
//! lab can be taken down after a crash at any moment of its coming up.
//!
//! ```
//! use ovsmesh_lab::{LabHost, LabPlan, LabSpec};
//!
//! let spec = LabSpec {
//!     name: "demo".parse()?,
//!     underlay_mtu: 1500,
//!     datapath: ovs_mesh::Datapath::Netdev,
//!     hosts: vec![LabHost { name: "h1".parse()?, underlay: "10.0.1.11/24".parse()? }],
//!     containers: vec![],
//!     gateways: vec![],
//! };
//! let plan = LabPlan::new(spec)?;
//! assert_eq!(plan.hosts[0].netns.as_str(), "demo-h1");
//! assert_eq!(plan.target("underlay")?.netns.as_str(), "demo-underlay");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod capture;
mod down;
mod exec;
mod making;
mod mesh;
mod phy;
mod plan;
mod preflight;
mod process;
mod program;
mod signals;
mod state;
mod status;
mod up;
mod verify;
mod vz;

pub use down::{DownError, DownReport};
pub use exec::ExecError;
pub use making::Maker;
pub use mesh::{LabError, LabOptions, MeshLab};
pub use plan::{
    ContainerPlan, GatewayPlan, HostPlan, LabContainer, LabGateway, LabHost, LabPlan, LabPlanError, LabSpec,
    NoSuchTarget, Target,
};
pub use preflight::PreflightError;
pub use process::Daemon;
pub use program::ProgramError;
pub use signals::{EndSignal, Signals};
pub use state::{Lab, StateError, list};
pub use status::{ContainerStatus, DaemonStatus, GatewayStatus, HostStatus, LabStatus};
pub use up::{Progress, UpError};
pub use vz::VzError;
