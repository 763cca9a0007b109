//! Puts an interface on its tenant's bridge, and takes it off: what hooks and labs call.
//!
//! The decision is pure ([`decide`]); [`attach`] and [`detach`] carry it out, each within one deadline, and take back
//! what they wrote if ovs-vswitchd does not make it work.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::names::{BridgeName, Ctid, MeshName, PortName, TenantName};
use crate::ovsdb::{Atom, Mutation, Mutator, Operation, Row, TransactError, Value};
use crate::plan::{CTID_ID, MESH_ID, PEER_ID, Plan, TENANT_ID};
use crate::snapshot::{Opening, PortRole, PortRow, Snapshot, StringMap};
use crate::switch::{Switch, SwitchError};

/// An interface that is to be on its tenant's bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The device.
    pub device: PortName,
    /// The tenant.
    pub tenant: TenantName,
    /// The container behind it, if it is one.
    pub ctid: Option<Ctid>,
    /// The far end's MAC address, if known (`attached-mac`).
    pub mac: Option<String>,
}

/// What attaching takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// The row is there, on the right bridge, for this very device.
    Nothing,
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

/// Why an interface is not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// This host does not carry the tenant.
    #[error("tenant `{tenant}` has no bridge on host `{host}`; its tenants are: {known}")]
    UnknownTenant {
        /// The tenant asked for.
        tenant: TenantName,
        /// The host.
        host: String,
        /// The tenants there are.
        known: String,
    },
    /// The topology puts the container in another tenant.
    #[error("the topology puts container {ctid} in tenant `{placed}`, not in `{tenant}`")]
    OtherTenant {
        /// The container.
        ctid: Ctid,
        /// Its tenant.
        placed: TenantName,
        /// The tenant asked for.
        tenant: TenantName,
    },
    /// The bridge is missing: no sync has run yet.
    #[error("bridge `{bridge}` of tenant `{tenant}` is not there yet: run `ovsmesh sync` first")]
    NoBridge {
        /// The bridge.
        bridge: BridgeName,
        /// The tenant.
        tenant: TenantName,
    },
    /// A bridge of that name is somebody else's.
    #[error("bridge `{bridge}` belongs to {owner}")]
    ForeignBridge {
        /// The bridge.
        bridge: BridgeName,
        /// Whose it is.
        owner: String,
    },
    /// A port of that name is somebody else's, or has another role in the mesh.
    #[error("port `{device}` is on bridge `{bridge}` and belongs to {owner}: remove it first")]
    ForeignPort {
        /// The device.
        device: PortName,
        /// The bridge it is on.
        bridge: String,
        /// Whose it is.
        owner: String,
    },
    /// There is no such device on this host.
    #[error("there is no device `{device}` on this host")]
    NoDevice {
        /// The device.
        device: PortName,
    },
    /// The device cannot be read or set up.
    #[error(transparent)]
    Link(#[from] crate::link::LinkError),
    /// The switch failed.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Somebody else kept changing the same rows.
    #[error("gave up on `{device}` after {attempts} attempts: somebody else keeps changing its bridge")]
    Contended {
        /// The device.
        device: PortName,
        /// The attempts made.
        attempts: u32,
    },
    /// ovs-vswitchd did not make it work; the row is taken back.
    #[error("`{device}` is not attached, its row is taken back: {reason}")]
    NotApplied {
        /// The device.
        device: PortName,
        /// Why, in OVS's own words where it has some.
        reason: String,
    },
}

impl From<TransactError> for AttachError {
    fn from(error: TransactError) -> Self {
        Self::Switch(error.into())
    }
}

