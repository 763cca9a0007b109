//! Plan minus snapshot: what has to change, and why. Pure.
//!
//! Only rows of our own appear in a [`Diff`]. A row of somebody else's that is in the way is a [`Conflict`].

mod attached;
mod change;
mod conflict;
mod step;

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use uuid::Uuid;

pub use change::{Change, ColumnChange, ColumnValue};
pub use conflict::Conflict;
pub use step::{Step, removals_at_once};

use crate::names::{PortName, TenantName};
use crate::plan::{
    Bridge, GATEWAY_ID, GatewayPort, MAC_TABLE_SIZE, MESH_ID, PEER_ID, Plan, TENANT_ID, Tunnel, Tuple,
    gateway_netns,
};
use crate::snapshot::{BridgeRow, InterfaceRow, PortRole, PortRow, Snapshot, StringMap};

/// What the host has besides OVSDB: its devices, and its gateways' links, addresses and namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDevices {
    /// Every device on the host, by name; none where they cannot be seen from here.
    pub devices: Option<HashMap<String, HostDevice>>,
    /// A gateway's host-side device's index, where there is a whole veth pair; without one the device has to be made.
    pub ifindex: HashMap<PortName, u32>,
    /// What is not as planned, in words; empty or missing: nothing.
    pub problems: HashMap<PortName, Vec<String>>,
}

/// A device of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// The Linux bridge that it is a port of.
    pub linux_bridge: Option<String>,
}

/// What has to change on one host.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// The changes, in the order in which they read best.
    pub changes: Vec<Change>,
    /// Bridges of ours that are no longer planned, but stay because somebody else has ports on them.
    pub kept: Vec<KeptBridge>,
}

/// A bridge that cannot go yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptBridge {
    /// The bridge.
    pub bridge: String,
    /// The ports on it that are not ours.
    pub foreign_ports: Vec<String>,
}

impl Diff {
    /// Compares what should be with what is. Conflicts, if any, are all there are.
    pub fn new(plan: &Plan, snapshot: &Snapshot, devices: &HostDevices) -> Result<Self, Vec<Conflict>> {
        let conflicts = conflict::find(plan, snapshot);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let mut differ = Differ { plan, snapshot, devices, diff: Self::default() };
        differ.run();
        Ok(differ.diff)
    }

    /// Whether everything is as planned.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

struct Differ<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    devices: &'a HostDevices,
    diff: Diff,
}

