//! Others' GRE tunnels, Open vSwitch's and the kernel's, that take part in a tenant's network.
//!
//! GRE is not signed. What goes to a host of the mesh with a tenant's key, from where the tenant's own tunnels come from, is
//! the tenant's there; and what a peer sends here is taken by whatever fits it best: of Open vSwitch's tunnels the one with
//! the exact key, then with the exact far end (`tnl_find` of `ofproto/tunnel.c`), and a device of the kernel's before all of
//! those (`ip_tunnel_lookup`).

mod read;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use uuid::Uuid;

use super::between::SeenHost;
use super::{Check, Found, Severity, View};
use crate::names::TenantName;
use crate::snapshot::Opening;
use crate::topology::Tenant;

pub(super) use read::is_unread;

/// What a tunnel does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// It has none, or none that a tenant's frame can have.
    No,
    Exact(u32),
    /// What a packet's flow says, or whoever hands it a packet.
    Any,
}

impl Key {
    fn may_be(self, key: u32) -> bool {
        match self {
            Self::No => false,
            Self::Exact(own) => own == key,
            Self::Any => true,
        }
    }
}

/// Which of the packets that fit a tunnel it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    Nothing,
    /// Those that no tunnel of the mesh's takes.
    Rest,
    All,
}

/// Somebody else's tunnel.
#[derive(Debug)]
struct Foreign {
    check: Check,
    object: String,
    remedy: String,
    /// Whether it carries anything now.
    is_on: bool,
    /// This end; none is any of the host's addresses.
    local: Option<IpAddr>,
    /// The far end; none is anybody, or whom a packet's flow says.
    remote: Option<IpAddr>,
    incoming: Key,
    outgoing: Key,
    gets: Gets,
    /// Whether it has been said already that it has the tuple of a tunnel of the tenant whose key it takes.
    is_told: bool,
}

/// `told` are the ports of which it has been said already that a tenant's tunnel has their tuple.
pub(super) fn check(view: &View<'_>, own: &SeenHost, told: &HashSet<Uuid>, found: &mut Found<'_>) {
    let all = read::all(view, told);
    if let Some((here, _)) = view.facts.host_at(view.host.underlay_ip()).filter(|_| !all.is_empty()) {
        let judge = Judge { view, here, standing: standing(view, own) };
        for foreign in &all {
            judge.judge(foreign, found);
        }
    }
}

/// The tenants' own tunnels that take what their peers send, by tenant and peer.
fn standing(view: &View<'_>, own: &SeenHost) -> HashSet<(usize, usize)> {
    let listed: Option<HashSet<&str>> =
        view.snapshot.tunnels.as_ref().map(|list| list.iter().map(|tunnel| tunnel.name.as_str()).collect());
    let mut standing = HashSet::new();
    for (bridge, tenant, row) in &view.bridges {
        let Some(&tenant) = view.facts.by_key.get(&tenant.key().get()) else { continue };
        let open: HashSet<&str> = view
            .ports(row)
            .flat_map(|(_, interfaces)| interfaces)
            .filter(|it| it.opening != Opening::Failed)
            .map(|it| it.name.as_str())
            .filter(|name| listed.as_ref().is_none_or(|listed| listed.contains(name)))
            .collect();
        let tunnels = bridge.tunnels.iter().filter(|tunnel| open.contains(tunnel.port.as_str()));
        let peers = tunnels.filter_map(|tunnel| view.facts.host_at(tunnel.tuple.remote_ip.0));
        standing
            .extend(peers.map(|(peer, _)| (tenant, peer)).filter(|(tenant, peer)| own.has(*tenant, *peer)));
    }
    standing
}

/// What somebody else's tunnel is to a tenant.
enum Part {
    /// Frames pass as things stand; how.
    Passes(String),
    /// They could: it takes a flow, a device that is up, or a tunnel of the tenant's that is missing.
    Could,
}

struct Judge<'a, 'b> {
    view: &'b View<'a>,
    here: usize,
    standing: HashSet<(usize, usize)>,
}

