//! From changes to one guarded OVSDB transaction (RFC 7047 section 4.1.3). Pure.
//!
//! The guards are `wait` operations with timeout 0: they fail the whole transaction if what it was computed from is no
//! longer so. The column indexes on `name` (ovsdb-server refuses a second row) guard what does not exist yet.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::attach::Attachment;
use crate::diff::{Change, ColumnChange, ColumnValue, Step, bridge_config, owned_ids, tunnel_options};
use crate::names::{BridgeName, Ctid, MeshName, TenantName};
use crate::ovsdb::{Atom, Mutation, Mutator, Operation, Row, Value};
use crate::plan::{CTID_ID, GATEWAY_ID, IFINDEX_ID, MESH_ID, PEER_ID, Plan, TENANT_ID, Tunnel};
use crate::snapshot::{RELEASED, Snapshot, StringMap};

/// The operations of a step that was computed from this snapshot: guards first, then the changes.
pub fn lower(plan: &Plan, snapshot: &Snapshot, step: &Step<'_>) -> Vec<Operation> {
    let mut lowering = Lowering::new(plan, snapshot);
    for change in &step.changes {
        lowering.change(change);
    }
    lowering.finish()
}

/// What happens to one bridge's set of ports.
#[derive(Default)]
struct PortSet {
    added: Vec<Atom>,
    removed: Vec<Uuid>,
}

