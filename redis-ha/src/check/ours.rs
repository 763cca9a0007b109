//! What no daemon sees alone. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ovs_mesh::HostName;

use super::Finding;
use crate::config::{AwsVip, Bytes, Cluster, Config, Proxies};
use crate::render::container_memory;

/// The lowest MTU that a tenant should have: Redis' replication and its clients send full segments.
const LOWEST_MTU: u16 = 1280;

/// What the service's file says that cannot work, beyond what reading it refuses.
pub fn consistent(config: &Config) -> Vec<Finding> {
    let mut findings = memory(config);
    findings.extend(mtu(config));
    findings.extend(interfaces(config));
    for cluster in &config.clusters {
        findings.extend(quorum(cluster));
        findings.extend(anti_affinity(config, cluster));
    }
    findings
}

/// Whether another VRRP router of the underlay has the service's router id, by the text of its keepalived configuration
/// (keepalived.conf(5), `virtual_router_id`).
pub(super) fn router_id(config: &Config, beside: &str, object: &str) -> Option<Finding> {
    let own = config.proxies.router_id;
    let has_own = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("virtual_router_id") && words.next().and_then(|id| id.parse().ok()) == Some(own)
    };
    beside.lines().any(has_own).then(|| Finding {
        check: "router-id",
        object: object.to_owned(),
        problem: format!(
            "it has the VRRP router id {own}, as this service: each would take the other's VIPs for its own"
        ),
        remedy: "another router_id in [proxy]".to_owned(),
    })
}

/// What is not checked, since nothing says what to compare it with.
pub(super) fn unchecked(config: &Config, beside: &[PathBuf]) -> Vec<String> {
    let needed = needed(config);
    let unsaid: Vec<&str> = needed
        .keys()
        .filter(|host| !config.host_memory.contains_key(**host))
        .map(|host| host.as_str())
        .collect();
    let mut notes = Vec::new();
    if !unsaid.is_empty() {
        notes.push(format!("memory: not checked on {}: no host_memory", unsaid.join(", ")));
    }
    if beside.is_empty() {
        notes.push("router_id: compared with no other router (--beside FILE)".to_owned());
    }
    notes
}

/// The memory of all containers of each host that has some.
fn needed(config: &Config) -> BTreeMap<&HostName, u64> {
    let mut by_host: BTreeMap<&HostName, u64> = BTreeMap::new();
    for cluster in &config.clusters {
        for node in config.nodes(cluster) {
            *by_host.entry(node.host).or_default() += container_memory(cluster).get();
        }
    }
    by_host
}

/// All containers of a host together, within what it has.
fn memory(config: &Config) -> Vec<Finding> {
    let too_much = |(host, needed): (&HostName, u64)| {
        let has = config.host_memory.get(host)?;
        (needed > has.get()).then(|| Finding {
            check: "memory",
            object: format!("host {host}"),
            problem: format!("its containers may take {}, and it has {has}", Bytes::new(needed)),
            remedy: "lower max_memory of some clusters, or place nodes elsewhere: a container takes twice its data, and some"
                .to_owned(),
        })
    };
    needed(config).into_iter().filter_map(too_much).collect()
}

/// Without the proxies' interfaces, `redis-ha notify` takes the VIP from whoever has it.
fn interfaces(config: &Config) -> Option<Finding> {
    let Proxies { hosts, aws, .. } = &config.proxies;
    let aws = aws.as_ref().filter(|aws| aws.vip == AwsVip::Address)?;
    let missing: Vec<&str> =
        hosts.iter().filter(|host| !aws.interfaces.contains_key(host)).map(HostName::as_str).collect();
    (!missing.is_empty()).then(|| Finding {
        check: "interfaces",
        object: "[proxy.aws]".to_owned(),
        problem: format!("it does not say which network interfaces are those of {}", missing.join(", ")),
        remedy: "interfaces = { HOST = \"eni-…\" }, as `redis-ha stack fill` writes: the VIP is then taken from no other".to_owned(),
    })
}

fn mtu(config: &Config) -> Option<Finding> {
    let mtu = config.topology.tenant_mtu();
    (mtu < LOWEST_MTU).then(|| Finding {
        check: "mtu",
        object: "the topology".to_owned(),
        problem: format!("tenants have an MTU of {mtu}"),
        remedy: format!("an underlay whose tunnels leave {LOWEST_MTU} or more"),
    })
}

/// Reading the file ensures both of what follows; whoever makes a [`Cluster`] otherwise is told here.
fn quorum(cluster: &Cluster) -> Option<Finding> {
    let nodes = cluster.nodes.len();
    (nodes < 3 || nodes.is_multiple_of(2)).then(|| Finding {
        check: "quorum",
        object: format!("cluster {}", cluster.tenant),
        problem: format!("{nodes} nodes have no majority that survives one"),
        remedy: "three nodes, or another odd number".to_owned(),
    })
}

fn anti_affinity(config: &Config, cluster: &Cluster) -> Vec<Finding> {
    let mut hosts: Vec<&HostName> = config.nodes(cluster).map(|node| node.host).collect();
    let all = hosts.len();
    hosts.sort();
    hosts.dedup();
    if hosts.len() == all {
        return Vec::new();
    }
    vec![Finding {
        check: "anti-affinity",
        object: format!("cluster {}", cluster.tenant),
        problem: format!("{all} nodes are on {} hosts", hosts.len()),
        remedy: "a host of its own for each".to_owned(),
    }]
}
