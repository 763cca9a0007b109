//! Reading a snapshot: one transaction of selects, so that its tables agree with each other.

use std::collections::HashMap;

use uuid::Uuid;

use super::{BridgeRow, InterfaceRow, PortRow, Snapshot};
use crate::ovsdb::{Operation, OperationResult, Row, Value, ValueError};

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
const PORT: &[&str] = &["name", "external_ids", "interfaces", "protected", "tag", "trunks", "vlan_mode"];
const INTERFACE: &[&str] = &["name", "type", "options", "mtu_request", "ofport", "error", "ifindex"];

impl Snapshot {
    /// The operations whose results [`Snapshot::from_results`] takes.
    pub fn operations() -> Vec<Operation> {
        vec![
            Operation::select_all("Open_vSwitch", ROOT.iter().copied()),
            Operation::select_all("Bridge", BRIDGE.iter().copied()),
            Operation::select_all("Port", PORT.iter().copied()),
            Operation::select_all("Interface", INTERFACE.iter().copied()),
        ]
    }

    /// The snapshot that the results of [`Snapshot::operations`] make.
    pub fn from_results(results: Vec<OperationResult>) -> Result<Self, ReadError> {
        let tables: Vec<Vec<Row>> = results
            .into_iter()
            .map(OperationResult::into_rows)
            .collect::<Option<_>>()
            .ok_or(ReadError::Shape)?;
        let [root, bridges, ports, interfaces] =
            <[Vec<Row>; 4]>::try_from(tables).map_err(|_| ReadError::Shape)?;
        let root = Columns { table: "Open_vSwitch", row: root.into_iter().next().ok_or(ReadError::NoRoot)? };
        Ok(Self {
            root: root.get("_uuid", Value::uuid)?,
            next_cfg: root.get("next_cfg", Value::integer)?,
            cur_cfg: root.get("cur_cfg", Value::integer)?,
            bridge_set: root.get("bridges", Value::uuids)?,
            bridges: table("Bridge", bridges, bridge_row)?,
            ports: table("Port", ports, port_row)?,
            interfaces: table("Interface", interfaces, interface_row)?,
        })
    }
}

fn table<T>(
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
        protected: row.get("protected", Value::boolean)?,
        tag: row.get("tag", Value::optional_integer)?,
        trunks: row.get("trunks", integers)?,
        vlan_mode: row.optional_string("vlan_mode")?,
    })
}

fn interface_row(row: &Columns, uuid: Uuid) -> Result<InterfaceRow, ReadError> {
    Ok(InterfaceRow {
        uuid,
        name: row.string("name")?,
        kind: row.string("type")?,
        options: row.get("options", Value::to_string_map)?,
        mtu_request: row.get("mtu_request", Value::optional_integer)?,
        ofport: row.get("ofport", Value::optional_integer)?,
        error: row.optional_string("error")?,
        ifindex: row.get("ifindex", Value::optional_integer)?,
    })
}

fn integers(value: &Value) -> Result<Vec<i64>, ValueError> {
    let Value::Set(atoms) = value else { return Ok(value.optional_integer()?.into_iter().collect()) };
    atoms.iter().map(|atom| Value::from(atom.clone()).integer()).collect()
}

/// One row, read column by column.
struct Columns {
    table: &'static str,
    row: Row,
}

impl Columns {
    fn get<T>(
        &self,
        column: &'static str,
        read: impl FnOnce(&Value) -> Result<T, ValueError>,
    ) -> Result<T, ReadError> {
        let table = self.table;
        let value = self.row.get(column).ok_or(ReadError::MissingColumn { table, column })?;
        read(value).map_err(|source| ReadError::Column { table, column, source })
    }

    fn string(&self, column: &'static str) -> Result<String, ReadError> {
        self.get(column, |value| value.as_str().map(str::to_owned))
    }

    fn optional_string(&self, column: &'static str) -> Result<Option<String>, ReadError> {
        self.get(column, |value| value.optional_string().map(|text| text.map(str::to_owned)))
    }
}
