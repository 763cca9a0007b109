//! `ovsmesh verify`

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use ovs_mesh::isolation::{
    HostSnapshot, Level, Report, Severity, StaticError, Target, Verifier, VerifyOptions, origin,
};
use ovs_mesh::link::NetnsId;
use ovs_mesh::ovsdb::Endpoint;
use ovs_mesh::{HostName, Plan, Switch, SwitchError, Topology};

use crate::args::{Database, Format, Global, Levels, Verify as Options};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::{Exit, output};

pub(crate) async fn run(global: &Global, options: &Options, is_db_given: bool) -> Result<Exit, Failure> {
    let topology = global.topology()?;
    let mut verifier = Verifier::new(&topology, verify_options(global, options.levels));
    let mut hosts = Vec::new();
    // One at a time: a hundred hosts' rows are never in memory together.
    for path in &options.snapshot {
        let snapshot = read(path)?;
        verifier.file(&snapshot).map_err(|source| Failure::Verify { path: path.clone(), source })?;
        hosts.push(Looked { host: snapshot.host, levels: [Level::Static].into(), is_here: false });
    }
    if options.snapshot.is_empty() || is_db_given {
        let reached = reach(global, &topology).await?;
        for (host, error) in &reached.unreachable {
            verifier.unreachable(host, error);
        }
        hosts.extend(reached.looked);
        let bar = Bar::new();
        verifier.hosts(&reached.targets, &bar).await.map_err(|error| match error {
            StaticError::Plan(error) => Failure::Plan(error),
            source => Failure::VerifyHost { source },
        })?;
    }
    let (report, notes) = verifier.finish();
    print(global.format, &report, &notes, options.levels, &hosts)
}

fn read(path: &Path) -> Result<HostSnapshot, Failure> {
    let owned = || path.to_owned();
    let text =
        std::fs::read_to_string(path).map_err(|source| Failure::ReadSnapshot { path: owned(), source })?;
    HostSnapshot::from_json(&text).map_err(|source| Failure::Snapshot { path: owned(), source })
}

/// The levels that were asked for, or all, within the times that were given.
pub(crate) fn verify_options(global: &Global, levels: Levels) -> VerifyOptions {
    // The library has no randomness of its own.
    let cookie = RandomState::new().hash_one(std::process::id());
    let mut options = VerifyOptions { trace_time: levels.trace_time, ..VerifyOptions::new(cookie) };
    options.probe.most = levels.probe_time;
    // No single wait is longer than that, neither for ovs-vswitchd nor for an answer.
    options.probe.take = global.timeout();
    options.probe.wait = options.probe.wait.min(global.timeout());
    let asked = levels.asked();
    if asked.is_empty() { options } else { VerifyOptions { levels: asked, ..options } }
}

/// A host that was looked at.
pub(crate) struct Looked {
    host: HostName,
    /// The levels that can be made of it: a file is no running switch, and another machine's devices are not seen.
    levels: BTreeSet<Level>,
    /// Whether all of it is on this machine, so that no check needs to be left out.
    is_here: bool,
}

impl Looked {
    /// One with everything.
    pub(crate) fn here(host: HostName) -> Self {
        Self { host, levels: Level::ALL.into(), is_here: true }
    }
}

/// Prints the report; a breach, what is degraded and what was not proved are exit codes.
pub(crate) fn print(
    format: Format,
    report: &Report,
    notes: &[String],
    levels: Levels,
    hosts: &[Looked],
) -> Result<Exit, Failure> {
    for note in notes {
        anstream::eprintln!("warning: {note}");
    }
    if format == Format::Junit {
        let junit = report.to_junit().map_err(|source| Failure::Junit { source: source.into() })?;
        output::write(format_args!("{}", junit.trim_end()))?;
    } else {
        output::print(format, report, report)?;
    }
    Ok(match report.worst() {
        Some(Severity::Breach) => Exit::Breach,
        Some(Severity::Notice) | None if is_whole(report, &levels.asked(), hosts) => Exit::Done,
        Some(Severity::Degraded | Severity::Notice) | None => Exit::Drift,
    })
}

/// Whether all that was asked for was made: with no level named, all that can be made of each host.
fn is_whole(report: &Report, asked: &BTreeSet<Level>, hosts: &[Looked]) -> bool {
    let matrix = report.matrix();
    hosts.iter().all(|Looked { host, levels, is_here }| {
        let wanted = if asked.is_empty() { levels } else { asked };
        let mut squares = matrix.iter().filter(|square| square.host == *host);
        squares.all(|square| {
            let mut left_out = square.skipped.iter().flat_map(|skipped| &skipped.checks);
            let is_full = !is_here || !left_out.any(|check| wanted.contains(&check.level()));
            is_full && wanted.is_subset(&square.checked)
        })
    })
}

/// The switches that were named, or this host's.
struct Reached {
    targets: Vec<Target>,
    looked: Vec<Looked>,
    unreachable: Vec<(HostName, SwitchError)>,
}

async fn reach(global: &Global, topology: &Topology) -> Result<Reached, Failure> {
    let default = [Database { host: None, endpoint: global.endpoint() }];
    let databases = if global.db.is_empty() { &default } else { global.db.as_slice() };
    let mut reached = Reached { targets: Vec::new(), looked: Vec::new(), unreachable: Vec::new() };
    let is_only = databases.len() == 1;
    for Database { host: named, endpoint } in databases {
        let is_unix = matches!(endpoint, Endpoint::Unix(_));
        // One socket of this machine is this host's; so is one that has no other name, if this host was named.
        let own = match named {
            None if is_only && (is_unix || global.host.is_some()) => Some(global.host_name()?),
            named => named.clone(),
        };
        if let Some(own) = &own {
            Plan::new(topology, own)?;
        }
        let switch = match (Switch::connect(&global.options_of(endpoint.clone())).await, &own) {
            (Ok(switch), _) => switch,
            (Err(error), Some(host)) if !is_only => {
                reached.unreachable.push((host.clone(), error));
                continue;
            }
            (Err(error), _) => return Err(error.into()),
        };
        let host = match own {
            Some(host) => host,
            None => origin(topology, &switch.snapshot().await?)
                .map_err(|source| Failure::Origin { endpoint: endpoint.clone(), source })?,
        };
        // Of several sockets here, as a lab's hosts have, only this host's goes with the devices that can be seen.
        let is_own = is_only && named.is_none();
        let is_here = is_unix && (is_own || global.host_name().is_ok_and(|own| own == host));
        let netns = if is_here { NetnsId::own().ok() } else { None };
        let levels = Level::ALL.into_iter().filter(|level| match level {
            Level::Static => true,
            Level::Trace => is_unix,
            Level::Probe => is_here,
        });
        reached.looked.push(Looked { host: host.clone(), levels: levels.collect(), is_here });
        reached.targets.push(Target { host, switch, netns });
    }
    Ok(reached)
}
