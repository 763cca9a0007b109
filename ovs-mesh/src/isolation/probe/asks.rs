//! What is asked on a host, and what the answers should be. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::ProbeOptions;
use super::facts::Facts;
use super::layout::Layout;
use crate::link::Mac;
use crate::names::HostName;
use crate::plan::Bridge;
use crate::topology::{Tenant, Topology};

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
    /// Nobody: the address is only these tenants'.
    Nobody(Arc<[usize]>),
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// The tenant's place in the topology.
    pub(super) tenant: usize,
    pub(super) address: IpAddr,
    pub(super) wanted: Wanted,
}

/// The questions of all tenants of a host, tenants by turns, so that one bridge that is slow holds up no other's. Of the
/// addresses that only others have, at most [`ProbeOptions::foreign`] a tenant, of all the others by turns; none that is in the tenant's own
/// subnet, where somebody of the tenant's may have it whom the topology does not name (a virtual address, for example).
pub(super) fn asks(layout: &Layout<'_>, facts: &Facts, options: &ProbeOptions) -> Vec<Ask> {
    let mut others = Others::new(layout.topology, options.foreign);
    let mut lists = Vec::new();
    for (at, tenant) in layout.topology.tenants().iter().enumerate() {
        let planned = layout.bridge(at);
        let Some(bridge) = planned.filter(|_| !options.skip.contains(tenant.name())) else { continue };
        let mut asks = known(layout, facts, at, bridge);
        let silent = others.outside(tenant.subnet()).iter();
        asks.extend(silent.map(|(address, owners)| Ask {
            tenant: at,
            address: *address,
            wanted: Wanted::Nobody(Arc::clone(owners)),
        }));
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

fn known(layout: &Layout<'_>, facts: &Facts, at: usize, bridge: &Bridge) -> Vec<Ask> {
    let tenant = layout.tenant(at);
    let name = tenant.name();
    let this = &layout.plan.host;
    let peer = |host: &HostName| layout.address(host).map(Way::Peer);
    let has_gateway = facts.gateways.contains_key(name);
    let containers = tenant.containers().iter().map(|container| {
        let (ctid, host) = (container.ctid(), container.host());
        let here = host == this;
        let port = facts.containers.get(&(name.clone(), ctid.clone())).filter(|_| here);
        let way = if here { port.map(|port| Way::Port(port.port.clone())) } else { peer(host) };
        let wanted = Wanted::Known {
            what: format!("container {ctid}"),
            host: host.clone(),
            way,
            mac: port.and_then(|port| port.mac),
            echo: has_gateway,
        };
        Ask { tenant: at, address: container.ip(), wanted }
    });
    let gateways = tenant.gateways().iter().map(|gateway| {
        let here = gateway.host() == this;
        let own = bridge.gateway.as_ref().filter(|_| here);
        let wanted = Wanted::Known {
            what: format!("gateway of host {}", gateway.host()),
            host: gateway.host().clone(),
            way: own.map_or_else(|| peer(gateway.host()), |own| Some(Way::Port(own.port.to_string()))),
            mac: facts.gateways.get(name).copied().filter(|_| here),
            // It does not ask itself.
            echo: has_gateway && !here,
        };
        Ask { tenant: at, address: gateway.ip(), wanted }
    });
    containers.chain(gateways).collect()
}

fn addresses(tenant: &Tenant) -> impl Iterator<Item = IpAddr> {
    let containers = tenant.containers().iter().map(crate::topology::Container::ip);
    containers.chain(tenant.gateways().iter().map(crate::topology::Gateway::ip))
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
    fn new(topology: &Topology, limit: usize) -> Self {
        let mut owners: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
        let mut lists = Vec::new();
        for (at, tenant) in topology.tenants().iter().enumerate() {
            let own: BTreeSet<IpAddr> = addresses(tenant).collect();
            for address in &own {
                owners.entry(*address).or_default().push(at);
            }
            lists.push(own.into_iter().collect::<Vec<_>>().into_iter());
        }
        let turns = by_turns(lists).into_iter();
        let all = turns.filter_map(|address| Some((address, owners.remove(&address)?.into())));
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
