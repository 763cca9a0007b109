//! Reading a host's database for verification: one transaction with the sync's own selects at its head, so that all of
//! it agrees.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{BridgeDetails, HostSnapshot, InterfaceDetails, Mirror, SwitchDetails};
use crate::names::{HostName, MeshName};
use crate::ovsdb::{Atom, Condition, Function, Operation, OperationResult, Row, Value, ValueError};
use crate::snapshot::read::{Columns, integers, table};
use crate::snapshot::{ReadError, Snapshot};

const BRIDGE: &[&str] = &[
    "controller",
    "mirrors",
    "sflow",
    "netflow",
    "ipfix",
    "stp_enable",
    "rstp_enable",
    "mcast_snooping_enable",
    "flood_vlans",
    "flow_tables",
];
const MIRROR: &[&str] =
    &["name", "select_all", "select_src_port", "select_dst_port", "output_port", "output_vlan"];
const DEVICE: &[&str] = &["mtu", "mac_in_use", "admin_state", "link_state"];

impl HostSnapshot {
    /// The operations whose results [`HostSnapshot::from_results`] takes.
    pub fn operations() -> Vec<Operation> {
        let all = |table: &str, columns: &[&str]| Operation::select_all(table, columns.iter().copied());
        let interfaces = |columns: &[&str], condition| Operation::Select {
            table: "Interface".to_owned(),
            r#where: vec![condition],
            columns: Some(["_uuid"].iter().chain(columns).map(|column| (*column).to_owned()).collect()),
        };
        let mut operations = Snapshot::operations();
        operations.extend([
            all("Open_vSwitch", &["ovs_version"]),
            all("Bridge", BRIDGE),
            all("Mirror", MIRROR),
            all("Controller", &["target"]),
            all("Interface", &["ofport"]),
            // Tunnels have no device of their own, and are nearly all there is.
            interfaces(DEVICE, Condition::new("ifindex", Function::NotEqual, 0)),
            interfaces(
                &["external_ids"],
                Condition::new("external_ids", Function::NotEqual, Value::Map(BTreeMap::new())),
            ),
        ]);
        operations
    }

    /// The snapshot that the results of [`HostSnapshot::operations`] make; of ovs-vswitchd and the kernel it knows nothing
    /// yet.
    pub fn from_results(
        mesh: MeshName,
        host: HostName,
        mut results: Vec<OperationResult>,
    ) -> Result<Self, ReadError> {
        let own = Snapshot::operations().len();
        if results.len() < own {
            return Err(ReadError::Shape);
        }
        let more = results.split_off(own);
        let rows = Snapshot::from_results(results)?;
        let mut tables = more.into_iter().map(|result| result.into_rows().ok_or(ReadError::Shape));
        let mut next = || tables.next().ok_or(ReadError::Shape)?;
        let root = Columns { table: "Open_vSwitch", row: next()?.pop().ok_or(ReadError::NoRoot)? };
        let bridges = next()?;
        let mirrors = table("Mirror", next()?, |row, _| mirror(row))?;
        let controllers = table("Controller", next()?, |row, _| row.string("target"))?;
        let mut interfaces = BTreeMap::new();
        each("Interface", next()?, |row, uuid| {
            let ofport = row.get("ofport", Value::optional_integer)?;
            let ofport = ofport.and_then(|port| u32::try_from(port).ok());
            interfaces.insert(uuid, InterfaceDetails { ofport, ..InterfaceDetails::default() });
            Ok(())
        })?;
        each("Interface", next()?, |row, uuid| device(row, interfaces.entry(uuid).or_default()))?;
        each("Interface", next()?, |row, uuid| {
            interfaces.entry(uuid).or_default().external_ids =
                row.get("external_ids", Value::to_string_map)?;
            Ok(())
        })?;
        let mut details = BTreeMap::new();
        each("Bridge", bridges, |row, uuid| {
            details.insert(uuid, bridge(row, &mirrors, &controllers)?);
            Ok(())
        })?;
        let ovs_version = root.optional_string("ovs_version")?;
        let switch = SwitchDetails { ovs_version, bridges: details, interfaces };
        Ok(Self { rows, switch, ..Self::new(mesh, host) })
    }
}

fn each(
    table: &'static str,
    rows: Vec<Row>,
    mut read: impl FnMut(&Columns, Uuid) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    rows.into_iter().try_for_each(|row| {
        let columns = Columns { table, row };
        let uuid = columns.get("_uuid", Value::uuid)?;
        read(&columns, uuid)
    })
}

fn bridge(
    row: &Columns,
    mirrors: &HashMap<Uuid, Mirror>,
    controllers: &HashMap<Uuid, String>,
) -> Result<BridgeDetails, ReadError> {
    let is_set = |column| row.get(column, |value| Ok(!value.is_empty()));
    let own = row.get("mirrors", Value::uuids)?;
    let mirrors = own.iter().filter_map(|uuid| mirrors.get(uuid)).cloned();
    let targets = row.get("controller", Value::uuids)?;
    let targets = targets.iter().filter_map(|uuid| controllers.get(uuid)).cloned();
    Ok(BridgeDetails {
        controllers: targets.collect(),
        mirrors: mirrors.collect(),
        sflow: is_set("sflow")?,
        netflow: is_set("netflow")?,
        ipfix: is_set("ipfix")?,
        stp: row.get("stp_enable", Value::boolean)?,
        rstp: row.get("rstp_enable", Value::boolean)?,
        mcast_snooping: row.get("mcast_snooping_enable", Value::boolean)?,
        flood_vlans: row.get("flood_vlans", integers)?,
        flow_tables: row.get("flow_tables", integer_keys)?,
    })
}

fn mirror(row: &Columns) -> Result<Mirror, ReadError> {
    Ok(Mirror {
        name: row.string("name")?,
        select_all: row.get("select_all", Value::boolean)?,
        select_src_port: row.get("select_src_port", Value::uuids)?,
        select_dst_port: row.get("select_dst_port", Value::uuids)?,
        output_port: row.get("output_port", |value| value.uuids().map(|uuids| uuids.first().copied()))?,
        output_vlan: row.get("output_vlan", Value::optional_integer)?,
    })
}

fn device(row: &Columns, details: &mut InterfaceDetails) -> Result<(), ReadError> {
    let up = |column| row.optional_string(column).map(|state| state.map(|state| state == "up"));
    details.mtu = row.get("mtu", Value::optional_integer)?;
    details.mac_in_use = row.optional_string("mac_in_use")?;
    details.admin_up = up("admin_state")?;
    details.link_up = up("link_state")?;
    Ok(())
}

/// The keys of a map of integers to anything.
fn integer_keys(value: &Value) -> Result<Vec<i64>, ValueError> {
    match value {
        Value::Map(pairs) => Ok(pairs
            .keys()
            .filter_map(|key| if let Atom::Integer(n) = key { Some(*n) } else { None })
            .collect()),
        other => integers(other),
    }
}
