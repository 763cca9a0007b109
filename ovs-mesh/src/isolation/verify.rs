//! All levels on any number of hosts, one report: the shell of `ovsmesh verify`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::collect::{Collected, collect};
use super::findings::{Check, Finding, Level, Severity};
use super::host::HostSnapshot;
use super::machine::Machine;
use super::probe::{Owners, ProbeOptions, probe};
use super::report::Report;
use super::static_checks::{StaticChecks, StaticError};
use super::tracer::trace;
use crate::chain::Chain;
use crate::link::NetnsId;
use crate::names::{HostName, TenantName};
use crate::switch::{ControlError, Switch};
use crate::topology::Topology;

/// How a verification is made.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The levels.
    pub levels: BTreeSet<Level>,
    /// How long the traces of all hosts together may take; what is not traced by then is told as not checked.
    pub trace_time: Duration,
    /// How hosts are probed.
    pub probe: ProbeOptions,
}

impl VerifyOptions {
    /// All levels, a minute for the traces, and the probes' own defaults with that cookie.
    pub fn new(cookie: u64) -> Self {
        Self {
            levels: Level::ALL.into_iter().collect(),
            trace_time: Duration::from_secs(60),
            probe: ProbeOptions::new(cookie),
        }
    }
}

/// What a verification tells while it runs, for a progress bar.
pub trait Progress {
    /// So many of a host's packets are traced.
    fn traced(&self, host: &HostName, done: usize, total: usize);
}

impl Progress for () {
    fn traced(&self, _host: &HostName, _done: usize, _total: usize) {}
}

/// A host whose switch can be reached.
#[derive(Debug)]
pub struct Target {
    /// Its name in the topology.
    pub host: HostName,
    /// Its switch.
    pub switch: Switch,
    /// The network namespace of its devices, where those are on this machine: the one that its switch was connected with.
    pub netns: Option<NetnsId>,
}

/// Collects what all hosts come to.
#[derive(Debug)]
pub struct Verifier<'a> {
    topology: &'a Topology,
    options: VerifyOptions,
    checks: StaticChecks<'a>,
    owners: Owners<'a>,
    report: Report,
    notes: Vec<String>,
}

impl<'a> Verifier<'a> {
    /// Nothing is known yet.
    pub fn new(topology: &'a Topology, options: VerifyOptions) -> Self {
        let (checks, report) = (StaticChecks::new(topology), Report::new(topology));
        Self { topology, options, checks, owners: Owners::new(topology), report, notes: Vec::new() }
    }

    fn runs(&self, level: Level) -> bool {
        self.options.levels.contains(&level)
    }

    /// Adds a host of which there is a snapshot only.
    pub fn file(&mut self, snapshot: &HostSnapshot) -> Result<(), StaticError> {
        let live = |check: &Check| check.level() != Level::Static && self.runs(check.level());
        let live: Vec<Check> = Check::ALL.iter().copied().filter(live).collect();
        if !live.is_empty() {
            self.report.skipped(&snapshot.host, &live, "a snapshot is no running switch");
        }
        if self.runs(Level::Probe) {
            self.owners.add(snapshot)?;
        }
        if self.runs(Level::Static) { self.checks.host(snapshot) } else { Ok(()) }
    }

    /// Adds a host whose database cannot be read.
    pub fn unreachable(&mut self, host: &HostName, error: &dyn std::error::Error) {
        let reason = format!("nothing is known of it: {}", Chain(error));
        let remedy = "see that ovsdb-server runs on the host and can be reached";
        let (check, severity) = (Check::SwitchUnreachable, Severity::Degraded);
        self.report.extend([Finding::new(check, severity, host, &[], "ovsdb-server", reason, remedy)]);
    }

