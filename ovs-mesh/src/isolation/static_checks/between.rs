//! Hosts against each other: what each has to be compared with, and the comparison.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::{Check, Facts, Finding, SYNC, Severity};
use crate::names::TenantName;
use crate::topology::Topology;

/// What is kept of all hosts. Hosts, tenants and peers are positions in the topology.
#[derive(Debug)]
pub(super) struct Seen {
    hosts: Vec<Option<SeenHost>>,
    peers: usize,
}

/// What is kept of a host.
#[derive(Debug, Default)]
pub(super) struct SeenHost {
    /// The tunnels that stand as planned: a bit a tenant and peer, for there are hundreds of thousands.
    standing: Vec<u64>,
    peers: usize,
    /// Tunnels that are not as planned and go to a host of the mesh.
    pub(super) strays: Vec<Stray>,
    /// What was seen on the tenants' networks, to be seen once only.
    pub(super) claims: Vec<Claim>,
}

/// A tunnel that is not as planned.
#[derive(Debug)]
pub(super) struct Stray {
    /// The tenant whose bridge it is on.
    pub(super) tenant: usize,
    /// The host it goes to.
    pub(super) peer: usize,
    /// The key it takes; none: any.
    pub(super) incoming: Option<u32>,
    /// The key it sends; none: the flow's.
    pub(super) outgoing: Option<u32>,
    pub(super) interface: String,
}

/// Something that exists once in the mesh, or once in a tenant.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) what: Claimed,
    pub(super) tenant: TenantName,
    /// Where it was seen: a port, for a message.
    pub(super) object: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Claimed {
    Container(String),
    Mac(TenantName, String),
    Address(TenantName, IpAddr),
}

impl SeenHost {
    fn bit(&self, tenant: usize, peer: usize) -> (usize, u64) {
        let at = tenant * self.peers + peer;
        (at / 64, 1 << (at % 64))
    }

    pub(super) fn stands(&mut self, tenant: usize, peer: usize) {
        let (word, bit) = self.bit(tenant, peer);
        if let Some(word) = self.standing.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn has(&self, tenant: usize, peer: usize) -> bool {
        let (word, bit) = self.bit(tenant, peer);
        self.standing.get(word).is_some_and(|word| word & bit != 0)
    }
}

impl Seen {
    pub(super) fn new(topology: &Topology) -> Self {
        let peers = topology.hosts().len();
        Self { hosts: topology.hosts().iter().map(|_| None).collect(), peers }
    }

    pub(super) fn has(&self, host: usize) -> bool {
        self.hosts[host].is_some()
    }

    /// What is kept of the host from now on.
    pub(super) fn host(&mut self, host: usize, tenants: usize) -> &mut SeenHost {
        let peers = self.peers;
        self.hosts[host].get_or_insert_with(|| SeenHost {
            standing: vec![0; (tenants * peers).div_ceil(64)],
            peers,
            ..SeenHost::default()
        })
    }

    pub(super) fn compare(&self, facts: &Facts<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        self.one_way(facts, &mut found);
        self.crossings(facts, &mut found);
        self.claims(facts, &mut found);
        found
    }

    /// Tunnels whose far end's host was seen, and has no such end. One finding a host and tenant that lacks ends.
    fn one_way(&self, facts: &Facts<'_>, found: &mut Vec<Finding>) {
        let hosts = facts.topology.hosts();
        for (at, tenant) in facts.topology.tenants().iter().enumerate() {
            for &there in &tenant.members {
                let Some(seen) = &self.hosts[there] else { continue };
                let from =
                    tenant.members.iter().copied().filter(|&here| here != there && !seen.has(at, here));
                let from = from.filter(|&here| self.hosts[here].as_ref().is_some_and(|it| it.has(at, there)));
                let names: Vec<&str> = from.map(|here| hosts[here].name().as_str()).collect();
                if !names.is_empty() {
                    let object = format!("bridge {}", tenant.bridge());
                    let reason =
                        format!("the tunnels from {} have no end here that takes them", names.join(", "));
                    let (check, severity) = (Check::PeerSymmetry, Severity::Degraded);
                    let host = hosts[there].name();
                    found.push(Finding::new(check, severity, host, &[tenant.name()], object, reason, SYNC));
                }
            }
        }
    }

