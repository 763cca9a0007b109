//! What a trace says of isolation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Trace;
use super::actions::DpPort;
use super::cases::{Expected, TraceCase};
use super::ends::End;
use super::flows::FlowTable;
use super::ports::{DatapathPorts, ListedPort};
use crate::isolation::findings::{Check, Finding, Severity};
use crate::link::{Vport, VportKind};
use crate::names::{HostName, TenantName};
use crate::plan::{Bridge, Plan, PlanError};
use crate::topology::{Tenant, Topology};

/// What mends flows: a bridge of the mesh's has one, `NORMAL`.
const FLOWS: &str =
    "look at `ovs-ofctl dump-flows` of the bridge: it needs one flow, `priority=0 actions=NORMAL`";

/// What mends tunnels.
const SYNC: &str = "run `ovsmesh sync` on the host, and `ovsmesh verify --static`";

/// The traces of one host.
#[derive(Debug)]
pub struct Tracing<'a> {
    pub(super) topology: &'a Topology,
    pub(super) plan: Plan,
    pub(super) ports: &'a DatapathPorts,
}

impl<'a> Tracing<'a> {
    /// The traces of a host whose `dpif/show` says `ports`.
    pub fn new(topology: &'a Topology, host: &HostName, ports: &'a DatapathPorts) -> Result<Self, PlanError> {
        Ok(Self { topology, plan: Plan::new(topology, host)?, ports })
    }

