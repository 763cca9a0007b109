//! Reading a snapshot: one transaction of selects, so that its tables agree with each other.

use std::collections::HashMap;

use uuid::Uuid;

use super::{BridgeRow, InterfaceRow, Opening, PortRow, Snapshot, StringMap};
use crate::ovsdb::{Condition, Function, Operation, OperationResult, Row, Value, ValueError};

/// Why what the server sent is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server left out a column that was asked for.
    #[error(
        "a row of table {table} has no column `{column}`: is this the Open_vSwitch database of OVS 2.7 or later?"
    )]
    MissingColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A column does not have the type that the schema gives it.
    #[error("column `{column}` of table {table} does not have the schema's type")]
    Column {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What it has.
        #[source]
        source: ValueError,
    },
    /// The table `Open_vSwitch` has no row: ovs-vswitchd never ran, and nobody called `ovs-vsctl init`.
    #[error(
        "the database has no Open_vSwitch row yet: start ovs-vswitchd, or run `ovs-vsctl --no-wait init`"
    )]
    NoRoot,
    /// The reply does not answer the selects that were sent.
    #[error("the reply does not have one result for each table asked for")]
    Shape,
}

const ROOT: &[&str] = &["bridges", "cur_cfg", "next_cfg"];
const BRIDGE: &[&str] = &["name", "datapath_type", "fail_mode", "external_ids", "other_config", "ports"];
const PORT: &[&str] = &["name", "external_ids", "interfaces"];
const INTERFACE: &[&str] = &["name", "type", "options"];