    /// Frames that leave by one tenant's tunnel and are taken in by another's at the far end. Where both ends are as
    /// planned that cannot be, so that only strays have to be looked at.
    fn crossings(&self, facts: &Facts<'_>, found: &mut Vec<Finding>) {
        let tenants = facts.topology.tenants();
        let hosts = facts.topology.hosts();
        let mut told: HashSet<(usize, usize, usize, usize)> = HashSet::new();
        for (here, seen) in self.hosts.iter().enumerate() {
            for stray in seen.iter().flat_map(|seen| &seen.strays) {
                let Some(far) = self.hosts.get(stray.peer).and_then(Option::as_ref) else { continue };
                let back = || far.strays.iter().filter(|other| other.peer == here);
                let planned = |key: u32| facts.by_key.get(&key).copied().filter(|at| far.has(*at, here));
                let takes = stray.outgoing.and_then(planned).into_iter().chain(
                    back().filter(|o| o.incoming.is_none() || o.incoming == stray.outgoing).map(|o| o.tenant),
                );
                let sends = stray.incoming.and_then(planned).into_iter().chain(
                    back()
                        .filter(|o| stray.incoming.is_none() || o.outgoing == stray.incoming)
                        .map(|o| o.tenant),
                );
                let others: BTreeSet<usize> = takes.chain(sends).filter(|at| *at != stray.tenant).collect();
                for other in others {
                    let pair = (
                        here.min(stray.peer),
                        here.max(stray.peer),
                        stray.tenant.min(other),
                        stray.tenant.max(other),
                    );
                    if !told.insert(pair) {
                        continue;
                    }
                    let (one, two) = (tenants[stray.tenant].name(), tenants[other].name());
                    let object =
                        format!("port {} on bridge {}", stray.interface, tenants[stray.tenant].bridge());
                    let far = hosts[stray.peer].name();
                    let reason = format!("its other end, on host {far}, is on tenant {two}'s bridge");
                    let (check, severity) = (Check::PeerCrossing, Severity::Breach);
                    let host = hosts[here].name();
                    found.push(Finding::new(check, severity, host, &[one, two], object, reason, SYNC));
                }
            }
        }
    }

    /// Containers, MAC addresses and addresses that are there twice.
    fn claims(&self, facts: &Facts<'_>, found: &mut Vec<Finding>) {
        let mut by_claim: HashMap<&Claimed, Vec<(usize, &Claim)>> = HashMap::new();
        for (at, seen) in self.hosts.iter().enumerate() {
            for claim in seen.iter().flat_map(|seen| &seen.claims) {
                by_claim.entry(&claim.what).or_default().push((at, claim));
            }
        }
        let hosts = facts.topology.hosts();
        let twice: BTreeMap<_, _> = by_claim.into_iter().filter(|(_, all)| all.len() > 1).collect();
        for (what, all) in twice {
            let tenants: Vec<&TenantName> = all.iter().map(|(_, claim)| &claim.tenant).collect();
            let split = tenants.iter().any(|tenant| *tenant != tenants[0]);
            let severity = if split { Severity::Breach } else { Severity::Degraded };
            let places: Vec<String> = all
                .iter()
                .map(|(at, claim)| format!("{} on host {}", claim.object, hosts[*at].name()))
                .collect();
            let (check, reason, remedy) = match what {
                Claimed::Container(ctid) => (
                    Check::ContainerDuplicate,
                    format!("container {ctid} is attached by {}", places.join(" and by ")),
                    "detach all but the one that the container runs behind",
                ),
                Claimed::Mac(_, mac) => (
                    Check::MacDuplicate,
                    format!("{mac} is the MAC address behind {}", places.join(" and behind ")),
                    "give one of them another MAC address",
                ),
                Claimed::Address(_, ip) => (
                    Check::AddressDuplicate,
                    format!("{ip} is the address behind {}", places.join(" and behind ")),
                    "take the address from all but the one that the topology gives it",
                ),
            };
            let [(at, claim), ..] = all.as_slice() else { continue };
            let host = hosts[*at].name();
            found.push(Finding::new(check, severity, host, &tenants, claim.object.as_str(), reason, remedy));
        }
    }
}
