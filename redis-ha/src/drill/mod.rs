//! Drills: a fault in a service's lab, under a client that writes, and what the client saw of it.

mod inject;
mod plot;
mod run;
mod watch;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::lab::ServiceLabError;

pub use run::drill;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The master's Redis is killed, and started again as its unit does.
    MasterKilled,
    /// The master's host is cut off the underlay, and joined again.
    MasterCut,
    /// The active proxy's `HAProxy` is killed.
    HaproxyKilled,
    /// The active proxy's `HAProxy` is reloaded, as its unit does.
    HaproxyReloaded,
    /// The active proxy's agent is killed, and started again as its unit does.
    AgentKilled,
    /// The active proxy's agent is stopped (`SIGSTOP`); its unit's watchdog, whose part the drill plays, kills it and starts it again.
    AgentHung,
    /// The active proxy is cut off the underlay, and joined again.
    ProxyCut,
    /// The underlay is cut in two: the master, the active proxy and the client on the one side, all others on the other.
    StaleMinority,
    /// The master's host no longer reaches the other nodes' hosts; the proxies reach all.
    StaleReplicas,
    /// An old master, replaced meanwhile, comes back; what the client sees is counted from there.
    MasterReturns,
    /// The master is killed and comes back at once, with nothing of its data.
    MasterEmpty,
    /// The Sentinel beside the master is stopped (`SIGSTOP`), and goes on later.
    SentinelStopped,
    /// All nodes of the cluster are killed at once, while one replica has been down for some seconds; they come back one by one, that
    /// one first and the master last.
    AllRestarted,
    /// The link of the master's host is down five times for 100 ms, half a second apart.
    LinkFlap,
}

impl Fault {
    /// All.
    pub const ALL: [Self; 14] = [
        Self::MasterKilled,
        Self::MasterCut,
        Self::HaproxyKilled,
        Self::HaproxyReloaded,
        Self::AgentKilled,
        Self::AgentHung,
        Self::ProxyCut,
        Self::StaleMinority,
        Self::StaleReplicas,
        Self::MasterReturns,
        Self::MasterEmpty,
        Self::SentinelStopped,
        Self::AllRestarted,
        Self::LinkFlap,
    ];

    /// Whether clients of other tenants are to see nothing of it.
    fn is_of_one_tenant(self) -> bool {
        matches!(
            self,
            Self::MasterKilled
                | Self::MasterReturns
                | Self::MasterEmpty
                | Self::SentinelStopped
                | Self::AllRestarted
        )
    }

    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MasterKilled => "master-killed",
            Self::MasterCut => "master-cut",
            Self::HaproxyKilled => "haproxy-killed",
            Self::HaproxyReloaded => "haproxy-reloaded",
            Self::AgentKilled => "agent-killed",
            Self::AgentHung => "agent-hung",
            Self::ProxyCut => "proxy-cut",
            Self::StaleMinority => "stale-minority",
            Self::StaleReplicas => "stale-replicas",
            Self::MasterReturns => "master-returns",
            Self::MasterEmpty => "master-empty",
            Self::SentinelStopped => "sentinel-stopped",
            Self::AllRestarted => "all-restarted",
            Self::LinkFlap => "link-flap",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a drill's client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrillOptions {
    /// How long the client waits for an answer before it connects anew.
    pub patience: Duration,
    /// How long it waits for a connection.
    pub connect: Duration,
    /// How long it rests after each answer: 1 ms is just under 1000 writes a second.
    pub pause: Duration,
}

impl Default for DrillOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(250),
            connect: Duration::from_millis(100),
            pause: Duration::from_millis(1),
        }
    }
}

/// What happened, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When, in milliseconds from the fault; what was before it is negative.
    pub at_ms: i32,
    /// Who said it.
    pub who: String,
    /// What it was.
    pub what: String,
}

impl Moment {
    fn seconds(&self) -> f64 {
        f64::from(self.at_ms) / 1000.0
    }
}

/// What a drill's client saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillReport {
    /// The fault.
    pub fault: Fault,
    /// The tenant whose client it was.
    pub tenant: String,
    /// The longest that no write was acknowledged, in milliseconds, to a tenth.
    pub outage_ms: f64,
    /// How many writes were acknowledged from the fault on.
    pub acknowledged: usize,
    /// How many of all acknowledged writes the master does not have in the end.
    pub lost: usize,
    /// How many tries failed.
    pub errors: usize,
    /// The other tenants whose clients, who wrote all the while, saw an error; none after a fault of what all share, which disturbs all.
    pub others_disturbed: Option<Vec<String>>,
    /// The longest that a client of any other tenant had no answer, in milliseconds, to a tenth; none if there is no other.
    pub others_gap_ms: Option<f64>,
    /// How often a master was replaced by another.
    pub failovers: usize,
    /// What happened.
    pub timeline: Vec<Moment>,
    /// When writes were acknowledged, in milliseconds from the fault.
    #[serde(skip)]
    pub writes: Vec<f64>,
}

