//! Makes a switch what the plan says: the thin shell around plan, diff and transaction.
//!
//! Each round reads the switch anew, commits one guarded step and waits until ovs-vswitchd has applied it. Nothing is
//! remembered between rounds but what was done, so a sync that is killed at any moment is finished by the next.

mod outcome;

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::attach::prepare;
use crate::diff::{Change, Conflict, Diff, KeptBridge, removals_at_once};
use crate::link::{GatewayError, ensure_gateway, remove_gateway};
use crate::lower::lower;
use crate::names::{HostName, MeshName, PortName};
use crate::ovsdb::{OperationResult, TransactError, Value};
use crate::plan::Plan;
use crate::snapshot::Snapshot;
use crate::status::{Object, ObjectKind, State, Traffic, assess};
use crate::switch::{Switch, SwitchError, Watch, gateway_spec};

/// What a sync did, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The mesh.
    pub mesh: MeshName,
    /// The host.
    pub host: HostName,
    /// What was changed, in order; empty if everything was as planned.
    pub changes: Vec<Change>,
    /// Transactions committed.
    pub transactions: u32,
    /// Bridges that are no longer planned but carry ports of somebody else.
    pub kept: Vec<KeptBridge>,
    /// Planned objects that are configured but that ovs-vswitchd cannot set up.
    pub failing: Vec<Object>,
    /// What is not wrong with the switch but keeps the mesh from working as it should.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether everything that was committed was applied.
    pub fn is_applied(&self) -> bool {
        self.failing.is_empty()
    }
}

/// Every object's state, as `ovsmesh status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The mesh.
    pub mesh: MeshName,
    /// The host.
    pub host: HostName,
    /// The objects, bridge by bridge.
    pub objects: Vec<Object>,
    /// Rows of somebody else that the plan cannot stand beside, in words.
    pub conflicts: Vec<String>,
    /// Bridges that are no longer planned but carry ports of somebody else.
    pub kept: Vec<KeptBridge>,
    /// What keeps the mesh from working as it should.
    pub warnings: Vec<String>,
}

impl Status {
    /// Whether a sync would change something, or be refused.
    pub fn has_drift(&self) -> bool {
        !self.conflicts.is_empty() || self.objects.iter().any(|object| object.state.is_drift())
    }

    /// Whether ovs-vswitchd has not applied, or cannot apply, something that is configured.
    pub fn has_failures(&self) -> bool {
        self.objects.iter().any(|object| matches!(object.state, State::Failing { .. } | State::Configured))
    }
}

/// Why a sync did not converge.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The switch or the kernel failed.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Rows of somebody else are in the way; nothing was changed.
    #[error("rows of somebody else are in the way:\n{}", list(.0))]
    Conflicts(Vec<Conflict>),
    /// Somebody else kept changing the same rows; nothing of the last attempt was committed.
    #[error("gave up after {attempts} attempts: somebody else keeps changing the same rows")]
    Contended {
        /// The transactions that were tried.
        attempts: u32,
    },
    /// OVSDB has it, ovs-vswitchd has not applied it in time.
    #[error(
        "committed, not applied: ovs-vswitchd is at configuration {reached}, not yet at {wanted}, after {waited:?}"
    )]
    NotApplied {
        /// The configuration number asked for.
        wanted: i64,
        /// The one that ovs-vswitchd has reached.
        reached: i64,
        /// How long it was waited for.
        waited: Duration,
        /// What was committed.
        committed: Vec<Change>,
    },
}

impl From<TransactError> for SyncError {
    fn from(error: TransactError) -> Self {
        Self::Switch(error.into())
    }
}

fn list(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(|conflict| format!("  {conflict}")).collect::<Vec<_>>().join("\n")
}

/// What a sync tells while it runs, for a progress bar.
pub trait Progress {
    /// A step of so many changes is committed; so many are left.
    fn step(&self, done: usize, left: usize);
}

impl Progress for () {
    fn step(&self, _done: usize, _left: usize) {}
}

/// What a sync would change.
pub async fn dry_run(switch: &Switch, plan: &Plan) -> Result<Diff, SyncError> {
    let snapshot = switch.snapshot().await?;
    let devices = switch.devices(plan, &snapshot).await?;
    Diff::new(plan, &snapshot, &devices).map_err(SyncError::Conflicts)
}

/// Makes the switch what the plan says, and waits until ovs-vswitchd has it.
///
/// A second sync finds nothing to do and writes nothing. Any number may run at once.
pub async fn sync(switch: &Switch, plan: &Plan, progress: &dyn Progress) -> Result<Report, SyncError> {
    let mut run = Run {
        switch,
        plan,
        watch: None,
        changes: Vec::new(),
        released: HashSet::new(),
        transactions: 0,
        attempts: 0,
    };
    let end = run.converge(progress).await?;
    run.report(end).await
}

