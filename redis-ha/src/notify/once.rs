//! One notice, as a plain `notify` script is told it.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::machine_addresses::machine_addresses;
use super::{
    Change, Coordinator, Notice, NotifyOptions, Order, Outcome, Pace, Subject, Verdict, Vpc, VpcError,
};
use crate::aws::{AwsEnvironment, Ec2Error, InterfaceId};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnceReport {
    /// This machine is not master: there is nothing to do.
    NotMaster,
    /// The addresses lead here.
    Held {
        /// They.
        addresses: Vec<Ipv4Addr>,
        /// Where they lead to.
        interface: InterfaceId,
        /// Whether they had to be taken.
        is_moved: bool,
        /// How long it took.
        took: Duration,
    },
}

/// The VIP does not lead here.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// No VIP is configured for what the notice is about.
    #[error("no VIP follows {subject}")]
    Unknown {
        /// What the notice is about.
        subject: Subject,
    },
    /// It is of no use to try again.
    #[error(transparent)]
    Failed(VpcError),
    /// Tried until the deadline.
    #[error("{} not seen to lead here within {deadline:?}", list(.addresses))]
    Late {
        /// The VIPs.
        addresses: Vec<Ipv4Addr>,
        /// How long it was tried.
        deadline: Duration,
        /// The last failure, if there was one: EC2 may also just not have carried it out.
        source: Option<VpcError>,
    },
    /// While it was tried, keepalived took the VIP off this machine.
    #[error("this machine is no longer master: the VIP is on none of its devices")]
    NoLongerMaster,
}

pub(super) fn list(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Does what a notice asks for. Before each retry and each call that moves something it looks whether this machine has the
/// VIP, where it can.
pub fn once(
    options: &NotifyOptions,
    environment: AwsEnvironment,
    notice: &Notice,
) -> Result<OnceReport, OnceError> {
    let subjects = options.subjects();
    let found = subjects.into_iter().find(|(subject, _)| *subject == notice.subject);
    let (_, addresses) = found.ok_or_else(|| OnceError::Unknown { subject: notice.subject.clone() })?;
    if notice.state.change() == Change::NotMaster {
        return Ok(OnceReport::NotMaster);
    }
    let mut vpc = Vpc::new(options, environment);
    let mut coordinator = Coordinator::new(1, Pace::new(options.deadline, options.reconcile));
    coordinator.hear(0, Change::Master, Instant::now());
    let mut last = None;
    let is_master = || !options.has_local_addresses || is_here(&addresses);
    loop {
        let now = Instant::now();
        let Some(Order { subject: _, step, word: _ }) = coordinator.poll(now) else {
            let Some(at) = coordinator.wake_at() else { return Err(OnceError::NoLongerMaster) };
            sleep(at.saturating_duration_since(now));
            if !is_master() {
                return Err(OnceError::NoLongerMaster);
            }
            continue;
        };
        let outcome = match vpc.carry_out(&addresses, &step, &is_master) {
            Ok(outcome) => outcome,
            Err(VpcError::Ec2(Ec2Error::Void { .. })) => return Err(OnceError::NoLongerMaster),
            Err(error) => {
                let severity = error.severity();
                last = Some(error);
                Outcome::Failed(severity)
            }
        };
        match coordinator.finish(outcome, Instant::now(), fastrand::f64()) {
            Verdict::Continues | Verdict::Retries { .. } => {}
            Verdict::Held { is_moved, reason: _, took } => {
                let Some(interface) = vpc.interface_of(&addresses).cloned() else {
                    return Err(OnceError::NoLongerMaster);
                };
                return Ok(OnceReport::Held { addresses, interface, is_moved, took });
            }
            Verdict::GivenUp { is_late } => {
                return Err(match last {
                    Some(error) if !is_late => OnceError::Failed(error),
                    source => OnceError::Late { addresses, deadline: options.deadline, source },
                });
            }
            Verdict::Superseded => return Err(OnceError::NoLongerMaster),
        }
    }
}

/// Whether any of the addresses is on a device. What cannot be read says nothing.
fn is_here(addresses: &[Ipv4Addr]) -> bool {
    machine_addresses().map_or(true, |here| addresses.iter().any(|address| here.contains(address)))
}
