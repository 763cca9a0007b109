//! Breaks things in a service's lab, and mends them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use ovs_mesh::{Ctid, Datapath, HostName};
use tokio::time::sleep;

use super::run::replaced;
use super::{DrillError, Fault};
use crate::agent::WATCHDOG;
use crate::lab::{Service, ServiceLab, create_dir, file};
use crate::render::{AGENT_RESTART, Place, after_agent};

/// How long a Redis that was started again may take to find its place.
const REJOIN: Duration = Duration::from_secs(2);
/// How long the nodes of a cluster start after each other.
const STAGGER: Duration = Duration::from_secs(1);
/// How long a partition lasts.
const PARTITION: Duration = Duration::from_secs(18);

/// Who is who when a drill begins.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) master: Ctid,
    pub(super) master_host: HostName,
    pub(super) other_hosts: Vec<HostName>,
    pub(super) replicas: Vec<Ctid>,
    pub(super) proxy: HostName,
    pub(super) tenant: String,
    /// How long a node that ended is away, and whether it is back as soon as it is replaced.
    pub(super) restart: Duration,
    pub(super) waits: bool,
    /// How long something is cut off: longer than it takes to be replaced.
    pub(super) cut: Duration,
}

/// Breaks it and mends it again, `tell`ing what it does. When it fails, or is dropped, what it broke stays broken; see
/// [`ServiceLab::mend`].
pub(super) async fn inject(
    lab: &ServiceLab,
    fault: Fault,
    cast: &Cast,
    program: &Path,
    mut tell: impl FnMut(&str),
) -> Result<(), DrillError> {
    let redis = Service::Redis(cast.master.clone());
    match fault {
        Fault::MasterKilled => kill_master(lab, cast, program, &mut tell).await?,
        Fault::MasterCut => cut(lab, &cast.master_host, cast.cut, &mut tell).await?,
        Fault::ProxyCut => cut(lab, &cast.proxy, cast.cut, &mut tell).await?,
        Fault::HaproxyKilled => {
            let haproxy = Service::Haproxy(cast.proxy.clone());
            tell(&format!("{haproxy} is killed"));
            lab.signal(&haproxy, Signal::SIGKILL)?;
            sleep(cast.cut).await;
            tell(&format!("{haproxy} is started again"));
            lab.start(&haproxy, program)?;
        }
        Fault::HaproxyReloaded => {
            let haproxy = Service::Haproxy(cast.proxy.clone());
            tell(&format!("{haproxy} is reloaded"));
            lab.signal(&haproxy, Signal::SIGUSR2)?;
            sleep(cast.cut / 2).await;
        }
        Fault::AgentKilled => {
            tell(&format!("the agent on {} is killed", cast.proxy));
            restart_agent(lab, &cast.proxy, "signal", program, &mut tell).await?;
            sleep(cast.cut / 2).await;
        }
        Fault::AgentHung => {
            tell(&format!("the agent on {} is stopped", cast.proxy));
            lab.signal(&Service::Agent(cast.proxy.clone()), Signal::SIGSTOP)?;
            sleep(WATCHDOG).await;
            tell("it has given no word and is killed");
            restart_agent(lab, &cast.proxy, "watchdog", program, &mut tell).await?;
            sleep(cast.cut / 2).await;
        }
        Fault::StaleMinority => {
            tell(&format!("{}, {} and the client are cut off from all others", cast.master_host, cast.proxy));
            lab.split(&[&cast.master_host, &cast.proxy]).await?;
            sleep(PARTITION).await;
            tell("the underlay is whole again");
            lab.rejoin().await?;
        }
        Fault::StaleReplicas => {
            if lab.mesh().topology().datapath() != Datapath::Netdev {
                return Err(DrillError::Datapath { fault });
            }
            tell(&format!(
                "{} and {} no longer reach each other",
                cast.master_host,
                names(&cast.other_hosts)
            ));
            lab.cut_pairs(&cast.master_host, &cast.other_hosts, true)?;
            sleep(PARTITION).await;
            tell("they reach each other again");
            lab.cut_pairs(&cast.master_host, &cast.other_hosts, false)?;
        }
        Fault::MasterReturns => {
            tell(&format!("{redis}, the old master, comes back"));
            lab.start(&redis, program)?;
            sleep(cast.cut).await;
        }
        Fault::MasterEmpty => {
            tell(&format!("{redis} is killed, loses its data, and comes back at once"));
            lab.signal(&redis, Signal::SIGKILL)?;
            let data = lab.layout(&Place::Node(cast.master.clone())).state.join("redis");
            fs::remove_dir_all(&data).map_err(file("remove", &data))?;
            create_dir(&data)?;
            sleep(Duration::from_millis(100)).await;
            lab.start(&redis, program)?;
            sleep(cast.cut * 2).await;
        }
        Fault::SentinelStopped => {
            let sentinel = Service::Sentinel(cast.master.clone());
            tell(&format!("{sentinel} is stopped"));
            lab.signal(&sentinel, Signal::SIGSTOP)?;
            sleep(cast.cut).await;
            tell(&format!("{sentinel} goes on"));
            lab.signal(&sentinel, Signal::SIGCONT)?;
            sleep(cast.cut / 2).await;
        }
        Fault::AllRestarted => restart_all(lab, cast, program, &mut tell).await?,
        Fault::LinkFlap => {
            tell(&format!("the link of {} flaps", cast.master_host));
            for _ in 0..5 {
                lab.plug(&cast.master_host, false).await?;
                sleep(Duration::from_millis(100)).await;
                lab.plug(&cast.master_host, true).await?;
                sleep(Duration::from_millis(500)).await;
            }
            sleep(cast.cut / 2).await;
        }
    }
    Ok(())
}

