//! What a drill breaks of a lab's underlay, and all of a lab made whole again.

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use ovs_mesh::link::{Link, Links};
use ovs_mesh::{Datapath, Host, HostName};
use ovsmesh_lab::HostPlan;
use tokio::time::sleep;

use super::damage::at_once;
use super::{
    LabEc2Error, MOTO_LOG, PYTHON, Service, ServiceError, ServiceLab, ServiceLabError, create_dir, dir, file,
};
use crate::render::Place;

/// The second bridge of an underlay that is cut in two.
const OTHER_SIDE: &str = "otherside";
/// The cookie of the flows that cut hosts from each other, by which they are found again.
const COOKIE: &str = "0x7265646973";
/// When a daemon that was started would have ended, if it cannot run.
const SOON: Duration = Duration::from_millis(200);
/// How many seconds a host's `ovs-vswitchd` may take to take a flow, and to tell its flows.
const TIMEOUT: &str = "--timeout=10";
const PATIENCE: &str = "--timeout=2";

/// What was done about a daemon.
#[derive(Debug, Clone, Copy)]
enum Revived {
    Ran,
    GoesOn,
    Started,
}

/// What came of each part: one that fails keeps nobody from the next.
#[derive(Debug, Default)]
struct Mending {
    done: Vec<String>,
    failed: Vec<ServiceLabError>,
}

impl Mending {
    /// Notes what was done, in words; none is that there was nothing to do.
    fn note(&mut self, part: Result<Option<String>, ServiceLabError>) {
        match part {
            Ok(done) => self.done.extend(done),
            Err(failed) => self.failed.push(failed),
        }
    }

    fn end(mut self) -> Result<Vec<String>, ServiceLabError> {
        match self.failed.len() {
            0 => Ok(self.done),
            1 => Err(self.failed.remove(0)),
            _ => Err(ServiceLabError::Mend { failed: self.failed }),
        }
    }
}

impl ServiceLab {
    /// Makes whole what a drill has broken, also one that was interrupted: the underlay's cables and bridges, flows that cut hosts
    /// off, daemons that were stopped, and those that do not run, moto too. What it did, in words; a lab that is whole is not touched.
    ///
    /// It goes through all of it, whatever fails.
    pub async fn mend(&self, program: &Path) -> Result<Vec<String>, ServiceLabError> {
        let mut mending = Mending::default();
        if let Err(failed) = self.join_all(&mut mending).await {
            mending.failed.push(failed);
        }
        if self.mesh.topology().datapath() == Datapath::Netdev {
            for (_, opened) in at_once(&self.mesh.lab().plan().hosts, open_up) {
                mending.note(opened);
            }
        }
        mending.note(self.revive_ec2().await);
        let mut started = Vec::new();
        for service in self.services() {
            match self.revive(&service, program) {
                Ok(Revived::Started) => started.push(service),
                Ok(Revived::GoesOn) => mending.done.push(format!("{service} goes on")),
                Ok(Revived::Ran) => {}
                Err(failed) => mending.failed.push(failed),
            }
        }
        if !started.is_empty() {
            sleep(SOON).await;
        }
        for service in started {
            let log = self.log(&service);
            mending.note(match self.pid(&service) {
                Some(_) => Ok(Some(format!("{service} is started"))),
                None => Err(ServiceError::Ended { service, log }.into()),
            });
        }
        mending.end()
    }

    /// Starts moto anew, if the lab has one and it does not know the proxies' interfaces (any more). It knows nothing of before: the notifiers tell it whose the VIPs are.
    async fn revive_ec2(&self) -> Result<Option<String>, ServiceLabError> {
        let Some(aws) = &self.config.proxies.aws else { return Ok(None) };
        let ec2 = self.ec2()?;
        if ec2.fault(&self.config, aws)?.is_none() {
            return Ok(None);
        }
        ec2.end().await?;
        let path = dir(&self.mesh).join(PYTHON);
        let python = PathBuf::from(OsString::from_vec(fs::read(&path).map_err(file("read", &path))?));
        let log = dir(&self.mesh).join(MOTO_LOG);
        let made = ec2.start(&python, &log, &self.config, self.client_address()?).await?;
        if made.interfaces != aws.interfaces {
            return Err(LabEc2Error::Renamed.into());
        }
        Ok(Some("moto is started".to_owned()))
    }

    /// Makes a daemon run that was stopped or has ended.
    fn revive(&self, service: &Service, program: &Path) -> Result<Revived, ServiceLabError> {
        if self.is_stopped(service) {
            self.signal(service, Signal::SIGCONT)?;
            return Ok(Revived::GoesOn);
        }
        if self.pid(service).is_some() {
            return Ok(Revived::Ran);
        }
        if let Service::Redis(ctid) = service {
            create_dir(&self.layout(&Place::Node(ctid.clone())).state.join("redis"))?;
        }
        self.start(service, program)?;
        Ok(Revived::Started)
    }

