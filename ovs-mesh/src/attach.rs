//! Puts an interface on its tenant's bridge, and takes it off: what hooks and labs call.
//!
//! The decision is pure ([`decide`]); [`attach`] and [`detach`] carry it out, each within the switch's time, and take back
//! what they wrote if ovs-vswitchd does not make it work. Neither reads more of the switch than it must: a container that
//! starts on a host of thousands of ports is not to wait for them.

mod decide;

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub use decide::{Decision, decide};

use crate::link::{Link, LinkError, Links, Mac};
use crate::lower::attached_rows;
use crate::names::{BridgeName, Ctid, MeshName, PortName, TenantName};
use crate::ovsdb::{Atom, Condition, Function, Mutation, Mutator, Operation, Row, TransactError, Value};
use crate::plan::{CTID_ID, MESH_ID, Plan};
use crate::snapshot::{Opening, PortRole, PortRow, Snapshot};
use crate::switch::{DATABASE, Switch, SwitchError};
use crate::topology::Datapath;

/// An interface that is to be on its tenant's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The device.
    pub device: PortName,
    /// The tenant.
    pub tenant: TenantName,
    /// The container behind it, if it is one.
    pub ctid: Option<Ctid>,
    /// The far end's MAC address, if known (`attached-mac`).
    pub mac: Option<Mac>,
    /// The interface's `iface-id`, by which other systems know it; the container's id, or the device's name, if not given.
    pub iface_id: Option<String>,
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
    /// The bridge still carries another tenant: the topology has changed since the last sync.
    #[error(
        "bridge `{bridge}` is to carry tenant `{tenant}` and still carries `{holder}`: run `ovsmesh sync` first"
    )]
    OtherTenantsBridge {
        /// The bridge.
        bridge: BridgeName,
        /// The tenant asked for.
        tenant: TenantName,
        /// The tenant that its row names.
        holder: String,
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
    Link(#[from] LinkError),
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
    #[error("`{device}` is not attached, its row is taken back")]
    NotApplied {
        /// The device.
        device: PortName,
        /// Why.
        #[source]
        reason: Box<NotApplied>,
    },
    /// ovs-vswitchd did not make it work, and the row could not be taken back.
    #[error("`{device}` is not attached: {reason}; its row may be left, the next `ovsmesh sync` sees to it")]
    NotTakenBack {
        /// The device.
        device: PortName,
        /// Why it is not attached.
        reason: Box<NotApplied>,
        /// Why the row may be left.
        #[source]
        source: Box<AttachError>,
    },
}

/// What ovs-vswitchd did not do.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// It has not come to the row.
    #[error("ovs-vswitchd has not applied it in time")]
    NotInTime,
    /// What came of the row is not known.
    #[error("the switch was lost while it was written")]
    Lost(#[source] SwitchError),
    /// It could not open the device.
    #[error("{reason}")]
    Failed {
        /// Why, in OVS's own words where it has some.
        reason: String,
    },
}

impl From<TransactError> for AttachError {
    fn from(error: TransactError) -> Self {
        Self::Switch(error.into())
    }
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
        let snapshot = look(switch, plan, wanted).await?;
        let decision = decide(plan, &snapshot, wanted, link.index)?;
        let operations = match &decision {
            Decision::Nothing => None,
            Decision::Await { .. } => {
                wait_for_another(switch, plan, wanted, &snapshot).await?;
                continue;
            }
            Decision::Replace { .. } => snapshot.ports.values().find(|port| port.name == device).map(removal),
            Decision::Add { bridge } => Some(addition(plan, &snapshot, wanted, bridge, link.index)),
        };
        let replaces = matches!(decision, Decision::Replace { .. });
        if let Some(bridge) = plan.bridge_of(&wanted.tenant).filter(|_| !replaces) {
            prepare(&switch.links, &link, bridge.mtu, bridge.datapath).await?;
        }
        first.get_or_insert(decision);
        let Some(operations) = operations else { break };
        attempts += 1;
        let mut watch = switch.watch().await?;
        let committed = match switch.commit(snapshot.root, operations).await {
            Ok(Some(committed)) => committed,
            Ok(None) if Instant::now() < give_up => {
                sleep(Duration::from_millis(5)).await;
                continue;
            }
            Ok(None) => return Err(AttachError::Contended { device: wanted.device.clone(), attempts }),
            Err(error) if replaces => return Err(error.into()),
            Err(error) => {
                return Err(take_back(switch, plan, wanted, None, NotApplied::Lost(error)).await);
            }
        };
        // The port's row is the second that is made.
        let port = committed.inserted.get(1).copied();
        let not_applied = match watch.wait(committed.number, switch.deadline()).await {
            Ok(true) if replaces => continue,
            Ok(true) => match problem(switch, device).await {
                Ok(None) => break,
                Ok(Some(reason)) => NotApplied::Failed { reason },
                Err(error) => NotApplied::Lost(error),
            },
            Ok(false) => NotApplied::NotInTime,
            Err(error) => NotApplied::Lost(error.into()),
        };
        return Err(take_back(switch, plan, wanted, port, not_applied).await);
    }
    Ok(first.unwrap_or(Decision::Nothing))
}

