//! Breaks things in a service's lab, and mends them.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use ovs_mesh::{Ctid, Datapath, HostName};
use tokio::time::sleep;

use super::{DrillError, Fault};
use crate::lab::{Service, ServiceLab, create_dir, file};
use crate::render::Place;

/// How long a Redis that was started again may take to find its place.
const REJOIN: Duration = Duration::from_secs(2);
/// How long a partition lasts.
const PARTITION: Duration = Duration::from_secs(18);

/// Who is who when a drill begins.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) master: Ctid,
    pub(super) master_host: HostName,
    pub(super) other_hosts: Vec<HostName>,
    pub(super) proxy: HostName,
    pub(super) restart: Duration,
    /// How long something is cut off: longer than it takes to be replaced.
    pub(super) cut: Duration,
}

/// Breaks it and mends it again, `tell`ing what it does. When it fails, or is dropped, what it broke stays broken; see
/// [`ServiceLab::mend`].
pub(super) async fn inject(
    lab: &ServiceLab,
    fault: Fault,
    cast: &Cast,
    program: &std::path::Path,
    mut tell: impl FnMut(&str),
) -> Result<(), DrillError> {
    let redis = Service::Redis(cast.master.clone());
    match fault {
        Fault::MasterKilled => {
            tell(&format!("{redis} is killed"));
            lab.signal(&redis, Signal::SIGKILL)?;
            sleep(cast.restart).await;
            tell(&format!("{redis} is started again"));
            lab.start(&redis, program)?;
            sleep(REJOIN).await;
        }
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
