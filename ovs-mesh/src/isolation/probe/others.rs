//! Frames that are not the probe's: whose they are, and whether that one may be where they are. Pure.
//!
//! What is not known is nobody's fault. A MAC address of which no host has told anything may be anybody's; an address that
//! the topology does not give to anyone (a virtual one) may be had by anyone in the tenant; and one that several tenants
//! have tells nothing of whose frame it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::asks::{Wanted, Way};
use super::facts::Place;
use super::run::Run;
use super::seen::{Claim, Outer, Seen};
use crate::isolation::findings::{Check, Finding, Severity};
use crate::link::Mac;

/// How many things are told of a tenant: whoever sends what he must not can send any number.
const MOST: usize = 32;

/// What a frame that should not be where it was met tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Overheard {
    /// It is from a MAC address that is another tenant's.
    Foreign { mac: Mac, of: usize },
    /// It says that somebody has an address that only others have.
    Address { address: IpAddr, mac: Mac },
    /// It is at a port that is nobody's of the tenant's.
    Stranger,
    /// It says that this MAC address has an address of the tenant's.
    Claim { address: IpAddr, mac: Mac },
    /// It is from a MAC address of the tenant's, and does not come from where that is.
    Moved { mac: Mac },
    /// It comes from or goes to a machine that is no host of the tenant's, or does so by no key of the tenant's.
    Wire { key: Option<u32>, leaves: bool },
}

/// Where a frame of a tenant's was met.
struct Met {
    tenant: usize,
    way: Way,
    /// Whether it came in from there.
    arrives: bool,
}

