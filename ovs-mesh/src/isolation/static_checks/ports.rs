//! What is on a tenant's bridge: the mesh's own ports, each where the topology has it, and nothing else.

use std::collections::HashMap;

use uuid::Uuid;

use super::between::{Claim, Claimed, SeenHost};
use super::{Check, Found, SYNC, Severity, View, on};
use crate::names::TenantName;
use crate::plan::Bridge;
use crate::snapshot::{BridgeRow, InterfaceRow, Opening, PortRole, PortRow};
use crate::topology::Tenant;

pub(super) fn check(view: &View<'_>, own: &mut SeenHost, found: &mut Found<'_>) {
    let patches = Patches::new(view);
    for (bridge, tenant, row) in &view.bridges {
        for (port, interfaces) in view.ports(row) {
            let mut checker = Checker { view, tenant, row, port, found };
            checker.settings(&interfaces);
            checker.interfaces(&interfaces);
            if let Some(patch) = interfaces.iter().find(|interface| interface.kind == "patch") {
                checker.patch(patch, &patches);
            } else if view.is_owned(port) {
                checker.placement(bridge, interfaces.first().copied(), own);
            } else {
                let described = interfaces.first().map_or(String::new(), |interface| interface.describe());
                let reason = format!("it belongs to {}: {described}", port.owner());
                let remedy = format!("`ovs-vsctl del-port {} {}`", row.name, port.name);
                checker.add(Check::PortStranger, Severity::Breach, None, reason, &remedy);
            }
        }
        let local = row.ports.iter().filter_map(|uuid| view.port(*uuid)).find(|port| port.name == row.name);
        if let Some(port) = local {
            let interfaces = view.interfaces(port);
            let mut checker = Checker { view, tenant, row, port, found };
            checker.vlan();
            checker.interfaces(&interfaces);
        }
        let gateway = bridge.gateway.as_ref().map(|gateway| gateway.port.as_str());
        if let Some(gateway) = gateway.filter(|name| !view.ports(row).any(|(port, _)| port.name == *name)) {
            let object = format!("port {gateway} on bridge {}", row.name);
            let reason = "the tenant's gateway is not on its bridge";
            found.add(Check::GatewayMissing, Severity::Degraded, &[tenant.name()], object, reason, SYNC);
        }
    }
    shared(view, found);
}

/// Where patch ports lead.
struct Patches<'a> {
    bridge_of: HashMap<&'a str, &'a BridgeRow>,
}

impl<'a> Patches<'a> {
    fn new(view: &View<'a>) -> Self {
        let placed = view.snapshot.rows.placed_interfaces();
        let patches = placed.filter(|(_, _, interface)| interface.kind == "patch");
        Self { bridge_of: patches.map(|(bridge, _, interface)| (interface.name.as_str(), bridge)).collect() }
    }
}

struct Checker<'a, 'b, 'c> {
    view: &'b View<'a>,
    tenant: &'a Tenant,
    row: &'a BridgeRow,
    port: &'a PortRow,
    found: &'b mut Found<'c>,
}

