//! The first master of a cluster: made once, by an operator.
//!
//! No Redis ever starts as a master: each is started as a replica of nobody (`--replicaof 127.0.0.1 1`), so that a master that comes
//! back empty does not make its replicas forget, and an old master that comes back takes no writes. Only Sentinels promote, and they
//! do not promote one that has never had a master: the first one is promoted here, where nothing can be lost by it.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use ovs_mesh::{Chain, Ctid, NetnsName, TenantName};
use tokio::time::{Instant, sleep};

use crate::config::{Cluster, Config, Credentials};
use crate::survey::{ClusterView, NodeView, Unanswered, redis_login, survey};
use crate::wire::dial::{AskError, Connection};
use crate::wire::report::Role;
use crate::wire::resp::{Reply, Request};

/// How long each Redis and Sentinel has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked whether the cluster is as it should be.
const LOOK: Duration = Duration::from_millis(200);

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// Nothing: the cluster has this master.
    Done(Ctid),
    /// To promote the first, and to make the others its replicas.
    Promote {
        /// The first master.
        first: (Ctid, SocketAddr),
        /// The others.
        others: Vec<(Ctid, SocketAddr)>,
    },
}

/// Why a cluster gets no first master.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// It has no such node.
    #[error("the cluster has no node {0}")]
    Stranger(Ctid),
    /// A Redis does not answer, or nothing of use: it might have the data.
    #[error("the Redis of {node} does not say what it has: {why}")]
    Redis {
        /// Which.
        node: Ctid,
        /// Why.
        why: String,
    },
    /// A Sentinel does not answer, or nothing of use: it might know of a failover.
    #[error("the Sentinel of {node} does not say what it knows: {why}")]
    Sentinel {
        /// Which.
        node: Ctid,
        /// Why.
        why: String,
    },
    /// There is a master.
    #[error("{0} is a master already")]
    Master(Ctid),
    /// There are data that would be lost on all other nodes.
    #[error("{node} has {keys} keys")]
    Data {
        /// Which.
        node: Ctid,
        /// How many keys.
        keys: u64,
    },
    /// A Sentinel has known a master before.
    #[error("the Sentinel of {node} has seen a failover (epoch {epoch})")]
    FailedOver {
        /// Which.
        node: Ctid,
        /// When.
        epoch: u64,
    },
    /// A Sentinel knows replicas.
    #[error("the Sentinel of {node} knows {replicas} replicas")]
    Replicas {
        /// Which.
        node: Ctid,
        /// How many.
        replicas: u64,
    },
    /// A Sentinel watches another node: it would demote the first.
    #[error("the Sentinel of {node} takes {master} for the master")]
    Named {
        /// Which.
        node: Ctid,
        /// Whom.
        master: SocketAddr,
    },
}

impl Obstacle {
    /// Whether it may be gone in a moment.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Redis { .. } | Self::Sentinel { .. })
    }
}

/// What a bootstrap does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A node takes writes.
    Promote(Ctid),
    /// A node copies the first.
    Attach(Ctid),
    /// Sentinels and replicas have not come together yet.
    Wait(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrapped {
    /// The master.
    pub master: Ctid,
    /// Whether it was the master before.
    pub already: bool,
}

/// Why a bootstrap failed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It would be wrong, or might be.
    #[error("tenant `{tenant}` gets no first master:{}", list(obstacles))]
    Refused {
        /// The cluster.
        tenant: TenantName,
        /// All that is in its way.
        obstacles: Vec<Obstacle>,
        /// The node that was to be forced.
        force: Option<Ctid>,
        /// The node that a majority of the Sentinels names, if it is one of the cluster's: the one that can be forced.
        named: Option<Ctid>,
    },
    /// A node could not be told.
    #[error("cannot tell {node} what to be")]
    Ask {
        /// Which.
        node: Ctid,
        /// Why.
        #[source]
        source: AskError,
    },
    /// A node will not.
    #[error("{node} refuses: {why}")]
    Refusal {
        /// Which.
        node: Ctid,
        /// What it says.
        why: String,
    },
    /// It has been told, and has not come about in time.
    #[error("after {waited:?} tenant `{tenant}` is not as it should be: {missing}")]
    Unready {
        /// The cluster.
        tenant: TenantName,
        /// How long was waited.
        waited: Duration,
        /// What is missing.
        missing: String,
    },
}