impl<'a> Judge<'a, '_> {
    fn judge(&self, foreign: &Foreign, found: &mut Found<'_>) {
        let facts = self.view.facts;
        let far = foreign.remote.map(|remote| facts.host_at(remote).map(|(far, _)| far));
        // Nobody of the mesh sends to an address that is no host's, or takes what comes from there.
        let is_strange = foreign.local.is_some_and(|local| facts.host_at(local).is_none());
        if is_strange || far == Some(None) || far == Some(Some(self.here)) {
            return;
        }
        let far = far.flatten();
        let mut passes: BTreeMap<String, Vec<&TenantName>> = BTreeMap::new();
        let mut could: Vec<&TenantName> = Vec::new();
        for (at, tenant) in self.tenants(foreign) {
            match self.part(foreign, far, at, tenant) {
                Some(Part::Passes(how)) => passes.entry(how).or_default().push(tenant.name()),
                Some(Part::Could) => could.push(tenant.name()),
                None => {}
            }
        }
        let Foreign { check, object, remedy, .. } = foreign;
        let mut add = |severity, tenants: &[&TenantName], reason: &str| {
            found.add(*check, severity, tenants, object.as_str(), reason, remedy.as_str());
        };
        if passes.is_empty() && !could.is_empty() {
            let (tenants, whose): (&[_], _) =
                if self.is_any(foreign, &could) { (&[], "any tenant's") } else { (&could, "the tenant's") };
            let whom = far.map_or("any host".to_owned(), |far| format!("host {}", self.name(far)));
            let reason = format!(
                "it could send to or take from {whom} with {whose} key: whoever owns it must be trusted"
            );
            add(Severity::Notice, tenants, &reason);
        }
        for (how, tenants) in passes {
            if self.is_any(foreign, &tenants) {
                add(Severity::Breach, &[], &how);
                continue;
            }
            // Each by itself: they do not reach each other by it.
            for tenant in tenants {
                add(Severity::Breach, &[tenant], &how);
            }
        }
    }

    /// The tenants whose key it may have.
    fn tenants(&self, foreign: &Foreign) -> BTreeMap<usize, &'a Tenant> {
        let facts = self.view.facts;
        let planned = || {
            let bridges = self.view.plan.bridges.iter();
            bridges.filter_map(|it| Some(facts.by_name.get(it.tenant.as_str())?.key().get()))
        };
        let keys = [foreign.incoming, foreign.outgoing].into_iter().flat_map(|key| match key {
            Key::No => Vec::new(),
            Key::Exact(key) => vec![key],
            Key::Any => planned().collect(),
        });
        let tenants = keys.filter_map(|key| facts.by_key.get(&key).copied());
        tenants.map(|at| (at, &facts.topology.tenants()[at])).collect()
    }

    /// Whether those are all of the host's tenants, by whatever key.
    fn is_any(&self, foreign: &Foreign, tenants: &[&TenantName]) -> bool {
        let is_keyless = [foreign.incoming, foreign.outgoing].contains(&Key::Any);
        is_keyless && tenants.len() == self.view.plan.bridges.len()
    }

    fn part(&self, foreign: &Foreign, far: Option<usize>, at: usize, tenant: &Tenant) -> Option<Part> {
        let Foreign { is_on, local, remote: _, incoming, outgoing, gets, is_told, .. } = foreign;
        let key = tenant.key().get();
        let is_member = |host: usize| tenant.members.binary_search(&host).is_ok();
        let is_told = *is_told && *incoming == Key::Exact(key);
        if is_told || far.is_some_and(|far| !is_member(far)) {
            return None;
        }
        // Of a host that does not carry the tenant no other takes anything, and it is sent nothing.
        let is_from_here = local.is_none_or(|local| local == self.view.host.underlay_ip());
        let is_on = *is_on && is_from_here && is_member(self.here);
        let mut ways = Vec::new();
        if let Some(far) = far.filter(|_| is_on && *outgoing == Key::Exact(key)) {
            ways.push(format!("what it sends comes in on host {} as the tenant's", self.name(far)));
        }
        let is_taken = |peer: &usize| match gets {
            Gets::Nothing => false,
            Gets::Rest => !self.standing.contains(&(at, *peer)),
            Gets::All => true,
        };
        let peers = tenant.members.iter().copied().filter(|peer| *peer != self.here);
        let peers = peers.filter(|peer| is_on && far.is_none_or(|far| far == *peer) && incoming.may_be(key));
        let from: Vec<&str> = peers.filter(is_taken).map(|peer| self.name(peer)).collect();
        match from.as_slice() {
            [] => {}
            all if far.is_none() && all.len() + 1 == tenant.members.len() => {
                ways.push("it gets what every other host of the tenant sends here".to_owned());
            }
            some => ways.push(format!("it gets what host {} sends here", some.join(" and host "))),
        }
        if !ways.is_empty() {
            return Some(Part::Passes(ways.join(", and ")));
        }
        let takes = incoming.may_be(key) && *gets != Gets::Nothing;
        (takes || outgoing.may_be(key)).then_some(Part::Could)
    }

    fn name(&self, host: usize) -> &'a str {
        self.view.facts.topology.hosts()[host].name().as_str()
    }
}
