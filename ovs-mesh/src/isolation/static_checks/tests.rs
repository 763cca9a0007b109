mod faults;
mod random;

use super::*;
use crate::testing::hosts::healthy_hosts;

/// Two tenants on three hosts, one of them on a fourth; a gateway each on host a, and containers on a and b.
fn topology() -> Topology {
    r#"
    mesh = { name = "m", underlay_mtu = 1500 }
    host = [
        { name = "a", underlay_ip = "10.0.0.1" },
        { name = "b", underlay_ip = "10.0.0.2" },
        { name = "c", underlay_ip = "10.0.0.3" },
        { name = "d", underlay_ip = "10.0.0.4" },
    ]
    [[tenant]]
    name = "acme"
    key = 101
    subnet = "192.168.0.0/24"
    hosts = ["a", "b", "c"]
    gateways = { a = "192.168.0.1" }
    containers = [
        { ctid = "101", host = "a", ip = "192.168.0.11" },
        { ctid = "102", host = "b", ip = "192.168.0.12" },
    ]
    [[tenant]]
    name = "globex"
    key = 102
    subnet = "192.168.0.0/24"
    gateways = { a = "192.168.0.1" }
    containers = [
        { ctid = "201", host = "a", ip = "192.168.0.11" },
        { ctid = "202", host = "b", ip = "192.168.0.12" },
    ]
    "#
    .parse()
    .unwrap()
}

fn tunnel(topology: &Topology, host: &str, tenant: &str, peer: &str) -> String {
    let plan = Plan::new(topology, &host.parse().unwrap()).unwrap();
    let bridge = plan.bridge_of(&tenant.parse().unwrap()).unwrap();
    bridge.tunnels.iter().find(|tunnel| tunnel.peer.as_str() == peer).unwrap().port.to_string()
}

#[test]
fn a_healthy_mesh_has_no_finding() {
    let topology = topology();
    let report = static_checks(&topology, &healthy_hosts(&topology)).unwrap();
    assert_eq!(report.findings(), []);
}

#[test]
fn a_host_is_checked_once_and_in_its_own_mesh() {
    let topology = topology();
    let hosts = healthy_hosts(&topology);
    let twice = static_checks(&topology, &[hosts[0].clone(), hosts[0].clone()]).unwrap_err();
    assert_eq!(twice.to_string(), "there are two snapshots of host `a`: leave one out");
    let other = HostSnapshot { mesh: "x".parse().unwrap(), ..hosts[0].clone() };
    let other = static_checks(&topology, &[other]).unwrap_err();
    assert_eq!(other.to_string(), "the snapshot of host `a` is of mesh `x`, the topology of mesh `m`");
    let stranger = HostSnapshot { host: "z".parse().unwrap(), ..hosts[0].clone() };
    assert!(matches!(static_checks(&topology, &[stranger]), Err(StaticError::Plan(_))));
}

/// Without a view of the kernel the rest is checked, and the report says what was not.
#[test]
fn what_cannot_be_checked_is_said() {
    let topology = topology();
    let mut hosts = healthy_hosts(&topology);
    hosts[0].links = None;
    hosts[0].tunnels = None;
    let report = static_checks(&topology, &hosts).unwrap();
    assert_eq!(report.findings(), []);
    let skipped: Vec<usize> = report.matrix().iter().map(|square| square.skipped.len()).collect();
    assert_eq!(skipped, [2, 0, 0, 0]);
}
