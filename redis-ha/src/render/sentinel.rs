//! sentinel.conf of a node, as it is before the Sentinel's first start.

use std::fmt::Write;

use super::{Layout, head};
use crate::config::{Cluster, Config, Credentials, Node, OPERATOR_USER, Pace, REDIS_PORT, SENTINEL_PORT};

/// What a node's Sentinel begins with. Sentinel keeps its state in its configuration file and replaces that file: give it a copy, and never
/// put this one over the copy.
pub fn sentinel_conf(
    config: &Config,
    cluster: &Cluster,
    credentials: &Credentials,
    node: Node<'_>,
    layout: &Layout,
) -> String {
    let Cluster { tenant, nodes, .. } = cluster;
    let Pace { down_after, failover_timeout, sentinel, .. } = cluster.profile.pace();
    let mut text = head(&format!("Sentinel of tenant {tenant}, node {} on host {}", node.ctid, node.host));
    let Some(first) = config.nodes(cluster).next() else { return text };
    let hurry = match sentinel {
        Some(periods) => format!(
            "# Below one second only with shorter inner periods, which the agent sets after every start (SENTINEL DEBUG): {}.\n\
             # Left alone, Sentinel asks a new master once a second and counts it as silent meanwhile: it would be declared down\n\
             # again at once.\n",
            periods.map(|(name, period)| format!("{name} {} ms", period.as_millis())).join(", ")
        ),
        None => String::new(),
    };
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "
bind {ip} 127.0.0.1
port {SENTINEL_PORT}
protected-mode yes
daemonize no
logfile \"\"
dir {dir}
sentinel announce-ip {ip}

# Sentinels of another tenant can never join: no path leads here from there, the name is the tenant's, and so is the password.
requirepass {own}
sentinel sentinel-pass {own}
# The first master, and how many Sentinels must call it dead: a majority.
sentinel monitor {tenant} {first} {REDIS_PORT} {quorum}
sentinel auth-user {tenant} {OPERATOR_USER}
sentinel auth-pass {tenant} {operator}
{hurry}sentinel down-after-milliseconds {tenant} {down_after}
# A failover that did not come to an end is tried again after twice that. The default of 3 minutes means 6 without a master.
sentinel failover-timeout {tenant} {failover_timeout}
# All replicas turn to the new master at once: clients read from none of them.
sentinel parallel-syncs {tenant} {others}
sentinel deny-scripts-reconfig yes
sentinel resolve-hostnames no
",
        ip = node.ip,
        dir = layout.state.join("sentinel").display(),
        own = credentials.sentinel.expose(),
        operator = credentials.operator.expose(),
        first = first.ip,
        quorum = cluster.majority(),
        down_after = down_after.as_millis(),
        failover_timeout = failover_timeout.as_millis(),
        others = nodes.len() - 1,
    );
    text
}