/// A column that hardly any row sets: only the rows that do are asked for, which halves the cost of a snapshot, almost
/// all of which is ovsdb-server writing JSON.
type Rare<T> = (&'static str, fn() -> Condition, fn(&Columns, &mut T) -> Result<(), ReadError>);

const RARE_PORT: [Rare<PortRow>; 4] = [
    (
        "protected",
        || Condition::equal("protected", false),
        |row, port| row.get("protected", Value::boolean).map(|protected| port.protected = protected),
    ),
    ("tag", || is_set("tag"), |row, port| row.get("tag", Value::optional_integer).map(|tag| port.tag = tag)),
    (
        "trunks",
        || is_set("trunks"),
        |row, port| row.get("trunks", integers).map(|trunks| port.trunks = trunks),
    ),
    (
        "vlan_mode",
        || is_set("vlan_mode"),
        |row, port| row.optional_string("vlan_mode").map(|mode| port.vlan_mode = mode),
    ),
];

const RARE_INTERFACE: [Rare<InterfaceRow>; 6] = [
    (
        "external_ids",
        || Condition::new("external_ids", Function::NotEqual, Value::string_map(StringMap::new())),
        |row, interface| {
            row.get("external_ids", Value::to_string_map).map(|ids| interface.external_ids = ids)
        },
    ),
    (
        "mtu_request",
        || is_set("mtu_request"),
        |row, interface| {
            row.get("mtu_request", Value::optional_integer).map(|mtu| interface.mtu_request = mtu)
        },
    ),
    (
        "error",
        || is_set("error"),
        |row, interface| row.optional_string("error").map(|error| interface.error = error),
    ),
    // What has no device of its own, as tunnels, has the ifindex 0.
    (
        "ifindex",
        || Condition::new("ifindex", Function::NotEqual, 0),
        |row, interface| row.get("ifindex", Value::optional_integer).map(|index| interface.ifindex = index),
    ),
    ("ofport", not_seen, opening),
    ("ofport", not_opened, opening),
];

pub(crate) fn is_set(column: &'static str) -> Condition {
    Condition::new(column, Function::NotEqual, Value::Set(Vec::new()))
}

fn not_seen() -> Condition {
    Condition::equal("ofport", Value::Set(Vec::new()))
}

fn not_opened() -> Condition {
    Condition::equal("ofport", -1)
}

fn opening(row: &Columns, interface: &mut InterfaceRow) -> Result<(), ReadError> {
    interface.opening = match row.get("ofport", Value::optional_integer)? {
        None => Opening::Pending,
        Some(_) => Opening::Failed,
    };
    Ok(())
}

impl Snapshot {
    /// The operations whose results [`Snapshot::from_results`] takes.
    pub fn operations() -> Vec<Operation> {
        Self::operations_where(&[], &[])
    }

    /// The same for the ports and interfaces that meet a condition, and for the one bridge of that name.
    pub(crate) fn part(ports: Condition, bridge: &str) -> Vec<Operation> {
        Self::operations_where(&[ports], &[Condition::equal("name", Value::string(bridge))])
    }

    fn operations_where(ports: &[Condition], bridges: &[Condition]) -> Vec<Operation> {
        let rare = |table, column: &str, condition| select(table, &[column], &[ports, &[condition]].concat());
        let mut operations = vec![
            select("Open_vSwitch", ROOT, &[]),
            select("Bridge", BRIDGE, bridges),
            select("Port", PORT, ports),
            select("Interface", INTERFACE, ports),
        ];
        operations.extend(RARE_PORT.iter().map(|(column, condition, _)| rare("Port", column, condition())));
        let interfaces = RARE_INTERFACE.iter();
        operations.extend(interfaces.map(|(column, condition, _)| rare("Interface", column, condition())));
        operations
    }

    /// The snapshot that the results of [`Snapshot::operations`] make.
    pub fn from_results(results: Vec<OperationResult>) -> Result<Self, ReadError> {
        let mut tables: std::vec::IntoIter<Vec<Row>> = results
            .into_iter()
            .map(OperationResult::into_rows)
            .collect::<Option<Vec<_>>>()
            .ok_or(ReadError::Shape)?
            .into_iter();
        let mut next = || tables.next().ok_or(ReadError::Shape);
        let root = next()?.into_iter().next().ok_or(ReadError::NoRoot)?;
        let root = Columns { table: "Open_vSwitch", row: root };
        let bridges = table("Bridge", next()?, bridge_row)?;
        let mut ports = table("Port", next()?, port_row)?;
        let mut interfaces = table("Interface", next()?, interface_row)?;
        for (_, _, read) in RARE_PORT {
            add("Port", next()?, &mut ports, read)?;
        }
        for (_, _, read) in RARE_INTERFACE {
            add("Interface", next()?, &mut interfaces, read)?;
        }
        Ok(Self {
            root: root.get("_uuid", Value::uuid)?,
            next_cfg: root.get("next_cfg", Value::integer)?,
            cur_cfg: root.get("cur_cfg", Value::integer)?,
            bridge_set: root.get("bridges", Value::uuids)?,
            bridges,
            ports,
            interfaces,
        })
    }
}

/// `_uuid` is always asked for: ovsdb-server folds rows that are equal in all columns asked for.
pub(crate) fn select(table: &str, columns: &[&str], conditions: &[Condition]) -> Operation {
    let columns = ["_uuid"].iter().chain(columns);
    Operation::Select {
        table: table.to_owned(),
        r#where: conditions.to_vec(),
        columns: Some(columns.map(|column| (*column).to_owned()).collect()),
    }
}

/// Adds a rare column to the rows that have it.
fn add<T>(
    table: &'static str,
    rows: Vec<Row>,
    typed: &mut HashMap<Uuid, T>,
    read: fn(&Columns, &mut T) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    for row in rows {
        let columns = Columns { table, row };
        let uuid = columns.get("_uuid", Value::uuid)?;
        read(&columns, typed.get_mut(&uuid).ok_or(ReadError::Shape)?)?;
    }
    Ok(())
}

pub(crate) fn table<T>(
    table: &'static str,
    rows: Vec<Row>,
    read: fn(&Columns, Uuid) -> Result<T, ReadError>,
) -> Result<HashMap<Uuid, T>, ReadError> {
    let mut typed = HashMap::with_capacity(rows.len());
    for row in rows {
        let columns = Columns { table, row };
        let uuid = columns.get("_uuid", Value::uuid)?;
        typed.insert(uuid, read(&columns, uuid)?);
    }
    Ok(typed)
}

fn bridge_row(row: &Columns, uuid: Uuid) -> Result<BridgeRow, ReadError> {
    Ok(BridgeRow {
        uuid,
        name: row.string("name")?,
        datapath_type: row.string("datapath_type")?,
        fail_mode: row.optional_string("fail_mode")?,
        external_ids: row.get("external_ids", Value::to_string_map)?,
        other_config: row.get("other_config", Value::to_string_map)?,
        ports: row.get("ports", Value::uuids)?,
    })
}

fn port_row(row: &Columns, uuid: Uuid) -> Result<PortRow, ReadError> {
    Ok(PortRow {
        uuid,
        name: row.string("name")?,
        external_ids: row.get("external_ids", Value::to_string_map)?,
        interfaces: row.get("interfaces", Value::uuids)?,
        protected: true,
        tag: None,
        trunks: Vec::new(),
        vlan_mode: None,
    })
}

fn interface_row(row: &Columns, uuid: Uuid) -> Result<InterfaceRow, ReadError> {
    Ok(InterfaceRow {
        uuid,
        name: row.string("name")?,
        kind: row.string("type")?,
        options: row.get("options", Value::to_string_map)?,
        external_ids: StringMap::new(),
        mtu_request: None,
        opening: Opening::Done,
        error: None,
        ifindex: None,
    })
}

pub(crate) fn integers(value: &Value) -> Result<Vec<i64>, ValueError> {
    let Value::Set(atoms) = value else { return Ok(value.optional_integer()?.into_iter().collect()) };
    atoms.iter().map(|atom| Value::from(atom.clone()).integer()).collect()
}

/// One row, read column by column.
pub(crate) struct Columns {
    pub(crate) table: &'static str,
    pub(crate) row: Row,
}

impl Columns {
    pub(crate) fn get<T>(
        &self,
        column: &'static str,
        read: impl FnOnce(&Value) -> Result<T, ValueError>,
    ) -> Result<T, ReadError> {
        let table = self.table;
        let value = self.row.get(column).ok_or(ReadError::MissingColumn { table, column })?;
        read(value).map_err(|source| ReadError::Column { table, column, source })
    }

    pub(crate) fn string(&self, column: &'static str) -> Result<String, ReadError> {
        self.get(column, |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn optional_string(&self, column: &'static str) -> Result<Option<String>, ReadError> {
        self.get(column, |value| value.optional_string().map(|text| text.map(str::to_owned)))
    }
}