/// What attaching takes, given what the switch holds and the device's index. Pure.
pub fn decide(
    plan: &Plan,
    snapshot: &Snapshot,
    wanted: &Attachment,
    ifindex: u32,
) -> Result<Decision, AttachError> {
    let Attachment { device, tenant, ctid, mac: _ } = wanted;
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
    let Some(port) = snapshot.ports.values().find(|port| port.name == device.as_str()) else {
        return Ok(Decision::Add { bridge: bridge.name.clone() });
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
    if port.external_ids != with_ids(&port.external_ids, &plan.mesh, wanted)
        || port.tag.is_some()
        || port.protected
    {
        return replace("its row says something else".to_owned());
    }
    match interface {
        Some(row) if row.error.is_some() => replace(row.error.clone().unwrap_or_default()),
        Some(row) if row.ifindex != Some(i64::from(ifindex)) => {
            replace("its device was made anew".to_owned())
        }
        Some(row) if row.opening == Opening::Done => Ok(Decision::Nothing),
        _ => replace("ovs-vswitchd has not opened it".to_owned()),
    }
}

/// The ids that the port should have; others on it stay.
fn with_ids(ids: &StringMap, mesh: &MeshName, wanted: &Attachment) -> StringMap {
    let mut ids = ids.clone();
    ids.insert(MESH_ID.to_owned(), mesh.to_string());
    ids.insert(TENANT_ID.to_owned(), wanted.tenant.to_string());
    ids.remove(CTID_ID);
    ids.remove(PEER_ID);
    ids.extend(wanted.ctid.iter().map(|ctid| (CTID_ID.to_owned(), ctid.to_string())));
    ids
}

/// The port's and its interface's rows.
fn rows(mesh: &MeshName, wanted: &Attachment) -> [Operation; 2] {
    let Attachment { device, tenant: _, ctid, mac } = wanted;
    let mut interface_ids = StringMap::new();
    interface_ids
        .insert("iface-id".to_owned(), ctid.as_ref().map_or(device.as_str(), Ctid::as_str).to_owned());
    interface_ids.extend(mac.iter().map(|mac| ("attached-mac".to_owned(), mac.clone())));
    let text = |text: &str| Value::string(text);
    let interface = Row::from([
        ("name".to_owned(), text(device.as_str())),
        ("external_ids".to_owned(), Value::string_map(interface_ids)),
    ]);
    let port = Row::from([
        ("name".to_owned(), text(device.as_str())),
        ("interfaces".to_owned(), Value::named_uuid("i")),
        ("external_ids".to_owned(), Value::string_map(with_ids(&StringMap::new(), mesh, wanted))),
        // Gone after a reboot, when the device is too (ovs-ctl(8), `delete-transient-ports`).
        ("other_config".to_owned(), Value::string_map([("transient", "true")])),
    ]);
    [Operation::insert_named("Interface", "i", interface), Operation::insert_named("Port", "p", port)]
}

/// Puts a device on its tenant's bridge: row, link up, tenant MTU; returns once packets can pass.
///
/// A second time it writes nothing. A stale row is healed. On failure its row is taken back.
pub async fn attach(switch: &Switch, plan: &Plan, wanted: &Attachment) -> Result<Decision, AttachError> {
    let device = wanted.device.as_str();
    let Some(link) = switch.links.get(device).await? else {
        return Err(AttachError::NoDevice { device: wanted.device.clone() });
    };
    let give_up = switch.deadline();
    let mut first = None;
    let mut attempts = 0;
    loop {
        let snapshot = switch.snapshot().await?;
        let decision = decide(plan, &snapshot, wanted, link.index)?;
        let operations = match &decision {
            Decision::Nothing => None,
            Decision::Replace { .. } => Some(removal(&snapshot, device)),
            Decision::Add { bridge } => Some(addition(plan, &snapshot, wanted, bridge)),
        };
        if let Some(bridge) = plan.bridge_of(&wanted.tenant)
            && !matches!(decision, Decision::Replace { .. })
        {
            switch.links.set_mtu(device, u32::from(bridge.mtu)).await?;
            switch.links.set_up(device).await?;
        }
        let done = !matches!(decision, Decision::Replace { .. });
        first.get_or_insert(decision);
        let Some(operations) = operations else { break };
        attempts += 1;
        match commit_and_wait(switch, &snapshot, operations).await? {
            Outcome::Applied => {}
            Outcome::Changed if Instant::now() < give_up => {
                sleep(Duration::from_millis(5)).await;
                continue;
            }
            Outcome::Changed => {
                return Err(AttachError::Contended { device: wanted.device.clone(), attempts });
            }
            Outcome::NotInTime => {
                let reason = format!("ovs-vswitchd has not applied it after {:?}", switch.timeout);
                return Err(take_back(switch, wanted, reason).await);
            }
        }
        if done {
            if let Some(reason) = problem(switch, device).await? {
                return Err(take_back(switch, wanted, reason).await);
            }
            break;
        }
    }
    Ok(first.unwrap_or(Decision::Nothing))
}

/// Takes a device off its bridge, if its row is ours; whether there was one. The device itself may be gone.
pub async fn detach(switch: &Switch, mesh: &MeshName, device: &PortName) -> Result<bool, AttachError> {
    let give_up = switch.deadline();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let snapshot = switch.snapshot().await?;
        let port = snapshot.ports.values().find(|port| port.name == device.as_str());
        let owned = port.filter(|port| {
            port.is_owned_by(mesh) && port.role(snapshot.only_interface(port)) == PortRole::Attached
        });
        if owned.is_none() {
            return Ok(false);
        }
        match commit_and_wait(switch, &snapshot, removal(&snapshot, device.as_str())).await? {
            // The row is gone in either case; that ovs-vswitchd lags is its own trouble.
            Outcome::Applied | Outcome::NotInTime => return Ok(true),
            Outcome::Changed if Instant::now() < give_up => sleep(Duration::from_millis(5)).await,
            Outcome::Changed => return Err(AttachError::Contended { device: device.clone(), attempts }),
        }
    }
}

