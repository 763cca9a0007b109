//! Whose a MAC address is. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::layout::Layout;
use crate::isolation::host::HostSnapshot;
use crate::isolation::links::HostLinks;
use crate::link::Mac;
use crate::names::{Ctid, HostName};
use crate::plan::{GATEWAY_DEVICE, Plan, PlanError};
use crate::snapshot::Snapshot;
use crate::topology::Topology;

/// Whose the MAC addresses are of which something is known: of containers by their rows, and of gateways by their devices,
/// on all hosts that were looked at. A container's tenant is the topology's, whatever its row says.
///
/// What a probe is told about more hosts than its own it can tell apart by their addresses as well.
#[derive(Debug, Clone)]
pub struct Owners<'a> {
    topology: &'a Topology,
    containers: HashMap<&'a Ctid, (usize, IpAddr)>,
    /// By tenant, where it is.
    by_mac: HashMap<Mac, BTreeMap<usize, BTreeSet<End>>>,
    by_address: BTreeMap<(usize, IpAddr), BTreeSet<Mac>>,
}

/// Where somebody is attached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) host: HostName,
    pub(super) port: String,
}

impl<'a> Owners<'a> {
    /// Nothing is known yet.
    pub fn new(topology: &'a Topology) -> Self {
        let tenants = topology.tenants().iter().enumerate();
        let containers = tenants.flat_map(|(at, tenant)| {
            tenant.containers().iter().map(move |container| (container.ctid(), (at, container.ip())))
        });
        Self {
            topology,
            containers: containers.collect(),
            by_mac: HashMap::new(),
            by_address: BTreeMap::new(),
        }
    }

    /// Adds what is known of a host.
    pub fn add(&mut self, host: &HostSnapshot) -> Result<(), PlanError> {
        let plan = Plan::new(self.topology, &host.host)?;
        let layout = Layout::new(self.topology, &plan);
        self.attached(&layout, &host.rows, host.links.as_ref());
        let spaces = host.links.iter().flat_map(|links| &links.netns);
        let spaces: HashMap<&str, _> = spaces.map(|space| (space.name.as_str(), space)).collect();
        for bridge in &plan.bridges {
            let (Some(gateway), Some(tenant)) = (&bridge.gateway, layout.named(&bridge.tenant)) else {
                continue;
            };
            let devices = spaces.get(gateway.netns.as_str()).map_or(&[][..], |space| &space.devices);
            let device = devices.iter().find(|device| device.name == GATEWAY_DEVICE);
            if let Some(mac) = device.and_then(|device| device.mac) {
                let end = End { host: plan.host.clone(), port: gateway.port.to_string() };
                self.put(tenant, Some(gateway.address.ip()), mac, end);
            }
        }
        Ok(())
    }

    /// Adds the containers that are attached to a host.
    pub(super) fn attached(&mut self, layout: &Layout<'_>, rows: &Snapshot, links: Option<&HostLinks>) {
        for (_, port, interface) in rows.placed_interfaces() {
            if !port.is_owned_by(self.topology.name()) || interface.is_tunnel() {
                continue;
            }
            let noted = interface.external_ids.get("attached-mac").and_then(|text| text.parse().ok());
            let behind = || links?.behind(&interface.name)?.mac;
            let container = port.ctid().and_then(|text| text.parse::<Ctid>().ok());
            // A gateway's row says nothing of what is behind it.
            let Some(mac) = noted.or_else(|| container.as_ref().and_then(|_| behind())) else { continue };
            let known = container.and_then(|ctid| self.containers.get(&ctid).copied());
            let said = || layout.named(&port.tenant()?.parse().ok()?);
            let Some(tenant) = known.map(|(tenant, _)| tenant).or_else(said) else { continue };
            let end = End { host: layout.plan.host.clone(), port: interface.name.clone() };
            self.put(tenant, known.map(|(_, address)| address), mac, end);
        }
    }

    pub(super) fn put(&mut self, tenant: usize, address: Option<IpAddr>, mac: Mac, end: End) {
        self.by_mac.entry(mac).or_default().entry(tenant).or_default().insert(end);
        if let Some(address) = address {
            self.by_address.entry((tenant, address)).or_default().insert(mac);
        }
    }

    /// Where a MAC address of a tenant's is; none if it is not known to be the tenant's.
    pub(super) fn ends(&self, tenant: usize, mac: Mac) -> Option<&BTreeSet<End>> {
        self.by_mac.get(&mac)?.get(&tenant)
    }

    /// The tenant whose a MAC address is.
    pub(super) fn tenant(&self, mac: Mac) -> Option<usize> {
        self.by_mac.get(&mac)?.keys().next().copied()
    }

    /// The same, if it is another tenant's alone.
    pub(super) fn other(&self, tenant: usize, mac: Mac) -> Option<usize> {
        self.tenant(mac).filter(|_| self.ends(tenant, mac).is_none())
    }

    /// A tenant's addresses with the MAC addresses of whoever has them, as far as they are known.
    pub(super) fn macs(&self, tenant: usize) -> impl Iterator<Item = (IpAddr, Mac)> {
        let first = IpAddr::from([0, 0, 0, 0]);
        let own = self.by_address.range((tenant, first)..).take_while(move |((at, _), _)| *at == tenant);
        own.flat_map(|((_, address), macs)| macs.iter().map(|mac| (*address, *mac)))
    }

    /// The MAC addresses of whoever has an address.
    pub(super) fn of(&self, tenant: usize, address: IpAddr) -> Option<&BTreeSet<Mac>> {
        self.by_address.get(&(tenant, address))
    }
}
