//! redis.conf of a node.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{Layout, head};
use crate::config::{
    Cluster, Config, Credentials, Node, OPERATOR_USER, Persistence, REDIS_PORT, Secret, Watch, hex,
};

/// What a tenant's clients may do: all but what administers the server, and of the dangerous what concerns their own data.
const CLIENT: &str =
    "~* &* +@all -@admin -@dangerous +keys +flushdb +flushall +sort +sort_ro +info +role +restore +migrate";

/// The configuration of a node's Redis.
///
/// Start it with `--replicaof 127.0.0.1 1` after the file, where the cluster [`starts_as_replica`](Cluster::starts_as_replica): no node
/// ever begins as a master.
pub fn redis_conf(
    config: &Config,
    cluster: &Cluster,
    credentials: &Credentials,
    node: Node<'_>,
    layout: &Layout,
) -> String {
    let Cluster { tenant, max_memory, eviction, nodes, profile, .. } = cluster;
    let first = config.nodes(cluster).next();
    let mut text = head(&format!("Redis of tenant {tenant}, node {} on host {}", node.ctid, node.host));
    let dir = layout.state.join("redis");
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "
bind {ip} 127.0.0.1
port {REDIS_PORT}
protected-mode yes
daemonize no
logfile \"\"
dir {dir}
# The address by which the others know this node; never another that the container may have.
replica-announce-ip {ip}

# Who may do what. `default` is the tenant's clients: they cannot turn a master into a replica, read the configuration or stop
# the server. `{OPERATOR_USER}` is replicas, Sentinels and the proxies' agent. Passwords stand here as SHA-256, but for the one that
# this node sends itself.
user default reset on #{client} {CLIENT}
user {OPERATOR_USER} reset on #{operator} ~* &* +@all
masteruser {OPERATOR_USER}
masterauth {master}

# This much data, and then: {policy}. The container has twice as much: a fork for a replica or for the disk copies what is
# written meanwhile.
maxmemory {memory}
maxmemory-policy {policy}

{keep}
# A replica asks for the data at once, not after the 5 s in which others may ask too: after a failover the new master has
# replicas again, and so a successor, that much sooner.
repl-diskless-sync yes
repl-diskless-sync-delay 0
# What a replica may miss and still catch up without a whole copy.
repl-backlog-size 16mb
# Replication that says nothing for this long is dead (default 60 s).
repl-timeout 10
# 0: a new master serves before its replicas are back.{gate}
min-replicas-to-write 0
# `no` would make the replicas of a master that came back as a replica ask it again without a pause, each some hundred times a second.
# Seen. No client reaches a replica.
replica-serve-stale-data yes
replica-read-only yes
# How many seconds a connection may be silent before it is probed: those of dead proxies are found by this, within twice that.
tcp-keepalive 15
# A client may be silent for as long as it likes.
timeout 0
maxclients 10000
# A replica that falls behind is cut off before its buffer takes the memory of the {others} others.
client-output-buffer-limit replica 256mb 64mb 60
# On SIGTERM, replicas get what they miss, for at most so many seconds.
shutdown-timeout 2
",
        ip = node.ip,
        dir = dir.display(),
        keep = keep(cluster),
        client = digest(&credentials.client),
        operator = digest(&credentials.operator),
        master = credentials.operator.expose(),
        memory = max_memory.get(),
        policy = eviction.as_str(),
        others = nodes.len() - 1,
        gate = match profile.pace().watch {
            Watch::Agent { freshness, .. } => format!(
                " That a master which nobody follows takes no writes is the agent's to
# see, in {} ms rather than in whole seconds. Measured: min-replicas-to-write 1 with a lag of 2 s lost as much in a partition,
# and stopped all writes for 10 s when an old master came back.",
                freshness.as_millis()
            ),
            Watch::Role { .. } => {
                " A master which nobody follows takes writes all the same, and they are lost: to compare with.".to_owned()
            }
        },
    );
    if let (Watch::Role { .. }, Some(first)) = (profile.pace().watch, first)
        && first.ctid != node.ctid
    {
        let _ = write!(
            text,
            "\n# As the article has it: who is the first master stands in the configuration.\nreplicaof {} {REDIS_PORT}\n",
            first.ip
        );
    }
    text
}

/// What is kept on disk.
fn keep(cluster: &Cluster) -> &'static str {
    match cluster.persistence {
        Persistence::None => {
            if cluster.starts_as_replica() {
                "# Nothing is kept on disk. A node that restarts is empty; it is never a master by itself (see the unit), so it\n\
                 # fetches the data from the master and never hands its emptiness to others.\n\
                 save \"\"\nappendonly no\n"
            } else {
                "# Nothing is kept on disk. A master that restarts before the Sentinels see it is empty, and so are its replicas then.\n\
                 save \"\"\nappendonly no\n"
            }
        }
        Persistence::Rdb => {
            "# A snapshot after 5 minutes with a change, or 1 minute with 10000.\n\
             save 300 1 60 10000\nappendonly no\n"
        }
        Persistence::Aof => {
            "# Each write is on disk within a second, or, while the file is rewritten, within about 30.\n\
             appendonly yes\nappendfsync everysec\nsave \"\"\n\
             # The disk is not waited for while the file is rewritten: a stall would look like a dead master.\n\
             no-appendfsync-on-rewrite yes\n"
        }
    }
}

/// A password as Redis keeps it.
fn digest(secret: &Secret) -> String {
    hex(&Sha256::digest(secret.expose().as_bytes()))
}
