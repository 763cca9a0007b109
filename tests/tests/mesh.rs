//! The mesh carries what it should, and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ovsmesh_tests::{FIVE_HOSTS, TestLab, ask, serve, simple, topology};

const ACME: [(&str, &str); 5] = [
    ("101", "192.168.10.11"),
    ("102", "192.168.10.12"),
    ("103", "192.168.10.13"),
    ("proxy1/acme", "192.168.10.4"),
    ("proxy2/acme", "192.168.10.5"),
];
const GLOBEX: [(&str, &str); 5] = [
    ("201", "192.168.10.11"),
    ("202", "192.168.10.12"),
    ("203", "192.168.10.13"),
    ("proxy1/globex", "192.168.10.4"),
    ("proxy2/globex", "192.168.10.5"),
];

/// Over ICMP and TCP at full tenant MTU, though both tenants have the same addresses: who answers is always one's own.
#[tokio::test]
async fn every_pair_of_a_tenant_meets_and_no_pair_of_two() {
    let lab = TestLab::up(topology(FIVE_HOSTS)).await;
    let mtu = 9001 - 42;
    for (place, _) in ACME.iter().chain(&GLOBEX) {
        serve(&lab.netns(place), 7000, place);
    }
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    for tenant in [ACME, GLOBEX] {
        for (from, _) in tenant {
            for (to, address) in tenant.iter().filter(|(to, _)| *to != from) {
                assert!(lab.pings(from, address, mtu), "{from} does not reach {to} at {mtu} bytes");
                assert_eq!(ask(&lab.netns(from), address, 7000, &bytes).as_deref(), Ok(*to), "from {from}");
            }
        }
    }
    assert!(!lab.pings("101", "192.168.10.12", mtu + 1), "the tenant's MTU is not {mtu}");
    // An address that only globex has, beside the equal ones.
    lab.run("203", &["ip", "address", "add", "192.168.10.99/24", "dev", "eth0"]);
    assert!(lab.pings("201", "192.168.10.99", 100));
    for (from, _) in ACME {
        assert!(!lab.pings(from, "192.168.10.99", 100), "{from} of acme reaches globex");
    }
}

/// No loop, from the first packet: within a second of the sync that made the tunnels, one broadcast is on the underlay
/// exactly once a peer.
#[tokio::test]
async fn a_broadcast_crosses_the_underlay_once_a_peer() {
    let lab = TestLab::up(topology(FIVE_HOSTS)).await;
    for host in ["redis1", "redis2", "redis3", "proxy1", "proxy2"] {
        for port in lab.vsctl(host, "list-ports br-acme").lines().filter(|port| port.starts_with("gre-")) {
            lab.vsctl(host, &format!("del-port {port}"));
        }
    }
    assert_eq!(lab.broadcast("101", "192.168.10.255", Duration::from_millis(300)), []);
    let reports = lab.mesh.sync_all(lab.mesh.topology(), &()).await.unwrap();
    let synced = Instant::now();
    assert!(reports.iter().all(|report| report.changes.len() == 4), "{reports:?}");
    let frames = lab.broadcast("101", "192.168.10.255", Duration::from_millis(700));
    assert!(synced.elapsed() < Duration::from_secs(1), "{:?}", synced.elapsed());
    let peers: BTreeSet<String> = frames.iter().map(|frame| frame.dst.to_string()).collect();
    assert_eq!(frames.len(), 4, "{frames:?}");
    assert_eq!(
        peers,
        BTreeSet::from(["10.0.1.12", "10.0.1.13", "10.0.1.21", "10.0.1.22"].map(str::to_owned))
    );
    assert!(frames.iter().all(|frame| frame.key == Some(101) && frame.src.to_string() == "10.0.1.11"));
}

/// Split horizon is what does it: without `protected`, the same broadcast never ends; a sync ends it.
#[tokio::test]
async fn without_protected_a_broadcast_loops_and_a_sync_ends_it() {
    let lab = TestLab::up(simple(3, &[("acme", 7)], false)).await;
    assert_eq!(lab.broadcast("101", "192.168.7.255", Duration::from_millis(700)).len(), 2);
    for host in ["h1", "h2", "h3"] {
        for port in lab.vsctl(host, "list-ports br-acme").lines().filter(|port| port.starts_with("gre-")) {
            lab.vsctl(host, &format!("set Port {port} protected=false"));
        }
    }
    let storm = lab.broadcast("101", "192.168.7.255", Duration::from_millis(700)).len();
    let reports = lab.mesh.sync_all(lab.mesh.topology(), &()).await.unwrap();
    assert!(storm >= 50, "only {storm} frames: there is no loop to protect from");
    assert!(reports.iter().all(|report| report.changes.len() == 2), "{reports:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(lab.broadcast("101", "192.168.7.255", Duration::from_millis(700)).len(), 2);
}

/// `gre` would silently take an IPv6 remote; `ip6gre` costs 62 bytes.
#[tokio::test]
async fn an_ipv6_underlay_has_ip6gre_tunnels() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], true)).await;
    let types = lab.vsctl("h1", "--bare --columns=type find Interface type=ip6gre");
    assert_eq!(types.lines().filter(|line| *line == "ip6gre").count(), 1);
    assert!(lab.pings("101", "192.168.7.12", 1500 - 62), "no ping at full MTU over ip6gre");
    assert!(!lab.pings("101", "192.168.7.12", 1500 - 62 + 1));
}
