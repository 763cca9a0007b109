//! What ovs-vswitchd made of what was committed.

use std::collections::BTreeSet;

use super::SyncError;
use crate::diff::Diff;
use crate::ovsdb::{Condition, Function, Operation, OperationResult, Row, Value};
use crate::plan::Plan;
use crate::snapshot::Snapshot;
use crate::status::{Object, ObjectKind, State, assess, lists_every_tunnel};
use crate::switch::Switch;
use crate::topology::Datapath;
use crate::underlay;
use crate::unixctl::ListedTunnel;

/// ovs-vswitchd's own list of tunnels, or a warning why it could not be had.
pub(super) async fn listed(switch: &Switch, warnings: &mut Vec<String>) -> Option<Vec<ListedTunnel>> {
    let listed = switch.listed_tunnels().await;
    listed.map_err(|error| warnings.push(format!("tunnels not checked in ovs-vswitchd: {error}"))).ok()
}

/// What keeps the userspace datapath from reaching the peers.
pub(super) async fn underlay_warnings(switch: &Switch, plan: &Plan, snapshot: &Snapshot) -> Vec<String> {
    let userspace = snapshot.bridges.values().filter(|row| row.datapath() == Datapath::Netdev.as_str());
    routes_missing(switch, plan, &userspace.map(|row| row.name.as_str()).collect()).await
}

async fn routes_missing(switch: &Switch, plan: &Plan, userspace: &BTreeSet<&str>) -> Vec<String> {
    if !underlay::is_userspace(plan) {
        return Vec::new();
    }
    match switch.control("ovs/route/show", &[]).await {
        Ok(routes) => underlay::missing_routes(plan, userspace, &routes),
        Err(error) => vec![format!("underlay not checked: {error}")],
    }
}

/// The planned objects that ovs-vswitchd has not applied, as a snapshot shows them.
pub(super) async fn failing(
    switch: &Switch,
    plan: &Plan,
    snapshot: &Snapshot,
    warnings: &mut Vec<String>,
) -> Vec<Object> {
    let listed = listed(switch, warnings).await;
    warnings.extend(underlay_warnings(switch, plan, snapshot).await);
    let objects = assess(plan, snapshot, &Diff::default(), listed.as_deref());
    let failing = objects.into_iter().filter(|object| match object.kind {
        // What is not planned is somebody's business only where it is there and does not work.
        ObjectKind::Container => matches!(object.state, State::Failing { .. }),
        _ => object.state != State::Applied,
    });
    failing.collect()
}

/// Whether nothing on the switch is in trouble, which takes no snapshot to tell: each interface has its `ofport` and no
/// `error`, and each planned tunnel stands in ovs-vswitchd's own list.
///
/// False where any interface is in trouble, be it somebody else's, and where the list could not be had.
pub(super) async fn is_all_applied(
    switch: &Switch,
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<bool, SyncError> {
    let names = |table: &str, condition| Operation::Select {
        table: table.to_owned(),
        r#where: vec![condition],
        columns: Some(vec!["name".to_owned()]),
    };
    let nothing = || Value::Set(Vec::new());
    let results = switch
        .transact(&[
            names("Bridge", Condition::equal("datapath_type", Datapath::Netdev.as_str())),
            names("Interface", Condition::equal("ofport", nothing())),
            names("Interface", Condition::equal("ofport", -1)),
            names("Interface", Condition::new("error", Function::NotEqual, nothing())),
        ])
        .await?;
    let mut results =
        results.into_iter().map(|result| OperationResult::into_rows(result).unwrap_or_default());
    let bridges: Vec<Row> = results.next().unwrap_or_default();
    if results.any(|troubled| !troubled.is_empty()) {
        return Ok(false);
    }
    let Some(listed) = listed(switch, warnings).await else { return Ok(false) };
    let userspace = bridges.iter().filter_map(|row| row.get("name")?.as_str().ok()).collect();
    warnings.extend(routes_missing(switch, plan, &userspace).await);
    Ok(lists_every_tunnel(plan, &listed))
}
