//! What is behind the ports of a tenant's bridge, as far as it can be seen: containers and gateways, whose MAC and other
//! addresses the tenant's network must have once only.

use std::net::IpAddr;

use super::between::{Claim, Claimed, SeenHost};
use super::places::HOST;
use super::{Check, Found, Severity, View, on};
use crate::snapshot::{PortRole, PortRow};
use crate::topology::Tenant;

pub(super) fn check(view: &View<'_>, own: &mut SeenHost, found: &mut Found<'_>) {
    for (_, tenant, row) in &view.bridges {
        for (port, interfaces) in view.ports(row) {
            let interface = interfaces.first().copied();
            if port.role(interface) == PortRole::Tunnel || !view.is_owned(port) {
                continue;
            }
            let outer = view.devices.get(port.name.as_str()).copied();
            let far = outer.and_then(|outer| view.places.as_ref()?.far_end(HOST, outer)).map(|(_, far)| far);
            let told = interface.and_then(|interface| view.snapshot.interface_details(interface.uuid));
            let told = told.and_then(|details| details.external_ids.get("attached-mac")).cloned();
            let mac = far.and_then(|far| far.mac).map(|mac| mac.to_string()).or(told);
            let mut claim = |what| {
                own.claims.push(Claim { what, tenant: tenant.name().clone(), object: on(port, row) });
            };
            if let Some(mac) = mac {
                claim(Claimed::Mac(tenant.name().clone(), mac.to_ascii_lowercase()));
            }
            for address in far.iter().flat_map(|far| &far.addresses) {
                claim(Claimed::Address(tenant.name().clone(), address.ip()));
                if let Some(whose) = holder(view, tenant, port, address.ip()) {
                    let reason = format!("{} behind it is {whose} by the topology", address.ip());
                    let remedy = "take the address away from whoever should not have it";
                    let (check, severity) = (Check::AddressDuplicate, Severity::Degraded);
                    found.add(check, severity, &[tenant.name()], on(port, row), reason, remedy);
                }
            }
        }
    }
}

/// Whose an address is by the topology, if not the port's own.
fn holder(view: &View<'_>, tenant: &Tenant, port: &PortRow, ip: IpAddr) -> Option<String> {
    let container = tenant.containers().iter().find(|other| other.ip() == ip);
    if let Some(other) = container.filter(|other| port.ctid() != Some(other.ctid().as_str())) {
        return Some(format!("container {}'s", other.ctid()));
    }
    let is_gateway = port.role(None) == PortRole::Gateway;
    let gateway = tenant.gateways().iter().find(|other| other.ip() == ip);
    let gateway = gateway.filter(|other| !is_gateway || other.host() != view.host.name());
    gateway.map(|other| format!("the gateway's on host {}", other.host()))
}
