//! Asking ovs-vswitchd for its traces: the shell around [`Tracing`].

use std::error::Error;

use tokio::time::Instant;

use super::findings::{Check, Finding, Level, Severity};
use super::host::HostSnapshot;
use super::links::HostLinks;
use super::report::Report;
use super::trace::{DatapathPorts, FlowTable, KnownMac, Trace, TraceCase, Tracing, parse_learned};
use super::verify::Progress;
use crate::chain::Chain;
use crate::link;
use crate::names::HostName;
use crate::plan::{Plan, PlanError};
use crate::snapshot::PortRole;
use crate::switch::{ControlError, Switch};
use crate::topology::Topology;
use crate::unixctl::{Unixctl, UnixctlError};

const REMEDY: &str = "see that ovs-vswitchd runs, and what its log says";

/// Traces a host's packets over one connection, until the deadline at the latest, and says in the report what came of it.
/// `snapshot` is what is known of the host already.
pub(super) async fn trace(
    switch: &Switch,
    topology: &Topology,
    host: &HostName,
    snapshot: Option<&HostSnapshot>,
    deadline: Instant,
    progress: &dyn Progress,
) -> Result<Report, PlanError> {
    let mut tracer = Tracer {
        switch,
        topology,
        plan: Plan::new(topology, host)?,
        report: Report::new(topology),
        deadline,
        progress,
    };
    match tracer.run(snapshot).await {
        Ok(()) => {}
        Err(Failed::Control(error @ ControlError::Remote { .. })) => {
            tracer.report.skipped_level(host, Level::Trace, error.to_string());
        }
        Err(Failed::Control(_)) if Instant::now() >= deadline => {
            tracer.report.skipped_level(host, Level::Trace, "the time was up before the first packet");
        }
        Err(Failed::Control(error)) => tracer.failed("ovs-vswitchd", &Chain(&error).to_string()),
        Err(Failed::Reply(reason)) => tracer.failed("ovs-vswitchd", &reason),
        Err(Failed::Plan(error)) => return Err(error),
    }
    Ok(tracer.report)
}

enum Failed {
    Control(ControlError),
    Reply(String),
    Plan(PlanError),
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<UnixctlError> for Failed {
    fn from(error: UnixctlError) -> Self {
        Self::Control(error.into())
    }
}

struct Tracer<'a> {
    switch: &'a Switch,
    topology: &'a Topology,
    plan: Plan,
    report: Report,
    deadline: Instant,
    progress: &'a dyn Progress,
}

