//! The AWS side as code: a CloudFormation template for a topology's hosts, and what comes back from the stack.
//!
//! [`template`] is a pure function of the topology and [`StackOptions`]. The addresses are the VPC's to choose; each host
//! gets the whole topology with all of them in its user data, and [`fill_topology`] puts them into the operator's own file.

mod access;
mod fill;
mod hosts;
mod network;
mod options;
mod template;
mod user_data;

pub use fill::{FillError, Outputs, fill_service, fill_topology};
pub use options::{RangeOption, StackError, StackOptions, VipPlacement};
pub use template::template;
