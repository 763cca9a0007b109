//! A tenant's bridge: that it is there, that it is the mesh's, and that nobody else has a hand in what it forwards.

use super::{Check, Found, SYNC, Severity, View, on};
use crate::isolation::host::BridgeDetails;
use crate::snapshot::{BridgeRow, PortRow, owner_of};
use crate::topology::Tenant;

pub(super) fn check(view: &View<'_>, found: &mut Found<'_>) {
    let rows = &view.snapshot.rows;
    if rows.cur_cfg < rows.next_cfg {
        let reason = format!(
            "ovs-vswitchd has applied configuration {} of {}: what is written is not what is forwarded",
            rows.cur_cfg, rows.next_cfg
        );
        let remedy = "see that ovs-vswitchd runs, and what its log says";
        found.add(Check::SwitchApplied, Severity::Degraded, &[], "ovs-vswitchd", reason, remedy);
    }
    for bridge in &view.plan.bridges {
        if !view.rows_by_name.contains_key(bridge.name.as_str()) {
            let object = format!("bridge {}", bridge.name);
            let reason = "the tenant has no bridge on this host";
            found.add(Check::BridgeMissing, Severity::Degraded, &[&bridge.tenant], object, reason, SYNC);
        }
    }
    for (bridge, tenant, row) in &view.bridges {
        owner(view, tenant, row, found);
        columns(tenant, row, bridge.datapath.as_str(), found);
        if let Some(details) = view.snapshot.bridge_details(row.uuid) {
            let controllers = &details.controllers;
            fail_mode(tenant, row, controllers, found);
            others(view, tenant, row, details, found);
        } else {
            fail_mode(tenant, row, &[], found);
        }
    }
    stale(view, found);
}

fn owner(view: &View<'_>, tenant: &Tenant, row: &BridgeRow, found: &mut Found<'_>) {
    let object = format!("bridge {}", row.name);
    if !row.is_owned_by(&view.plan.mesh) {
        let reason = format!("it belongs to {}: whatever is on it is theirs", owner_of(&row.external_ids));
        let remedy = "rename the tenant's `bridge` in the topology, or remove that one";
        found.add(Check::BridgeOwner, Severity::Breach, &[tenant.name()], object, reason, remedy);
        return;
    }
    match view.named_tenant(&row.external_ids) {
        Some(named) if named.name() == tenant.name() => {}
        Some(named) => {
            let reason = format!("its row says that it is tenant {}'s", named.name());
            let tenants = [tenant.name(), named.name()];
            found.add(Check::BridgeOwner, Severity::Breach, &tenants, object, reason, SYNC);
        }
        None => {
            let reason = "its row says that it is no tenant's of the topology";
            found.add(Check::BridgeOwner, Severity::Breach, &[tenant.name()], object, reason, SYNC);
        }
    }
}

fn columns(tenant: &Tenant, row: &BridgeRow, datapath: &str, found: &mut Found<'_>) {
    if row.datapath() != datapath {
        let object = format!("bridge {}", row.name);
        let reason = format!(
            "its datapath_type is {}, the mesh's is {datapath}: it reaches no tunnel",
            row.datapath()
        );
        found.add(Check::BridgeDatapath, Severity::Degraded, &[tenant.name()], object, reason, SYNC);
    }
}

fn fail_mode(tenant: &Tenant, row: &BridgeRow, controllers: &[String], found: &mut Found<'_>) {
    let object = || format!("bridge {}", row.name);
    if row.fail_mode.as_deref() != Some("standalone") {
        let reason = match row.fail_mode.as_deref() {
            Some(mode) => format!("fail_mode is {mode}: without flows of a controller's it forwards nothing"),
            None => {
                "fail_mode is not set: what it forwards without a controller is left to a default".to_owned()
            }
        };
        found.add(Check::BridgeFailMode, Severity::Degraded, &[tenant.name()], object(), reason, SYNC);
    }
    if !controllers.is_empty() {
        let reason = format!("{} can program any path for its frames", controllers.join(", "));
        let remedy = format!("`ovs-vsctl del-controller {}`", row.name);
        found.add(Check::BridgeController, Severity::Breach, &[tenant.name()], object(), reason, remedy);
    }
}