/// An owned port's planned counterpart.
enum Wanted<'a> {
    Tunnel(&'a Tunnel),
    Gateway(&'a GatewayPort),
}

impl<'a> Differ<'a> {
    fn run(&mut self) {
        let mut present: Vec<&BridgeRow> =
            self.snapshot.bridges.values().filter(|row| row.is_owned_by(&self.plan.mesh)).collect();
        present.sort_by(|a, b| a.name.cmp(&b.name));
        let planned: HashMap<&str, &Bridge> =
            self.plan.bridges.iter().map(|bridge| (bridge.name.as_str(), bridge)).collect();
        self.gateway_links();
        for row in &present {
            match planned.get(row.name.as_str()) {
                Some(bridge) => self.bridge(bridge, row),
                None => self.unplanned_bridge(row),
            }
        }
        self.strays();
        let existing: HashSet<&str> = present.iter().map(|row| row.name.as_str()).collect();
        for bridge in &self.plan.bridges {
            if !existing.contains(bridge.name.as_str()) {
                let Bridge { name, tenant, datapath, mtu, tunnels, gateway, containers: _ } = bridge;
                self.push(Change::AddBridge {
                    bridge: name.clone(),
                    tenant: tenant.clone(),
                    datapath: *datapath,
                    mtu: *mtu,
                });
                for tunnel in tunnels {
                    self.add_tunnel(bridge, tunnel);
                }
                if let Some(gateway) = gateway {
                    self.add_gateway(bridge, gateway);
                }
            }
        }
    }

    fn push(&mut self, change: Change) {
        self.diff.changes.push(change);
    }

    fn add_tunnel(&mut self, bridge: &Bridge, tunnel: &Tunnel) {
        self.push(Change::AddTunnel {
            bridge: bridge.name.clone(),
            tenant: bridge.tenant.clone(),
            tunnel: tunnel.clone(),
        });
    }

    fn add_gateway(&mut self, bridge: &Bridge, gateway: &GatewayPort) {
        self.push(Change::AddGateway {
            bridge: bridge.name.clone(),
            tenant: bridge.tenant.clone(),
            gateway: gateway.clone(),
        });
    }

    fn remove(&mut self, bridge: &str, port: &PortRow, reason: impl Into<String>) {
        let interface = self.snapshot.only_interface(port);
        let gateway = match port.role(interface) {
            PortRole::Gateway => port.external_ids.get(GATEWAY_ID).and_then(|netns| netns.parse().ok()),
            PortRole::Tunnel | PortRole::Attached => None,
        };
        // Only a namespace that this mesh can have made goes with its row, whatever the row says; and a gateway that only
        // changes its row keeps its link and namespace.
        let tenant = port.tenant().and_then(|tenant| tenant.parse().ok());
        let own = tenant.map(|tenant| gateway_netns(&self.plan.mesh, &self.plan.host, &tenant));
        let gateway = gateway.filter(|netns| own.as_ref() == Some(netns)).filter(|netns| {
            !self.plan.bridges.iter().filter_map(|b| b.gateway.as_ref()).any(|g| g.netns == *netns)
        });
        self.push(Change::RemovePort {
            bridge: bridge.to_owned(),
            port: port.name.clone(),
            row: port.uuid,
            tuple: interface.and_then(InterfaceRow::effective_tuple),
            gateway,
            reason: reason.into(),
        });
    }

    fn gateway_links(&mut self) {
        for bridge in &self.plan.bridges {
            let Some(gateway) = &bridge.gateway else { continue };
            let Some(problems) = self.devices.problems.get(&gateway.port).filter(|list| !list.is_empty())
            else {
                continue;
            };
            self.push(Change::FixLink {
                gateway: gateway.clone(),
                tenant: bridge.tenant.clone(),
                mtu: bridge.mtu,
                datapath: bridge.datapath,
                problems: problems.clone(),
            });
        }
    }

    fn unplanned_bridge(&mut self, row: &BridgeRow) {
        let mut foreign = Vec::new();
        let before = self.diff.changes.len();
        for port in self.ports(row) {
            if port.is_owned_by(&self.plan.mesh) {
                self.misplaced(row, port, "its bridge is not in the topology");
            } else if port.name != row.name {
                foreign.push(port.name.clone());
            }
        }
        // A released port's row lives until it has been taken elsewhere, and so must its bridge.
        if self.diff.changes[before..].iter().any(|change| matches!(change, Change::ReleasePort { .. })) {
            return;
        }
        if foreign.is_empty() {
            let tenant = row.external_ids.get(TENANT_ID).cloned();
            self.push(Change::RemoveBridge { bridge: row.name.clone(), row: row.uuid, tenant });
        } else {
            self.diff.kept.push(KeptBridge { bridge: row.name.clone(), foreign_ports: foreign });
        }
    }

    /// Owned ports on bridges that are not ours: put there by hand, or by a mesh that had this bridge before.
    fn strays(&mut self) {
        let mut bridges: Vec<&BridgeRow> =
            self.snapshot.bridges.values().filter(|row| !row.is_owned_by(&self.plan.mesh)).collect();
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        for row in bridges {
            for port in self.ports(row) {
                if port.is_owned_by(&self.plan.mesh) {
                    self.misplaced(row, port, "it is on a bridge that is not the mesh's");
                }
            }
        }
    }

    /// A bridge's ports, by name.
    fn ports(&self, row: &BridgeRow) -> Vec<&'a PortRow> {
        let snapshot = self.snapshot;
        let mut ports: Vec<&PortRow> = row.ports.iter().filter_map(|uuid| snapshot.ports.get(uuid)).collect();
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        ports
    }

    fn bridge(&mut self, bridge: &Bridge, row: &BridgeRow) {
        self.bridge_columns(bridge, row);
        let mut wanted: HashMap<&str, Wanted<'_>> =
            bridge.tunnels.iter().map(|tunnel| (tunnel.port.as_str(), Wanted::Tunnel(tunnel))).collect();
        if let Some(gateway) = &bridge.gateway {
            wanted.insert(gateway.port.as_str(), Wanted::Gateway(gateway));
        }
        let ports = self.ports(row);
        for port in &ports {
            if port.name == row.name {
                self.local_port(bridge, port);
            } else if port.is_owned_by(&self.plan.mesh) {
                match wanted.get(port.name.as_str()) {
                    Some(Wanted::Tunnel(tunnel)) => self.tunnel(bridge, tunnel, port),
                    Some(Wanted::Gateway(gateway)) => self.gateway(bridge, gateway, port),
                    None => self.unplanned_port(row, port),
                }
            }
        }
        let here: HashSet<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        for tunnel in bridge.tunnels.iter().filter(|tunnel| !here.contains(tunnel.port.as_str())) {
            self.add_tunnel(bridge, tunnel);
        }
        if let Some(gateway) = bridge.gateway.as_ref().filter(|gateway| !here.contains(gateway.port.as_str()))
        {
            self.add_gateway(bridge, gateway);
        }
    }

    fn unplanned_port(&mut self, row: &BridgeRow, port: &PortRow) {
        match port.role(self.snapshot.only_interface(port)) {
            PortRole::Tunnel => self.remove(&row.name, port, "the topology has no such tunnel"),
            PortRole::Gateway => self.remove(&row.name, port, "the topology has no such gateway"),
            PortRole::Attached => self.attached(row, port),
        }
    }

    /// An owned port on a bridge that is not planned: it goes, or moves to where it belongs.
    fn misplaced(&mut self, row: &BridgeRow, port: &PortRow, reason: &str) {
        match port.role(self.snapshot.only_interface(port)) {
            PortRole::Tunnel | PortRole::Gateway => self.remove(&row.name, port, reason),
            PortRole::Attached => self.attached(row, port),
        }
    }

    fn bridge_columns(&mut self, bridge: &Bridge, row: &BridgeRow) {
        let Bridge { name, tenant, datapath, mtu: _, tunnels: _, gateway: _, containers: _ } = bridge;
        let mut columns = Columns::new("Bridge", row.uuid);
        columns.text("datapath_type", row.datapath(), datapath.as_str());
        columns.optional("fail_mode", row.fail_mode.as_deref(), Some("standalone"));
        columns.keys("external_ids", &row.external_ids, &owned_ids(self.plan, tenant));
        columns.keys("other_config", &row.other_config, &bridge_config());
        if !columns.changes.is_empty() {
            self.push(Change::ChangeBridge { bridge: name.clone(), columns: columns.changes });
        }
    }

    fn local_port(&mut self, bridge: &Bridge, port: &PortRow) {
        let Some(interface) = self.snapshot.only_interface(port) else { return };
        let mut columns = Columns::new("Interface", interface.uuid);
        columns.integer("mtu_request", interface.mtu_request, i64::from(bridge.mtu));
        self.change_port(bridge, port, columns.changes);
    }

    fn tunnel(&mut self, bridge: &Bridge, tunnel: &Tunnel, port: &PortRow) {
        let Tunnel { port: _, peer, tuple } = tunnel;
        let options = tunnel_options(tuple);
        let Some(interface) = self.snapshot.only_interface(port) else {
            self.remove(bridge.name.as_str(), port, "a tunnel's port has exactly one interface");
            return self.add_tunnel(bridge, tunnel);
        };
        if interface.kind != tuple.kind.as_str() || interface.effective_tuple() != Some(tuple.effective()) {
            let found = interface.describe();
            self.remove(bridge.name.as_str(), port, format!("it was changed to {found}"));
            return self.add_tunnel(bridge, tunnel);
        }
        let mut ids = owned_ids(self.plan, &bridge.tenant);
        ids.insert(PEER_ID.to_owned(), peer.to_string());
        let mut columns = Columns::new("Interface", interface.uuid);
        columns.whole_map("options", &interface.options, &options);
        let mut changes = self.port_column_changes(port, &ids, true);
        changes.extend(columns.changes);
        self.change_port(bridge, port, changes);
    }

    fn gateway(&mut self, bridge: &Bridge, gateway: &GatewayPort, port: &PortRow) {
        let GatewayPort { port: name, netns, address: _ } = gateway;
        let interface = self.snapshot.only_interface(port);
        let device = self.devices.ifindex.get(name).copied().map(i64::from);
        let stale = match interface {
            None => Some("a gateway's port has exactly one interface".to_owned()),
            // Its row goes before the device is made: one made under a row passes no packets on the userspace datapath.
            Some(_)
                if device.is_none()
                    && self.devices.problems.get(name).is_some_and(|list| !list.is_empty()) =>
            {
                Some("its device is gone".to_owned())
            }
            Some(row) if !matches!(row.kind.as_str(), "" | "system") => {
                Some(format!("its type is {}", row.kind))
            }
            Some(row) if device.is_some() && row.ifindex.is_some() && row.ifindex != device => {
                Some("its device was made anew".to_owned())
            }
            Some(row) if device.is_some() && row.error.is_some() => {
                Some(format!("its device came back after: {}", row.error.as_deref().unwrap_or_default()))
            }
            Some(_) => None,
        };
        if let Some(reason) = stale {
            self.remove(bridge.name.as_str(), port, reason);
            return self.add_gateway(bridge, gateway);
        }
        let mut ids = owned_ids(self.plan, &bridge.tenant);
        ids.insert(GATEWAY_ID.to_owned(), netns.to_string());
        self.port_columns(bridge, port, &ids, false);
    }

    fn port_columns(&mut self, bridge: &Bridge, port: &PortRow, ids: &StringMap, protected: bool) {
        let changes = self.port_column_changes(port, ids, protected);
        self.change_port(bridge, port, changes);
    }

    fn change_port(&mut self, bridge: &Bridge, port: &PortRow, columns: Vec<ColumnChange>) {
        if !columns.is_empty() {
            self.push(Change::ChangePort { bridge: bridge.name.clone(), port: port.name.clone(), columns });
        }
    }

    #[expect(clippy::unused_self, reason = "reads beside its callers")]
    fn port_column_changes(&self, row: &PortRow, ids: &StringMap, wanted: bool) -> Vec<ColumnChange> {
        let PortRow { uuid, name: _, external_ids, interfaces: _, protected, tag, trunks, vlan_mode } = row;
        let mut columns = Columns::new("Port", *uuid);
        columns.boolean("protected", *protected, wanted);
        columns.keys("external_ids", external_ids, ids);
        columns.empty("tag", tag.map(|tag| tag.to_string()));
        columns.empty("trunks", (!trunks.is_empty()).then(|| format!("{trunks:?}")));
        columns.empty("vlan_mode", vlan_mode.clone());
        columns.changes
    }
}