/// What every object has come to.
pub async fn status(switch: &Switch, plan: &Plan) -> Result<Status, SyncError> {
    let snapshot = switch.snapshot().await?;
    let devices = switch.devices(plan, &snapshot).await?;
    let (diff, conflicts) = match Diff::new(plan, &snapshot, &devices) {
        Ok(diff) => (diff, Vec::new()),
        Err(conflicts) => (Diff::default(), conflicts),
    };
    let mut warnings = Vec::new();
    let listed = outcome::listed(switch, &mut warnings).await;
    let mut objects = assess(plan, &snapshot, &diff, listed.as_deref());
    add_traffic(switch, &mut objects).await?;
    if snapshot.cur_cfg < snapshot.next_cfg {
        warnings.push(format!(
            "ovs-vswitchd is at configuration {}, not yet at {}",
            snapshot.cur_cfg, snapshot.next_cfg
        ));
    }
    warnings.extend(outcome::underlay_warnings(switch, plan, &snapshot).await);
    Ok(Status {
        mesh: plan.mesh.clone(),
        host: plan.host.clone(),
        objects,
        conflicts: conflicts.iter().map(ToString::to_string).collect(),
        kept: diff.kept,
        warnings,
    })
}

async fn add_traffic(switch: &Switch, objects: &mut [Object]) -> Result<(), SyncError> {
    let select = crate::ovsdb::Operation::select_all("Interface", ["name", "statistics"]);
    let rows =
        switch.transact(&[select]).await?.pop().and_then(OperationResult::into_rows).unwrap_or_default();
    let mut traffic = std::collections::HashMap::new();
    for row in &rows {
        let (Some(Ok(name)), Some(Value::Map(statistics))) =
            (row.get("name").map(Value::as_str), row.get("statistics"))
        else {
            continue;
        };
        let read = |key: &str| {
            let value = statistics.get(&crate::ovsdb::Atom::String(key.to_owned()));
            value
                .and_then(|atom| Value::from(atom.clone()).integer().ok())
                .and_then(|n| u64::try_from(n).ok())
        };
        if let (Some(rx_packets), Some(tx_packets)) = (read("rx_packets"), read("tx_packets")) {
            traffic.insert(name, Traffic { rx_packets, tx_packets });
        }
    }
    for object in objects.iter_mut().filter(|object| object.kind != ObjectKind::Bridge) {
        object.traffic = traffic.get(object.name.as_str()).copied();
    }
    Ok(())
}

/// How the steps of a sync ended.
struct Converged {
    kept: Vec<KeptBridge>,
    /// The last look at the switch; what was committed after it is known to be applied.
    snapshot: Snapshot,
    /// Whether that look already shows the end.
    is_final: bool,
}

struct Run<'a> {
    switch: &'a Switch,
    plan: &'a Plan,
    watch: Option<Watch>,
    changes: Vec<Change>,
    released: HashSet<Uuid>,
    transactions: u32,
    attempts: u32,
}