/// The kernel's part: the tenant's MTU, up, and on the userspace datapath out of the host's own network.
pub(crate) async fn prepare(
    links: &Links,
    link: &Link,
    mtu: u16,
    datapath: Datapath,
) -> Result<(), LinkError> {
    let device = link.name.as_str();
    if link.mtu != u32::from(mtu) {
        links.set_mtu(device, u32::from(mtu)).await?;
    }
    if datapath == Datapath::Netdev {
        links.keep_kernel_off(device)?;
    }
    if !link.up {
        links.set_up(device).await?;
    }
    Ok(())
}

/// Waits until ovs-vswitchd has come to the row that another call has written for the same device.
async fn wait_for_another(
    switch: &Switch,
    plan: &Plan,
    wanted: &Attachment,
    snapshot: &Snapshot,
) -> Result<(), AttachError> {
    let mut watch = switch.watch().await?;
    if watch.wait(snapshot.next_cfg, switch.deadline()).await.map_err(SwitchError::from)? {
        return Ok(());
    }
    let port = snapshot.ports.values().find(|port| port.name == wanted.device.as_str());
    let port = port.map(|port| port.uuid);
    Err(take_back(switch, plan, wanted, port, NotApplied::NotInTime).await)
}

/// Takes a device off its bridge, if its row is ours; whether there was one. The device itself may be gone.
pub async fn detach(switch: &Switch, mesh: &MeshName, device: &PortName) -> Result<bool, AttachError> {
    let give_up = switch.deadline();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let snapshot = switch.part(named(device.as_str()), "").await?;
        let port = snapshot.ports.values().find(|port| {
            port.is_owned_by(mesh) && port.role(snapshot.only_interface(port)) == PortRole::Attached
        });
        let Some(port) = port else { return Ok(false) };
        let mut watch = switch.watch().await?;
        match switch.commit(snapshot.root, removal(port)).await? {
            Some(committed) => {
                // The row is gone in either case; that ovs-vswitchd lags is its own trouble.
                let waited = watch.wait(committed.number, switch.deadline()).await;
                return waited.map(|_| true).map_err(|error| SwitchError::from(error).into());
            }
            None if Instant::now() < give_up => sleep(Duration::from_millis(5)).await,
            None => return Err(AttachError::Contended { device: device.clone(), attempts }),
        }
    }
}

/// The interfaces that are attached for a container, with the tenants that their rows name.
pub async fn attached_for(
    switch: &Switch,
    mesh: &MeshName,
    ctid: &Ctid,
) -> Result<Vec<(PortName, Option<TenantName>)>, AttachError> {
    let ids = Value::string_map([(MESH_ID, mesh.as_str()), (CTID_ID, ctid.as_str())]);
    let with_ids = Condition::new("external_ids", Function::Includes, ids);
    let snapshot = switch.part(with_ids, "").await?;
    let named = |port: &PortRow| {
        let tenant = port.tenant().and_then(|tenant| tenant.parse().ok());
        Some((port.name.parse().ok()?, tenant))
    };
    let mut found: Vec<_> = snapshot.ports.values().filter_map(named).collect();
    found.sort();
    Ok(found)
}

