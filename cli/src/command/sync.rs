//! `ovsmesh sync`

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use ovs_mesh::{Change, Diff, KeptBridge, Progress, Report, Switch, dry_run, sync};
use ovsmesh_lab::Signals;
use ovz_net::{Reconciled, Unattached, reconcile, unattached};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Goal;
use crate::Exit;
use crate::args::{Global, Sync as Options};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

pub(crate) async fn run(global: &Global, options: &Options) -> Result<Exit, Failure> {
    let goal = global.goal()?;
    if options.watch {
        return watch(global, goal).await;
    }
    let switch = global.switch().await?;
    if options.dry_run {
        let diff = dry_run(&switch, &goal.plan).await?;
        let (attach, problems) = unattached(&goal.hook(global), &switch).await?;
        for problem in problems {
            anstream::eprintln!("warning: {problem}");
        }
        let planned = Planned { diff, attach };
        output::print(global.format, &planned, &planned)?;
        return Ok(if planned.is_empty() { Exit::Done } else { Exit::Drift });
    }
    let synced = sync_all(global, &goal, &switch, &Bar::new()).await?;
    output::print(global.format, &synced, &synced)?;
    Ok(if synced.is_applied() { Exit::Done } else { Exit::NotApplied })
}

/// The mesh, then the containers that no hook has put on it.
async fn sync_all(
    global: &Global,
    goal: &Goal,
    switch: &Switch,
    progress: &dyn Progress,
) -> Result<Synced, Failure> {
    let mut report = sync(switch, &goal.plan, progress).await?;
    let Reconciled { attached, failed, problems } = reconcile(&goal.hook(global), switch, &goal.plan).await?;
    report.warnings.extend(problems);
    Ok(Synced { report, attached, unattached: failed })
}

/// How long after a change the switch is left to settle.
const SETTLE: Duration = Duration::from_millis(100);
/// How often is synced without a reason, for what no monitor shows (a gateway's link, say).
const PERIOD: Duration = Duration::from_secs(60);
/// The longest pause before a lost connection is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Syncs again and again until a signal. What fails is told and tried again; the last good topology stays in force.
async fn watch(global: &Global, mut goal: Goal) -> Result<Exit, Failure> {
    let path = global.config_path();
    let (_watcher, mut edits) = watch_file(&path)?;
    // Edited between the first look and the watch.
    if let Ok(new) = global.goal() {
        goal = new;
    }
    let signals = Signals::new(|| {}).map_err(|source| Failure::Signal { source })?;
    let mut stop = std::pin::pin!(signals.first());
    let mut pause = Duration::from_millis(100);
    loop {
        let round = async {
            match serve(global, &goal, &mut edits).await {
                Ok(()) => pause = Duration::from_millis(100),
                Err(failure) => {
                    anstream::eprintln!("{}", failure.text());
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY);
                }
            }
        };
        tokio::select! {
            () = round => {}
            _ = &mut stop => return Ok(Exit::Done),
        }
        match global.goal() {
            Ok(new) => goal = new,
            Err(failure) => {
                anstream::eprintln!("{}\nnote: going on with the topology as it was", failure.text());
            }
        }
    }
}

/// Keeps the switch as planned; returns when the topology file changes.
async fn serve(global: &Global, goal: &Goal, edits: &mut mpsc::UnboundedReceiver<()>) -> Result<(), Failure> {
    let switch = global.switch().await?;
    let mut rows = switch.watch_rows().await?;
    let mut told = Vec::new();
    loop {
        // What changes from here on is a reason for another round, also what this one changes itself: somebody else may
        // have changed it back.
        rows.settle()?;
        round(global, goal, &switch, &mut told).await?;
        tokio::select! {
            changed = rows.changed(Instant::now() + PERIOD) => {
                // Nothing for a while: also what the watch of the file may have missed is looked at.
                if !changed? {
                    return Ok(());
                }
            }
            _ = edits.recv() => {
                sleep(SETTLE).await;
                while edits.try_recv().is_ok() {}
                return Ok(());
            }
        }
        sleep(SETTLE).await;
    }
}