/// One beside what it is in the way of, several each on a line of its own.
fn list(obstacles: &[Obstacle]) -> String {
    match obstacles {
        [one] => format!(" {one}"),
        several => several.iter().fold(String::new(), |text, obstacle| text + "\n  " + &obstacle.to_string()),
    }
}

/// What to do with a cluster that looks like this, or why nothing. Pure.
///
/// `force` names the node whose data all shall have, whatever the others hold and the Sentinels have seen; none must be a master, and
/// all must answer, all the same.
pub fn decide(view: &ClusterView, force: Option<&Ctid>) -> Result<Bootstrap, Vec<Obstacle>> {
    if let (Ok(()), Some(master)) = (ready(view), view.master()) {
        return Ok(Bootstrap::Done(master.ctid.clone()));
    }
    let chosen = match force {
        None => view.nodes.first(),
        Some(force) => match view.nodes.iter().find(|node| node.ctid == *force) {
            None => return Err(vec![Obstacle::Stranger(force.clone())]),
            found => found,
        },
    };
    let Some(first) = chosen else { return Err(Vec::new()) };
    let obstacles: Vec<Obstacle> =
        view.nodes.iter().flat_map(|node| in_the_way(node, first, force.is_some())).collect();
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let place = |node: &NodeView| (node.ctid.clone(), node.redis_address());
    let others = view.nodes.iter().filter(|node| node.ctid != first.ctid).map(place).collect();
    Ok(Bootstrap::Promote { first: place(first), others })
}

fn in_the_way(node: &NodeView, first: &NodeView, forced: bool) -> Vec<Obstacle> {
    let name = || node.ctid.clone();
    let mut found = Vec::new();
    match &node.redis {
        Err(why) => found.push(Obstacle::Redis { node: name(), why: Chain(why).to_string() }),
        Ok(redis) => {
            // A bootstrap that was cut short has promoted the first, and nothing is lost if it is done again.
            if redis.replication.role == Role::Master && node.ctid != first.ctid {
                found.push(Obstacle::Master(name()));
            }
            if redis.keys > 0 && !forced {
                found.push(Obstacle::Data { node: name(), keys: redis.keys });
            }
        }
    }
    match &node.sentinel {
        Err(why) => found.push(Obstacle::Sentinel { node: name(), why: Chain(why).to_string() }),
        Ok(named) => {
            if named.epoch > 0 && !forced {
                found.push(Obstacle::FailedOver { node: name(), epoch: named.epoch });
            }
            if named.replicas > 0 && !forced && first.role() != Some(Role::Master) {
                found.push(Obstacle::Replicas { node: name(), replicas: named.replicas });
            }
            if named.master != first.redis_address() {
                found.push(Obstacle::Named { node: name(), master: named.master });
            }
        }
    }
    found
}

/// Whether a cluster has a master that a majority names, with all others linked to it and all known to that majority; else what is
/// missing. Pure.
pub fn ready(view: &ClusterView) -> Result<(), String> {
    let master = view.master().ok_or("no majority of Sentinels names a node that is a master")?;
    for node in view.nodes.iter().filter(|node| node.ctid != master.ctid) {
        follows(node, master)?;
    }
    let others = view.nodes.len() as u64 - 1;
    let knows_all = |node: &&NodeView| {
        node.sentinel.as_ref().is_ok_and(|named| {
            named.master == master.redis_address() && named.replicas >= others && named.sentinels >= others
        })
    };
    let knowing = view.nodes.iter().filter(knows_all).count();
    if knowing < view.majority {
        return Err(format!(
            "{knowing} Sentinels know all replicas and each other, {} are a majority",
            view.majority
        ));
    }
    Ok(())
}

