//! What became of the questions, in findings. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::asks::{Wanted, Way};
use super::cookie::Stage;
use super::met::Stray;
use super::others::is_virtual;
use super::run::{Asked, Run, State};
use crate::isolation::findings::{Check, Finding, Severity};
use crate::link::Mac;
use crate::names::{HostName, TenantName};

/// What tells where a leak is.
pub(super) const LOOK: &str =
    "run `ovsmesh verify --static --trace` on every host: it names the port or flow that leads there";
const SYNC: &str = "run `ovsmesh sync` on the host, and `ovsmesh verify --static --trace`";
pub(super) const DUPLICATE: &str = "give one of them another address, or detach it";
const MTU: &str =
    "compare the MTU of every device on the way, `mesh.underlay_mtu` being what the underlay takes";

impl Run<'_> {
    /// What is wrong.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (at, tenancy) in self.tenants.iter().enumerate() {
            if let (Some(why), Some(bridge)) = (&tenancy.closed, self.layout.bridge(at)) {
                let (object, reason) =
                    (format!("bridge {}", bridge.name), format!("nobody can be asked: {why}"));
                let remedy = "see that ovs-vswitchd runs, and run `ovsmesh sync` on the host";
                found.push(self.finding(
                    Check::ProbeUnanswered,
                    Severity::Degraded,
                    &[at],
                    object,
                    reason,
                    remedy,
                ));
            }
            found.extend(tenancy.strays.iter().map(|stray| self.stray_finding(at, stray)));
            let overheard = tenancy.overheard.iter();
            found.extend(overheard.filter_map(|(what, way)| self.overheard_finding(at, *what, way)));
        }
        for asked in &self.asked {
            self.judge(asked, &mut found);
        }
        self.shared(&mut found);
        self.wire(&mut found);
        found
    }

    pub(super) fn finding(
        &self,
        check: Check,
        severity: Severity,
        tenants: &[usize],
        object: String,
        reason: String,
        remedy: &str,
    ) -> Finding {
        let tenants: Vec<&TenantName> = tenants.iter().map(|at| self.layout.name(*at)).collect();
        Finding::new(check, severity, &self.layout.plan.host, &tenants, object, reason, remedy)
    }

    /// The host of an underlay address, in words.
    fn machine(&self, address: IpAddr) -> String {
        let host = self.layout.topology.hosts().iter().find(|host| host.underlay_ip() == address);
        host.map_or_else(|| address.to_string(), |host| format!("host {}", host.name()))
    }

    pub(super) fn way(&self, way: &Way) -> String {
        match way {
            Way::Port(port) => format!("port {port}"),
            Way::Peer(peer) => self.machine(*peer),
        }
    }

    pub(super) fn with_key(key: Option<u32>) -> String {
        key.map_or("without a key".to_owned(), |key| format!("with key {key}"))
    }

    fn stray_finding(&self, at: usize, stray: &Stray) -> Finding {
        let both = |other: Option<usize>| [Some(at), other].into_iter().flatten().collect::<Vec<usize>>();
        let (check, tenants, object, reason) = match stray {
            Stray::Tenant { tenant, port } => {
                let other = self.layout.name(*tenant);
                let reason = format!(
                    "a frame of the probe's, given to tenant {}, is at a port of tenant {other}",
                    self.layout.name(at)
                );
                (Check::ProbeForeignFrame, both(Some(*tenant)), format!("port {port}"), reason)
            }
            Stray::Device { name } => {
                let reason =
                    "the probe's frames are seen there, and it is no port of the tenant's".to_owned();
                (Check::ProbeForeignFrame, both(None), format!("device {name}"), reason)
            }
            Stray::Wrapped { device } => {
                let reason =
                    "the probe's frames are seen there inside something that is no tunnel of the mesh's";
                (Check::ProbeWire, both(None), format!("device {device}"), reason.to_owned())
            }
            Stray::Wire { dst, key } => {
                let other = self.layout.keyed(*key).filter(|other| *other != at);
                let reason = format!("frames leave for {} {}", self.machine(*dst), Self::with_key(*key));
                (Check::ProbeWire, both(other), self.key_of(at), reason)
            }
            Stray::Back { src, key } => {
                let other = self.layout.keyed(*key).filter(|other| *other != at);
                let reason = format!(
                    "the probe's own frames come back from {} {}",
                    self.machine(*src),
                    Self::with_key(*key)
                );
                let check = if other.is_some() { Check::ProbeForeignFrame } else { Check::ProbeWire };
                (check, both(other), self.key_of(at), reason)
            }
            Stray::Returned { port } => {
                let reason = "the probe's own frames come back by it: there is a way round";
                (Check::ProbeForeignFrame, both(None), format!("port {port}"), reason.to_owned())
            }
            Stray::Answer { tenant, address } => {
                let reason = format!(
                    "an answer to tenant {} comes by the network of tenant {}",
                    self.layout.name(at),
                    self.layout.name(*tenant)
                );
                (Check::ProbeForeignFrame, both(Some(*tenant)), format!("address {address}"), reason)
            }
        };
        self.finding(check, Severity::Breach, &tenants, object, reason, LOOK)
    }

    pub(super) fn key_of(&self, at: usize) -> String {
        format!("tunnels of tenant {} (key {})", self.layout.name(at), self.layout.tenant(at).key())
    }

    /// Whether a tenant's questions were given up.
    pub(super) fn given_up(&self, tenant: usize) -> bool {
        let tenancy = &self.tenants[tenant];
        tenancy.closed.is_some() || tenancy.looped
    }

    /// Whether frames of a tenant's come back by themselves, as far as is known.
    pub(super) fn goes_round(&self, tenant: usize) -> bool {
        self.tenants[tenant].looped || self.options.skip.contains(self.layout.name(tenant))
    }

    fn judge(&self, asked: &Asked, found: &mut Vec<Finding>) {
        let at = asked.ask.tenant;
        let given_up = self.given_up(at);
        let (what, host, way, mac) = match &asked.ask.wanted {
            Wanted::Known { what, host, way, mac, echo: _ } => (what, host, way.as_ref(), *mac),
            Wanted::Nobody(owners) => return self.foreign(asked, owners, found),
        };
        let object = format!("{what} ({})", asked.ask.address);
        let mut add = |check, severity, tenants: &[usize], reason, remedy: &str| {
            found.push(self.finding(check, severity, tenants, object.clone(), reason, remedy));
        };
        if asked.answers.is_empty() {
            // Of a tenant that nobody could ask, or whose questions were given up, something worse is told.
            if asked.state == State::Done && asked.sent[0] > 0 && !given_up {
                let (reason, remedy) = silent(asked, host, way);
                add(Check::ProbeUnanswered, Severity::Degraded, &[at], reason, remedy);
            }
            return;
        }
        for (from, by) in asked.answers.keys() {
            let other = self.owners.other(at, *from);
            if let Some(other) = other {
                let reason =
                    format!("{from} of tenant {} answers, by {}", self.layout.name(other), self.way(by));
                add(Check::ProbeForeignAnswer, Severity::Breach, &[at, other], reason, LOOK);
            }
            if let Way::Peer(peer) = by
                && !self.layout.peers(at).contains_key(peer)
            {
                let reason = format!("{from} answers from {peer}, which is no other host of the tenant");
                add(Check::ProbeWire, Severity::Breach, &[at], reason, LOOK);
            } else if let Some(way) = way.filter(|way| *way != by) {
                let reason = format!("{from} answers by {}, not by {}", self.way(by), self.way(way));
                let remedy = "see where it runs: the topology, or the other one's address, is wrong";
                add(Check::ProbeMac, Severity::Degraded, &[at], reason, remedy);
            }
        }
        let macs = macs(asked);
        let listed = |macs: &[Mac]| macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if macs.len() > 1 {
            let reason = format!("{} MAC addresses answer: {}", macs.len(), listed(&macs));
            add(Check::ProbeMac, Severity::Degraded, &[at], reason, DUPLICATE);
        } else if let Some(mac) = mac.filter(|mac| !macs.contains(mac)) {
            let reason = format!("{} answers, and not {mac}, which is attached", listed(&macs));
            add(Check::ProbeMac, Severity::Degraded, &[at], reason, DUPLICATE);
        }
        if asked.state == State::Done && !given_up {
            self.narrow(asked, &mut add);
        }
    }

    /// Whether it answers at the tenant's MTU.
    fn narrow(&self, asked: &Asked, add: &mut impl FnMut(Check, Severity, &[usize], String, &str)) {
        let at = asked.ask.tenant;
        let mtu = self.layout.topology.tenant_mtu();
        let times = |stage: Stage| asked.sent[stage as usize];
        let passed = |stage: Stage| asked.passed[stage as usize];
        if !asked.passed_full() {
            let reason =
                format!("it answers short questions, but none of {} of {mtu} bytes", times(Stage::Full));
            add(Check::ProbeMtu, Severity::Degraded, &[at], reason, MTU);
        } else if times(Stage::Echo) > 0 && !passed(Stage::Echo) {
            let refused = asked.refused.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            if passed(Stage::Short) {
                let reason = format!("no ICMP echo of {mtu} bytes comes back, though short ones do{refused}");
                add(Check::ProbeMtu, Severity::Degraded, &[at], reason, MTU);
            } else {
                let reason = format!(
                    "it answers no ICMP echo{refused}, so that its way back is not known to take {mtu} bytes"
                );
                let remedy = "let it answer ICMP echo requests from the tenant's gateways";
                add(Check::ProbeMtu, Severity::Notice, &[at], reason, remedy);
            }
        }
    }

    /// A MAC address that answers for several, from where each of them is, is several devices': the switches send what is for
    /// all of them to the one that spoke last.
    fn shared(&self, found: &mut Vec<Finding>) {
        let mut first: HashMap<(usize, Mac), (&str, &Way)> = HashMap::new();
        for Asked { ask, answers, .. } in &self.asked {
            let Wanted::Known { what, .. } = &ask.wanted else { continue };
            for (mac, way) in answers.keys().filter(|(mac, _)| !is_virtual(*mac)) {
                let (other, there) = *first.entry((ask.tenant, *mac)).or_insert((what, way));
                if there == way || other == what {
                    continue;
                }
                let reason = format!(
                    "{mac} answers for it by {}, and for {other} by {}",
                    self.way(way),
                    self.way(there)
                );
                let object = format!("{what} ({})", ask.address);
                let remedy = "give one of them another MAC address";
                let (check, severity) = (Check::ProbeMac, Severity::Degraded);
                found.push(self.finding(check, severity, &[ask.tenant], object, reason, remedy));
            }
        }
    }

    fn foreign(&self, asked: &Asked, owners: &[usize], found: &mut Vec<Finding>) {
        let at = asked.ask.tenant;
        let tenants: Vec<usize> = std::iter::once(at).chain(owners.iter().copied()).collect();
        let names: Vec<&str> = owners.iter().map(|owner| self.layout.name(*owner).as_str()).collect();
        let (names, name) = (names.join(", "), self.layout.name(at));
        for (mac, way) in asked.answers.keys() {
            let by = format!("by {mac} at {}", self.way(way));
            let (object, reason) = match asked.ask.to {
                Some(to) => (
                    format!("MAC address {to}"),
                    format!("a frame for it, which is tenant {names}'s, is answered in tenant {name}, {by}"),
                ),
                None => (
                    format!("address {}", asked.ask.address),
                    format!("an address that only tenant {names} has is answered for in tenant {name}, {by}"),
                ),
            };
            let (check, breach) = (Check::ProbeForeignAnswer, Severity::Breach);
            found.push(self.finding(check, breach, &tenants, object, reason, LOOK));
        }
    }

    /// Whether each question left once for each peer.
    fn wire(&self, found: &mut Vec<Finding>) {
        let mut missing: BTreeMap<(usize, &HostName), Vec<IpAddr>> = BTreeMap::new();
        let mut twice: BTreeMap<(usize, &HostName), u32> = BTreeMap::new();
        let asked = self.asked.iter().filter(|asked| asked.state == State::Done && asked.sent[0] > 0);
        let asked = asked.filter(|asked| !self.given_up(asked.ask.tenant));
        for asked in asked {
            let at = asked.ask.tenant;
            let peers = self.layout.peers(at);
            // What is for one alone need not go to all.
            let missed = peers.iter().filter(|(address, _)| !asked.has_left_for(**address));
            for (_, peer) in missed.filter(|_| asked.ask.to.is_none()) {
                missing.entry((at, peer)).or_default().push(asked.ask.address);
            }
            for ((_, dst, _), count) in asked.copies.iter().filter(|(_, count)| **count > 1) {
                if let Some(peer) = peers.get(dst) {
                    let twice = twice.entry((at, peer)).or_default();
                    *twice = (*count).max(*twice);
                }
            }
        }
        let object = |peer: &HostName| format!("tunnel to host {peer}");
        for ((at, peer), addresses) in missing {
            let first = addresses.first().map_or(String::new(), |first| format!(" ({first}, for one)"));
            let reason = format!("{} questions to all{first} did not leave for it", addresses.len());
            found.push(self.finding(Check::ProbeWire, Severity::Degraded, &[at], object(peer), reason, SYNC));
        }
        for ((at, peer), most) in twice {
            let reason = format!("a question to all left for it {most} times");
            found.push(self.finding(Check::ProbeWire, Severity::Degraded, &[at], object(peer), reason, SYNC));
        }
    }
}

