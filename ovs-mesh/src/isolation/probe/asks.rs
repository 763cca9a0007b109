//! What is asked on a host, and what the answers should be. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::ProbeOptions;
use super::facts::Facts;
use super::layout::{Layout, addresses};
use super::owners::Owners;
use crate::link::Mac;
use crate::names::HostName;
use crate::plan::Bridge;

/// By what an answer comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// A port of this host.
    Port(String),
    /// The tunnel from this underlay address.
    Peer(IpAddr),
}

/// Who should answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This one.
    Known {
        /// What he is, in words.
        what: String,
        /// The host that he is on.
        host: HostName,
        /// By what his answer comes, if that is known.
        way: Option<Way>,
        /// His MAC address, if it is known.
        mac: Option<Mac>,
        /// Whether he is asked by ICMP too.
        echo: bool,
    },
    /// Nobody: the address, or the MAC address of the one who is asked alone, is only these tenants'.
    Nobody(Arc<[usize]>),
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// The tenant's place in the topology.
    pub(super) tenant: usize,
    pub(super) address: IpAddr,
    /// The one who is asked alone; none: all are.
    pub(super) to: Option<Mac>,
    pub(super) wanted: Wanted,
}

/// The questions of all tenants of a host, tenants by turns, so that one bridge that is slow holds up no other's. Of the
/// addresses and MAC addresses that only others have, at most [`ProbeOptions::foreign`] a tenant, of all the others by turns; no
/// address that is in the tenant's own subnet, where somebody of the tenant's may have it whom the topology does not name (a
/// virtual address, for example). Where tenants have equal addresses, MAC addresses still tell them apart.
pub(super) fn asks(
    layout: &Layout<'_>,
    facts: &Facts,
    owners: &Owners<'_>,
    options: &ProbeOptions,
) -> Vec<Ask> {
    let mut others = Others::new(layout, options.foreign);
    let macs = macs(layout, owners);
    let mut lists = Vec::new();
    for (at, tenant) in layout.topology.tenants().iter().enumerate() {
        let planned = layout.bridge(at);
        let Some(bridge) = planned.filter(|_| !options.skip.contains(tenant.name())) else { continue };
        let mut asks = known(layout, facts, owners, at, bridge);
        let silent = others.outside(tenant.subnet()).iter();
        let silent = silent.map(|(address, owners)| Ask {
            tenant: at,
            address: *address,
            to: None,
            wanted: Wanted::Nobody(Arc::clone(owners)),
        });
        let alone = macs.iter().filter(|other| owners.other(at, other.mac).is_some()).map(|other| Ask {
            tenant: at,
            address: other.address,
            to: Some(other.mac),
            wanted: Wanted::Nobody(Arc::clone(&other.tenant)),
        });
        let alone: Vec<Ask> = alone.take(options.foreign).collect();
        let both = by_turns(vec![silent.collect::<Vec<_>>().into_iter(), alone.into_iter()]);
        asks.extend(both.into_iter().take(options.foreign));
        lists.push(asks.into_iter());
    }
    by_turns(lists)
}

fn by_turns<T>(mut lists: Vec<std::vec::IntoIter<T>>) -> Vec<T> {
    let mut all = Vec::new();
    while !lists.is_empty() {
        lists.retain_mut(|list| {
            let next = list.next();
            let some = next.is_some();
            all.extend(next);
            some
        });
    }
    all
}

fn known(layout: &Layout<'_>, facts: &Facts, owners: &Owners<'_>, at: usize, bridge: &Bridge) -> Vec<Ask> {
    let tenant = layout.tenant(at);
    let name = tenant.name();
    let this = &layout.plan.host;
    let peer = |host: &HostName| layout.address(host).map(Way::Peer);
    // One that has several may answer with any.
    let mac_of = |address| match owners.of(at, address) {
        Some(macs) if macs.len() == 1 => macs.first().copied(),
        _ => None,
    };
    let has_gateway = facts.gateways.contains_key(name);
    let containers = tenant.containers().iter().map(|container| {
        let (ctid, host) = (container.ctid(), container.host());
        let here = host == this;
        let port = facts.containers.get(&(name.clone(), ctid.clone())).filter(|_| here);
        let way = if here { port.map(|port| Way::Port(port.clone())) } else { peer(host) };
        let wanted = Wanted::Known {
            what: format!("container {ctid}"),
            host: host.clone(),
            way,
            mac: mac_of(container.ip()),
            echo: has_gateway,
        };
        Ask { tenant: at, address: container.ip(), to: None, wanted }
    });
    let gateways = tenant.gateways().iter().map(|gateway| {
        let here = gateway.host() == this;
        let own = bridge.gateway.as_ref().filter(|_| here);
        let wanted = Wanted::Known {
            what: format!("gateway of host {}", gateway.host()),
            host: gateway.host().clone(),
            way: own.map_or_else(|| peer(gateway.host()), |own| Some(Way::Port(own.port.to_string()))),
            mac: mac_of(gateway.ip()),
            // It does not ask itself.
            echo: has_gateway && !here,
        };
        Ask { tenant: at, address: gateway.ip(), to: None, wanted }
    });
    containers.chain(gateways).collect()
}

/// Somebody of whom the MAC address is known.
struct One {
    tenant: Arc<[usize]>,
    mac: Mac,
    address: IpAddr,
}

/// All of them, of each tenant by turns.
fn macs(layout: &Layout<'_>, owners: &Owners<'_>) -> Vec<One> {
    let lists = (0..layout.topology.tenants().len()).map(|at| {
        let tenant: Arc<[usize]> = [at].into();
        let ones = owners.macs(at).map(|(address, mac)| One { tenant: Arc::clone(&tenant), mac, address });
        ones.collect::<Vec<_>>().into_iter()
    });
    by_turns(lists.collect())
}

/// Addresses with whose they are.
type Owned = Vec<(IpAddr, Arc<[usize]>)>;

/// The addresses of all tenants.
struct Others {
    /// Each once, of each tenant by turns.
    all: Owned,
    /// How many are taken.
    limit: usize,
    /// Those that are outside of a subnet. Few tenants have a subnet of their own; and where they have, an address is in no
    /// more subnets than prefixes have lengths, so that no more are passed over than that.
    outside: HashMap<IpNetwork, Owned>,
}

impl Others {
    fn new(layout: &Layout<'_>, limit: usize) -> Self {
        let lists = layout.topology.tenants().iter().map(|tenant| {
            let own: BTreeSet<IpAddr> = addresses(tenant).collect();
            own.into_iter().collect::<Vec<_>>().into_iter()
        });
        let mut taken = HashSet::new();
        let turns = by_turns(lists.collect()).into_iter().filter(|address| taken.insert(*address));
        let all = turns.filter_map(|address| Some((address, Arc::clone(layout.owners(address)?))));
        Self { all: all.collect(), limit, outside: HashMap::new() }
    }

    /// What a tenant with that subnet does not have: its own addresses are in it.
    fn outside(&mut self, subnet: IpNetwork) -> &Owned {
        let Self { all, limit, outside } = self;
        outside.entry(subnet).or_insert_with(|| {
            let others = all.iter().filter(|(address, _)| !subnet.contains(*address));
            others.take(*limit).cloned().collect()
        })
    }
}
