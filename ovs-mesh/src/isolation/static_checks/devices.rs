//! The devices behind a tenant's ports, and the one behind the underlay.

use super::{Check, Device, Found, SYNC, Severity, View, on};
use crate::snapshot::{BridgeRow, InterfaceRow, PortRole, PortRow};
use crate::topology::Tenant;

pub(super) fn check(view: &View<'_>, found: &mut Found<'_>) {
    for (_, tenant, row) in &view.bridges {
        for port in row.ports.iter().filter_map(|uuid| view.port(*uuid)) {
            for interface in view.interfaces(port).into_iter().filter(|interface| !interface.is_tunnel()) {
                device(view, tenant, row, port, interface, found);
            }
        }
    }
    if view.snapshot.links.is_some() {
        underlay(view, found);
    }
}

fn device(
    view: &View<'_>,
    tenant: &Tenant,
    row: &BridgeRow,
    port: &PortRow,
    interface: &InterfaceRow,
    found: &mut Found<'_>,
) {
    let is_local = port.name == row.name;
    let tenants = [tenant.name()];
    let object = || on(port, row);
    let device = view.devices.get(interface.name.as_str()).copied();
    let details = view.snapshot.interface_details(interface.uuid);
    let mtu = device.map(|device| i64::from(device.mtu)).or(details.and_then(|details| details.mtu));
    let wanted = i64::from(view.facts.topology.tenant_mtu());
    if let Some(mtu) = mtu.filter(|mtu| *mtu != wanted) {
        let what = if mtu > wanted { "frames that it sends" } else { "frames that are sent to it" };
        let reason = format!("its MTU is {mtu}, the tenant's {wanted}: {what} get lost when they are full");
        let remedy =
            format!("`ip link set {} mtu {wanted}`, or run `ovsmesh sync` on the host", interface.name);
        found.add(Check::MtuTenant, Severity::Degraded, &tenants, object(), reason, remedy);
    }
    let up = device.map(|device| device.up).or(details.and_then(|details| details.admin_up));
    if up == Some(false) && !is_local {
        let remedy = format!("`ip link set {} up`", interface.name);
        found.add(Check::DeviceDown, Severity::Degraded, &tenants, object(), "its device is down", remedy);
    }
    let stale = |found: &mut Found<'_>, reason: String| {
        let remedy = "attach it anew, or run `ovsmesh sync` on the host";
        found.add(Check::DeviceStale, Severity::Degraded, &tenants, object(), reason, remedy);
    };
    let Some(device) = device else {
        // ovs-vswitchd may not have noticed; a gateway's is told of with its namespace.
        let is_ours = view.is_owned(port) && port.role(Some(interface)) == PortRole::Attached;
        if view.snapshot.links.is_some() && is_ours {
            stale(found, "its device is gone".to_owned());
        }
        return;
    };
    // The device that was attached, and the one that ovs-vswitchd has opened, which can be told of the new one's index
    // while it still reads from the old one.
    let known = [port.ifindex().map(i64::from), interface.ifindex];
    if let Some(index) = known.into_iter().flatten().find(|index| *index != i64::from(device.index)) {
        let reason = format!(
            "ovs-vswitchd has the device of index {index}, and {} is of index {} by now: no packets pass",
            interface.name, device.index
        );
        stale(found, reason);
    }
    if let Some(master) = master(view, device).filter(|master| !master.is_kind("openvswitch")) {
        let reason = format!("its device is also a port of {}, so that its frames go both ways", master.name);
        let remedy = format!("`ip link set {} nomaster`", interface.name);
        found.add(Check::DeviceEnslaved, Severity::Breach, &tenants, object(), reason, remedy);
    }
}

fn master<'a>(view: &View<'a>, device: &Device) -> Option<&'a Device> {
    let links = view.snapshot.links.as_ref()?;
    links.devices.iter().find(|master| Some(master.index) == device.master)
}

fn underlay(view: &View<'_>, found: &mut Found<'_>) {
    let address = view.host.underlay_ip();
    let holder = view.devices.values().find(|device| device.addresses.iter().any(|own| own.ip() == address));
    let Some(holder) = holder else {
        let reason = format!("no device has {address}: no tunnel of this host works");
        let remedy = "give the host its address, or tell the topology the right one";
        found.add(Check::UnderlayAddress, Severity::Degraded, &[], "underlay", reason, remedy);
        return;
    };
    let wanted = u32::from(view.facts.topology.underlay_mtu());
    if holder.mtu < wanted {
        let reason = format!(
            "{} has MTU {}, the topology says {wanted}: full frames of any tenant get lost",
            holder.name, holder.mtu
        );
        let remedy = format!("`ip link set {} mtu {wanted}`, or a lower underlay_mtu ({SYNC})", holder.name);
        found.add(Check::MtuUnderlay, Severity::Degraded, &[], "underlay", reason, remedy);
    }
}