    /// Adds hosts that can be reached. Devices are read after all rows, since a row is only stale if its device is missing
    /// later; hosts are traced at once, for each has an ovs-vswitchd of its own.
    pub async fn hosts(&mut self, targets: &[Target], progress: &dyn Progress) -> Result<(), StaticError> {
        let mesh = self.topology.name();
        let read = targets.iter().map(|target| collect(&target.switch, mesh, &target.host));
        let mut snapshots = Vec::with_capacity(targets.len());
        for (target, collected) in targets.iter().zip(join_all(read).await) {
            match collected {
                Ok(Collected { snapshot, no_tunnels }) => {
                    if let Some(error) = no_tunnels {
                        self.no_tunnels(&target.host, &error);
                    }
                    snapshots.push(Some(snapshot));
                }
                Err(error) => {
                    self.unreachable(&target.host, &error);
                    snapshots.push(None);
                }
            }
        }
        self.devices(targets, &mut snapshots).await;
        if self.runs(Level::Static) {
            snapshots.iter().flatten().try_for_each(|snapshot| self.checks.host(snapshot))?;
        }
        if self.runs(Level::Trace) {
            let deadline = Instant::now() + self.options.trace_time;
            let traces =
                targets.iter().zip(&snapshots).map(|(Target { host, switch, netns: _ }, snapshot)| {
                    trace(switch, self.topology, host, snapshot.as_ref(), deadline, progress)
                });
            for traced in join_all(traces).await {
                self.report.join(traced?);
            }
        }
        if self.runs(Level::Probe) {
            // Packets can only be sent and seen where the host's devices are.
            let (here, elsewhere): (Vec<&Target>, Vec<&Target>) =
                targets.iter().partition(|target| target.netns.is_some());
            for target in elsewhere {
                let reason = "its devices are not those that can be seen from here";
                self.report.skipped_level(&target.host, Level::Probe, reason);
            }
            snapshots.iter().flatten().try_for_each(|snapshot| self.owners.add(snapshot))?;
            let mut options = self.options.probe.clone();
            options.skip.extend(self.looping());
            let probes = here.iter().map(|Target { host, switch, netns: _ }| {
                probe(switch, self.topology, host, &options, &self.owners)
            });
            for (Target { host, .. }, probed) in here.iter().zip(join_all(probes).await) {
                match probed {
                    Ok(report) => self.report.join(report),
                    Err(error) => self.report.skipped_level(host, Level::Probe, Chain(&error).to_string()),
                }
            }
        }
        Ok(())
    }

    /// The tenants of which a level before has found, on any host, that what comes by a tunnel may leave by one.
    fn looping(&self) -> BTreeSet<TenantName> {
        let all = self.checks.so_far().iter().chain(self.report.findings());
        let round = all.filter(|it| matches!(it.check, Check::TunnelProtected | Check::TraceTransit));
        let tenants = round.flat_map(|finding| match finding.tenants.as_slice() {
            // All that the host carries; there it may be any.
            [] => self.topology.tenants().iter().map(|tenant| tenant.name().clone()).collect(),
            some => some.to_vec(),
        });
        tenants.collect()
    }

    fn no_tunnels(&mut self, host: &HostName, error: &ControlError) {
        if matches!(error, ControlError::Remote { .. }) || !self.runs(Level::Static) {
            return;
        }
        let reason = format!("it does not answer, so that nobody can say what it forwards: {}", Chain(error));
        let remedy = "see that ovs-vswitchd runs, and what its log says";
        let (check, severity) = (Check::SwitchApplied, Severity::Degraded);
        self.report.extend([Finding::new(check, severity, host, &[], "ovs-vswitchd", reason, remedy)]);
    }

    async fn devices(&mut self, targets: &[Target], snapshots: &mut [Option<HostSnapshot>]) {
        let Some(timeout) = targets.iter().find(|it| it.netns.is_some()).map(|it| it.switch.deadline())
        else {
            return;
        };
        match Machine::read(timeout).await {
            Ok(machine) => {
                for (Target { netns, .. }, snapshot) in targets.iter().zip(snapshots) {
                    if let (Some(netns), Some(snapshot)) = (netns, snapshot) {
                        snapshot.links = machine.host(*netns);
                    }
                }
            }
            Err(error) => self.notes.push(format!("the kernel's devices are not checked: {}", Chain(&error))),
        }
    }

    /// What all of it comes to, and what is no finding but should be said.
    pub fn finish(self) -> (Report, Vec<String>) {
        let Self { checks, mut report, notes, .. } = self;
        report.join(checks.finish());
        (report, notes)
    }
}