fn names(hosts: &[HostName]) -> String {
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}

/// Kills the master's Redis, and does what systemd does by its unit.
async fn kill_master(
    lab: &ServiceLab,
    cast: &Cast,
    program: &Path,
    tell: &mut impl FnMut(&str),
) -> Result<(), DrillError> {
    let redis = Service::Redis(cast.master.clone());
    tell(&format!("{redis} is killed"));
    lab.signal(&redis, Signal::SIGKILL)?;
    if cast.waits {
        replaced(lab, &cast.tenant, &cast.master, cast.restart).await?;
    } else {
        sleep(cast.restart).await;
    }
    tell(&format!("{redis} is started again"));
    lab.start(&redis, program)?;
    sleep(REJOIN).await;
    Ok(())
}

/// Kills an agent, and does what systemd does by its unit.
async fn restart_agent(
    lab: &ServiceLab,
    host: &HostName,
    result: &str,
    program: &Path,
    tell: &mut impl FnMut(&str),
) -> Result<(), DrillError> {
    let agent = Service::Agent(host.clone());
    lab.signal(&agent, Signal::SIGKILL)?;
    let track = lab.layout(&Place::Proxy(host.clone())).track_file();
    let after =
        Command::new("/bin/sh").arg("-c").arg(after_agent(&track)).env("SERVICE_RESULT", result).status();
    after.map_err(file("write", &track))?;
    sleep(AGENT_RESTART).await;
    tell(&format!("{agent} is started again"));
    Ok(lab.start(&agent, program)?)
}

/// All nodes as after a power loss, in the order in which most can be lost.
async fn restart_all(
    lab: &ServiceLab,
    cast: &Cast,
    program: &Path,
    tell: &mut impl FnMut(&str),
) -> Result<(), DrillError> {
    // The replica that comes last is the one that is behind: it starts first.
    let mut order: Vec<&Ctid> = cast.replicas.iter().rev().collect();
    if let Some(behind) = order.first() {
        let redis = Service::Redis((*behind).clone());
        tell(&format!("{redis} is killed, and falls behind"));
        lab.signal(&redis, Signal::SIGKILL)?;
        sleep(cast.cut / 2).await;
    }
    order.push(&cast.master);
    tell("all nodes are killed at once");
    for ctid in &order {
        lab.signal(&Service::Sentinel((*ctid).clone()), Signal::SIGKILL)?;
        lab.signal(&Service::Redis((*ctid).clone()), Signal::SIGKILL)?;
    }
    for ctid in &order {
        sleep(STAGGER).await;
        tell(&format!("node {ctid} starts"));
        lab.start(&Service::Redis((*ctid).clone()), program)?;
        lab.start(&Service::Sentinel((*ctid).clone()), program)?;
    }
    sleep(cast.cut).await;
    Ok(())
}

async fn cut(
    lab: &ServiceLab,
    host: &HostName,
    cut: Duration,
    tell: &mut impl FnMut(&str),
) -> Result<(), DrillError> {
    tell(&format!("{host} is cut off"));
    lab.plug(host, false).await?;
    sleep(cut).await;
    tell(&format!("{host} is joined again"));
    Ok(lab.plug(host, true).await?)
}
