//! A model of the `Open_vSwitch` database: executes transactions as RFC 7047 says, on the typed snapshot itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use uuid::Uuid;

use crate::names::MeshName;
use crate::ovsdb::{Atom, Condition, Mutation, Mutator, Operation, Row, Value};
use crate::plan::{Bridge, CTID_ID, IFINDEX_ID, MESH_ID, PEER_ID, Plan, TENANT_ID};
use crate::snapshot::{BridgeRow, EffectiveTuple, InterfaceRow, Opening, PortRow, Snapshot, StringMap};

/// Rows of others that a switch may have.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    bridges: u8,
    ports_on_ours: bool,
    container: bool,
}

impl Foreign {
    /// A container alone.
    pub(crate) fn container() -> Self {
        Self { bridges: 0, ports_on_ours: false, container: true }
    }

    pub(crate) fn any() -> impl Strategy<Value = Self> {
        (0u8..4, any::<bool>(), any::<bool>()).prop_map(|(bridges, ports_on_ours, container)| Self {
            bridges,
            ports_on_ours,
            container,
        })
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Database {
    pub(crate) snapshot: Snapshot,
    next: u128,
}

type Others = BTreeMap<String, (PortRow, Vec<InterfaceRow>)>;

impl Database {
    pub(crate) fn with_foreign(foreign: &Foreign) -> Self {
        let mut database = Self::default();
        for n in 0..foreign.bridges {
            let bridge = format!("other{n}");
            database.foreign_tunnel(&bridge, &format!("vx{n}"), "vxlan", &n.to_string(), None, "10.0.0.2");
            database.foreign_tunnel(&bridge, &format!("gr{n}"), "gre", &n.to_string(), None, "172.16.0.9");
        }
        database
    }

    fn uuid(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    fn add_bridge(&mut self, name: &str, external_ids: StringMap) -> Uuid {
        let uuid = self.uuid();
        let row = BridgeRow {
            uuid,
            name: name.to_owned(),
            datapath_type: String::new(),
            fail_mode: None,
            external_ids,
            other_config: StringMap::new(),
            ports: Vec::new(),
        };
        self.snapshot.bridges.insert(uuid, row);
        self.snapshot.bridge_set.push(uuid);
        uuid
    }

    fn add_port(
        &mut self,
        bridge: Uuid,
        name: &str,
        kind: &str,
        options: StringMap,
        external_ids: StringMap,
    ) {
        let (port, interface) = (self.uuid(), self.uuid());
        let row = InterfaceRow { options, kind: kind.to_owned(), ..blank_interface(interface, name) };
        self.snapshot.interfaces.insert(interface, row);
        let row = PortRow { external_ids, interfaces: vec![interface], ..blank_port(port, name) };
        self.snapshot.ports.insert(port, row);
        self.snapshot.bridges.get_mut(&bridge).unwrap().ports.push(port);
    }

    pub(crate) fn foreign_tunnel(
        &mut self,
        bridge: &str,
        name: &str,
        kind: &str,
        key: &str,
        local: Option<&str>,
        remote: &str,
    ) {
        let agent = StringMap::from([("agent".to_owned(), "other".to_owned())]);
        let existing = self.snapshot.bridges.values().find(|row| row.name == bridge).map(|row| row.uuid);
        let bridge = existing.unwrap_or_else(|| self.add_bridge(bridge, agent.clone()));
        let mut options = StringMap::from([
            ("key".to_owned(), key.to_owned()),
            ("remote_ip".to_owned(), remote.to_owned()),
        ]);
        options.extend(local.map(|local| ("local_ip".to_owned(), local.to_owned())));
        self.add_port(bridge, name, kind, options, agent);
    }

    /// Ports that come after the mesh: a stranger's on our bridge, and a container of ours.
    pub(crate) fn attach(&mut self, foreign: &Foreign, plan: &Plan) {
        let Some(bridge) = plan.bridges.first() else { return };
        let uuid = self.snapshot.bridges.values().find(|row| row.name == bridge.name.as_str()).unwrap().uuid;
        if foreign.ports_on_ours {
            self.add_port(uuid, "stranger0", "", StringMap::new(), StringMap::new());
        }
        if foreign.container {
            let ids = [
                (MESH_ID, plan.mesh.as_str()),
                (TENANT_ID, bridge.tenant.as_str()),
                (CTID_ID, "777"),
                (IFINDEX_ID, "9"),
            ];
            let ids = ids.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            self.add_port(uuid, "veth777.0", "", StringMap::new(), ids);
        }
    }

    /// A database that holds this.
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        // Ids of its own are far from those that are there.
        Self { snapshot, next: 1 << 64 }
    }

    /// A port on the bridge of that name.
    pub(crate) fn add_to(
        &mut self,
        bridge: &str,
        name: &str,
        kind: &str,
        options: StringMap,
        external_ids: StringMap,
    ) {
        let uuid = self.snapshot.bridges.values().find(|row| row.name == bridge).unwrap().uuid;
        while self.snapshot.ports.contains_key(&Uuid::from_u128(self.next + 1)) {
            self.next += 2;
        }
        self.add_port(uuid, name, kind, options, external_ids);
    }

    /// A container's port, as `attach` makes it.
    pub(crate) fn attach_container(&mut self, plan: &Plan, bridge: &Bridge, name: &str, ctid: &str) {
        let ids = [(MESH_ID, plan.mesh.as_str()), (TENANT_ID, bridge.tenant.as_str()), (CTID_ID, ctid)];
        let ids = ids.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.add_to(bridge.name.as_str(), name, "", StringMap::new(), ids);
    }

    /// Somebody changes one of our rows behind our back.
    pub(crate) fn drift(&mut self, plan: &Plan, index: usize, kind: u8) {
        let mut tunnels: Vec<Uuid> = self
            .snapshot
            .ports
            .values()
            .filter(|port| port.external_ids.contains_key(PEER_ID))
            .map(|port| port.uuid)
            .collect();
        tunnels.sort_unstable();
        if tunnels.is_empty() || plan.bridges.is_empty() {
            return;
        }
        let uuid = tunnels[index % tunnels.len()];
        let port = self.snapshot.ports.get_mut(&uuid).unwrap();
        let interface = self.snapshot.interfaces.get_mut(&port.interfaces[0]).unwrap();
        match kind {
            0 => port.protected = false,
            1 => port.tag = Some(7),
            2 => {
                interface.options.insert("key".to_owned(), "999999".to_owned());
            }
            3 => {
                interface.options.insert("csum".to_owned(), "true".to_owned());
            }
            4 => {
                port.external_ids.remove(PEER_ID);
            }
            5 => interface.kind = "vxlan".to_owned(),
            6 => {
                let bridge =
                    self.snapshot.bridges.values_mut().find(|row| row.ports.contains(&uuid)).unwrap();
                bridge.fail_mode = Some("secure".to_owned());
                bridge.other_config.insert("mac-table-size".to_owned(), "16".to_owned());
                bridge.other_config.insert("theirs".to_owned(), "1".to_owned());
            }
            _ => {
                let key = interface.options["key"].clone();
                interface
                    .options
                    .insert("key".to_owned(), format!("0x{:x}", key.parse::<u32>().unwrap_or(1)));
            }
        }
    }

    pub(crate) fn interface_mut(&mut self, name: &str) -> &mut InterfaceRow {
        self.snapshot.interfaces.values_mut().find(|row| row.name == name).unwrap()
    }

    /// Every port that is not the mesh's, nor the local port of one of its bridges.
    pub(crate) fn rows_not_of(&self, mesh: &MeshName) -> Others {
        let mut others = Others::new();
        for bridge in self.snapshot.bridges.values() {
            for port in bridge.ports.iter().map(|uuid| &self.snapshot.ports[uuid]) {
                if !(port.is_owned_by(mesh) || (bridge.is_owned_by(mesh) && port.name == bridge.name)) {
                    let interfaces =
                        port.interfaces.iter().map(|uuid| self.snapshot.interfaces[uuid].clone());
                    others.insert(
                        format!("{}/{}", bridge.name, port.name),
                        (port.clone(), interfaces.collect()),
                    );
                }
            }
        }
        others
    }

    /// Whether each planned tunnel and gateway stands on its bridge, written independently of the diff.
    pub(crate) fn holds(&self, plan: &Plan) -> bool {
        plan.bridges.iter().all(|bridge| {
            let Some(row) = self.snapshot.bridges.values().find(|row| row.name == bridge.name.as_str())
            else {
                return false;
            };
            let on_it: HashMap<&str, &PortRow> = row
                .ports
                .iter()
                .map(|uuid| &self.snapshot.ports[uuid])
                .map(|port| (port.name.as_str(), port))
                .collect();
            let tunnels_stand = bridge.tunnels.iter().all(|tunnel| {
                on_it.get(tunnel.port.as_str()).is_some_and(|port| {
                    let interface = &self.snapshot.interfaces[&port.interfaces[0]];
                    port.protected
                        && port.tag.is_none()
                        && interface.kind == tunnel.tuple.kind.as_str()
                        && interface.options.len() == 3
                        && interface.options["key"] == tunnel.tuple.key.to_string()
                        && interface.options["remote_ip"] == tunnel.tuple.remote_ip.to_string()
                        && interface.options["local_ip"] == tunnel.tuple.local_ip.to_string()
                })
            });
            let gateway_stands =
                bridge.gateway.iter().all(|gateway| on_it.contains_key(gateway.port.as_str()));
            let tunnels = on_it.values().filter(|port| port.external_ids.contains_key(PEER_ID)).count();
            tunnels_stand
                && gateway_stands
                && tunnels == bridge.tunnels.len()
                && row.datapath() == bridge.datapath.as_str()
        })
    }

    /// The tuples that more than one tunnel has: ovs-vswitchd sets up only the first.
    pub(crate) fn tuples_twice(&self) -> HashSet<EffectiveTuple> {
        let mut seen = HashSet::new();
        let tuples = self.snapshot.interfaces.values().filter_map(InterfaceRow::effective_tuple);
        tuples.filter(|tuple| !seen.insert(*tuple)).collect()
    }

    /// Executes a transaction; on an error nothing has changed.
    pub(crate) fn transact(&mut self, operations: &[Operation]) -> Result<(), String> {
        let mut work = self.clone();
        let freed: HashSet<_> =
            self.snapshot.interfaces.values().filter_map(InterfaceRow::effective_tuple).collect();
        let names: HashMap<String, Uuid> = operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Insert { uuid_name: Some(name), .. } => Some((name.clone(), work.uuid())),
                _ => None,
            })
            .collect();
        for operation in operations {
            work.execute(operation, &names)?;
        }
        work.collect_garbage();
        work.check_names()?;
        for row in work.snapshot.interfaces.values() {
            let is_new = !self.snapshot.interfaces.contains_key(&row.uuid);
            if is_new && row.effective_tuple().is_some_and(|tuple| freed.contains(&tuple)) {
                return Err(format!("File exists: {} takes a tuple that stood before", row.name));
            }
        }
        *self = work;
        Ok(())
    }