    /// What is wrong with the ways that packets take. What goes wrong in one way for several packets, or from several ports,
    /// or at several ends, is one finding.
    pub fn judge<'t>(&self, traced: impl IntoIterator<Item = (&'t TraceCase, &'t Trace)>) -> Vec<Finding> {
        let mut found: BTreeMap<Wrong, Ways> = BTreeMap::new();
        for (case, trace) in traced {
            let Some(tenant) = self.topology.tenant(&case.tenant) else { continue };
            let Some(bridge) = self.plan.bridge_of(&case.tenant) else { continue };
            let datapath = self.ports.on(&case.bridge).next().map_or("", |port| port.datapath.as_str());
            let mut judge = Judge { tracing: self, case, tenant, bridge, datapath, found: &mut found };
            for why in &trace.failed {
                judge.add(Check::TraceFailed, Severity::Degraded, None, format!("is dropped: {why}"), FLOWS);
            }
            let ends = trace.ends(|port| judge.is_tunnel(port));
            for end in &ends {
                judge.end(end);
            }
            judge.missing(trace, &ends);
        }
        // What is wrong in the same ways from several ports is told once, or a patch port would be told of from every tunnel.
        let mut alike: BTreeMap<Alike, (Vec<String>, Vec<String>)> = BTreeMap::new();
        for (wrong, ways) in found {
            let Wrong { check, severity, in_port, bridge, tenants } = wrong;
            let Ways { packets, mut reasons, remedy } = ways;
            reasons.sort_unstable();
            let (ports, all) = alike.entry((check, severity, bridge, tenants, reasons, remedy)).or_default();
            ports.push(in_port);
            for packet in packets {
                once(all, packet);
            }
        }
        let findings = alike.into_iter().map(
            |((check, severity, bridge, tenants, reasons, remedy), (ports, packets))| {
                let tenants: Vec<&TenantName> = tenants.iter().collect();
                let (what, it) = if ports.len() == 1 { ("port", "it") } else { ("ports", "them") };
                let object = format!("{what} {} on bridge {bridge}", some(&ports, ", "));
                let reason = format!("{} from {it} {}", some(&packets, ", "), some(&reasons, "; "));
                Finding::new(check, severity, &self.plan.host, &tenants, object, reason, remedy)
            },
        );
        findings.collect()
    }

    /// What is wrong with the flows of a tenant's bridge: that they are others than the one that it needs.
    pub fn flows(&self, bridge: &Bridge, table: &FlowTable) -> Option<Finding> {
        const SHOWN: usize = 5;
        const LENGTH: usize = 160;
        let FlowTable { normal, others } = table;
        let mut reasons = Vec::new();
        if !others.is_empty() {
            let mut shown: Vec<String> =
                others.iter().take(SHOWN).map(|(_, flow)| cut(flow, LENGTH)).collect();
            if others.len() > SHOWN {
                shown.push(format!("{} more", others.len() - SHOWN));
            }
            let what = if others.len() == 1 { "another flow" } else { "other flows" };
            reasons.push(format!("it has {what} than its one: {}", shown.join("; ")));
        }
        if !normal {
            reasons
                .push("it has no flow `priority=0 actions=NORMAL`: it drops what no other takes".to_owned());
        }
        let worst = others.iter().map(|(severity, _)| *severity).max();
        let severity = worst.or((!normal).then_some(Severity::Degraded))?;
        let (check, host, object) = (Check::TraceFlows, &self.plan.host, format!("bridge {}", bridge.name));
        Some(Finding::new(check, severity, host, &[&bridge.tenant], object, reasons.join("; "), FLOWS))
    }

    /// What is wrong with the ports that the kernel's datapath really has (`ovs_vport` of generic netlink), where the
    /// tenants' bridges are in it.
    pub fn kernel_ports(&self, vports: &[Vport]) -> Vec<Finding> {
        let mut found = Vec::new();
        let remedy = "restart ovs-vswitchd: it and the kernel do not agree";
        for bridge in &self.plan.bridges {
            let own = self.ports.on(bridge.name.as_str()).filter(|port| port.datapath.starts_with("system@"));
            for port in own {
                let Some(number) = port.number else { continue };
                let kernel = vports.iter().find(|vport| vport.number == number.0);
                let (severity, reason) = match kernel {
                    None => (Severity::Degraded, format!("the kernel's datapath has no port {number}")),
                    Some(Vport { name, kind, .. }) => {
                        let right = match kind {
                            VportKind::Netdev | VportKind::Internal => *name == port.name,
                            VportKind::Gre => matches!(port.kind.as_str(), "gre" | "ip6gre"),
                            // ip6gre has a device of the kernel's for a port.
                            _ => port.is_tunnel(),
                        };
                        if right || (port.is_tunnel() && *kind == VportKind::Netdev) {
                            continue;
                        }
                        (Severity::Breach, format!("port {number} of the kernel's datapath is {name}"))
                    }
                };
                let object = format!("port {} on bridge {}", port.name, port.bridge);
                let (check, host) = (Check::DatapathPort, &self.plan.host);
                found.push(Finding::new(check, severity, host, &[&bridge.tenant], object, reason, remedy));
            }
        }
        found
    }
}

/// What is wrong, where, and for whom.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Wrong {
    check: Check,
    severity: Severity,
    in_port: String,
    bridge: String,
    tenants: BTreeSet<TenantName>,
}

/// In which ways it is.
struct Ways {
    packets: Vec<String>,
    reasons: Vec<String>,
    remedy: &'static str,
}