impl Tracer<'_> {
    /// The end of a wait that begins now.
    fn soon(&self) -> Instant {
        self.switch.deadline().min(self.deadline)
    }

    fn failed(&mut self, object: &str, reason: &str) {
        let (check, severity) = (Check::TraceFailed, Severity::Degraded);
        let finding = Finding::new(check, severity, &self.plan.host, &[], object, reason, REMEDY);
        self.report.extend([finding]);
    }

    async fn run(&mut self, snapshot: Option<&HostSnapshot>) -> Result<(), Failed> {
        let mut control = self.switch.control_socket().await?;
        let ports = control.call("dpif/show", &[], self.soon()).await?;
        let ports = DatapathPorts::parse(&ports).map_err(|error| Failed::Reply(error.to_string()))?;
        let tracing = Tracing::new(self.topology, &self.plan.host, &ports).map_err(Failed::Plan)?;
        let links = snapshot.and_then(|snapshot| snapshot.links.as_ref());
        let mut known = snapshot.map_or_else(Vec::new, |snapshot| attached(&self.plan, snapshot, links));
        self.flows(&mut control, &tracing).await?;
        self.others(&mut control, &tracing, snapshot).await?;
        self.learned(&mut control, &ports, &mut known).await?;
        let mut cases = tracing.cases(&known);
        // What there is little of first, should the time not do for all.
        cases.sort_by_key(TraceCase::is_known);
        let mut traced = Vec::with_capacity(cases.len());
        let ended = self.cases(&mut control, &cases, &mut traced).await;
        let findings = tracing.judge(traced.iter().map(|(case, trace)| (*case, trace)));
        self.report.extend(findings);
        self.kernel(&tracing, &ports, links.is_some()).await;
        match ended {
            Ok(()) => self.report.checked(&self.plan.host, Level::Trace),
            Err(_) if Instant::now() >= self.deadline => {
                let reason = format!("only {} of {} packets were traced in time", traced.len(), cases.len());
                self.report.skipped_level(&self.plan.host, Level::Trace, reason);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Traces one packet after the other, until an answer fails to come.
    async fn cases<'c>(
        &mut self,
        control: &mut Unixctl,
        cases: &'c [TraceCase],
        traced: &mut Vec<(&'c TraceCase, Trace)>,
    ) -> Result<(), UnixctlError> {
        for (done, case) in cases.iter().enumerate() {
            let [bridge, flow] = &case.arguments;
            match control.call("ofproto/trace", &[bridge, flow], self.soon()).await {
                Ok(reply) => match reply.parse() {
                    Ok(trace) => traced.push((case, trace)),
                    Err(error) => self.unknown(case, &error),
                },
                Err(UnixctlError::Refused { reply, .. }) => {
                    let object = format!("port {} on bridge {bridge}", case.in_port);
                    self.failed(&object, &format!("ovs-vswitchd refuses to trace: {}", reply.trim_end()));
                }
                Err(error) => return Err(error),
            }
            self.progress.traced(&self.plan.host, done + 1, cases.len());
        }
        Ok(())
    }

    fn unknown(&mut self, case: &TraceCase, error: &dyn Error) {
        let object = format!("port {} on bridge {}", case.in_port, case.bridge);
        let remedy = "look at the trace by hand (`ovs-appctl ofproto/trace`)";
        let (check, severity, host) = (Check::TraceUnknown, Severity::Breach, &self.plan.host);
        let finding = Finding::new(check, severity, host, &[&case.tenant], object, error.to_string(), remedy);
        self.report.extend([finding]);
    }

    /// Reads the flows of the tenants' bridges: those that no traced packet meets are seen in no other way.
    async fn flows(&mut self, control: &mut Unixctl, tracing: &Tracing<'_>) -> Result<(), Failed> {
        let mut found = Vec::new();
        for bridge in &self.plan.bridges {
            match control.call("bridge/dump-flows", &[bridge.name.as_str()], self.soon()).await {
                Ok(reply) => found.extend(tracing.flows(bridge, &FlowTable::parse(&reply))),
                // There is no such bridge; the static checks tell of it.
                Err(UnixctlError::Refused { reply, .. }) if reply.trim_end() == "Unknown bridge" => {}
                Err(UnixctlError::Refused { reply, .. }) => {
                    let reason = format!("ovs-vswitchd does not tell its flows: {}", reply.trim_end());
                    let object = format!("bridge {}", bridge.name);
                    let (check, severity) = (Check::TraceFailed, Severity::Degraded);
                    let (host, tenants) = (&self.plan.host, [&bridge.tenant]);
                    found.push(Finding::new(check, severity, host, &tenants, object, reason, REMEDY));
                }
                Err(error) => {
                    self.report.extend(found);
                    return Err(error.into());
                }
            }
        }
        self.report.extend(found);
        Ok(())
    }

    /// Reads the flows of others' bridges, where those decide by which key a tunnel sends.
    async fn others(
        &mut self,
        control: &mut Unixctl,
        tracing: &Tracing<'_>,
        snapshot: Option<&HostSnapshot>,
    ) -> Result<(), Failed> {
        let Some(snapshot) = snapshot else { return Ok(()) };
        for bridge in tracing.others(&snapshot.rows) {
            match control.call("bridge/dump-flows", &[bridge], self.soon()).await {
                Ok(reply) => self.report.extend(tracing.others_flows(bridge, &reply)),
                // It has gone meanwhile, or was never opened.
                Err(UnixctlError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Adds the addresses that the tenants' bridges have learned.
    async fn learned(
        &self,
        control: &mut Unixctl,
        ports: &DatapathPorts,
        known: &mut Vec<KnownMac>,
    ) -> Result<(), Failed> {
        for bridge in &self.plan.bridges {
            let name = bridge.name.as_str();
            let reply = match control.call("fdb/show", &[name], self.soon()).await {
                Ok(reply) => reply,
                // There is no such bridge; the static checks tell of it.
                Err(UnixctlError::Refused { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            for learned in parse_learned(&reply, name, ports) {
                let tenant = bridge.tenant.clone();
                let is_known = |other: &KnownMac| other.tenant == tenant && other.mac == learned.mac;
                if !known.iter().any(is_known) {
                    known.push(KnownMac { tenant, mac: learned.mac, port: learned.port });
                }
            }
        }
        Ok(())
    }

    /// The kernel's own ports, where a tenant's bridge is in its datapath, and that is the one that can be seen from here.
    async fn kernel(&mut self, tracing: &Tracing<'_>, ports: &DatapathPorts, is_here: bool) {
        let bridges = self.plan.bridges.iter();
        let mut held = bridges.flat_map(|bridge| ports.on(bridge.name.as_str()));
        let datapath = held.find_map(|port| port.datapath.strip_prefix("system@"));
        let Some(name) = datapath else { return };
        if !is_here {
            let reason = "the kernel's datapath is not one that can be seen from here";
            return self.report.skipped(&self.plan.host, &[Check::DatapathPort], reason);
        }
        let netns = self.switch.netns();
        let found = async {
            let all = link::datapaths(netns).await?;
            match all.iter().find(|datapath| datapath.name == name) {
                Some(datapath) => link::vports(netns, datapath).await,
                None => Ok(Vec::new()),
            }
        };
        match found.await {
            Ok(vports) => self.report.extend(tracing.kernel_ports(&vports)),
            Err(error) => {
                self.report.skipped(&self.plan.host, &[Check::DatapathPort], Chain(&error).to_string());
            }
        }
    }
}

/// The addresses behind the tenants' own ports, where the kernel or the row tells: those need not have said anything yet.
fn attached(plan: &Plan, snapshot: &HostSnapshot, links: Option<&HostLinks>) -> Vec<KnownMac> {
    let rows = &snapshot.rows;
    let mut known = Vec::new();
    for (row, port, interface) in rows.placed_interfaces() {
        let bridge = plan.bridges.iter().find(|bridge| bridge.name.as_str() == row.name);
        let Some(bridge) = bridge.filter(|_| port.is_owned_by(&plan.mesh)) else { continue };
        if port.role(Some(interface)) == PortRole::Tunnel {
            continue;
        }
        let told = snapshot.interface_details(interface.uuid);
        let told = told.and_then(|details| details.external_ids.get("attached-mac")?.parse().ok());
        let mac = links.and_then(|links| links.behind(&port.name)?.mac).or(told);
        let (tenant, port) = (bridge.tenant.clone(), Some(port.name.clone()));
        known.extend(mac.map(|mac| KnownMac { tenant, mac, port }));
    }
    known.sort_by(|a, b| (&a.tenant, &a.port, a.mac).cmp(&(&b.tenant, &b.port, b.mac)));
    known
}
