//! One look at a cluster: what every Sentinel and every Redis says, asked once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ovs_mesh::{Ctid, NetnsName, TenantName};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::config::{Cluster, Config, Credentials, OPERATOR_USER, REDIS_PORT, SENTINEL_PORT};
use crate::wire::dial::{AskError, Connection};
use crate::wire::report::{Named, Replication, ReportError, Role, keys};
use crate::wire::resp::Request;

/// Why a part of a node says nothing of use.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It does not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It answers something else.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// A Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RedisView {
    /// What it says of its replication.
    pub replication: Replication,
    /// How many keys it has, in all databases.
    pub keys: u64,
}

/// A node.
#[derive(Debug)]
pub struct NodeView {
    /// The container.
    pub ctid: Ctid,
    /// Its address in the tenant's network.
    pub ip: IpAddr,
    /// Its Redis.
    pub redis: Result<RedisView, Unanswered>,
    /// Its Sentinel.
    pub sentinel: Result<Named, Unanswered>,
}

/// A cluster.
#[derive(Debug)]
pub struct ClusterView {
    /// The tenant.
    pub tenant: TenantName,
    /// How many Sentinels are a majority.
    pub majority: usize,
    /// All nodes, in the file's order.
    pub nodes: Vec<NodeView>,
}

impl ClusterView {
    /// The address that a majority of Sentinels names.
    pub fn named(&self) -> Option<SocketAddr> {
        let votes = || self.nodes.iter().filter_map(|node| node.sentinel.as_ref().ok());
        let of = |master: SocketAddr| votes().filter(|named| named.master == master).count();
        votes().map(|named| named.master).find(|master| of(*master) >= self.majority)
    }

    /// The node that a majority of Sentinels names, unless that is none of the cluster's.
    pub fn named_node(&self) -> Option<&NodeView> {
        let named = self.named()?;
        self.nodes.iter().find(|node| node.redis_address() == named)
    }

    /// The node that a majority of Sentinels names and that says itself that it is the master.
    pub fn master(&self) -> Option<&NodeView> {
        self.named_node().filter(|node| node.role() == Some(Role::Master))
    }

    /// How many bytes of the master's writes a node does not have; none where that cannot be told.
    pub fn behind(&self, node: &NodeView) -> Option<u64> {
        let master = &self.master()?.redis.as_ref().ok()?.replication;
        let own = &node.redis.as_ref().ok()?.replication;
        (own.history == master.history).then(|| master.offset.saturating_sub(own.offset))
    }
}

impl NodeView {
    /// Where its Redis is.
    pub fn redis_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, REDIS_PORT)
    }

    /// What its Redis says that it is.
    pub fn role(&self) -> Option<Role> {
        self.redis.as_ref().ok().map(|redis| redis.replication.role)
    }
}

/// How a Redis is logged in to.
pub(crate) fn redis_login(credentials: &Credentials) -> Request {
    Request::of(&["AUTH", OPERATOR_USER, credentials.operator.expose()])
}

/// How a Sentinel is logged in to.
pub(crate) fn sentinel_login(credentials: &Credentials) -> Request {
    Request::of(&["AUTH", credentials.sentinel.expose()])
}

/// What a Sentinel is asked of a cluster's master.
pub(crate) fn sentinel_question(tenant: &TenantName) -> Request {
    let [address, state] = Named::questions(tenant.as_str());
    Request::of(&address).and(&state)
}

/// Asks all at once, by way of the tenant's network in that namespace; who has not answered when `patience` is over does not.
pub async fn survey(
    config: &Config,
    cluster: &Cluster,
    credentials: &Credentials,
    netns: &NetnsName,
    patience: Duration,
) -> ClusterView {
    let mut tasks = JoinSet::new();
    for (index, node) in config.nodes(cluster).enumerate() {
        let (netns, credentials, tenant) = (netns.clone(), credentials.clone(), cluster.tenant.clone());
        let (ctid, ip) = (node.ctid.clone(), node.ip);
        tasks.spawn(async move {
            let (redis, sentinel) = tokio::join!(
                redis(&netns, ip, &credentials, patience),
                sentinel(&netns, ip, &credentials, &tenant, patience)
            );
            (index, NodeView { ctid, ip, redis, sentinel })
        });
    }
    let mut nodes = tasks.join_all().await;
    nodes.sort_by_key(|(index, _)| *index);
    ClusterView {
        tenant: cluster.tenant.clone(),
        majority: cluster.majority(),
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
    }
}

async fn redis(
    netns: &NetnsName,
    ip: IpAddr,
    credentials: &Credentials,
    patience: Duration,
) -> Result<RedisView, Unanswered> {
    let questions = Request::of(&Replication::QUESTION).and(&["INFO", "keyspace"]);
    let to = SocketAddr::new(ip, REDIS_PORT);
    let replies = Connection::once(netns, to, &redis_login(credentials), &questions, patience).await?;
    let (replication, keyspace) = replies.split_at(1.min(replies.len()));
    Ok(RedisView { replication: Replication::of(replication)?, keys: keys(keyspace)? })
}

async fn sentinel(
    netns: &NetnsName,
    ip: IpAddr,
    credentials: &Credentials,
    tenant: &TenantName,
    patience: Duration,
) -> Result<Named, Unanswered> {
    let to = SocketAddr::new(ip, SENTINEL_PORT);
    let login = sentinel_login(credentials);
    let replies = Connection::once(netns, to, &login, &sentinel_question(tenant), patience).await?;
    Ok(Named::of(&replies)?)
}
