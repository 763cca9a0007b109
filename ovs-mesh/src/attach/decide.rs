//! What attaching an interface takes. Pure.

use serde::Serialize;

use super::{AttachError, Attachment};
use crate::lower::attached_ids;
use crate::names::{BridgeName, PortName};
use crate::plan::{CTID_ID, Plan, TENANT_ID};
use crate::snapshot::{Opening, PortRole, PortRow, Snapshot, StringMap};

/// What attaching takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// The row is there, on the right bridge, for this very device.
    Nothing,
    /// The row is there, and ovs-vswitchd is about to come to it.
    Await {
        /// The bridge.
        bridge: BridgeName,
    },
    /// No row is in the way.
    Add {
        /// The bridge.
        bridge: BridgeName,
    },
    /// A row of ours is in the way: stale, or of another bridge. It goes first, and ovs-vswitchd must have let go of
    /// it: a device that comes back under its old row passes no packets on the userspace datapath.
    Replace {
        /// The bridge.
        bridge: BridgeName,
        /// Why the old row cannot stay.
        reason: String,
    },
}

/// What attaching takes, given what the switch holds and the device's index. Pure.
pub fn decide(
    plan: &Plan,
    snapshot: &Snapshot,
    wanted: &Attachment,
    ifindex: u32,
) -> Result<Decision, AttachError> {
    let Attachment { device, tenant, ctid, mac: _, iface_id: _ } = wanted;
    let Some(bridge) = plan.bridge_of(tenant) else {
        let known: Vec<&str> = plan.bridges.iter().map(|bridge| bridge.tenant.as_str()).collect();
        let (tenant, host) = (tenant.clone(), plan.host.to_string());
        return Err(AttachError::UnknownTenant { tenant, host, known: known.join(", ") });
    };
    if let Some(ctid) = ctid
        && let Some(placed) = plan.placement(Some(ctid.as_str())).filter(|placed| *placed != tenant)
    {
        return Err(AttachError::OtherTenant {
            ctid: ctid.clone(),
            placed: placed.clone(),
            tenant: tenant.clone(),
        });
    }
    let row = snapshot.bridges.values().find(|row| row.name == bridge.name.as_str());
    let Some(row) = row else {
        return Err(AttachError::NoBridge { bridge: bridge.name.clone(), tenant: tenant.clone() });
    };
    if !row.is_owned_by(&plan.mesh) {
        let owner = crate::snapshot::owner_of(&row.external_ids);
        return Err(AttachError::ForeignBridge { bridge: bridge.name.clone(), owner });
    }
    // The topology has changed and no sync has run: its ports are still another tenant's.
    let holder = row.external_ids.get(TENANT_ID).map(String::as_str).unwrap_or_default();
    if holder != tenant.as_str() {
        let (bridge, holder) = (bridge.name.clone(), holder.to_owned());
        return Err(AttachError::OtherTenantsBridge { bridge, tenant: tenant.clone(), holder });
    }
    let Some(port) = snapshot.ports.values().find(|port| port.name == device.as_str()) else {
        return match holder_of(snapshot, device) {
            None => Ok(Decision::Add { bridge: bridge.name.clone() }),
            Some((on, port)) => Err(AttachError::ForeignPort {
                device: device.clone(),
                bridge: on.to_owned(),
                owner: format!("port `{}`", port.name),
            }),
        };
    };
    let on = snapshot.bridges.values().find(|row| row.ports.contains(&port.uuid));
    let on = on.map_or("", |row| row.name.as_str());
    let interface = snapshot.only_interface(port);
    if !port.is_owned_by(&plan.mesh) || port.role(interface) != PortRole::Attached || on == device.as_str() {
        let (device, bridge) = (device.clone(), on.to_owned());
        return Err(AttachError::ForeignPort { device, bridge, owner: port.owner() });
    }
    let replace = |reason: String| Ok(Decision::Replace { bridge: bridge.name.clone(), reason });
    if on != bridge.name.as_str() {
        return replace(format!("it is on bridge {on}"));
    }
    if port.ifindex() != Some(ifindex) {
        return replace("its device was made anew".to_owned());
    }
    if !says(port, &attached_ids(&plan.mesh, wanted, ifindex)) || port.tag.is_some() || port.protected {
        return replace("its row says something else".to_owned());
    }
    match interface {
        Some(row) if row.error.is_some() => replace(row.error.clone().unwrap_or_default()),
        Some(row) if row.opening == Opening::Done => Ok(Decision::Nothing),
        // Another call for the same device has written it a moment ago.
        Some(row) if row.opening == Opening::Pending && snapshot.cur_cfg < snapshot.next_cfg => {
            Ok(Decision::Await { bridge: bridge.name.clone() })
        }
        _ => replace("ovs-vswitchd has not opened it".to_owned()),
    }
}

/// The port, of another name, that has the device as one of its interfaces: a bond has several.
fn holder_of<'a>(snapshot: &'a Snapshot, device: &PortName) -> Option<(&'a str, &'a PortRow)> {
    let interface = snapshot.interfaces.values().find(|row| row.name == device.as_str())?;
    let port = snapshot.ports.values().find(|port| port.interfaces.contains(&interface.uuid))?;
    let bridge = snapshot.bridges.values().find(|row| row.ports.contains(&port.uuid));
    Some((bridge.map_or("", |row| row.name.as_str()), port))
}

/// Whether a port has these ids, and no other that would give it another part in the mesh.
fn says(port: &PortRow, ids: &StringMap) -> bool {
    let given = ids.iter().all(|(key, value)| port.external_ids.get(key) == Some(value));
    given && port.external_ids.contains_key(CTID_ID) == ids.contains_key(CTID_ID)
}