fn holder<'a>(snapshot: &'a Snapshot, device: &str) -> Option<(Uuid, &'a PortRow)> {
    let port = snapshot.ports.values().find(|port| port.name == device)?;
    let bridge = snapshot.bridges.values().find(|bridge| bridge.ports.contains(&port.uuid))?;
    Some((bridge.uuid, port))
}

fn removal(snapshot: &Snapshot, device: &str) -> Vec<Operation> {
    let Some((bridge, port)) = holder(snapshot, device) else { return Vec::new() };
    let ids = Row::from([("external_ids".to_owned(), Value::string_map(port.external_ids.clone()))]);
    let gone = Mutation::new("ports", Mutator::Delete, Value::uuid_set([port.uuid]));
    vec![Operation::guard_row("Port", port.uuid, ids), Operation::mutate_row("Bridge", bridge, vec![gone])]
}

fn addition(plan: &Plan, snapshot: &Snapshot, wanted: &Attachment, bridge: &BridgeName) -> Vec<Operation> {
    let Some(row) = snapshot.bridges.values().find(|row| row.name == bridge.as_str()) else {
        return Vec::new();
    };
    let ids = Row::from([("external_ids".to_owned(), Value::string_map(row.external_ids.clone()))]);
    let mut operations = vec![Operation::guard_row("Bridge", row.uuid, ids)];
    operations.extend(rows(&plan.mesh, wanted));
    let port = Value::from(Atom::NamedUuid("p".to_owned()));
    operations.push(Operation::mutate_row(
        "Bridge",
        row.uuid,
        vec![Mutation::new("ports", Mutator::Insert, port)],
    ));
    operations
}

enum Outcome {
    Applied,
    Changed,
    NotInTime,
}

async fn commit_and_wait(
    switch: &Switch,
    snapshot: &Snapshot,
    operations: Vec<Operation>,
) -> Result<Outcome, AttachError> {
    let mut watch = switch.watch().await?;
    let Some(wanted) = switch.commit(snapshot.root, operations).await? else { return Ok(Outcome::Changed) };
    let applied = watch.wait(wanted, switch.deadline()).await.map_err(SwitchError::from)?;
    Ok(if applied { Outcome::Applied } else { Outcome::NotInTime })
}

/// Why ovs-vswitchd does not forward for the device, if it does not.
async fn problem(switch: &Switch, device: &str) -> Result<Option<String>, AttachError> {
    let snapshot = switch.snapshot().await?;
    let interface = snapshot.interfaces.values().find(|row| row.name == device);
    Ok(match interface {
        None => Some("somebody else removed its row".to_owned()),
        Some(row) if row.error.is_some() => row.error.clone(),
        Some(row) if row.opening == Opening::Done => None,
        Some(_) => Some("ovs-vswitchd could not open it; its log says why".to_owned()),
    })
}

/// Removes what was written; the reason stays the error, whatever becomes of the removal.
async fn take_back(switch: &Switch, wanted: &Attachment, reason: String) -> AttachError {
    let device = wanted.device.clone();
    let Ok(snapshot) = switch.snapshot().await else { return AttachError::NotApplied { device, reason } };
    let operations = removal(&snapshot, device.as_str());
    // Not waited for: an ovs-vswitchd that did not apply the row in time would not apply its removal either.
    let _ = switch.transact(&operations).await;
    AttachError::NotApplied { device, reason }
}