fn macs(asked: &Asked) -> Vec<Mac> {
    let mut macs: Vec<Mac> = asked.answers.keys().map(|(mac, _)| *mac).collect();
    macs.dedup();
    macs
}

/// How far a question got that nobody answers.
fn silent(asked: &Asked, host: &HostName, way: Option<&Way>) -> (String, &'static str) {
    let sent = asked.sent[Stage::Question as usize];
    match way {
        Some(Way::Port(port)) if asked.arrived => (
            format!("no answer to {sent} questions, which got to its port {port}"),
            "see that it runs, and that its own interface is up and has the address",
        ),
        Some(Way::Port(port)) => (
            format!("no answer to {sent} questions, none of which got to its port {port}"),
            "look at `ovs-ofctl dump-flows` of the bridge and at the port: `ovsmesh status`",
        ),
        Some(Way::Peer(peer)) if asked.has_left_for(*peer) => (
            format!("no answer to {sent} questions, which left for host {host}"),
            "see that the host is up, and run `ovsmesh verify` there",
        ),
        Some(Way::Peer(_)) => {
            (format!("no answer to {sent} questions, none of which left for host {host}"), SYNC)
        }
        None => (
            format!("no answer to {sent} questions: it is not attached to this host's bridge"),
            "start it, or attach its interface",
        ),
    }
}
