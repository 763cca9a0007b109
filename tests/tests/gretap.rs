//! GRE devices of the kernel's own with a tenant's key: that `verify` finds them, and that frames really pass.
//!
//! It takes a kernel that has them (`ip_gre`, `ip6_gre`) and is not run by `cargo test` alone, but by `scripts/test-kernel`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::{Duration, Instant};

use ovs_mesh::Chain;
use ovs_mesh::isolation::{Check, Finding, Level, Severity, VerifyOptions};
use ovsmesh_tests::{TestLab, simple};

/// How long ovs-vswitchd may take to see that a device is gone again.
const MENDED: Duration = Duration::from_secs(15);

async fn found(lab: &TestLab) -> Vec<Finding> {
    let options = VerifyOptions { levels: [Level::Static].into_iter().collect(), ..VerifyOptions::new(7) };
    let (report, notes) =
        lab.mesh.verify(options, &()).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
    assert_eq!(notes, [""; 0], "something was not read");
    report.findings().to_vec()
}

/// A device is found as this, and when it is gone nothing is.
async fn expect(lab: &TestLab, make: &str, severity: Severity, object: &str, remove: &str) -> Finding {
    lab.run("h1", &["sh", "-ec", make]);
    let all = found(lab).await;
    let [one] = all.as_slice() else { panic!("{make}: {all:?}") };
    assert_eq!(
        (one.check, one.severity, one.object.as_str()),
        (Check::DeviceTunnel, severity, object),
        "{make}"
    );
    assert_eq!(one.host.as_str(), "h1");
    lab.run("h1", &["sh", "-ec", remove]);
    let started = Instant::now();
    while !found(lab).await.is_empty() {
        assert!(started.elapsed() < MENDED, "{make}: it is still found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    one.clone()
}

/// How many packets a device of host h1 has received.
fn received(lab: &TestLab, device: &str) -> u64 {
    let text = lab.run("h1", &["ip", "-s", "-o", "link", "show", device]);
    let counters = text.split("RX:").nth(1).and_then(|rest| rest.split('\\').nth(1)).unwrap();
    counters.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_gre_device_with_a_tenants_key_is_found_and_gets_the_tenants_frames() {
    let lab = TestLab::up(simple(2, &[("acme", 7), ("globex", 8)], false)).await;
    // `gretap0` is there by now, and Open vSwitch's own device where the kernel's datapath is used.
    assert_eq!(found(&lab).await, []);
    // The first packets go to ask who is where.
    assert!((0..10).any(|_| lab.pings("102", "192.168.7.11", 1458)));

    let both = "ip link add theirs type gretap local 10.0.1.11 remote 10.0.1.12 key 7; ip link set theirs up";
    lab.run("h1", &["sh", "-ec", both]);
    lab.output("102", &["ping", "-q", "-c2", "-W1", "192.168.7.11"]);
    // The userspace datapath's bridge has an address of its own in the lab, which the kernel does not listen to.
    if ovsmesh_tests::datapath() == ovs_mesh::Datapath::System {
        assert!(received(&lab, "theirs") > 0, "it does not get the tenant's frames");
    }
    lab.run("h1", &["ip", "address", "add", "192.168.7.99/24", "dev", "theirs"]);
    let comes_in = || {
        lab.output("h1", &["arping", "-c1", "-w1", "-I", "theirs", "192.168.7.12"]);
        lab.run("102", &["ip", "neighbour"]).contains("192.168.7.99")
    };
    assert!((0..10).any(|_| comes_in()), "what it sends does not come in");
    lab.run("h1", &["ip", "link", "del", "theirs"]);

    let gone = "ip link del theirs";
    let one = expect(&lab, both, Severity::Breach, "device theirs", gone).await;
    assert_eq!(one.tenants.iter().map(|tenant| tenant.as_str()).collect::<Vec<_>>(), ["acme"]);
    for (words, severity) in [
        ("gretap key 8", Severity::Breach),
        ("gretap remote 10.0.1.12 ikey 70 okey 8", Severity::Breach),
        ("gretap remote 10.0.1.12 ikey 8 okey 70", Severity::Breach),
    ] {
        let make = format!("ip link add theirs type {words}; ip link set theirs up");
        expect(&lab, &make, severity, "device theirs", gone).await;
    }
    let down = "ip link add theirs type gretap remote 10.0.1.12 key 7";
    expect(&lab, down, Severity::Notice, "device theirs", gone).await;

    // Made on one host, and moved to where nobody looks: its packets are that host's all the same, and no other's.
    let name = format!("{}-aside", lab.mesh.name());
    let moved = format!(
        "ip link add theirs type gretap key 7; ip netns add {name}; ip link set theirs netns {name}; ip -n {name} link set theirs up"
    );
    let object = format!("device theirs in {name}");
    let gone_aside = format!("ip -n {name} link del theirs; ip netns del {name}");
    expect(&lab, &moved, Severity::Breach, &object, &gone_aside).await;

    // A namespace's own underlay is not the host's, unless the host gives it its address.
    let apart = format!(
        "ip netns add {name}; ip -n {name} link add theirs type gretap remote 10.0.1.12 key 7; ip -n {name} link set theirs up"
    );
    expect(&lab, &apart, Severity::Notice, &object, &format!("ip netns del {name}")).await;

    // Nobody's key, and a stranger's host.
    for words in [
        "gretap remote 10.0.1.12 key 70",
        "gretap remote 10.0.1.99 key 7",
        "erspan seq key 7 remote 10.0.1.12 erspan_ver 1",
    ] {
        let words = format!("ip link add theirs type {words}; ip link set theirs up");
        lab.run("h1", &["sh", "-ec", &words]);
        assert_eq!(found(&lab).await, [], "{words}");
        lab.run("h1", &["ip", "link", "del", "theirs"]);
    }
}

#[tokio::test]
async fn over_ipv6_a_device_without_ethernet_gets_the_tenants_frames_too() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], true)).await;
    assert_eq!(found(&lab).await, []);
    for kind in ["ip6gretap", "ip6gre"] {
        let make = format!(
            "ip link add theirs type {kind} local fd00::11 remote fd00::12 key 7; ip link set theirs up"
        );
        expect(&lab, &make, Severity::Breach, "device theirs", "ip link del theirs").await;
        lab.run("h1", &["sh", "-ec", &make]);
        lab.output("102", &["ping", "-q", "-c2", "-W1", "192.168.7.11"]);
        if ovsmesh_tests::datapath() == ovs_mesh::Datapath::System {
            assert!(received(&lab, "theirs") > 0, "{kind} does not get the tenant's frames");
        }
        lab.run("h1", &["ip", "link", "del", "theirs"]);
    }
}