/// One sync; printed where it changed something, or where what it could not do, or warns of, is not what was told last.
async fn round(global: &Global, goal: &Goal, switch: &Switch, told: &mut Vec<String>) -> Result<(), Failure> {
    let synced = sync_all(global, goal, switch, &()).await?;
    let Report { changes, failing, warnings, .. } = &synced.report;
    let news = failing.iter().map(|object| format!("{} {}", object.name, object.state));
    let news: Vec<String> = news.chain(synced.unattached.clone()).chain(warnings.clone()).collect();
    if !(changes.is_empty() && synced.attached.is_empty()) || news != *told {
        output::print(global.format, &synced, &synced)?;
    }
    *told = news;
    Ok(())
}

/// The directory is watched, not the file: editors and configuration managers replace files. A file that is a link is
/// watched at both ends.
fn watch_file(path: &Path) -> Result<(notify::RecommendedWatcher, mpsc::UnboundedReceiver<()>), Failure> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let failed = |source| Failure::Watch { path: path.to_owned(), source };
    let mut files = vec![path.to_owned()];
    files.extend(path.canonicalize().ok().filter(|target| target != path));
    let names: Vec<_> =
        files.iter().filter_map(|file| file.file_name().map(std::ffi::OsStr::to_owned)).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = |path: &PathBuf| path.file_name().is_some_and(|name| names.iter().any(|own| own == name));
        let concerns = |event: &notify::Event| !event.kind.is_access() && event.paths.iter().any(ours);
        if event.is_ok_and(|event| concerns(&event)) {
            // Nobody listens any more only when the program ends.
            let _ = sender.send(());
        }
    })
    .map_err(failed)?;
    for file in &files {
        let directory =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed)?;
    }
    Ok((watcher, receiver))
}

/// A line a change, and a line a bridge that cannot go yet.
fn write_changes(
    f: &mut fmt::Formatter<'_>,
    changes: &[Change],
    kept: &[KeptBridge],
    attached: &[Unattached],
) -> fmt::Result {
    for change in changes {
        writeln!(f, "{change}")?;
    }
    for unattached in attached {
        writeln!(f, "+ port    {unattached}")?;
    }
    for KeptBridge { bridge, foreign_ports } in kept {
        writeln!(f, "= bridge  {bridge}: kept, it has ports of others: {}", foreign_ports.join(", "))?;
    }
    Ok(())
}

/// What a sync would do.
#[derive(Serialize)]
struct Planned {
    #[serde(flatten)]
    diff: Diff,
    /// Containers that no hook has attached.
    attach: Vec<Unattached>,
}

impl Planned {
    fn is_empty(&self) -> bool {
        self.diff.is_empty() && self.attach.is_empty()
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diff { changes, kept } = &self.diff;
        write_changes(f, changes, kept, &self.attach)?;
        if self.is_empty() {
            writeln!(f, "nothing to change")?;
        }
        Ok(())
    }
}

/// What a sync did.
#[derive(Serialize)]
struct Synced {
    #[serde(flatten)]
    report: Report,
    /// Containers that no hook had attached.
    attached: Vec<Unattached>,
    /// Why others could not be.
    unattached: Vec<String>,
}

impl Synced {
    fn is_applied(&self) -> bool {
        self.report.is_applied() && self.unattached.is_empty()
    }
}

impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { mesh, host, changes, transactions, kept, failing, warnings } = &self.report;
        write_changes(f, changes, kept, &self.attached)?;
        for object in failing {
            writeln!(f, "! {:7} {} {}: {}", object.kind.as_str(), object.bridge, object.name, object.state)?;
        }
        for reason in &self.unattached {
            writeln!(f, "! container {reason}")?;
        }
        for warning in warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let failing = failing.len() + self.unattached.len();
        let changed = changes.len() + self.attached.len();
        let transactions = *transactions as usize + self.attached.len();
        let what = match (changed, failing) {
            (0, 0) => "converged, nothing to change".to_owned(),
            (changed, 0) => {
                let transactions = count(transactions, "transaction");
                format!("converged: {} in {transactions}, applied", count(changed, "change"))
            }
            (changed, failed) => {
                format!(
                    "committed, not applied: {}, {} failing",
                    count(changed, "change"),
                    count(failed, "object")
                )
            }
        };
        writeln!(f, "mesh {mesh}, host {host}: {what}")
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
