//! The subcommands, one file each.

pub(crate) mod check;
pub(crate) mod drill;
pub(crate) mod lab;
pub(crate) mod render;
pub(crate) mod status;

use std::io::Write;

use crate::Failure;

/// Prints to stdout; a reader that goes away is a failure like any other.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| Failure::Print { source })
}