impl Run<'_> {
    /// Commits step after step until nothing differs.
    async fn converge(&mut self, progress: &dyn Progress) -> Result<Converged, SyncError> {
        let mut give_up = self.switch.deadline();
        loop {
            let snapshot = self.switch.snapshot().await?;
            let devices = self.switch.devices(self.plan, &snapshot).await?;
            let diff = Diff::new(self.plan, &snapshot, &devices).map_err(SyncError::Conflicts)?;
            if diff.is_empty() {
                let is_final = snapshot.cur_cfg >= snapshot.next_cfg;
                if !is_final {
                    self.applied(snapshot.next_cfg).await?;
                }
                return Ok(Converged { kept: diff.kept, snapshot, is_final });
            }
            let mended = self.mend_links(&diff).await?;
            let mut step = diff.next_step(removals_at_once(snapshot.ports.len()));
            // What is not mended by being taken anew once is not mended by it at all.
            step.changes.retain(|change| match change {
                Change::ReleasePort { row, .. } => !self.released.contains(row),
                _ => true,
            });
            let rows: Vec<&Change> = step
                .changes
                .iter()
                .copied()
                .filter(|change| !matches!(change, Change::FixLink { .. } | Change::FixDevice { .. }))
                .collect();
            if !rows.is_empty() {
                if self.watch.is_none() {
                    self.watch = Some(self.switch.watch().await?);
                }
                self.attempts += 1;
                let operations = lower(self.plan, &snapshot, &step);
                let Some(committed) = self.switch.commit(snapshot.root, operations).await? else {
                    if Instant::now() >= give_up {
                        return Err(SyncError::Contended { attempts: self.attempts });
                    }
                    sleep(Duration::from_millis(5)).await;
                    continue;
                };
                self.transactions += 1;
                self.changes.extend(rows.iter().copied().cloned());
                self.released.extend(rows.iter().filter_map(|change| match change {
                    Change::ReleasePort { row, .. } => Some(*row),
                    _ => None,
                }));
                progress.step(self.changes.len(), step.left);
                self.applied(committed.number).await?;
            }
            // Somebody who undoes what is mended as fast as it is must not keep this going.
            if mended && Instant::now() >= give_up {
                return Err(SyncError::Contended { attempts: self.attempts });
            }
            if !mended {
                give_up = self.switch.deadline();
            }
            // What was mended may show more to do; what was put off or released is still to do.
            let put_off = rows.len() < step.changes.len() && !mended;
            let released = rows.iter().any(|change| matches!(change, Change::ReleasePort { .. }));
            if step.left == 0 && !mended && !put_off && !released {
                return Ok(Converged { kept: diff.kept, snapshot, is_final: false });
            }
        }
    }

    /// The kernel's part of a diff: what goes goes before its row, what comes is there before its row.
    async fn mend_links(&mut self, diff: &Diff) -> Result<bool, SyncError> {
        let mut mended = false;
        let removed: HashSet<&str> = diff
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::RemovePort { port, .. } => Some(port.as_str()),
                _ => None,
            })
            .collect();
        for change in &diff.changes {
            match change {
                // A device is made only once its old row is gone; the next round has it.
                Change::FixLink { gateway, mtu, datapath, .. }
                    if !removed.contains(gateway.port.as_str()) =>
                {
                    let spec = gateway_spec(gateway, *mtu, *datapath);
                    ensure_gateway(&self.switch.links, &spec).await.map_err(SwitchError::from)?;
                    self.changes.push(change.clone());
                    mended = true;
                }
                Change::FixDevice { device, mtu, datapath, .. } => {
                    let link = self.switch.links.get(device.as_str()).await.map_err(SwitchError::from)?;
                    if let Some(link) = link {
                        let prepared = prepare(&self.switch.links, &link, *mtu, *datapath).await;
                        prepared.map_err(SwitchError::from)?;
                        self.changes.push(change.clone());
                        mended = true;
                    }
                }
                Change::RemovePort { port, gateway: Some(netns), .. } => {
                    let Ok(device) = port.parse::<PortName>() else { continue };
                    match remove_gateway(&self.switch.links, &device, netns).await {
                        // Not the mesh's device: its row goes, the device stays its owner's.
                        Ok(_) | Err(GatewayError::Foreign { .. }) => {}
                        Err(error) => return Err(SwitchError::from(error).into()),
                    }
                }
                _ => {}
            }
        }
        Ok(mended)
    }

    /// Waits until ovs-vswitchd is done with a configuration, this sync's own or one that it found.
    async fn applied(&mut self, wanted: i64) -> Result<(), SyncError> {
        let deadline = self.switch.deadline();
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => self.watch.insert(self.switch.watch().await?),
        };
        if watch.wait(wanted, deadline).await.map_err(SwitchError::from)? {
            return Ok(());
        }
        Err(SyncError::NotApplied {
            wanted,
            reached: watch.reached,
            waited: self.switch.timeout,
            committed: std::mem::take(&mut self.changes),
        })
    }

    async fn report(mut self, end: Converged) -> Result<Report, SyncError> {
        let (switch, plan) = (self.switch, self.plan);
        let mut warnings = Vec::new();
        let mut failing = if end.is_final {
            outcome::failing(switch, plan, &end.snapshot, &mut warnings).await
        } else if outcome::is_all_applied(switch, plan, &mut warnings).await? {
            Vec::new()
        } else {
            warnings.clear();
            outcome::failing(switch, plan, &switch.snapshot().await?, &mut warnings).await
        };
        if !failing.is_empty() {
            // A tunnel that failed because its tuple was not free yet stays failed until the next reconfiguration.
            if let Some(committed) = switch.commit(end.snapshot.root, Vec::new()).await? {
                self.applied(committed.number).await?;
            }
            warnings.clear();
            failing = outcome::failing(switch, plan, &switch.snapshot().await?, &mut warnings).await;
        }
        Ok(Report {
            mesh: plan.mesh.clone(),
            host: plan.host.clone(),
            changes: self.changes,
            transactions: self.transactions,
            kept: end.kept,
            failing,
            warnings,
        })
    }
}