impl Checker<'_, '_, '_> {
    fn add(
        &mut self,
        check: Check,
        severity: Severity,
        other: Option<&TenantName>,
        reason: impl Into<String>,
        remedy: &str,
    ) {
        let tenants: Vec<&TenantName> = std::iter::once(self.tenant.name()).chain(other).collect();
        self.found.add(check, severity, &tenants, on(self.port, self.row), reason, remedy);
    }

    fn vlan(&mut self) {
        let PortRow { tag, trunks, vlan_mode, .. } = self.port;
        let mut set = Vec::new();
        set.extend(tag.map(|tag| format!("tag={tag}")));
        set.extend((!trunks.is_empty()).then(|| format!("trunks={trunks:?}")));
        set.extend(vlan_mode.as_ref().map(|mode| format!("vlan_mode={mode}")));
        if !set.is_empty() {
            let reason = format!("it has {}: it does not talk to the ports without", set.join(", "));
            self.add(Check::PortVlan, Severity::Degraded, None, reason, SYNC);
        }
    }

    fn settings(&mut self, interfaces: &[&InterfaceRow]) {
        self.vlan();
        let is_tunnel = self.port.role(interfaces.first().copied()) == PortRole::Tunnel;
        if self.port.protected && !is_tunnel {
            let reason = "it is protected, as tunnels are: it does not talk to them";
            self.add(Check::PortProtected, Severity::Degraded, None, reason, SYNC);
        }
        if interfaces.len() > 1 {
            let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
            let reason = format!("it bonds {}: one of them is not the mesh's", names.join(" and "));
            let remedy =
                format!("`ovs-vsctl del-bond-iface {}` the interface that does not belong", self.port.name);
            self.add(Check::PortBond, Severity::Breach, None, reason, &remedy);
        }
    }

    fn interfaces(&mut self, interfaces: &[&InterfaceRow]) {
        for interface in interfaces {
            let reason = match interface {
                InterfaceRow { error: Some(error), .. } => error.clone(),
                InterfaceRow { opening: Opening::Pending, .. } => {
                    "ovs-vswitchd has not come to it yet".to_owned()
                }
                InterfaceRow { opening: Opening::Failed, .. } => {
                    "ovs-vswitchd could not open it; its log says why".to_owned()
                }
                _ => continue,
            };
            let remedy = "see that its device is there, then attach it anew or run `ovsmesh sync`";
            self.add(Check::PortError, Severity::Degraded, None, reason, remedy);
        }
    }

    fn patch(&mut self, interface: &InterfaceRow, patches: &Patches<'_>) {
        let peer = interface.options.get("peer").map_or("", String::as_str);
        let to = patches.bridge_of.get(peer);
        let other = to.and_then(|bridge| self.view.facts.by_bridge.get(bridge.name.as_str())).copied();
        let other = other.map(Tenant::name).filter(|name| *name != self.tenant.name());
        let reason = match to {
            Some(bridge) => format!("it is a patch to bridge {}", bridge.name),
            None => format!("it is a patch to port {peer}, wherever that comes to be"),
        };
        let remedy = format!("`ovs-vsctl del-port {} {}`", self.row.name, self.port.name);
        self.add(Check::PortPatch, Severity::Breach, other, reason, &remedy);
    }

    /// Whether a port of the mesh's is the topology's, here.
    fn placement(&mut self, bridge: &Bridge, interface: Option<&InterfaceRow>, own: &mut SeenHost) {
        let role = self.port.role(interface);
        let named = self.view.named_tenant(&self.port.external_ids);
        let ctid = self.port.ctid();
        let placed = ctid.and_then(|ctid| self.view.facts.by_ctid.get(ctid)).copied();
        if let (PortRole::Attached, Some(ctid)) = (role, ctid) {
            let tenant = self.tenant.name().clone();
            let object = on(self.port, self.row);
            own.claims.push(Claim { what: Claimed::Container(ctid.to_owned()), tenant, object });
            if let Some((tenant, _)) = placed.filter(|(tenant, _)| tenant.name() != self.tenant.name()) {
                let reason = format!("the topology puts container {ctid} in tenant {}", tenant.name());
                self.add(Check::ContainerTenant, Severity::Breach, Some(tenant.name()), reason, SYNC);
                return;
            }
        }
        if named.is_none_or(|named| named.name() != self.tenant.name()) {
            let whose =
                self.port.tenant().map_or("no tenant's".to_owned(), |name| format!("tenant {name}'s"));
            let reason = format!("its row says that it is {whose}");
            self.add(Check::PortMisplaced, Severity::Breach, named.map(Tenant::name), reason, SYNC);
            return;
        }
        match role {
            PortRole::Attached => {
                let host = self.view.host.name();
                if let Some((_, there)) = placed.filter(|(_, there)| *there != host) {
                    let reason =
                        format!("the topology has container {} on host {there}", ctid.unwrap_or_default());
                    let remedy = "move the container, or tell the topology where it is";
                    self.add(Check::ContainerHost, Severity::Degraded, None, reason, remedy);
                }
            }
            PortRole::Gateway => {
                let planned = bridge.gateway.as_ref().map(|gateway| gateway.port.as_str());
                if planned != Some(self.port.name.as_str()) {
                    let reason =
                        "the topology has no such gateway: its namespace is still on the tenant's network";
                    self.add(Check::RowStale, Severity::Breach, None, reason, SYNC);
                }
            }
            PortRole::Tunnel => {}
        }
    }
}

/// Ports on two bridges, and interfaces in two ports, where one of the two is a tenant's.
fn shared(view: &View<'_>, found: &mut Found<'_>) {
    let rows = &view.snapshot.rows;
    let mut on_bridge: HashMap<Uuid, Vec<&BridgeRow>> = HashMap::with_capacity(rows.ports.len());
    for bridge in rows.bridges.values() {
        for port in &bridge.ports {
            on_bridge.entry(*port).or_default().push(bridge);
        }
    }
    let mut in_port: HashMap<Uuid, Vec<&PortRow>> = HashMap::with_capacity(rows.interfaces.len());
    for port in rows.ports.values() {
        for interface in &port.interfaces {
            in_port.entry(*interface).or_default().push(port);
        }
    }
    let mut told = |object: String, mut bridges: Vec<&BridgeRow>| {
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        bridges.dedup_by_key(|bridge| bridge.uuid);
        let tenants: Vec<&TenantName> = bridges
            .iter()
            .filter_map(|bridge| view.facts.by_bridge.get(bridge.name.as_str()))
            .map(|tenant| tenant.name())
            .collect();
        if tenants.is_empty() {
            return;
        }
        let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
        let reason = format!("it is there twice: on bridge {}", names.join(" and on bridge "));
        let remedy = "`ovs-vsctl del-port` it, and add it to the one bridge it belongs to";
        found.add(Check::PortShared, Severity::Breach, &tenants, object, reason, remedy);
    };
    for (uuid, bridges) in on_bridge.iter().filter(|(_, bridges)| bridges.len() > 1) {
        let name = view.port(*uuid).map_or("?", |port| port.name.as_str());
        told(format!("port {name}"), bridges.clone());
    }
    for (uuid, ports) in in_port.iter().filter(|(_, ports)| ports.len() > 1) {
        let name = rows.interfaces.get(uuid).map_or("?", |interface| interface.name.as_str());
        let bridges = ports.iter().filter_map(|port| on_bridge.get(&port.uuid)).flatten().copied();
        told(format!("interface {name}"), bridges.collect());
    }
}