fn others(view: &View<'_>, tenant: &Tenant, row: &BridgeRow, details: &BridgeDetails, found: &mut Found<'_>) {
    let BridgeDetails {
        controllers: _,
        mirrors,
        sflow,
        netflow,
        ipfix,
        stp,
        rstp,
        mcast_snooping,
        flood_vlans,
        flow_tables,
    } = details;
    let tenants = [tenant.name()];
    let object = || format!("bridge {}", row.name);
    let clear = |column: &str| format!("`ovs-vsctl clear bridge {} {column}`", row.name);
    for mirror in mirrors {
        let output = mirror.output_port.and_then(|uuid| view.port(uuid));
        let to = match (output, mirror.output_vlan) {
            (Some(PortRow { name, .. }), _) => format!("port {name}"),
            (None, Some(vlan)) => format!("everybody, in VLAN {vlan}"),
            (None, None) => "nowhere yet".to_owned(),
        };
        let reason = format!("mirror {} copies its frames to {to}", mirror.name);
        found.add(Check::BridgeMirror, Severity::Breach, &tenants, object(), reason, clear("mirrors"));
    }
    for (is_set, severity, column, what) in [
        (*sflow, Severity::Breach, "sflow", "sFlow sends the beginnings of its frames to a collector"),
        (*netflow, Severity::Notice, "netflow", "NetFlow tells a collector who talks to whom on it"),
        (*ipfix, Severity::Notice, "ipfix", "IPFIX tells a collector who talks to whom on it"),
    ] {
        if is_set {
            found.add(Check::BridgeSampling, severity, &tenants, object(), what, clear(column));
        }
    }
    for (is_set, column) in [(*stp, "stp_enable"), (*rstp, "rstp_enable")] {
        if is_set {
            let reason =
                format!("{column}: a full mesh of protected tunnels has no loops, and loses links to it");
            let remedy = format!("`ovs-vsctl set bridge {} {column}=false`", row.name);
            found.add(Check::BridgeSpanningTree, Severity::Degraded, &tenants, object(), reason, remedy);
        }
    }
    let text = |numbers: &[i64]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    for (numbers, column, what) in [
        (flood_vlans, "flood_vlans", "floods every frame of the VLANs"),
        (flow_tables, "flow_tables", "limits the flows of the tables"),
    ] {
        if !numbers.is_empty() {
            let reason = format!("{column}: it {what} {}", text(numbers));
            let (severity, remedy) = (Severity::Degraded, clear(column));
            found.add(Check::BridgeForwarding, severity, &tenants, object(), reason, remedy);
        }
    }
    if *mcast_snooping {
        let reason = "mcast_snooping_enable: multicast gets only to who is known to want it";
        let remedy = format!("`ovs-vsctl set bridge {} mcast_snooping_enable=false`", row.name);
        found.add(Check::BridgeForwarding, Severity::Degraded, &tenants, object(), reason, remedy);
    }
}

/// Rows of the mesh's outside its planned bridges.
fn stale(view: &View<'_>, found: &mut Found<'_>) {
    for row in view.snapshot.rows.bridges.values() {
        if view.plan.bridges.iter().any(|bridge| bridge.name.as_str() == row.name) {
            continue;
        }
        if row.is_owned_by(&view.plan.mesh) {
            let tunnels = view.ports(row).filter(|(_, own)| own.iter().any(|it| it.is_tunnel())).count();
            let named = view.named_tenant(&row.external_ids);
            let tenants: Vec<_> = named.iter().map(|tenant| tenant.name()).collect();
            let (severity, reason) = match tunnels {
                0 => (Severity::Degraded, "the topology has no such bridge here".to_owned()),
                some => (
                    Severity::Breach,
                    format!(
                        "the topology has no such bridge here, and {some} tunnels connect it to other hosts"
                    ),
                ),
            };
            found.add(Check::RowStale, severity, &tenants, format!("bridge {}", row.name), reason, SYNC);
            continue;
        }
        for (port, _) in view.ports(row).filter(|(port, _)| view.is_owned(port)) {
            let named = view.named_tenant(&port.external_ids);
            let tenants: Vec<_> = named.iter().map(|tenant| tenant.name()).collect();
            let reason = format!("a port of the mesh's is on a bridge of {}", owner_of(&row.external_ids));
            found.add(Check::PortMisplaced, Severity::Breach, &tenants, on(port, row), reason, SYNC);
        }
    }
}
