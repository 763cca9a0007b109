//! `redis-ha drill`.

use std::path::PathBuf;
use std::time::Duration;

use ovsmesh_lab::Signals;
use redis_ha::{DrillOptions, DrillReport, Fault, ServiceLab, drill};

use super::lab::{LabName, mend};
use super::print;
use crate::progress::say;
use crate::{Exit, Failure, Format, Global};

#[derive(Debug, clap::Args)]
pub(crate) struct Drill {
    #[arg(value_parser = fault, help = format!("The fault: {}", faults()))]
    fault: Fault,
    #[command(flatten)]
    lab: LabName,
    /// The tenant whose client writes and whose master is broken [default: the first]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// How long the client waits for an answer before it connects anew, 1ms to 1m
    #[arg(long, value_name = "TIME", value_parser = patience, default_value = "250ms")]
    patience: Duration,
    /// Draw it
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn fault(text: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.as_str() == text);
    found.ok_or_else(|| format!("accepted are {}", faults()))
}

/// No socket waits for no time, and no drill for a client that is never told.
fn patience(text: &str) -> Result<Duration, String> {
    let accepted = "accepted are 1ms to 1m, as 250ms";
    let patience = humantime::parse_duration(text).map_err(|error| format!("{error}; {accepted}"))?;
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&patience) {
        Ok(patience)
    } else {
        Err(accepted.to_owned())
    }
}

fn faults() -> String {
    Fault::ALL.map(Fault::as_str).join(", ")
}

pub(crate) async fn run(global: &Global, options: Drill) -> Result<Exit, Failure> {
    let Drill { fault, lab: LabName { name }, tenant, patience, plot } = options;
    // Before anything is broken for it.
    plot.as_deref().map_or(Ok(()), DrillReport::can_plot)?;
    let lab = ServiceLab::open(&name)?;
    let program = std::env::current_exe().map_err(|source| Failure::Program { source })?;
    let first = || lab.config().clusters.first().map(|cluster| cluster.tenant.to_string());
    let tenant = tenant.or_else(first).unwrap_or_default();
    let options = DrillOptions { patience, ..DrillOptions::default() };
    let signals = Signals::new(|| say("stopping; what was broken is mended"));
    let signals = signals.map_err(|source| Failure::Signal { source })?;
    let report = tokio::select! {
        report = drill(&lab, &tenant, fault, options, &program) => report?,
        signal = signals.first() => {
            mend(&lab, &program).await?;
            return Err(Failure::Interrupted { exit: signal.into() });
        }
    };
    match global.format {
        Format::Text => print(&report.to_string())?,
        Format::Json => print(&format!("{}\n", serde_json::json!(report)))?,
    }
    // What was seen is told first: a plot that cannot be written does not cost it.
    if let Some(path) = plot {
        report.plot(&path)?;
    }
    Ok(if report.others_disturbed.is_none_or(|others| others.is_empty()) {
        Exit::Done
    } else {
        Exit::Wanting
    })
}
