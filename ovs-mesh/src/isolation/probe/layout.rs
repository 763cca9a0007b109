//! The mesh as one host has it, looked up by whatever a frame or a row tells. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::asks::Way;
use super::owners::End;
use crate::names::{HostName, TenantName};
use crate::plan::{Bridge, Plan};
use crate::topology::{Tenant, Topology};

/// Topology and plan, and where each thing is in them: what is met and asked is looked up once a frame, so that nothing
/// may be searched for. A tenant is its place in the topology.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) topology: &'a Topology,
    pub(super) plan: &'a Plan,
    bridges: Vec<Option<&'a Bridge>>,
    peers: Vec<BTreeMap<IpAddr, &'a HostName>>,
    tenants: HashMap<&'a TenantName, usize>,
    keys: HashMap<u32, usize>,
    hosts: HashMap<&'a HostName, IpAddr>,
    owners: HashMap<IpAddr, Arc<[usize]>>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(topology: &'a Topology, plan: &'a Plan) -> Self {
        let planned: HashMap<&TenantName, &Bridge> =
            plan.bridges.iter().map(|bridge| (&bridge.tenant, bridge)).collect();
        let tenants = || topology.tenants().iter().enumerate();
        let bridges: Vec<Option<&Bridge>> =
            topology.tenants().iter().map(|tenant| planned.get(tenant.name()).copied()).collect();
        let peers = bridges.iter().map(|bridge| {
            let tunnels = bridge.map_or(&[][..], |bridge| &bridge.tunnels);
            tunnels.iter().map(|tunnel| (tunnel.tuple.remote_ip.0, &tunnel.peer)).collect()
        });
        let mut owners: HashMap<IpAddr, Vec<usize>> = HashMap::new();
        for (at, tenant) in tenants() {
            for address in addresses(tenant) {
                owners.entry(address).or_default().push(at);
            }
        }
        Self {
            topology,
            plan,
            peers: peers.collect(),
            bridges,
            tenants: tenants().map(|(at, tenant)| (tenant.name(), at)).collect(),
            keys: tenants().map(|(at, tenant)| (tenant.key().get(), at)).collect(),
            hosts: topology.hosts().iter().map(|host| (host.name(), host.underlay_ip())).collect(),
            owners: owners.into_iter().map(|(address, owners)| (address, owners.into())).collect(),
        }
    }

    pub(super) fn tenant(&self, at: usize) -> &'a Tenant {
        &self.topology.tenants()[at]
    }

    pub(super) fn name(&self, at: usize) -> &'a TenantName {
        self.tenant(at).name()
    }

    /// The tenant of that name.
    pub(super) fn named(&self, name: &TenantName) -> Option<usize> {
        self.tenants.get(name).copied()
    }

    /// The tenant with that key.
    pub(super) fn keyed(&self, key: Option<u32>) -> Option<usize> {
        self.keys.get(&key?).copied()
    }

    /// A tenant's bridge, if this host carries the tenant.
    pub(super) fn bridge(&self, tenant: usize) -> Option<&'a Bridge> {
        self.bridges[tenant]
    }

    /// The hosts that a tenant's question leaves for, by underlay address.
    pub(super) fn peers(&self, tenant: usize) -> &BTreeMap<IpAddr, &'a HostName> {
        &self.peers[tenant]
    }

    /// The tenants that have an address.
    pub(super) fn owners(&self, address: IpAddr) -> Option<&Arc<[usize]>> {
        self.owners.get(&address)
    }

    /// By what that comes which is sent there.
    pub(super) fn way(&self, End { host, port }: &End) -> Way {
        match self.address(host).filter(|_| *host != self.plan.host) {
            Some(address) => Way::Peer(address),
            None => Way::Port(port.clone()),
        }
    }

    /// The underlay address of a host.
    pub(super) fn address(&self, host: &HostName) -> Option<IpAddr> {
        self.hosts.get(host).copied()
    }
}

/// The addresses that the topology gives to a tenant's containers and gateways.
pub(super) fn addresses(tenant: &Tenant) -> impl Iterator<Item = IpAddr> {
    let containers = tenant.containers().iter().map(crate::topology::Container::ip);
    containers.chain(tenant.gateways().iter().map(crate::topology::Gateway::ip))
}
