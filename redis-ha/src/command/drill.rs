//! `redis-ha drill`.

use std::path::PathBuf;
use std::time::Duration;

use ovs_mesh::MeshName;
use redis_ha::{DrillOptions, Fault, ServiceLab, drill};
use tokio::signal::unix::{SignalKind, signal};

use super::print;
use crate::{Exit, Failure, Format, Global};

#[derive(Debug, clap::Args)]
pub(crate) struct Drill {
    #[arg(value_parser = fault, help = format!("The fault: {}", faults()))]
    fault: Fault,
    /// The lab
    #[arg(long, env = "REDIS_HA_LAB", value_name = "NAME", default_value = "redis-ha")]
    name: MeshName,
    /// The tenant whose client writes and whose master is broken [default: the first]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// How long the client waits for an answer before it connects anew
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "250ms")]
    patience: Duration,
    /// Draw it
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn fault(text: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.as_str() == text);
    found.ok_or_else(|| format!("accepted are {}", faults()))
}

fn faults() -> String {
    Fault::ALL.map(Fault::as_str).join(", ")
}

pub(crate) async fn run(global: &Global, options: Drill) -> Result<Exit, Failure> {
    let Drill { fault, name, tenant, patience, plot } = options;
    let lab = ServiceLab::open(&name)?;
    let program = std::env::current_exe().map_err(|source| Failure::Program { source })?;
    let first = || lab.config().clusters.first().map(|cluster| cluster.tenant.to_string());
    let tenant = tenant.or_else(first).unwrap_or_default();
    let options = DrillOptions { patience, ..DrillOptions::default() };
    let failed = |source| Failure::Signal { source };
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    let report = tokio::select! {
        report = drill(&lab, &tenant, fault, options, &program) => Some(report?),
        _ = terminated.recv() => None,
        _ = interrupted.recv() => None,
    };
    let Some(report) = report else {
        lab.mend(&program).await?;
        return Err(Failure::Interrupted);
    };
    match global.format {
        Format::Text => print(&report.to_string())?,
        Format::Json => print(&format!("{}\n", serde_json::json!(report)))?,
    }
    // What was seen is told first: a plot that cannot be written does not cost it.
    if let Some(path) = plot {
        report.plot(&path)?;
    }
    Ok(if report.others_disturbed.is_empty() { Exit::Done } else { Exit::Wanting })
}
