//! A tenant's gateway: its veth pair leads into a namespace of its own, in which nothing else is.

use super::places::{HOST, Places};
use super::{Check, Device, Found, SYNC, Severity, View};
use crate::isolation::links::PeerNetns;
use crate::plan::{Bridge, GatewayPort};
use crate::topology::Tenant;

pub(super) fn check(view: &View<'_>, places: &Places<'_>, found: &mut Found<'_>) {
    for (bridge, tenant, _) in &view.bridges {
        if let Some(gateway) = &bridge.gateway {
            Checker { view, places, bridge, tenant, gateway, found: &mut *found }.check();
        }
    }
}

struct Checker<'a, 'b, 'c> {
    view: &'b View<'a>,
    places: &'b Places<'a>,
    bridge: &'a Bridge,
    tenant: &'a Tenant,
    gateway: &'a GatewayPort,
    found: &'b mut Found<'c>,
}

impl<'a> Checker<'a, '_, '_> {
    fn add(
        &mut self,
        check: Check,
        severity: Severity,
        other: Option<&'a Tenant>,
        reason: String,
        remedy: &str,
    ) {
        let tenants = std::iter::once(self.tenant).chain(other).map(Tenant::name).collect::<Vec<_>>();
        let object = format!("gateway {} on bridge {}", self.gateway.port, self.bridge.name);
        self.found.add(check, severity, &tenants, object, reason, remedy);
    }

    fn check(&mut self) {
        let GatewayPort { port, netns, address } = self.gateway;
        let Some(outer) = self.view.devices.get(port.as_str()).copied() else {
            return self.add(
                Check::GatewayLink,
                Severity::Degraded,
                None,
                "its device is missing".to_owned(),
                SYNC,
            );
        };
        let Some(space) = self.places.named(netns.as_str()) else {
            let reason = format!("its network namespace {netns} is missing");
            return self.add(Check::GatewayLink, Severity::Degraded, None, reason, SYNC);
        };
        let inner = self.inner(outer, space);
        match inner {
            Some(inner) => {
                if !inner.addresses.contains(address) {
                    let reason = format!("{} in {netns} does not have {address}", inner.name);
                    self.add(Check::GatewayLink, Severity::Degraded, None, reason, SYNC);
                }
                if !inner.up {
                    let reason = format!("{} in {netns} is down", inner.name);
                    self.add(Check::GatewayLink, Severity::Degraded, None, reason, SYNC);
                }
                let mtu = u32::from(self.bridge.mtu);
                if inner.mtu != mtu {
                    let reason =
                        format!("{} in {netns} has MTU {}, the tenant's is {mtu}", inner.name, inner.mtu);
                    self.add(Check::MtuTenant, Severity::Degraded, None, reason, SYNC);
                }
            }
            None => self.astray(outer),
        }
        self.lodgers(space, inner);
    }

    /// The end of the pair in the gateway's namespace.
    fn inner(&self, outer: &Device, space: usize) -> Option<&'a Device> {
        if outer.peer_netns == PeerNetns::Unknown {
            // Nobody found out where it leads: that the two name each other has to do.
            let mut devices = self.places.spaces[space].devices.iter().filter(|inner| inner.is_kind("veth"));
            return devices.find(|inner| {
                outer.peer_index == Some(inner.index) && inner.peer_index == Some(outer.index)
            });
        }
        self.places.far_end(HOST, outer).filter(|(there, _)| *there == space).map(|(_, inner)| inner)
    }

    /// The pair does not lead into the gateway's namespace.
    fn astray(&mut self, outer: &Device) {
        let there = self.places.far_end(HOST, outer).and_then(|(there, _)| self.places.spaces[there].name);
        let Some(there) = there else {
            let reason = format!("its veth pair does not lead into {}", self.gateway.netns);
            return self.add(Check::GatewayLink, Severity::Degraded, None, reason, SYNC);
        };
        let other = self.view.facts.by_netns.get(there).copied();
        let other = other.filter(|other| other.name() != self.tenant.name());
        let severity = if other.is_some() { Severity::Breach } else { Severity::Degraded };
        let check = if other.is_some() { Check::GatewayShared } else { Check::GatewayLink };
        let reason = format!("its veth pair leads into {there}, not into {}", self.gateway.netns);
        self.add(check, severity, other, reason, SYNC);
    }

    /// Whatever else is in the gateway's namespace.
    fn lodgers(&mut self, space: usize, inner: Option<&'a Device>) {
        let own = &self.places.spaces[space];
        let netns = &self.gateway.netns;
        let lodgers = own.devices.iter().filter(|device| device.name != "lo" && device.up);
        let lodgers: Vec<&Device> =
            lodgers.filter(|device| Some(device.index) != inner.map(|inner| inner.index)).collect();
        for lodger in &lodgers {
            let host_end = self.places.far_end(space, lodger).filter(|(there, _)| *there == HOST);
            let others = host_end.and_then(|(_, end)| self.tenant_of_device(&end.name));
            let others = others.filter(|other| other.name() != self.tenant.name());
            let remedy = format!("move {} out of {netns}", lodger.name);
            let (severity, reason) = match others {
                Some(other) => {
                    let whose = format!("tenant {}'s network", other.name());
                    (Severity::Breach, format!("{} in {netns} is on {whose}", lodger.name))
                }
                None => {
                    (Severity::Notice, format!("{} is in {netns} too, and is not the gateway's", lodger.name))
                }
            };
            self.add(Check::GatewayShared, severity, others, reason, &remedy);
        }
        if own.forwarding.any() {
            let (severity, reason) = if lodgers.is_empty() {
                (Severity::Notice, format!("{netns} forwards packets, and has no other way out yet"))
            } else {
                (
                    Severity::Breach,
                    format!("{netns} forwards packets between the tenant and its other devices"),
                )
            };
            self.add(Check::GatewayForwarding, severity, None, reason, SYNC);
        }
    }

    /// The tenant whose bridge a device is a port of.
    fn tenant_of_device(&self, name: &str) -> Option<&'a Tenant> {
        let mut bridges = self.view.bridges.iter();
        let held = bridges.find(|(_, _, row)| self.view.ports(row).any(|(port, _)| port.name == name));
        held.map(|(_, tenant, _)| *tenant)
    }
}