/// What is the same of what is told once: check, severity, bridge, tenants, reasons and remedy.
type Alike = (Check, Severity, String, BTreeSet<TenantName>, Vec<String>, &'static str);

/// No more than so many letters.
fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn once(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

/// The first few.
fn some(list: &[String], between: &str) -> String {
    const SHOWN: usize = 4;
    let shown = list.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(between);
    if list.len() > SHOWN { format!("{shown} and {} more", list.len() - SHOWN) } else { shown }
}

struct Judge<'a, 'b> {
    tracing: &'b Tracing<'a>,
    case: &'b TraceCase,
    tenant: &'a Tenant,
    bridge: &'b Bridge,
    datapath: &'b str,
    found: &'b mut BTreeMap<Wrong, Ways>,
}

impl<'b> Judge<'_, 'b> {
    fn add(
        &mut self,
        check: Check,
        severity: Severity,
        other: Option<&TenantName>,
        reason: String,
        remedy: &'static str,
    ) {
        let TraceCase { bridge, in_port, packet, .. } = self.case;
        let tenants: BTreeSet<TenantName> =
            std::iter::once(self.tenant.name()).chain(other).cloned().collect();
        let (in_port, bridge) = (in_port.clone(), bridge.clone());
        let wrong = Wrong { check, severity, in_port, bridge, tenants };
        let ways = self.found.entry(wrong).or_insert_with(|| Ways {
            packets: Vec::new(),
            reasons: Vec::new(),
            remedy,
        });
        once(&mut ways.packets, packet.to_string());
        once(&mut ways.reasons, reason);
    }

    fn numbered(&self, port: DpPort) -> impl Iterator<Item = &'b ListedPort> + use<'b> {
        self.tracing.ports.numbered(self.datapath, port)
    }

    fn is_tunnel(&self, port: DpPort) -> bool {
        self.numbered(port).any(ListedPort::is_tunnel)
    }

    /// The tenant whose bridge that is.
    fn tenant_on(&self, bridge: &str) -> Option<&'b TenantName> {
        let tracing = self.tracing;
        tracing.plan.bridges.iter().find(|own| own.name.as_str() == bridge).map(|own| &own.tenant)
    }

    fn end(&mut self, end: &End) {
        let changes = match end {
            End::Port { port, changes } => {
                self.port(*port);
                changes.as_slice()
            }
            End::Tunnel { kind, local: _, remote, key, through, changes } => {
                self.tunnel(kind.as_deref(), *remote, *key);
                self.outside(through);
                changes.as_slice()
            }
            End::Userspace { what } => {
                self.userspace(what);
                &[]
            }
            End::Unknown { what } => {
                let reason = format!("meets an action that nobody here understands: {what}");
                let remedy = "look at the trace by hand (`ovs-appctl ofproto/trace`)";
                self.add(Check::TraceUnknown, Severity::Breach, None, reason, remedy);
                &[]
            }
        };
        if !changes.is_empty() {
            let reason = format!("is changed on its way: {}", changes.join(", "));
            self.add(Check::TraceRewrite, Severity::Degraded, None, reason, FLOWS);
        }
    }

    fn port(&mut self, number: DpPort) {
        let Some(port) = self.numbered(number).next() else {
            let reason = format!("goes to port {number} of the datapath, which is on no bridge");
            return self.add(Check::TraceLeak, Severity::Breach, None, reason, FLOWS);
        };
        if port.bridge == self.case.bridge {
            return;
        }
        let other = self.tenant_on(&port.bridge);
        let reason = format!("gets to port {} on bridge {}", port.name, port.bridge);
        self.add(Check::TraceLeak, Severity::Breach, other, reason, FLOWS);
    }

    fn tunnel(&mut self, kind: Option<&str>, remote: Option<IpAddr>, key: Option<u64>) {
        let topology = self.tracing.topology;
        let to = remote.map_or("an unknown address".to_owned(), |remote| remote.to_string());
        let mut wrong = Vec::new();
        let mut other = None;
        if key != Some(u64::from(self.tenant.key().get())) {
            let named = topology.tenants().iter().find(|own| key == Some(u64::from(own.key().get())));
            other = named.map(Tenant::name);
            let key = key.map_or("no key".to_owned(), |key| format!("key {key}"));
            wrong.push(format!("with {key}, not {}", self.tenant.key()));
        }
        let host = topology.hosts().iter().find(|host| Some(host.underlay_ip()) == remote);
        let at = host.and_then(|host| topology.position(host.name()));
        let own = host.is_some_and(|host| *host.name() == self.tracing.plan.host);
        if own || at.is_none_or(|at| self.tenant.members.binary_search(&at).is_err()) {
            wrong.push("which is no other host of the tenant".to_owned());
        }
        if kind.is_some_and(|kind| kind != "gre") {
            wrong.push(format!("by {}", kind.filter(|kind| !kind.is_empty()).unwrap_or("an unknown tunnel")));
        }
        if !wrong.is_empty() {
            let reason = format!("leaves to {to} {}", wrong.join(", "));
            self.add(Check::TraceTunnel, Severity::Breach, other, reason, SYNC);
        }
        if self.case.from_peer.is_some() {
            let reason = format!("came by a tunnel and leaves by one, to {to}: it goes round for ever");
            self.add(Check::TraceTransit, Severity::Breach, None, reason, SYNC);
        }
    }

    /// What is outside a tunnel's packet leaves by the underlay's bridge, not by a tenant's. Up to OVS 2.7 what follows an
    /// encapsulation is done to the packet inside: there, a port of the tenant's own is one that it gets to.
    fn outside(&mut self, through: &[DpPort]) {
        for number in through {
            let Some(port) = self.numbered(*number).next() else {
                let reason =
                    format!("goes, encapsulated, to port {number} of the datapath, which is on no bridge");
                self.add(Check::TraceLeak, Severity::Breach, None, reason, FLOWS);
                continue;
            };
            let other = self.tenant_on(&port.bridge).filter(|other| *other != self.tenant.name());
            if other.is_some() {
                let reason = format!("gets, encapsulated, to port {} on bridge {}", port.name, port.bridge);
                self.add(Check::TraceLeak, Severity::Breach, other, reason, FLOWS);
            }
        }
    }

    fn userspace(&mut self, what: &str) {
        let (check, severity, reason) = if what.contains("controller(") {
            (Check::TraceUserspace, Severity::Breach, "goes to a controller")
        } else if what.contains("sFlow(") {
            (Check::TraceUserspace, Severity::Breach, "goes, its beginning at least, to an sFlow collector")
        } else if what.contains("flow_sample(") || what.contains("ipfix(") {
            (Check::TraceUserspace, Severity::Notice, "is counted for an IPFIX collector")
        } else {
            (Check::TraceUnknown, Severity::Breach, "goes to ovs-vswitchd, and on to nobody knows where")
        };
        self.add(check, severity, None, format!("{reason} ({what})"), FLOWS);
    }

    fn missing(&mut self, trace: &Trace, ends: &[End]) {
        let ports = ends.iter().flat_map(|end| match end {
            End::Port { port, .. } => std::slice::from_ref(port),
            End::Tunnel { through, .. } => through.as_slice(),
            End::Userspace { .. } | End::Unknown { .. } => &[],
        });
        let reached_ports: BTreeSet<DpPort> = ports.copied().collect();
        let reached_hosts: BTreeSet<IpAddr> = ends
            .iter()
            .filter_map(|end| if let End::Tunnel { remote, .. } = end { *remote } else { None })
            .collect();
        let case = self.case;
        let wanted = |name: &str| match &case.expected {
            Expected::Everybody => true,
            Expected::Port(port) => port == name,
            Expected::Anywhere => false,
        };
        let mut missing = Vec::new();
        for tunnel in self.bridge.tunnels.iter().filter(|tunnel| wanted(tunnel.port.as_str())) {
            let remote = tunnel.tuple.remote_ip.0;
            let is_due = case.from_peer.is_none() && case.in_port != tunnel.port.as_str();
            if is_due && !reached_hosts.contains(&remote) && !trace.unresolved.contains(&remote) {
                missing.push(format!("host {}", tunnel.peer));
            }
        }
        for port in self.tracing.ports.on(&case.bridge) {
            let is_due =
                wanted(&port.name) && !port.is_local() && !port.is_tunnel() && port.name != case.in_port;
            if is_due && port.number.is_some_and(|number| !reached_ports.contains(&number)) {
                missing.push(format!("port {}", port.name));
            }
        }
        if !missing.is_empty() {
            let why = if trace.problems.is_empty() {
                String::new()
            } else {
                format!(": {}", trace.problems.join("; "))
            };
            let reason = format!("does not get to {}{why}", missing.join(", "));
            self.add(Check::TraceMissing, Severity::Degraded, None, reason, FLOWS);
        }
    }
}
