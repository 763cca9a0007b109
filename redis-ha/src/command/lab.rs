//! `redis-ha lab`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ovs_mesh::{Datapath, MeshName};
use ovsmesh_lab::{LabError, LabOptions, Signals};
use redis_ha::{Config, Profile, ServiceLab, ServiceLabError, ServiceOptions};

use super::print;
use crate::progress::Bar;
use crate::{Exit, Failure, Global};

/// Which lab, wherever on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct LabName {
    /// The lab's name
    #[arg(long, global = true, env = "REDIS_HA_LAB", value_name = "NAME", default_value = "redis-ha")]
    pub(crate) name: MeshName,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lab {
    #[command(flatten)]
    lab: LabName,
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Build the mesh on this machine and run the whole service on it, with passwords of its own
    Up {
        /// All times, whatever the service's file says: fast, calm, seed or seed-30
        #[arg(long, value_parser = profile)]
        profile: Option<Profile>,
        /// The `ovsmesh` program, which is the containers' hook [default: the one beside this program]
        #[arg(long, value_name = "PATH")]
        ovsmesh: Option<PathBuf>,
        /// Let moto's server stand in for EC2, where a notifier beside each keepalived moves the VIPs: a Python that has it, as
        /// target/venv/bin/python after scripts/venv
        #[arg(long, value_name = "PYTHON")]
        ec2: Option<PathBuf>,
    },
    /// Show every tenant's master and replicas, and what the proxies see
    Status,
    /// Make whole what a drill has broken: cables, flows, and daemons that do not run
    Mend,
    /// End all of it and leave nothing
    Down,
}

pub(crate) fn profile(text: &str) -> Result<Profile, String> {
    let found = Profile::ALL.into_iter().find(|profile| profile.as_str() == text);
    found.ok_or_else(|| "accepted are fast, calm, seed and seed-30".to_owned())
}

pub(crate) async fn run(global: &Global, options: Lab) -> Result<Exit, Failure> {
    let Lab { lab: LabName { name }, command } = options;
    match command {
        LabCommand::Up { profile, ovsmesh, ec2 } => up(global, name, profile, ovsmesh, ec2).await,
        LabCommand::Status => super::status::lab(global, &ServiceLab::open(&name)?).await,
        LabCommand::Mend => {
            let lab = ServiceLab::open(&name)?;
            let program = std::env::current_exe().map_err(|source| Failure::Program { source })?;
            let mut done = mend(&lab, &program).await?;
            if done.is_empty() {
                done.push(format!("nothing in lab {name} is broken"));
            }
            print(&(done.join("\n") + "\n"))?;
            Ok(Exit::Done)
        }
        LabCommand::Down => {
            let report = ovsmesh_lab::Lab::down(&name)?;
            let text = if report.found {
                let half = if report.half { ", which was half there," } else { "" };
                format!(
                    "lab {name}{half} is down: {} processes, {} namespaces\n",
                    report.processes, report.netns
                )
            } else {
                format!("there is no lab {name}\n")
            };
            print(&text)?;
            Ok(Exit::Done)
        }
    }
}

/// Makes a lab whole; where that cannot be, what helps is told.
pub(crate) async fn mend(lab: &ServiceLab, program: &Path) -> Result<Vec<String>, Failure> {
    match lab.mend(program).await {
        Ok(done) => Ok(done),
        Err(why) if lab.damage().await.is_ok_and(|damage| !damage.lost.is_empty()) => {
            Err(Failure::Lost { name: lab.mesh().name().clone(), why })
        }
        Err(why) => Err(why.into()),
    }
}

async fn up(
    global: &Global,
    name: MeshName,
    profile: Option<Profile>,
    ovsmesh: Option<PathBuf>,
    ec2: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let mut config = Config::read(&global.config)?;
    if let Some(profile) = profile {
        config.set_profile(profile);
    }
    let program = std::env::current_exe().map_err(|source| Failure::Program { source })?;
    let beside = || Some(program.with_file_name("ovsmesh")).filter(|path| path.exists());
    let hook = ovsmesh.or_else(beside).ok_or(Failure::Hook)?;
    let bar = Bar::new();
    let mesh = LabOptions { name, datapath: Datapath::Netdev, hook: &hook };
    let options = ServiceOptions { mesh, program: &program, ec2: ec2.as_deref() };
    let signals = Signals::new(bar.teller("stopping; what was made is taken down"));
    let (signals, mut ended) = (signals.map_err(|source| Failure::Signal { source })?, None);
    let stop = async { ended = Some(signals.first().await) };
    let lab = ServiceLab::up_until(stop, config, options, &bar).await;
    drop(bar);
    let lab = lab.map_err(|error| match (error, ended) {
        (ServiceLabError::Mesh(why @ LabError::Stopped { .. }), Some(signal)) => {
            Failure::Stopped { exit: signal.into(), why }
        }
        (error, _) => Failure::Lab(error),
    })?;
    super::status::lab(global, &lab).await
}