/// What every owned row carries.
pub(crate) fn owned_ids(plan: &Plan, tenant: &TenantName) -> StringMap {
    StringMap::from([(MESH_ID.to_owned(), plan.mesh.to_string()), (TENANT_ID.to_owned(), tenant.to_string())])
}

/// The keys of a bridge's `other_config` that the mesh sets.
pub(crate) fn bridge_config() -> StringMap {
    StringMap::from([("mac-table-size".to_owned(), MAC_TABLE_SIZE.to_string())])
}

/// A tunnel's `options`, whole.
pub(crate) fn tunnel_options(tuple: &Tuple) -> StringMap {
    let Tuple { kind: _, key, local_ip, remote_ip } = tuple;
    StringMap::from([
        ("key".to_owned(), key.to_string()),
        ("local_ip".to_owned(), local_ip.to_string()),
        ("remote_ip".to_owned(), remote_ip.to_string()),
    ])
}

/// Collects the columns of one row that differ.
struct Columns {
    table: &'static str,
    row: Uuid,
    changes: Vec<ColumnChange>,
}

impl Columns {
    fn new(table: &'static str, row: Uuid) -> Self {
        Self { table, row, changes: Vec::new() }
    }

    fn change(&mut self, column: &'static str, from: impl Into<String>, to: ColumnValue) {
        let Self { table, row, changes } = self;
        changes.push(ColumnChange { table, row: *row, column, from: from.into(), to });
    }

