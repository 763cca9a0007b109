//! The subcommands, one file each.

pub(crate) mod agent;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod drill;
pub(crate) mod lab;
pub(crate) mod notify;
pub(crate) mod render;
pub(crate) mod stack;
pub(crate) mod status;

use std::io::Write;

use ovs_mesh::HostName;

use crate::Failure;

/// Prints to stdout; a reader that goes away is a failure like any other.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| Failure::Print { source })
}

/// The host that this machine is, by its own name.
fn this_host() -> Result<HostName, Failure> {
    let text = gethostname::gethostname().to_string_lossy().into_owned();
    text.parse().map_err(|source| Failure::HostName { text, source })
}