/// What there is to see of the device and of its tenant's bridge; everything where there is a row in the way.
async fn look(switch: &Switch, plan: &Plan, wanted: &Attachment) -> Result<Snapshot, SwitchError> {
    let bridge = plan.bridge_of(&wanted.tenant).map_or("", |bridge| bridge.name.as_str());
    let snapshot = switch.part(named(wanted.device.as_str()), bridge).await?;
    let free = snapshot.ports.is_empty() && snapshot.interfaces.is_empty();
    if free { Ok(snapshot) } else { switch.snapshot().await }
}

fn named(device: &str) -> Condition {
    Condition::equal("name", Value::string(device))
}

fn removal(port: &PortRow) -> Vec<Operation> {
    let ids = Row::from([("external_ids".to_owned(), Value::string_map(port.external_ids.clone()))]);
    let itself = || Value::uuid_set([port.uuid]);
    let holder = Operation::Mutate {
        table: "Bridge".to_owned(),
        r#where: vec![Condition::new("ports", Function::Includes, itself())],
        mutations: vec![Mutation::new("ports", Mutator::Delete, itself())],
    };
    vec![Operation::guard_row("Port", port.uuid, ids), holder]
}

fn addition(
    plan: &Plan,
    snapshot: &Snapshot,
    wanted: &Attachment,
    bridge: &BridgeName,
    ifindex: u32,
) -> Vec<Operation> {
    let Some(row) = snapshot.bridges.values().find(|row| row.name == bridge.as_str()) else {
        return Vec::new();
    };
    let ids = Row::from([("external_ids".to_owned(), Value::string_map(row.external_ids.clone()))]);
    let [interface, mut port] = attached_rows(&plan.mesh, wanted, ifindex);
    port.insert("interfaces".to_owned(), Value::named_uuid("i"));
    let added = Value::from(Atom::NamedUuid("p".to_owned()));
    let mutation = Mutation::new("ports", Mutator::Insert, added);
    vec![
        Operation::guard_row("Bridge", row.uuid, ids),
        Operation::insert_named("Interface", "i", interface),
        Operation::insert_named("Port", "p", port),
        Operation::mutate_row("Bridge", row.uuid, vec![mutation]),
    ]
}

/// Why ovs-vswitchd does not forward for the device, if it does not.
async fn problem(switch: &Switch, device: &str) -> Result<Option<String>, SwitchError> {
    let snapshot = switch.part(named(device), "").await?;
    Ok(match snapshot.interfaces.values().next() {
        None => Some("somebody else removed its row".to_owned()),
        Some(row) if row.error.is_some() => row.error.clone(),
        Some(row) if row.opening == Opening::Done => None,
        Some(_) => Some("ovs-vswitchd could not open it; its log says why".to_owned()),
    })
}

/// Removes what was written, in a little time of its own, and nothing that another call has written since: the row with
/// that id, or where the id was not learned, one that says what this call would have written.
async fn take_back(
    switch: &Switch,
    plan: &Plan,
    wanted: &Attachment,
    row: Option<Uuid>,
    reason: NotApplied,
) -> AttachError {
    let until = Instant::now() + (switch.timeout / 10).max(Duration::from_millis(200));
    let device = wanted.device.as_str();
    let written = |port: &&PortRow| match row {
        Some(row) => port.uuid == row,
        None => port.is_owned_by(&plan.mesh) && port.tenant() == Some(wanted.tenant.as_str()),
    };
    let undone = async {
        let found = switch.client.transact(DATABASE, &Snapshot::part(named(device), ""), until).await?;
        let snapshot = Snapshot::from_results(found).map_err(SwitchError::from)?;
        // Not waited for: an ovs-vswitchd that did not apply the row in time would not apply its removal either.
        if let Some(port) = snapshot.ports.values().find(written) {
            switch.client.transact(DATABASE, &removal(port), until).await?;
        }
        Ok::<(), AttachError>(())
    };
    let (device, undone) = (wanted.device.clone(), undone.await);
    let reason = Box::new(reason);
    match undone {
        Ok(()) => AttachError::NotApplied { device, reason },
        Err(source) => AttachError::NotTakenBack { device, reason, source: Box::new(source) },
    }
}