/// Why a drill could not be held.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] ServiceLabError),
    /// The lab has no such tenant; nothing was broken.
    #[error("the service has no tenant `{tenant}`; it has {}", known.join(", "))]
    Tenant {
        /// The tenant.
        tenant: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// There is no one master to break.
    #[error("tenant `{tenant}` has no one master to begin with; see `redis-ha lab status`")]
    NoMaster {
        /// The tenant.
        tenant: String,
    },
    /// No proxy is active.
    #[error("no proxy has the VIPs to begin with; see `redis-ha lab status`")]
    NoProxy,
    /// The client cannot write at all.
    #[error("the client of `{tenant}` cannot write through {target}, before anything is broken: {last}")]
    NoWrites {
        /// The tenant.
        tenant: String,
        /// The address.
        target: std::net::SocketAddr,
        /// The client's last error.
        last: String,
    },
    /// What was written could not be read in the end.
    #[error("cannot read what was written to `{tenant}`")]
    ReadBack {
        /// The tenant.
        tenant: String,
        /// Why.
        #[source]
        source: redis::RedisError,
    },
    /// What an earlier drill wrote could not be removed.
    #[error("cannot remove what an earlier drill wrote to `{tenant}`")]
    Clear {
        /// The tenant.
        tenant: String,
        /// Why.
        #[source]
        source: redis::RedisError,
    },
    /// Cutting single pairs of hosts needs the userspace datapath.
    #[error("{fault} needs a lab on the userspace datapath: it is made by flows on the hosts' br-phy")]
    Datapath {
        /// The fault.
        fault: Fault,
    },
    /// There can be no plot; nothing was broken.
    #[error("no plot can be written to {}: {}", path.display(), unplottable(path, reason))]
    PlotPath {
        /// The file.
        path: PathBuf,
        /// The system's reason, which the message has.
        reason: io::Error,
    },
    /// The plot cannot be written.
    #[error("cannot write the plot to {}: {reason}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A part of the drill could not be run.
    #[error("cannot run a part of the drill")]
    Thread {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Why there can be no plot, and what to do.
fn unplottable(path: &std::path::Path, reason: &io::Error) -> String {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        _ if path.is_dir() => "it is a directory; name a file in it".to_owned(),
        Some(parent) if !parent.exists() => {
            format!("the directory {} is not there; make it, or name another", parent.display())
        }
        _ => format!("{reason}; name another file"),
    }
}

impl DrillReport {
    /// Whether a plot can be written there, to be asked before anything is broken. Leaves nothing there.
    pub fn can_plot(path: &std::path::Path) -> Result<(), DrillError> {
        plot::check(path).map_err(|reason| DrillError::PlotPath { path: path.to_owned(), reason })
    }

    /// Draws the acknowledged writes and the whole timeline as an SVG file.
    pub fn plot(&self, path: &std::path::Path) -> Result<(), DrillError> {
        plot::plot(self, path)
            .map_err(|reason| DrillError::Plot { path: path.to_owned(), reason: reason.to_string() })
    }
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for moment in &self.timeline {
            let Moment { at_ms: _, who, what } = moment;
            writeln!(f, "{:>+9.3} s  {who:<22} {what}", moment.seconds())?;
        }
        writeln!(
            f,
            "{} of {}: outage {:.2} s, acknowledged {}, lost {}, failed tries {}, failovers {}",
            self.fault,
            self.tenant,
            self.outage_ms / 1000.0,
            self.acknowledged,
            self.lost,
            self.errors,
            self.failovers
        )?;
        match self.others_disturbed.as_deref() {
            None | Some([]) => {}
            Some(others) => writeln!(f, "other tenants saw it too: {}", others.join(", "))?,
        }
        match self.others_gap_ms {
            Some(gap) if self.others_disturbed.is_some() => {
                writeln!(f, "no client of another tenant waited longer than {:.2} s", gap / 1000.0)
            }
            _ => Ok(()),
        }
    }
}
