//! `redis-ha agent`: one process a proxy host that tells HAProxy which node of each cluster is the master.
//!
//! It asks every Sentinel and every Redis of every cluster by way of the tenant's gateway, [judges](Judge) what they say, and answers
//! HAProxy's questions in the same namespace. It watches HAProxy for keepalived, too.

mod answer;
mod cluster;
mod haproxy;
mod judge;
mod notice;
mod poll;
mod track;
mod watchdog;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovs_mesh::{HostName, TenantName};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, Secrets, Watch};
use crate::systemd::Systemd;

pub use answer::{AGENT_PORT, FALL, ListenError, Question, answer, check_lines, server_options};
pub use haproxy::{HaproxyError, verdict_commands};
pub use judge::{Judge, Reason, Rules, Verdict, Vote};
pub use notice::{Notice, Part};
pub use track::TrackError;
pub use watchdog::WATCHDOG;

use cluster::ClusterWatch;
use track::Track;
use watchdog::{PERIOD, WORD};

/// Its real-time priority (`SCHED_RR`, sched(7)), where it has one.
pub const AGENT_PRIORITY: u8 = 10;

/// Where the agent runs and what it has beside it.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The proxy host.
    pub host: HostName,
    /// HAProxy's stats socket (level admin).
    pub haproxy_socket: PathBuf,
    /// The file that keepalived watches.
    pub track_file: PathBuf,
    /// Whether the replication gate works ([`Rules::gate`]).
    pub gate: bool,
    /// Where systemd listens for what keeps it from taking the agent for hung (`NOTIFY_SOCKET`, `sd_notify`(3)).
    pub notify_socket: Option<PathBuf>,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The host is no proxy.
    #[error("host `{host}` is not one of the service's proxies: {proxies}")]
    NoProxy {
        /// The host.
        host: HostName,
        /// The proxies.
        proxies: String,
    },
    /// The file for keepalived cannot be written.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// A part of it ended, which none does.
    #[error("a part of the agent ended")]
    Ended,
}

/// Tells what the agent does, a line each; called from its thread.
pub type Tell = Arc<dyn Fn(Notice) + Send + Sync>;

/// Verdicts for HAProxy, before it asks.
type Push = mpsc::UnboundedSender<String>;

/// Whether a cluster's majority of Sentinels is heard, when that changes.
type Hears = mpsc::UnboundedSender<(TenantName, bool)>;

/// Runs until `stop`. Then HAProxy has no agent, so that keepalived is told that this proxy serves nobody.
///
/// One that is killed tells nothing, and is not missed if another is there soon: `HAProxy` and keepalived keep what they have.
pub async fn agent(
    config: &Config,
    secrets: &Secrets,
    options: &AgentOptions,
    tell: Tell,
    stop: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let AgentOptions { host, haproxy_socket, track_file, gate, notify_socket } = options;
    if !config.proxies.hosts.contains(host) {
        let proxies: Vec<&str> = config.proxies.hosts.iter().map(HostName::as_str).collect();
        return Err(AgentError::NoProxy { host: host.clone(), proxies: proxies.join(", ") });
    }
    let mut track = Track::open(track_file)?;
    let systemd = Systemd::open(notify_socket.as_deref());
    // Five missed advertisements are no longer a hiccup.
    let patience = config.proxies.profile.pace().advert * 5;
    let (push, pushed) = mpsc::unbounded_channel();
    let (majority, mut majorities) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let mut clusters = Vec::new();
    for (cluster, credentials) in secrets.of(config) {
        let pace = cluster.profile.pace();
        if let Watch::Agent { poll, freshness, check: _ } = pace.watch {
            let rules = Rules { majority: cluster.majority(), freshness, gate: *gate };
            let nodes = config.nodes(cluster).map(|node| (node.ctid.clone(), node.ip)).collect();
            let watch = ClusterWatch {
                tenant: cluster.tenant.clone(),
                netns: config.gateway(host, &cluster.tenant),
                nodes,
                rules,
                poll,
                sentinel: pace.sentinel,
            };
            tasks.spawn(watch.run(credentials.clone(), push.clone(), majority.clone(), Arc::clone(&tell)));
            clusters.push(cluster.tenant.clone());
        }
    }
    tasks.spawn(push_all(haproxy_socket.clone(), pushed, patience, Arc::clone(&tell)));
    let (lives, mut looked) = mpsc::unbounded_channel();
    let socket = haproxy_socket.clone();
    tasks.spawn(async move {
        haproxy::watch(&socket, patience, |result| drop(lives.send(result))).await;
    });
    tokio::pin!(stop);
    let mut is_alive = false;
    // A proxy that hears no tenant's Sentinels serves nobody: cut off, it must not come back with the VIP before it hears them again.
    let mut deaf: BTreeSet<TenantName> = BTreeSet::new();
    let mut words = interval(PERIOD);
    words.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // One that is lost is not missed: the next is near.
            _ = words.tick() => drop(systemd.tell(WORD)),
            Some(result) = looked.recv() => {
                is_alive = result.is_ok();
                if track.tell(is_alive && !is_deaf(&clusters, &deaf))? {
                    tell(Notice::Haproxy(result));
                }
            }
            Some((tenant, hears)) = majorities.recv() => {
                if hears { deaf.remove(&tenant); } else { deaf.insert(tenant); }
                let is_deaf = is_deaf(&clusters, &deaf);
                if track.tell(is_alive && !is_deaf)? {
                    tell(Notice::Deaf(is_deaf));
                }
            }
            ended = tasks.join_next() => match ended {
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                _ => return Err(AgentError::Ended),
            },
        }
    }
    track.tell(false)?;
    Ok(())
}

/// Whether no cluster's majority is heard.
fn is_deaf(clusters: &[TenantName], deaf: &BTreeSet<TenantName>) -> bool {
    !clusters.is_empty() && clusters.iter().all(|tenant| deaf.contains(tenant))
}

/// Hands verdicts to HAProxy, those that came meanwhile together. One that gets lost is asked for by HAProxy itself.
async fn push_all(socket: PathBuf, mut pushed: UnboundedReceiver<String>, patience: Duration, tell: Tell) {
    let mut refused = false;
    while let Some(mut commands) = pushed.recv().await {
        // HAProxy takes a command of 16 KiB at most (tune.bufsize).
        while commands.len() < 8 << 10
            && let Ok(more) = pushed.try_recv()
        {
            commands.push(';');
            commands.push_str(&more);
        }
        match haproxy::tell(&socket, &commands, patience).await {
            Ok(()) => refused = false,
            Err(error) if refused => drop(error),
            Err(error) => {
                refused = true;
                tell(Notice::Push(error));
            }
        }
    }
}