    fn execute(&mut self, operation: &Operation, names: &HashMap<String, Uuid>) -> Result<(), String> {
        match operation {
            Operation::Insert { table, row, uuid_name } => {
                let uuid = uuid_name.as_ref().map(|name| names[name]).ok_or("unnamed insert")?;
                match table.as_str() {
                    "Bridge" => {
                        let blank = self.add_bridge("", StringMap::new());
                        let bridge = self.snapshot.bridges.remove(&blank).ok_or("gone")?;
                        self.snapshot.bridge_set.retain(|known| *known != blank);
                        self.snapshot.bridges.insert(uuid, BridgeRow { uuid, ..bridge });
                    }
                    "Port" => drop(self.snapshot.ports.insert(uuid, blank_port(uuid, ""))),
                    "Interface" => drop(self.snapshot.interfaces.insert(uuid, blank_interface(uuid, ""))),
                    other => return Err(format!("insert into {other}")),
                }
                row.iter().try_for_each(|(column, value)| self.set(table, uuid, column, value, names))
            }
            Operation::Update { table, r#where, row } => {
                let uuid = only(r#where)?;
                row.iter().try_for_each(|(column, value)| self.set(table, uuid, column, value, names))
            }
            Operation::Mutate { table, r#where, mutations } => {
                let uuid = only(r#where)?;
                mutations.iter().try_for_each(|mutation| self.mutate(table, uuid, mutation, names))
            }
            Operation::Wait { table, r#where, rows, .. } => {
                let uuid = only(r#where)?;
                let [row] = rows.as_slice() else { return Err("wait for one row".to_owned()) };
                self.check(table, uuid, row)
            }
            Operation::Select { .. } => Ok(()),
            other => Err(format!("unexpected {}", other.name())),
        }
    }

    fn check(&self, table: &str, uuid: Uuid, row: &Row) -> Result<(), String> {
        for (column, value) in row {
            let is = match (table, column.as_str()) {
                ("Open_vSwitch", "bridges") => Value::uuid_set(self.snapshot.bridge_set.iter().copied()),
                ("Bridge", "ports") => Value::uuid_set(self.snapshot.bridges[&uuid].ports.iter().copied()),
                ("Bridge", "external_ids") => {
                    Value::string_map(self.snapshot.bridges[&uuid].external_ids.clone())
                }
                ("Port", "external_ids") => {
                    Value::string_map(self.snapshot.ports[&uuid].external_ids.clone())
                }
                ("Interface", "options") => {
                    Value::string_map(self.snapshot.interfaces[&uuid].options.clone())
                }
                ("Interface", "type") => Value::string(self.snapshot.interfaces[&uuid].kind.clone()),
                (table, column) => return Err(format!("guard of {table}.{column}")),
            };
            if is != *value {
                return Err(format!("timed out: {table}.{column}"));
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        table: &str,
        uuid: Uuid,
        column: &str,
        value: &Value,
        names: &HashMap<String, Uuid>,
    ) -> Result<(), String> {
        let wrong = |error: crate::ovsdb::ValueError| format!("{table}.{column}: {error}");
        let text = || value.as_str().map(str::to_owned).map_err(wrong);
        let map = || value.to_string_map().map_err(wrong);
        let snapshot = &mut self.snapshot;
        match (table, column) {
            ("Bridge", "name") => snapshot.bridges.get_mut(&uuid).ok_or("no row")?.name = text()?,
            ("Bridge", "datapath_type") => {
                snapshot.bridges.get_mut(&uuid).ok_or("no row")?.datapath_type = text()?;
            }
            ("Bridge", "fail_mode") => {
                snapshot.bridges.get_mut(&uuid).ok_or("no row")?.fail_mode = Some(text()?);
            }
            ("Bridge", "external_ids") => {
                snapshot.bridges.get_mut(&uuid).ok_or("no row")?.external_ids = map()?;
            }
            ("Bridge", "other_config") => {
                snapshot.bridges.get_mut(&uuid).ok_or("no row")?.other_config = map()?;
            }
            ("Bridge", "ports") => {
                snapshot.bridges.get_mut(&uuid).ok_or("no row")?.ports = resolve(value, names);
            }
            ("Port", "name") => snapshot.ports.get_mut(&uuid).ok_or("no row")?.name = text()?,
            ("Port", "external_ids") => snapshot.ports.get_mut(&uuid).ok_or("no row")?.external_ids = map()?,
            ("Port", "interfaces") => {
                snapshot.ports.get_mut(&uuid).ok_or("no row")?.interfaces = resolve(value, names);
            }
            ("Port", "protected") => {
                snapshot.ports.get_mut(&uuid).ok_or("no row")?.protected = value.boolean().map_err(wrong)?;
            }
            ("Port", "tag") if value.is_empty() => snapshot.ports.get_mut(&uuid).ok_or("no row")?.tag = None,
            ("Interface", "name") => snapshot.interfaces.get_mut(&uuid).ok_or("no row")?.name = text()?,
            ("Interface", "type") => snapshot.interfaces.get_mut(&uuid).ok_or("no row")?.kind = text()?,
            ("Interface", "options") => snapshot.interfaces.get_mut(&uuid).ok_or("no row")?.options = map()?,
            ("Interface", "mtu_request") => {
                snapshot.interfaces.get_mut(&uuid).ok_or("no row")?.mtu_request =
                    Some(value.integer().map_err(wrong)?);
            }
            (table, column) => return Err(format!("set of {table}.{column}")),
        }
        Ok(())
    }

    fn mutate(
        &mut self,
        table: &str,
        uuid: Uuid,
        mutation: &Mutation,
        names: &HashMap<String, Uuid>,
    ) -> Result<(), String> {
        let Mutation { column, mutator, value } = mutation;
        let snapshot = &mut self.snapshot;
        let set = match (table, column.as_str()) {
            ("Open_vSwitch", "next_cfg") => {
                snapshot.next_cfg += 1;
                return Ok(());
            }
            ("Open_vSwitch", "bridges") => &mut snapshot.bridge_set,
            ("Bridge", "ports") => &mut snapshot.bridges.get_mut(&uuid).ok_or("no row")?.ports,
            ("Bridge" | "Port", "external_ids" | "other_config") => {
                let map = match (table, column.as_str()) {
                    ("Bridge", "external_ids") => {
                        &mut snapshot.bridges.get_mut(&uuid).ok_or("no row")?.external_ids
                    }
                    ("Bridge", _) => &mut snapshot.bridges.get_mut(&uuid).ok_or("no row")?.other_config,
                    _ => &mut snapshot.ports.get_mut(&uuid).ok_or("no row")?.external_ids,
                };
                match mutator {
                    Mutator::Delete => {
                        let keys = value.strings().map_err(|error| error.to_string())?;
                        map.retain(|key, _| !keys.contains(&key.as_str()));
                    }
                    _ => {
                        for (key, value) in value.to_string_map().map_err(|error| error.to_string())? {
                            map.entry(key).or_insert(value);
                        }
                    }
                }
                return Ok(());
            }
            (table, column) => return Err(format!("mutation of {table}.{column}")),
        };
        let uuids = resolve(value, names);
        match mutator {
            Mutator::Insert => set.extend(uuids),
            Mutator::Delete => set.retain(|known| !uuids.contains(known)),
            other => return Err(format!("mutator {other:?}")),
        }
        Ok(())
    }

    /// Rows that nothing refers to are gone by the end of the transaction (RFC 7047 section 3.2, `isRoot`).
    fn collect_garbage(&mut self) {
        let Snapshot { bridge_set, bridges, ports, interfaces, .. } = &mut self.snapshot;
        bridges.retain(|uuid, _| bridge_set.contains(uuid));
        let kept: HashSet<Uuid> = bridges.values().flat_map(|row| row.ports.iter().copied()).collect();
        ports.retain(|uuid, _| kept.contains(uuid));
        let kept: HashSet<Uuid> = ports.values().flat_map(|row| row.interfaces.iter().copied()).collect();
        interfaces.retain(|uuid, _| kept.contains(uuid));
    }

    /// The schema's indexes: names are unique in each table.
    fn check_names(&self) -> Result<(), String> {
        let Snapshot { bridges, ports, interfaces, .. } = &self.snapshot;
        let unique = |names: Vec<&String>| names.iter().collect::<HashSet<_>>().len() == names.len();
        let all = unique(bridges.values().map(|row| &row.name).collect())
            && unique(ports.values().map(|row| &row.name).collect())
            && unique(interfaces.values().map(|row| &row.name).collect());
        all.then_some(()).ok_or_else(|| "constraint violation: a name twice".to_owned())
    }
}

fn only(conditions: &[Condition]) -> Result<Uuid, String> {
    match conditions {
        [condition] if condition.column == "_uuid" => {
            condition.value.uuid().map_err(|error| error.to_string())
        }
        other => Err(format!("conditions {other:?}")),
    }
}

fn resolve(value: &Value, names: &HashMap<String, Uuid>) -> Vec<Uuid> {
    let atoms = match value {
        Value::Atom(atom) => std::slice::from_ref(atom),
        Value::Set(atoms) => atoms.as_slice(),
        Value::Map(_) => &[],
    };
    atoms
        .iter()
        .filter_map(|atom| match atom {
            Atom::Uuid(uuid) => Some(*uuid),
            Atom::NamedUuid(name) => names.get(name).copied(),
            _ => None,
        })
        .collect()
}

fn blank_port(uuid: Uuid, name: &str) -> PortRow {
    PortRow {
        uuid,
        name: name.to_owned(),
        external_ids: StringMap::new(),
        interfaces: Vec::new(),
        protected: false,
        tag: None,
        trunks: Vec::new(),
        vlan_mode: None,
    }
}

fn blank_interface(uuid: Uuid, name: &str) -> InterfaceRow {
    InterfaceRow {
        uuid,
        name: name.to_owned(),
        kind: String::new(),
        options: StringMap::new(),
        external_ids: StringMap::new(),
        mtu_request: None,
        opening: Opening::Done,
        error: None,
        ifindex: None,
    }
}
