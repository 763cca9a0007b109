//! `redis-ha check`.

use std::fmt::Write;
use std::path::PathBuf;

use redis_ha::{Certificates, Config, Secrets, check};

use super::print;
use crate::{Exit, Failure, Format, Global};

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The directory that `render` wrote
    dir: PathBuf,
    /// The keepalived configuration of another VRRP router on the same underlay, which must have other router ids; may be repeated
    #[arg(long, value_name = "FILE")]
    beside: Vec<PathBuf>,
}

pub(crate) fn run(global: &Global, options: &Check) -> Result<Exit, Failure> {
    let config = Config::read(&global.config)?;
    let secrets = Secrets::read(&config)?;
    let certificates = Certificates::read(&config)?;
    let report = check(&config, &secrets, &certificates, &options.dir, &options.beside)?;
    match global.format {
        Format::Json => print(&format!("{}\n", serde_json::json!(report)))?,
        Format::Text => {
            let mut text = String::new();
            // Writing into a string cannot fail.
            for finding in &report.findings {
                let _ = writeln!(text, "{finding}");
            }
            for note in &report.notes {
                let _ = writeln!(text, "note: {note}");
            }
            let files = if report.accepted == 1 { "1 file" } else { &format!("{} files", report.accepted) };
            let findings = report.findings.len();
            let findings = if findings == 1 { "1 finding" } else { &format!("{findings} findings") };
            let _ = writeln!(text, "{files} accepted by the daemons, {findings}");
            print(&text)?;
        }
    }
    Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Wanting })
}