    fn text(&mut self, column: &'static str, is: &str, should: &str) {
        if is != should {
            self.change(column, is, ColumnValue::Text(should.to_owned()));
        }
    }

    fn optional(&mut self, column: &'static str, is: Option<&str>, should: Option<&str>) {
        if is != should {
            let to = should.map_or(ColumnValue::Empty, |text| ColumnValue::Text(text.to_owned()));
            self.change(column, is.unwrap_or_default(), to);
        }
    }

    fn boolean(&mut self, column: &'static str, is: bool, should: bool) {
        if is != should {
            self.change(column, is.to_string(), ColumnValue::Boolean(should));
        }
    }

    fn integer(&mut self, column: &'static str, is: Option<i64>, should: i64) {
        if is != Some(should) {
            self.change(
                column,
                is.map(|is| is.to_string()).unwrap_or_default(),
                ColumnValue::Integer(should),
            );
        }
    }

    fn empty(&mut self, column: &'static str, is: Option<String>) {
        if let Some(is) = is {
            self.change(column, is, ColumnValue::Empty);
        }
    }

    /// Some keys of a map are ours, the rest stay as they are.
    fn keys(&mut self, column: &'static str, is: &StringMap, should: &StringMap) {
        let wrong: StringMap = should
            .iter()
            .filter(|(key, value)| is.get(*key) != Some(value))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !wrong.is_empty() {
            let before: StringMap = wrong
                .keys()
                .filter_map(|key| is.get(key).map(|value| (key.clone(), value.clone())))
                .collect();
            self.change(column, change::map_text(&before), ColumnValue::Keys(wrong));
        }
    }

    fn whole_map(&mut self, column: &'static str, is: &StringMap, should: &StringMap) {
        if is != should {
            self.change(column, change::map_text(is), ColumnValue::Map(should.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
