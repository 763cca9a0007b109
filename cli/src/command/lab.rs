//! `ovsmesh lab`

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use ovs_mesh::{Datapath, HostName, MeshName, Status, Topology};
use ovsmesh_lab::{DownReport, Lab, LabError, LabOptions, LabStatus, Maker, MeshLab, Signals};
use serde::Serialize;

use super::read_topology;
use super::status::StatusText;
use super::verify::{Looked, print, verify_options};
use crate::args::{Global, Lab as Options, LabCommand, LabName, Levels};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::{Exit, Outcome, output};

/// The five hosts of examples/ha-redis.toml: what `lab up` builds unless told otherwise.
const EXAMPLE: &str = include_str!("../../../examples/ha-redis.toml");

pub(crate) async fn run(global: &Global, options: Options) -> Result<Outcome, Failure> {
    match options.command {
        LabCommand::Up { name, datapath } => up(global, name, datapath).await.map(Outcome::Exit),
        LabCommand::Down(name) => down(global, name).map(Outcome::Exit),
        LabCommand::Status(name) => status(global, name).await.map(Outcome::Exit),
        LabCommand::Verify { name, levels } => verify(global, name, levels).await.map(Outcome::Exit),
        LabCommand::Exec { name, target, command } => {
            exec(global, name, &target, command).map(Outcome::Command)
        }
    }
}

fn topology(global: &Global) -> Result<Topology, Failure> {
    match &global.config {
        Some(path) => read_topology(path),
        None => Ok(Topology::parse(EXAMPLE, Path::new("examples/ha-redis.toml"))?),
    }
}

fn name(global: &Global, name: LabName) -> Result<MeshName, Failure> {
    name.name.map_or_else(|| topology(global).map(|topology| topology.name().clone()), Ok)
}

async fn up(global: &Global, options: LabName, datapath: Datapath) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Up<'a> {
        lab: &'a MeshName,
        hosts: usize,
        tenants: usize,
        containers: usize,
    }
    let topology = topology(global)?;
    let name = options.name.unwrap_or_else(|| topology.name().clone());
    let own = std::env::current_exe().map_err(|source| Failure::Program { source })?;
    let bar = Bar::new();
    let signals = Signals::new(bar.teller("stopping; what was made is taken down"));
    let (signals, mut ended) = (signals.map_err(|source| Failure::Signal { source })?, None);
    let maker = Maker { command: "ovsmesh lab", stop: async { ended = Some(signals.first().await) } };
    let options = LabOptions { name, datapath, hook: &own };
    let lab = MeshLab::up_for(maker, topology, options, &bar, async |mesh| Ok(mesh)).await;
    drop(bar);
    let lab = lab.map_err(|why: LabError| match (why, ended) {
        (why @ LabError::Stopped { .. }, Some(signal)) => Failure::Stopped { exit: signal.into(), why },
        (why, _) => Failure::Lab(why),
    })?;
    let up = Up {
        lab: lab.name(),
        hosts: lab.topology().hosts().len(),
        tenants: lab.topology().tenants().len(),
        containers: lab.lab().plan().containers.len(),
    };
    let text = format!(
        "lab {} is up: {} hosts, {} tenants, {} containers",
        up.lab, up.hosts, up.tenants, up.containers
    );
    output::print(global.format, &text, &up)?;
    Ok(Exit::Done)
}

fn down(global: &Global, options: LabName) -> Result<Exit, Failure> {
    let name = name(global, options)?;
    let report = Lab::down(&name).map_err(LabError::from)?;
    let DownReport { found, half, processes, killed: _, netns } = report;
    let text = if found {
        let half = if half { ", which was half there," } else { "" };
        format!("lab {name}{half} is down: {processes} processes ended, {netns} namespaces removed")
    } else {
        format!("there is no lab {name}")
    };
    output::print(global.format, &text, &report)?;
    Ok(Exit::Done)
}

fn exec(global: &Global, options: LabName, target: &str, command: Vec<String>) -> Result<u8, Failure> {
    let lab = Lab::open(&name(global, options)?).map_err(LabError::from)?;
    let mut words = command.into_iter().map(OsString::from);
    let program = words.next().unwrap_or_default();
    let status = lab.exec(target, &program, words).map_err(LabError::from)?;
    // As a shell tells of a command that a signal ended.
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    Ok(status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

async fn status(global: &Global, options: LabName) -> Result<Exit, Failure> {
    let lab = MeshLab::open(&name(global, options)?)?;
    let (standing, hosts) = lab.status().await?;
    let any = |is: fn(&Status) -> bool| hosts.iter().any(|(_, found)| found.as_ref().map_or(true, is));
    let (drift, failures) = (any(Status::has_drift), any(Status::has_failures));
    let shown = LabShown {
        whole: standing.whole(),
        lab: &standing,
        meshes: hosts.iter().filter_map(|(_, found)| found.as_ref().ok()).collect(),
    };
    output::print(global.format, &LabText { lab: &standing, hosts: &hosts }, &shown)?;
    Ok(if !standing.whole() {
        Exit::Failed
    } else if drift {
        Exit::Drift
    } else if failures {
        Exit::NotApplied
    } else {
        Exit::Done
    })
}

async fn verify(global: &Global, options: LabName, levels: Levels) -> Result<Exit, Failure> {
    let lab = MeshLab::open(&name(global, options)?)?;
    let bar = Bar::new();
    let (report, notes) = lab.verify(verify_options(global, levels), &bar).await?;
    drop(bar);
    let hosts: Vec<Looked> =
        lab.topology().hosts().iter().map(|host| Looked::here(host.name().clone())).collect();
    print(global.format, &report, &notes, levels, &hosts)
}

#[derive(Serialize)]
struct LabShown<'a> {
    whole: bool,
    lab: &'a LabStatus,
    meshes: Vec<&'a Status>,
}

struct LabText<'a> {
    lab: &'a LabStatus,
    hosts: &'a [(HostName, Result<Status, LabError>)],
}

impl fmt::Display for LabText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lab = self.lab;
        writeln!(f, "lab {}: {}", lab.name, if lab.whole() { "whole" } else { "not whole" })?;
        for host in &lab.hosts {
            write!(f, "host {} {}:", host.name, host.underlay)?;
            for daemon in &host.daemons {
                match daemon.pid {
                    Some(pid) => write!(f, " {} (pid {pid})", daemon.daemon.name())?,
                    None => write!(f, " {} is DEAD", daemon.daemon.name())?,
                }
            }
            writeln!(f)?;
        }
        for container in &lab.containers {
            let gone = if container.netns { "" } else { ", its namespace is GONE" };
            writeln!(
                f,
                "container {} on {}: tenant {}, {}{gone}",
                container.ctid, container.host, container.tenant, container.address
            )?;
        }
        for (host, found) in self.hosts {
            match found {
                Ok(status) => write!(f, "\n{}", StatusText(status))?,
                Err(error) => writeln!(f, "\n{}", Failure::text_of(host, error))?,
            }
        }
        Ok(())
    }
}