    /// Puts all hosts but those on a bridge of their own.
    pub(crate) async fn split(&self, stay: &[&HostName]) -> Result<(), ServiceLabError> {
        let links = Links::open_in(&self.client_netns()?)?;
        let plan = self.mesh.lab().plan();
        if links.get(OTHER_SIDE).await?.is_none() {
            links.create_bridge(OTHER_SIDE).await?;
        }
        links.set_mtu(OTHER_SIDE, plan.underlay_mtu).await?;
        links.set_up(OTHER_SIDE).await?;
        for host in plan.hosts.iter().filter(|host| !stay.contains(&&host.name)) {
            links.set_master(host.underlay_device.as_str(), Some(OTHER_SIDE)).await?;
        }
        Ok(())
    }

    /// Makes the underlay one again, with all cables in.
    pub(crate) async fn rejoin(&self) -> Result<Vec<String>, ServiceLabError> {
        let mut mending = Mending::default();
        self.join_all(&mut mending).await?;
        mending.end()
    }

    async fn join_all(&self, mending: &mut Mending) -> Result<(), ServiceLabError> {
        let links = Links::open_in(&self.client_netns()?)?;
        let plan = self.mesh.lab().plan();
        for host in self.cut_off(&links.list().await?) {
            let joined = join(&links, host.underlay_device.as_str(), plan.underlay_bridge()).await;
            mending.note(joined.map(|()| Some(format!("{} is joined to the underlay", host.name))));
        }
        if links.delete(OTHER_SIDE).await? {
            mending.done.push("the underlay is one again".to_owned());
        }
        Ok(())
    }

    /// The hosts whose cables are out, by the underlay's devices.
    pub(super) fn cut_off(&self, devices: &[Link]) -> Vec<&HostPlan> {
        let plan = self.mesh.lab().plan();
        let bridge = devices.iter().find(|link| link.name == plan.underlay_bridge()).map(|link| link.index);
        let is_out = |host: &&HostPlan| {
            let found = devices.iter().find(|link| link.name == host.underlay_device.as_str());
            found.is_none_or(|link| link.master != bridge || !link.up)
        };
        plan.hosts.iter().filter(is_out).collect()
    }

    /// Cuts one host from some others, or no longer: flows on the underlay's bridges drop what comes from the other side.
    ///
    /// These bridges are there on the userspace datapath alone.
    pub(crate) fn cut_pairs(
        &self,
        one: &HostName,
        others: &[HostName],
        is_cut: bool,
    ) -> Result<(), ServiceLabError> {
        let address = |host: &HostName| self.mesh.topology().host(host).map(Host::underlay_ip);
        for other in others {
            for (at, from) in [(one, other), (other, one)] {
                let (Some(host), Some(from)) = (self.mesh.lab().plan().host(at), address(from)) else {
                    return Err(ServiceLabError::NoHost { host: at.clone() });
                };
                let matched = match from {
                    IpAddr::V4(from) => format!("ip,nw_src={from}"),
                    IpAddr::V6(from) => format!("ipv6,ipv6_src={from}"),
                };
                if is_cut {
                    let flow = format!("cookie={COOKIE},priority=60000,{matched},actions=drop");
                    ofctl(host, TIMEOUT, &["add-flow", &bridge(host), &flow])?;
                } else {
                    ofctl(
                        host,
                        TIMEOUT,
                        &["del-flows", &bridge(host), &format!("cookie={COOKIE}/-1,{matched}")],
                    )?;
                }
            }
        }
        Ok(())
    }
}

async fn join(links: &Links, device: &str, bridge: &str) -> Result<(), ServiceLabError> {
    links.set_master(device, Some(bridge)).await?;
    Ok(links.set_up(device).await?)
}

/// Takes away the flows that cut a host from others.
fn open_up(host: &HostPlan) -> Result<Option<String>, ServiceLabError> {
    if !is_cut_from_others(host)? {
        return Ok(None);
    }
    ofctl(host, TIMEOUT, &["del-flows", &bridge(host), &cuts()])?;
    Ok(Some(format!("{} reaches all hosts again", host.name)))
}

/// Whether there are such flows.
pub(super) fn is_cut_from_others(host: &HostPlan) -> Result<bool, ServiceLabError> {
    Ok(ofctl(host, PATIENCE, &["dump-flows", &bridge(host), &cuts()])?.contains("actions="))
}

fn cuts() -> String {
    format!("cookie={COOKIE}/-1")
}

/// A host's bridge on the underlay, by its control socket.
fn bridge(host: &HostPlan) -> String {
    format!("unix:{}", host.dir.join("br-phy.mgmt").display())
}

fn ofctl(host: &HostPlan, timeout: &str, words: &[&str]) -> Result<String, ServiceLabError> {
    let failed = |reason: String| ServiceLabError::Flow { host: host.name.clone(), reason };
    let mut command = Command::new("ovs-ofctl");
    // A terminal's interrupt is ours to take, and not the end of a look at a lab that is whole.
    let output = command.arg(timeout).args(words).process_group(0).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.signal() == Some(Signal::SIGALRM as i32) {
        return Err(ServiceLabError::Silent { host: host.name.clone() });
    }
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