/// Whether a node is linked to the master; else what it is instead.
fn follows(node: &NodeView, master: &NodeView) -> Result<(), String> {
    let not = |why: &str| Err(format!("{} is not linked to {}: {why}", node.ctid, master.ctid));
    let replication = match &node.redis {
        Ok(redis) => &redis.replication,
        Err(Unanswered::Ask(why)) => return not(&format!("it does not answer: {}", Chain(why))),
        Err(Unanswered::Report(why)) => return not(&format!("its answer is of no use: {}", Chain(why))),
    };
    match replication.master {
        _ if replication.role == Role::Master => not("it is a master"),
        // As each starts.
        Some(other) if other.ip().is_loopback() => not("no Sentinel has told it yet whose replica to be"),
        Some(other) if other != master.redis_address() => not(&format!("it is a replica of {other}")),
        None => not("it is a replica of nobody"),
        Some(_) if replication.link => Ok(()),
        Some(_) if replication.copying => not("it copies the data"),
        Some(_) => not("its link is down"),
    }
}

/// Looks, decides, promotes and waits until the cluster is as it should be.
pub async fn bootstrap(
    config: &Config,
    cluster: &Cluster,
    credentials: &Credentials,
    netns: &NetnsName,
    force: Option<&Ctid>,
    deadline: Duration,
    mut progress: impl FnMut(Step),
) -> Result<Bootstrapped, BootstrapError> {
    let start = Instant::now();
    let look = || survey(config, cluster, credentials, netns, PATIENCE);
    let mut told = None;
    let (first, others) = loop {
        let view = look().await;
        match decide(&view, force) {
            Ok(Bootstrap::Done(master)) => return Ok(Bootstrapped { master, already: true }),
            Ok(Bootstrap::Promote { first, others }) => break (first, others),
            // Those that have just been started come to answer.
            Err(obstacles) if start.elapsed() < deadline && obstacles.iter().all(Obstacle::may_pass) => {
                if told.as_ref() != Some(&obstacles) {
                    let texts: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
                    progress(Step::Wait(texts.join("; ")));
                    told = Some(obstacles);
                }
                sleep(LOOK).await;
            }
            Err(obstacles) => {
                let tenant = cluster.tenant.clone();
                let named = view.named_node().map(|node| node.ctid.clone());
                return Err(BootstrapError::Refused { tenant, obstacles, force: force.cloned(), named });
            }
        }
    };
    let (master, address) = first;
    progress(Step::Promote(master.clone()));
    order(netns, credentials, (&master, address), ["REPLICAOF", "NO", "ONE"]).await?;
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    for (node, at) in &others {
        progress(Step::Attach(node.clone()));
        order(netns, credentials, (node, *at), ["REPLICAOF", &ip, &port]).await?;
    }
    let mut told = None;
    loop {
        let Err(missing) = ready(&look().await) else {
            return Ok(Bootstrapped { master, already: false });
        };
        let waited = start.elapsed();
        if waited >= deadline {
            return Err(BootstrapError::Unready { tenant: cluster.tenant.clone(), waited, missing });
        }
        if told.as_ref() != Some(&missing) {
            progress(Step::Wait(missing.clone()));
            told = Some(missing);
        }
        sleep(LOOK).await;
    }
}

async fn order(
    netns: &NetnsName,
    credentials: &Credentials,
    (node, at): (&Ctid, SocketAddr),
    command: [&str; 3],
) -> Result<(), BootstrapError> {
    let request = Request::of(&command);
    let replies = Connection::once(netns, at, &redis_login(credentials), &request, PATIENCE)
        .await
        .map_err(|source| BootstrapError::Ask { node: node.clone(), source })?;
    match replies.into_iter().next() {
        Some(Reply::Error(why)) => Err(BootstrapError::Refusal { node: node.clone(), why }),
        _ => Ok(()),
    }
}
