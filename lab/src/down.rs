//! Takes a lab down, in whatever state it is.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use ovs_mesh::link::{Links, Netns, NetnsError, gateways_on};
use ovs_mesh::{MeshName, NetnsName};
use serde::Serialize;

use crate::plan::{HostPlan, LabPlan};
use crate::process::{Daemon, end, with_argument};
use crate::state::{
    Claim, Lab, StateError, hold, is_unfinished, list, read, remove, remove_unborn, unfinish,
};

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to be gone once it is killed.
const DEADLINE: Duration = Duration::from_secs(10);

/// What taking a lab down found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DownReport {
    /// Whether there was anything of the lab.
    pub found: bool,
    /// Whether that was half made or half removed.
    pub half: bool,
    /// The processes that were ended.
    pub processes: usize,
    /// Those of them that did not end when asked, and were killed.
    pub killed: usize,
    /// The network namespaces that were removed.
    pub netns: usize,
}

/// Why a lab is not wholly down. Taking it down again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// Its state could not be read or removed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A namespace could not be removed.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Its processes could not be found or signalled.
    #[error("cannot end the processes of lab `{lab}`")]
    Processes {
        /// The lab.
        lab: MeshName,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Processes are still there.
    #[error("processes {pids:?} of lab `{lab}` are still there {} s after they were to end", DEADLINE.as_secs())]
    StillThere {
        /// The lab.
        lab: MeshName,
        /// Their ids.
        pids: Vec<u32>,
    },
}

impl Lab {
    /// Ends every process of the lab and removes its namespaces and its state. Idempotent, and complete after a crash
    /// at any moment of the lab's coming up; a lab that is not there is nothing to do.
    ///
    /// A process is the lab's when its network namespace is, whatever it is (but never the caller), or when it is an
    /// OVS daemon with one of the lab's run directories.
    pub fn down(name: &MeshName) -> Result<DownReport, DownError> {
        remove_unborn(name)?;
        let Some(claim) = hold(name)? else { return Ok(DownReport::default()) };
        if let Some(plan) = read(name)? {
            return take_down(&plan, &claim);
        }
        remove(name)?;
        Ok(DownReport { found: true, half: true, ..DownReport::default() })
    }
}

/// The same for a lab that is held.
pub(crate) fn take_down(plan: &LabPlan, _held: &Claim) -> Result<DownReport, DownError> {
    let half = is_unfinished(&plan.name);
    // Only for those who find it if this ends half way.
    let _ = unfinish(&plan.name);
    let strays = strays(plan);
    let names: Vec<&NetnsName> = plan.netns().map(|(netns, _)| netns).chain(&strays).collect();
    let ended = end(|| processes(plan, &names), PATIENCE, DEADLINE)
        .map_err(|source| DownError::Processes { lab: plan.name.clone(), source })?;
    if !ended.left.is_empty() {
        return Err(DownError::StillThere { lab: plan.name.clone(), pids: ended.left });
    }
    let mut netns = 0;
    for name in names {
        netns += usize::from(Netns::delete(name)?);
    }
    remove(&plan.name)?;
    Ok(DownReport { found: true, half, processes: ended.found, killed: ended.killed, netns })
}

/// The namespaces of gateways that a sync of another topology has made on the lab's hosts, or began to make.
fn strays(plan: &LabPlan) -> Vec<NetnsName> {
    let known: HashSet<&NetnsName> = plan.netns().map(|(netns, _)| netns).collect();
    let begins = |plan: &LabPlan, name: &NetnsName| {
        let prefix = |host: &HostPlan| format!("{}-", host.netns);
        plan.hosts.iter().any(|host| name.as_str().starts_with(&prefix(host)))
    };
    let labs = list().unwrap_or_default().into_iter().filter(|name| *name != plan.name);
    let others: Vec<LabPlan> = labs.filter_map(|name| read(&name).ok().flatten()).collect();
    let of_others = |name: &NetnsName| {
        others.iter().any(|other| begins(other, name) || other.netns().any(|(netns, _)| netns == name))
    };
    let of_ours = |name: &NetnsName| !known.contains(name) && begins(plan, name) && !of_others(name);
    let hosts = plan.hosts.iter().filter_map(|host| Netns::open(&host.netns).ok());
    let marked =
        hosts.filter_map(|host| inside(&host, async |links| gateways_on(&links).await.ok())).flatten();
    let mut strays: Vec<NetnsName> = marked.filter(of_ours).collect();
    // A name of ours with nothing in it is one whose maker was killed at once.
    let empty = |name: &NetnsName| {
        let links =
            Netns::open(name).ok().and_then(|netns| inside(&netns, async |links| links.list().await.ok()));
        links.is_some_and(|links| !links.iter().any(|link| link.up || link.is_veth()))
    };
    let names = Netns::list().unwrap_or_default();
    strays.extend(names.into_iter().filter(of_ours).filter(empty));
    strays.sort();
    strays.dedup();
    strays
}

/// Asks about a namespace's devices, on a thread of its own: the caller may be in a runtime already. None where they
/// cannot be had.
fn inside<T: Send>(netns: &Netns, ask: impl AsyncFnOnce(Links) -> Option<T> + Send) -> Option<T> {
    let asked = netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(async { ask(Links::open().ok()?).await })
    });
    asked.ok().flatten()
}

fn processes(plan: &LabPlan, names: &[&NetnsName]) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for name in names {
        match Netns::open(name) {
            Ok(netns) => ids.push(netns.id()),
            // Not made yet, or removed by an earlier attempt.
            Err(NetnsError::Absent { .. } | NetnsError::NotMounted { .. }) => {}
            Err(why) => return Err(io::Error::other(why)),
        }
    }
    let mut pids = Netns::pids_of(&ids)?;
    let arguments =
        plan.hosts.iter().flat_map(|host| Daemon::ALL.map(|daemon| daemon.pidfile_argument(&host.dir)));
    pids.extend(with_argument(&arguments.collect::<Vec<_>>())?);
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}