struct Lowering<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    bridges_by_name: BTreeMap<&'a str, Uuid>,
    guards: BTreeMap<(&'static str, Uuid), Row>,
    operations: Vec<Operation>,
    sets: BTreeMap<String, PortSet>,
    new_bridges: Vec<(&'a BridgeName, Row)>,
    removed_bridges: Vec<Uuid>,
    named: usize,
}

impl<'a> Lowering<'a> {
    fn new(plan: &'a Plan, snapshot: &'a Snapshot) -> Self {
        let bridges_by_name = snapshot.bridges.values().map(|row| (row.name.as_str(), row.uuid)).collect();
        Self {
            plan,
            snapshot,
            bridges_by_name,
            guards: BTreeMap::new(),
            operations: Vec::new(),
            sets: BTreeMap::new(),
            new_bridges: Vec::new(),
            removed_bridges: Vec::new(),
            named: 0,
        }
    }

    fn change(&mut self, change: &'a Change) {
        match change {
            Change::AddBridge { bridge, tenant, datapath, mtu } => {
                let interface = row([
                    ("name", Value::string(bridge.as_str())),
                    ("type", Value::string("internal")),
                    ("mtu_request", i64::from(*mtu).into()),
                ]);
                let port = self.port(bridge.as_str(), interface, Row::new());
                self.set(bridge.as_str()).added.push(port);
                let row = row([
                    ("name", Value::string(bridge.as_str())),
                    ("datapath_type", Value::string(datapath.as_str())),
                    ("fail_mode", Value::string("standalone")),
                    ("external_ids", Value::string_map(owned_ids(self.plan, tenant))),
                    ("other_config", Value::string_map(bridge_config())),
                ]);
                self.new_bridges.push((bridge, row));
            }
            Change::RemoveBridge { bridge: _, row, tenant: _ } => {
                self.guard_bridge(*row);
                self.removed_bridges.push(*row);
            }
            Change::AddTunnel { bridge, tenant, tunnel } => {
                let Tunnel { port, peer, tuple } = tunnel;
                let interface = row([
                    ("name", Value::string(port.as_str())),
                    ("type", Value::string(tuple.kind.as_str())),
                    ("options", Value::string_map(tunnel_options(tuple))),
                ]);
                let mut columns = self.owned(tenant, PEER_ID, peer.as_str());
                // In the port's own transaction: without it the first broadcast loops for ever.
                columns.insert("protected".to_owned(), true.into());
                let port = self.port(port.as_str(), interface, columns);
                self.set(bridge.as_str()).added.push(port);
            }
            Change::AddGateway { bridge, tenant, gateway } => {
                let interface = row([("name", Value::string(gateway.port.as_str()))]);
                let columns = self.owned(tenant, GATEWAY_ID, gateway.netns.as_str());
                let port = self.port(gateway.port.as_str(), interface, columns);
                self.set(bridge.as_str()).added.push(port);
            }
            Change::ReleasePort { bridge: _, port: _, row, interface, reason: _ } => {
                self.guard_port(*row);
                self.kind(*interface, RELEASED);
            }
            Change::TakePort { from, bridge, tenant: _, port: _, row, interface, ids } => {
                self.guard_port(*row);
                self.keys("Port", *row, "external_ids", ids);
                self.kind(*interface, "");
                if from != bridge.as_str() {
                    self.set(from).removed.push(*row);
                    self.set(bridge.as_str()).added.push(Atom::Uuid(*row));
                }
            }
            Change::RemovePort { bridge, port: _, row, tuple: _, gateway: _, reason: _ } => {
                self.guard_port(*row);
                self.set(bridge).removed.push(*row);
            }
            Change::ChangeBridge { bridge: _, columns }
            | Change::ChangePort { bridge: _, port: _, columns } => {
                for column in columns {
                    self.column(column);
                }
            }
            // Not in OVSDB: devices and namespaces are the kernel's.
            Change::FixDevice { bridge: _, device: _, mtu: _, datapath: _, problems: _ }
            | Change::FixLink { gateway: _, tenant: _, mtu: _, datapath: _, problems: _ } => {}
        }
    }

    fn kind(&mut self, interface: Uuid, kind: &str) {
        self.guard_interface(interface);
        let kind = row([("type", Value::string(kind))]);
        self.operations.push(Operation::update_row("Interface", interface, kind));
    }

    fn owned(&self, tenant: &TenantName, key: &str, value: &str) -> Row {
        let mut ids = owned_ids(self.plan, tenant);
        ids.insert(key.to_owned(), value.to_owned());
        row([("external_ids", Value::string_map(ids))])
    }

    /// Inserts a port with its one interface; the value refers to it.
    fn port(&mut self, name: &str, interface: Row, mut columns: Row) -> Atom {
        let (interface_name, port_name) = (format!("i{}", self.named), format!("p{}", self.named));
        self.named += 1;
        columns.insert("name".to_owned(), Value::string(name));
        columns.insert("interfaces".to_owned(), Value::named_uuid(interface_name.clone()));
        self.operations.push(Operation::insert_named("Interface", interface_name, interface));
        self.operations.push(Operation::insert_named("Port", port_name.clone(), columns));
        Atom::NamedUuid(port_name)
    }

    fn set(&mut self, bridge: &str) -> &mut PortSet {
        if let Some(row) = self.bridges_by_name.get(bridge).copied() {
            self.guard_bridge(row);
        }
        self.sets.entry(bridge.to_owned()).or_default()
    }

    fn guard_bridge(&mut self, uuid: Uuid) {
        let Some(bridge) = self.snapshot.bridges.get(&uuid) else { return };
        self.guards.entry(("Bridge", uuid)).or_insert_with(|| {
            row([
                ("external_ids", Value::string_map(bridge.external_ids.clone())),
                ("ports", Value::uuid_set(bridge.ports.iter().copied())),
            ])
        });
    }

    fn guard_port(&mut self, uuid: Uuid) {
        let Some(port) = self.snapshot.ports.get(&uuid) else { return };
        self.guards
            .entry(("Port", uuid))
            .or_insert_with(|| row([("external_ids", Value::string_map(port.external_ids.clone()))]));
    }

    fn guard_interface(&mut self, uuid: Uuid) {
        let Some(interface) = self.snapshot.interfaces.get(&uuid) else { return };
        self.guards.entry(("Interface", uuid)).or_insert_with(|| {
            row([
                ("type", Value::string(interface.kind.clone())),
                ("options", Value::string_map(interface.options.clone())),
            ])
        });
    }

    fn column(&mut self, change: &ColumnChange) {
        let ColumnChange { table, row: uuid, column, from: _, to } = change;
        match *table {
            "Bridge" => self.guard_bridge(*uuid),
            "Port" => self.guard_port(*uuid),
            _ => self.guard_interface(*uuid),
        }
        let value = match to {
            ColumnValue::Boolean(value) => (*value).into(),
            ColumnValue::Integer(value) => (*value).into(),
            ColumnValue::Text(text) => Value::string(text.clone()),
            ColumnValue::Empty => Value::empty_set(),
            ColumnValue::Map(map) => Value::string_map(map.clone()),
            ColumnValue::Keys(map) => return self.keys(table, *uuid, column, map),
        };
        self.operations.push(Operation::update_row(*table, *uuid, row([(*column, value)])));
    }

    /// A map's `insert` leaves keys alone that are there already, so they are deleted first.
    fn keys(&mut self, table: &str, uuid: Uuid, column: &str, map: &StringMap) {
        let mutations = vec![
            Mutation::new(column, Mutator::Delete, Value::string_set(map.keys().cloned())),
            Mutation::new(column, Mutator::Insert, Value::string_map(map.clone())),
        ];
        self.operations.push(Operation::mutate_row(table, uuid, mutations));
    }

    fn finish(mut self) -> Vec<Operation> {
        let mut added_bridges = Vec::new();
        for (name, mut columns) in std::mem::take(&mut self.new_bridges) {
            let ports = self.sets.remove(name.as_str()).unwrap_or_default();
            columns.insert("ports".to_owned(), Value::Set(ports.added));
            let uuid_name = format!("b{}", added_bridges.len());
            added_bridges.push(Atom::NamedUuid(uuid_name.clone()));
            self.operations.push(Operation::insert_named("Bridge", uuid_name, columns));
        }
        for (bridge, PortSet { added, removed }) in &self.sets {
            let Some(uuid) = self.bridges_by_name.get(bridge.as_str()) else { continue };
            let mut mutations = Vec::new();
            if !removed.is_empty() {
                let gone = Value::uuid_set(removed.iter().copied());
                mutations.push(Mutation::new("ports", Mutator::Delete, gone));
            }
            if !added.is_empty() {
                mutations.push(Mutation::new("ports", Mutator::Insert, Value::Set(added.clone())));
            }
            self.operations.push(Operation::mutate_row("Bridge", *uuid, mutations));
        }
        let mut root = Vec::new();
        if !(added_bridges.is_empty() && self.removed_bridges.is_empty()) {
            let before = Value::uuid_set(self.snapshot.bridge_set.iter().copied());
            self.guards.insert(("Open_vSwitch", self.snapshot.root), row([("bridges", before)]));
        }
        if !self.removed_bridges.is_empty() {
            let gone = Value::uuid_set(self.removed_bridges.iter().copied());
            root.push(Mutation::new("bridges", Mutator::Delete, gone));
        }
        if !added_bridges.is_empty() {
            root.push(Mutation::new("bridges", Mutator::Insert, Value::Set(added_bridges)));
        }
        let guards =
            self.guards.into_iter().map(|((table, uuid), row)| Operation::guard_row(table, uuid, row));
        if !root.is_empty() {
            self.operations.push(Operation::mutate_row("Open_vSwitch", self.snapshot.root, root));
        }
        guards.chain(self.operations).collect()
    }
}

/// The ids that an attached port has; others on it stay.
pub(crate) fn attached_ids(mesh: &MeshName, wanted: &Attachment, ifindex: u32) -> StringMap {
    let Attachment { device: _, tenant, ctid, mac: _, iface_id: _ } = wanted;
    let mut ids = StringMap::from([
        (MESH_ID.to_owned(), mesh.to_string()),
        (TENANT_ID.to_owned(), tenant.to_string()),
        (IFINDEX_ID.to_owned(), ifindex.to_string()),
    ]);
    ids.extend(ctid.iter().map(|ctid| (CTID_ID.to_owned(), ctid.to_string())));
    ids
}

/// The Interface and the Port row of an attached interface, all but the port's `interfaces`.
pub(crate) fn attached_rows(mesh: &MeshName, wanted: &Attachment, ifindex: u32) -> [Row; 2] {
    let Attachment { device, tenant: _, ctid, mac, iface_id } = wanted;
    let id = iface_id.as_deref().or(ctid.as_ref().map(Ctid::as_str)).unwrap_or(device.as_str());
    let mut ids = StringMap::from([("iface-id".to_owned(), id.to_owned())]);
    ids.extend(mac.iter().map(|mac| ("attached-mac".to_owned(), mac.to_string())));
    let interface = row([("name", Value::string(device.as_str())), ("external_ids", Value::string_map(ids))]);
    let port = row([
        ("name", Value::string(device.as_str())),
        ("external_ids", Value::string_map(attached_ids(mesh, wanted, ifindex))),
        // Gone after a reboot, when the device is too (ovs-ctl(8), `delete-transient-ports`).
        ("other_config", Value::string_map([("transient", "true")])),
    ]);
    [interface, port]
}

fn row<const N: usize>(columns: [(&str, Value); N]) -> Row {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
