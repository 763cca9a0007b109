//! Breaks things in a service's lab, and mends them.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use ovs_mesh::link::Links;
use ovs_mesh::{Ctid, Datapath, HostName};
use tokio::time::sleep;

use super::{DrillError, Fault};
use crate::lab::{Service, ServiceLab, ServiceLabError};
use crate::render::Place;

/// The second bridge of a cut underlay.
const OTHER_SIDE: &str = "otherside";
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

/// Breaks it and mends it again, `tell`ing what it does.
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
            sleep(cast.cut.saturating_sub(cast.restart)).await;
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
            split(lab, &[&cast.master_host, &cast.proxy]).await?;
            sleep(PARTITION).await;
            tell("the underlay is whole again");
            join(lab).await?;
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
            pairs(lab, &cast.master_host, &cast.other_hosts, true)?;
            sleep(PARTITION).await;
            tell("they reach each other again");
            pairs(lab, &cast.master_host, &cast.other_hosts, false)?;
        }
        Fault::MasterReturns => {
            tell(&format!("{redis}, the old master, comes back"));
            lab.start(&redis, program)?;
            sleep(cast.cut * 2).await;
        }
        Fault::MasterEmpty => {
            tell(&format!("{redis} is killed, loses its data, and comes back at once"));
            lab.signal(&redis, Signal::SIGKILL)?;
            let data = lab.layout(&Place::Node(cast.master.clone())).state.join("redis");
            let failed = |step| {
                let path = data.clone();
                move |source| ServiceLabError::File { step, path, source }
            };
            fs::remove_dir_all(&data).map_err(failed("remove"))?;
            fs::create_dir(&data).map_err(failed("create"))?;
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

/// Puts all hosts but those on a bridge of their own.
async fn split(lab: &ServiceLab, stay: &[&HostName]) -> Result<(), DrillError> {
    let links = underlay(lab)?;
    let plan = lab.mesh().lab().plan();
    links.create_bridge(OTHER_SIDE).await.map_err(ServiceLabError::from)?;
    links.set_mtu(OTHER_SIDE, plan.underlay_mtu).await.map_err(ServiceLabError::from)?;
    links.set_up(OTHER_SIDE).await.map_err(ServiceLabError::from)?;
    for host in plan.hosts.iter().filter(|host| !stay.contains(&&host.name)) {
        let device = host.underlay_device.as_str();
        links.set_master(device, Some(OTHER_SIDE)).await.map_err(ServiceLabError::from)?;
    }
    Ok(())
}

/// Makes the underlay one again.
async fn join(lab: &ServiceLab) -> Result<(), DrillError> {
    let links = underlay(lab)?;
    let plan = lab.mesh().lab().plan();
    for host in &plan.hosts {
        let device = host.underlay_device.as_str();
        links.set_master(device, Some(plan.underlay_bridge())).await.map_err(ServiceLabError::from)?;
    }
    links.delete(OTHER_SIDE).await.map_err(ServiceLabError::from)?;
    Ok(())
}

fn underlay(lab: &ServiceLab) -> Result<Links, DrillError> {
    Ok(Links::open_in(&lab.client_netns()?).map_err(ServiceLabError::from)?)
}

/// Cuts one host from some others, or no longer: flows on the underlay's bridges drop what comes from the other side.
fn pairs(lab: &ServiceLab, one: &HostName, others: &[HostName], is_cut: bool) -> Result<(), DrillError> {
    let address = |host: &HostName| lab.mesh().topology().host(host).map(ovs_mesh::Host::underlay_ip);
    for other in others {
        for (at, from) in [(one, other), (other, one)] {
            let (Some(plan), Some(from)) = (lab.mesh().lab().plan().host(at), address(from)) else {
                continue;
            };
            let matched = match from {
                IpAddr::V4(from) => format!("ip,nw_src={from}"),
                IpAddr::V6(from) => format!("ipv6,ipv6_src={from}"),
            };
            let bridge = format!("unix:{}", plan.dir.join("br-phy.mgmt").display());
            let mut command = Command::new("ovs-ofctl");
            if is_cut {
                command.args(["add-flow", &bridge, &format!("priority=60000,{matched},actions=drop")]);
            } else {
                command.args(["--strict", "del-flows", &bridge, &format!("priority=60000,{matched}")]);
            }
            let failed = |reason: String| DrillError::Flow { host: at.clone(), reason };
            let output = command.output().map_err(|error| failed(error.to_string()))?;
            if !output.status.success() {
                return Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()));
            }
        }
    }
    Ok(())
}
