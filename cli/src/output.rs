//! Results to stdout, as text or JSON.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

use crate::args::Format;
use crate::failure::Failure;

/// Prints text, or the same as JSON.
pub(crate) fn print(format: Format, text: &impl Display, json: &impl Serialize) -> Result<(), Failure> {
    match format {
        Format::Text => write(format_args!("{}", text.to_string().trim_end())),
        Format::Json => {
            let json = serde_json::to_string_pretty(json)
                .map_err(|source| Failure::Print { source: source.into() })?;
            write(format_args!("{json}"))
        }
        Format::OvsVsctl => Err(Failure::Format { format: "ovs-vsctl", command: "plan" }),
        Format::Junit => Err(Failure::Format { format: "junit", command: "verify" }),
    }
}

/// Prints a line; a reader that has gone away is no failure.
pub(crate) fn write(text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| Failure::Print { source }),
    }
}
