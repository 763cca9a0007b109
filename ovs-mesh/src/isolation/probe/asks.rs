//! What is asked on a host, and what the answers should be. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::ProbeOptions;
use super::facts::Facts;
use crate::link::Mac;
use crate::names::{HostName, TenantName};
use crate::plan::{Bridge, Plan};
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
    Nobody(Vec<TenantName>),
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
pub(super) fn asks(topology: &Topology, plan: &Plan, facts: &Facts, options: &ProbeOptions) -> Vec<Ask> {
    let mut lists = Vec::new();
    for (at, tenant) in topology.tenants().iter().enumerate() {
        let planned = plan.bridge_of(tenant.name());
        let Some(bridge) = planned.filter(|_| !options.skip.contains(tenant.name())) else { continue };
        let mut asks = known(topology, plan, facts, at, bridge);
        let subnet = tenant.subnet();
        let others = foreigners(topology, at).into_iter().filter(|(address, _)| !subnet.contains(*address));
        asks.extend(others.take(options.foreign).map(|(address, owners)| Ask {
            tenant: at,
            address,
            wanted: Wanted::Nobody(owners),
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

fn known(topology: &Topology, plan: &Plan, facts: &Facts, at: usize, bridge: &Bridge) -> Vec<Ask> {
    let tenant = &topology.tenants()[at];
    let name = tenant.name();
    let peer = |host: &HostName| topology.host(host).map(|host| Way::Peer(host.underlay_ip()));
    let has_gateway = facts.gateways.contains_key(name);
    let containers = tenant.containers().iter().map(|container| {
        let (ctid, host) = (container.ctid(), container.host());
        let here = *host == plan.host;
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
        let here = *gateway.host() == plan.host;
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

/// The addresses of all other tenants, one of each by turns, with whose they are.
fn foreigners(topology: &Topology, at: usize) -> Vec<(IpAddr, Vec<TenantName>)> {
    let others: Vec<&Tenant> =
        topology.tenants().iter().enumerate().filter(|(other, _)| *other != at).map(|(_, it)| it).collect();
    let mut owners: BTreeMap<IpAddr, Vec<TenantName>> = BTreeMap::new();
    for tenant in &others {
        for address in addresses(tenant) {
            owners.entry(address).or_default().push(tenant.name().clone());
        }
    }
    let lists = others
        .iter()
        .map(|tenant| addresses(tenant).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    let turns = by_turns(lists.map(Vec::into_iter).collect());
    turns.into_iter().filter_map(|address| owners.remove_entry(&address)).collect()
}