impl Run<'_> {
    /// A frame of somebody else's was met.
    pub(super) fn overheard(&mut self, place: &Place, outgoing: bool, seen: &Seen) {
        let met = match (seen.outer, place) {
            (Some(outer), _) => self.on_wire(outer, seen.source),
            (None, Place::Port { tenant, name }) => self.layout.named(tenant).map(|tenant| {
                // Its own device is handed what goes to all, wherever it comes from.
                let is_bridge = self.layout.bridge(tenant).is_some_and(|bridge| bridge.name.as_str() == name);
                Met { tenant, way: Way::Port(name.clone()), arrives: !outgoing && !is_bridge }
            }),
            (None, Place::Stranger { tenant, name }) => {
                if let Some(tenant) = self.layout.named(tenant) {
                    self.hear(tenant, Overheard::Stranger, Way::Port(name.clone()));
                }
                None
            }
            (None, Place::Other { .. } | Place::Mirror) => None,
        };
        if let Some(met) = met {
            self.in_network(met, seen);
        }
    }

    /// In which tenant's network a frame is that is in a tunnel of the mesh's.
    fn on_wire(&mut self, Outer { src, dst, key }: Outer, source: Mac) -> Option<Met> {
        let own = self.layout.address(&self.layout.plan.host)?;
        let (far, arrives) = match (src == own, dst == own) {
            (true, false) => (dst, false),
            (false, true) => (src, true),
            // Other machines' affair.
            _ => return None,
        };
        let keyed = self.layout.keyed(key);
        if let Some(tenant) = keyed.filter(|tenant| self.layout.peers(*tenant).contains_key(&far)) {
            return Some(Met { tenant, way: Way::Peer(far), arrives });
        }
        // Others may have tunnels with any key to any machine, as long as nothing of the tenants' is in them.
        let told = keyed.filter(|_| !self.facts.is_beside(far, key));
        if let Some(tenant) = self.owners.tenant(source).or(told) {
            self.hear(tenant, Overheard::Wire { key, leaves: !arrives }, Way::Peer(far));
        }
        None
    }

    fn in_network(&mut self, Met { tenant, way, arrives }: Met, seen: &Seen) {
        if let Some(of) = self.owners.other(tenant, seen.source) {
            return self.hear(tenant, Overheard::Foreign { mac: seen.source, of }, way);
        }
        let ends = self.owners.ends(tenant, seen.source);
        if let Some(Claim { address, mac }) = seen.claim {
            let is_own = self.by_address.get(&(tenant, address)).map(|at| &self.asked[*at].ask.wanted);
            let is_own = matches!(is_own, Some(Wanted::Known { .. }));
            let is_right = self.owners.of(tenant, address).is_some_and(|macs| macs.contains(&mac));
            if is_own && arrives && !is_right && !is_virtual(mac) {
                self.hear(tenant, Overheard::Claim { address, mac }, way.clone());
            }
            let is_others = self.layout.owners(address).is_some_and(|owners| !owners.contains(&tenant));
            if is_others && ends.is_none() && !self.layout.tenant(tenant).subnet().contains(address) {
                self.hear(tenant, Overheard::Address { address, mac }, way.clone());
            }
        }
        let is_there = |ends: &BTreeSet<_>| ends.iter().any(|end| self.layout.way(end) == way);
        if arrives && ends.is_some_and(|ends| !is_there(ends)) {
            self.hear(tenant, Overheard::Moved { mac: seen.source }, way);
        }
    }

    fn hear(&mut self, tenant: usize, what: Overheard, way: Way) {
        let overheard = &mut self.tenants[tenant].overheard;
        // One frame that is flooded is met at many places: the first tells enough of it.
        let is_heard = match what {
            Overheard::Stranger | Overheard::Wire { .. } => overheard.contains(&(what, way.clone())),
            _ => overheard.iter().any(|(other, _)| *other == what),
        };
        if !is_heard && overheard.len() < MOST {
            overheard.insert((what, way));
        }
    }

    /// What is wrong with what was overheard.
    pub(super) fn overheard_finding(&self, at: usize, what: Overheard, way: &Way) -> Option<Finding> {
        use Severity::{Breach, Degraded};
        let name = self.layout.name(at);
        let here = self.way(way);
        let (check, severity, others, object, reason) = match what {
            Overheard::Foreign { mac, of } => {
                let other = self.layout.name(of);
                let reason =
                    format!("a frame of {mac}, which is tenant {other}'s, is in tenant {name}, at {here}");
                (Check::ProbeForeignFrame, Breach, vec![of], format!("MAC address {mac}"), reason)
            }
            Overheard::Address { address, mac } => {
                let owners = self.layout.owners(address).map_or(&[][..], |owners| owners);
                let names: Vec<&str> = owners.iter().map(|owner| self.layout.name(*owner).as_str()).collect();
                let reason = format!(
                    "{mac}, at {here}, says in tenant {name} that it has an address that only tenant {} has",
                    names.join(", ")
                );
                (Check::ProbeForeignFrame, Breach, owners.to_vec(), format!("address {address}"), reason)
            }
            Overheard::Stranger => {
                let reason = format!("frames of tenant {name} pass it, and it is no port of the tenant's");
                (Check::ProbeForeignFrame, Breach, vec![], here, reason)
            }
            Overheard::Claim { address, mac } => {
                let asked = self.by_address.get(&(at, address)).map(|number| &self.asked[*number])?;
                // Of whoever answers for it, it is told by that.
                if asked.answers.keys().any(|(found, _)| *found == mac) {
                    return None;
                }
                let mut known: BTreeSet<Mac> = asked.answers.keys().map(|(found, _)| *found).collect();
                known.extend(self.owners.of(at, address).into_iter().flatten());
                let Wanted::Known { what, .. } = &asked.ask.wanted else { return None };
                let known: Vec<String> = known.iter().map(Mac::to_string).collect();
                if known.is_empty() {
                    return None;
                }
                let reason = format!(
                    "{mac}, at {here}, says that it has the address, which is {}'s",
                    known.join(", ")
                );
                (Check::ProbeSpoof, Degraded, vec![], format!("{what} ({address})"), reason)
            }
            // Of a way round, worse is told.
            Overheard::Moved { .. } if self.goes_round(at) => return None,
            Overheard::Moved { mac } => {
                let ends = self.owners.ends(at, mac).into_iter().flatten();
                let ends: BTreeSet<String> = ends.map(|end| self.way(&self.layout.way(end))).collect();
                let ends = ends.into_iter().collect::<Vec<_>>().join(", ");
                let reason = format!("frames of it come by {here}, and it is attached to {ends}");
                (Check::ProbeSpoof, Degraded, vec![], format!("MAC address {mac}"), reason)
            }
            Overheard::Wire { key, leaves } => {
                let keyed = self.layout.keyed(key).filter(|other| *other != at);
                let towards = if leaves { "leave for" } else { "come from" };
                let reason = format!("frames of the tenant's {towards} {here} {}", Self::with_key(key));
                (Check::ProbeWire, Breach, Vec::from_iter(keyed), self.key_of(at), reason)
            }
        };
        let tenants: Vec<usize> = std::iter::once(at).chain(others).collect();
        let remedy = if severity == Breach { super::judge::LOOK } else { super::judge::DUPLICATE };
        Some(self.finding(check, severity, &tenants, object, reason, remedy))
    }
}

/// A virtual router's MAC address goes with whoever is its master now (RFC 9568 section 7.3).
pub(super) fn is_virtual(mac: Mac) -> bool {
    matches!(mac.octets(), [0, 0, 0x5e, 0, 1 | 2, _])
}
