//! Faults on real labs, each found and named.

use ovs_mesh::Datapath;
use ovs_mesh::isolation::{Check, Level, Severity, VerifyOptions};
use ovsmesh_tests::{TestLab, datapath, host, simple, topology};

use super::{finds, mac_of, named, probed, three_hosts, told};

fn tunnel_to(lab: &TestLab, on: &str, bridge: &str, peer: &str) -> String {
    let ports = lab.vsctl(on, &format!("list-ports {bridge}"));
    let is_it = |port: &&str| {
        port.starts_with("gre-")
            && lab.vsctl(on, &format!("get Interface {port} options:remote_ip")).contains(peer)
    };
    ports.lines().find(is_it).unwrap().to_owned()
}

/// What is wrong with one address or one container.
#[tokio::test]
async fn an_address_that_does_not_answer_as_it_should_is_found() {
    use Severity::Degraded;
    let lab = three_hosts().await;
    // Down, on another host and on this one.
    lab.run("102", &["ip", "link", "set", "eth0", "down"]);
    lab.run("101", &["ip", "address", "del", "192.168.7.11/24", "dev", "eth0"]);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeUnanswered, Degraded, "acme", &["container 102", "left for host h2"]);
    finds(&found, Check::ProbeUnanswered, Degraded, "acme", &["container 101", "got to its port veth101.0"]);
    assert_eq!(named(&found).len(), 1, "{}", told(&found));
    assert_eq!(found.len(), 2, "{}", told(&found));
    lab.run("102", &["ip", "link", "set", "eth0", "up"]);
    lab.run("101", &["ip", "address", "add", "192.168.7.11/24", "dev", "eth0"]);
    assert_eq!(told(&probed(&lab, "h1").await), "");
    // Two have it.
    lab.run("103", &["ip", "address", "add", "192.168.7.12/32", "dev", "eth0"]);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeMac, Degraded, "acme", &["container 102", "2 MAC addresses"]);
    finds(&found, Check::ProbeMac, Degraded, "acme", &["container 102", "host h3, not by host h2"]);
    assert_eq!(named(&found).len(), 1, "{}", told(&found));
    lab.run("103", &["ip", "address", "del", "192.168.7.12/32", "dev", "eth0"]);
    // Another MAC address than the one that was attached.
    let before = mac_of(&lab, "101", "eth0");
    lab.run("101", &["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"]);
    let found = probed(&lab, "h1").await;
    finds(
        &found,
        Check::ProbeMac,
        Degraded,
        "acme",
        &["container 101", "02:00:00:00:00:99 answers", &before],
    );
    assert_eq!(found.len(), 1, "{}", told(&found));
}

/// What is wrong on the way.
#[tokio::test]
async fn a_way_that_is_cut_or_narrow_is_found() {
    use Severity::Degraded;
    let lab = three_hosts().await;
    // Black hole: short ones arrive. Also on the way back.
    lab.run("h2", &["ip", "link", "set", "eth0", "mtu", "1400"]);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeMtu, Degraded, "acme", &["container 102", "none of 3 of 1458 bytes"]);
    finds(&found, Check::ProbeMtu, Degraded, "globex", &["container 202"]);
    assert_eq!(found.len(), 2, "{}", told(&found));
    lab.run("h2", &["ip", "link", "set", "eth0", "mtu", "1500"]);
    lab.run("102", &["ip", "link", "set", "eth0", "mtu", "1300"]);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeMtu, Degraded, "acme", &["container 102"]);
    assert_eq!(found.len(), 1, "{}", told(&found));
    lab.run("102", &["ip", "link", "set", "eth0", "mtu", "1458"]);
    // A flow that drops ARP.
    lab.run("h1", &["ovs-ofctl", "add-flow", "br-acme", "priority=100,arp,actions=drop"]);
    let found = probed(&lab, "h1").await;
    finds(
        &found,
        Check::ProbeUnanswered,
        Degraded,
        "acme",
        &["container 101", "none of which got to its port"],
    );
    finds(
        &found,
        Check::ProbeUnanswered,
        Degraded,
        "acme",
        &["container 102", "none of which left for host h2"],
    );
    finds(&found, Check::ProbeWire, Degraded, "acme", &["tunnel to host h3", "did not leave"]);
    assert!(
        found.iter().all(|it| it.tenants.len() == 1 && it.tenants[0].as_str() == "acme"),
        "{}",
        told(&found)
    );
    lab.run("h1", &["ovs-ofctl", "del-flows", "--strict", "br-acme", "priority=100,arp"]);
    // One that drops it on the other host.
    lab.run("h2", &["ovs-ofctl", "add-flow", "br-acme", "priority=100,arp,actions=drop"]);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeUnanswered, Degraded, "acme", &["container 102", "which left for host h2"]);
    assert_eq!(found.len(), 1, "{}", told(&found));
    lab.run("h2", &["ovs-ofctl", "del-flows", "--strict", "br-acme", "priority=100,arp"]);
    // A tunnel missing here, and one missing there.
    let gone = tunnel_to(&lab, "h1", "br-acme", "10.0.1.12");
    lab.vsctl("h1", &format!("del-port {gone}"));
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeWire, Degraded, "acme", &["tunnel to host h2", "did not leave"]);
    finds(
        &found,
        Check::ProbeUnanswered,
        Degraded,
        "acme",
        &["container 102", "none of which left for host h2"],
    );
    assert_eq!(found.len(), 2, "{}", told(&found));
    let found = probed(&lab, "h2").await;
    finds(&found, Check::ProbeUnanswered, Degraded, "acme", &["container 101", "which left for host h1"]);
    lab.run("h1", &["ovsmesh", "sync"]);
    // A dead peer.
    let dir = lab.mesh.lab().plan().host(&host("h3")).unwrap().dir.clone();
    let pid = std::fs::read_to_string(dir.join("ovs-vswitchd.pid")).unwrap();
    lab.run("h3", &["kill", "-KILL", pid.trim()]);
    if datapath() == Datapath::System {
        // The kernel goes on forwarding by itself.
        lab.run("h3", &["ip", "link", "set", "eth0", "down"]);
    }
    let found = probed(&lab, "h1").await;
    for (container, tenant) in [("container 103", "acme"), ("container 203", "globex")] {
        finds(&found, Check::ProbeUnanswered, Degraded, tenant, &[container, "host h3"]);
    }
    assert!(!told(&found).contains("h2"), "{}", told(&found));
    // Its own switch: nobody can be asked.
    let found = probed(&lab, "h3").await;
    finds(&found, Check::ProbeUnanswered, Degraded, "acme", &["bridge br-acme", "nobody can be asked"]);
    assert_eq!(found.len(), 2, "{}", told(&found));
}

/// What joins two tenants, on this host and on another.
#[tokio::test]
async fn a_leak_between_tenants_is_found() {
    use Severity::Breach;
    let lab = three_hosts().await;
    let patch = "add-port br-acme px -- set Interface px type=patch options:peer=py \
                 -- add-port br-globex py -- set Interface py type=patch options:peer=px";
    let patch = patch.split_whitespace().collect::<Vec<_>>().join(" ");
    let apart = "del-port br-acme px -- del-port br-globex py";
    lab.vsctl("h1", &patch);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeForeignFrame, Breach, "acme+globex", &["port veth201.0"]);
    finds(&found, Check::ProbeForeignFrame, Breach, "acme+globex", &["port veth101.0"]);
    finds(&found, Check::ProbeWire, Breach, "acme+globex", &["leave for host h2 with key 8"]);
    // Nobody has changed h2 or h3, and yet.
    let found = probed(&lab, "h2").await;
    finds(&found, Check::ProbeForeignFrame, Breach, "acme+globex", &["come back from host h1 with key 8"]);
    lab.vsctl("h1", apart);
    assert_eq!(told(&probed(&lab, "h1").await), "");
    // The patch port is not flooded to; a flow uses it, one way.
    lab.vsctl("h1", &patch);
    lab.run("h1", &["ovs-ofctl", "mod-port", "br-acme", "px", "no-flood"]);
    lab.run("h1", &["ovs-ofctl", "mod-port", "br-globex", "py", "no-flood"]);
    // What was learned before leads there still, and is found.
    lab.run("h1", &["ovs-appctl", "fdb/flush"]);
    assert_eq!(told(&probed(&lab, "h1").await), "");
    // A bridge that learns from where they come would lead what is for them back.
    lab.run("h1", &["ovs-ofctl", "add-flow", "br-globex", "priority=9,in_port=py,actions=output:veth201.0"]);
    lab.run("h1", &["ovs-ofctl", "add-flow", "br-acme", "priority=9,arp,actions=NORMAL,output:px"]);
    let found = probed(&lab, "h1").await;
    finds(
        &found,
        Check::ProbeForeignFrame,
        Breach,
        "acme+globex",
        &["given to tenant acme", "of tenant globex"],
    );
    assert!(!told(&found).contains("given to tenant globex"), "{}", told(&found));
    lab.run("h1", &["ovs-ofctl", "del-flows", "--strict", "br-acme", "priority=9,arp"]);
    lab.run("h1", &["ovs-ofctl", "del-flows", "--strict", "br-globex", "priority=9,in_port=py"]);
    lab.vsctl("h1", apart);
    // A Linux bridge.
    let script = "ip link add jl type bridge; ip link set jl up
                  for n in a g; do ip link add j$n type veth peer name k$n; ip link set j$n up
                  ip link set k$n master jl; ip link set k$n up; done";
    lab.run("h1", &["sh", "-ec", script]);
    lab.vsctl("h1", "add-port br-acme ja -- add-port br-globex jg");
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeForeignFrame, Breach, "acme", &["device ja", "no port of the tenant's"]);
    finds(&found, Check::ProbeForeignFrame, Breach, "acme+globex", &["port veth201.0"]);
}

/// What leaves with another key, or for somebody else.
#[tokio::test]
async fn a_wrong_tunnel_is_found() {
    use Severity::{Breach, Degraded};
    let lab = three_hosts().await;
    let tunnel = tunnel_to(&lab, "h1", "br-acme", "10.0.1.12");
    lab.vsctl("h1", &format!("set Interface {tunnel} options:key=9"));
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeWire, Breach, "acme", &["leave for host h2 with key 9"]);
    finds(&found, Check::ProbeUnanswered, Degraded, "acme", &["container 102"]);
    assert!(
        found.iter().all(|it| it.tenants.len() == 1 && it.tenants[0].as_str() == "acme"),
        "{}",
        told(&found)
    );
    lab.run("h1", &["ovsmesh", "sync"]);
    assert_eq!(told(&probed(&lab, "h1").await), "");
    // To a machine that is none of the mesh's.
    lab.vsctl(
        "h1",
        "add-port br-acme odd -- set Interface odd type=gre options:remote_ip=10.0.1.14 options:key=7",
    );
    lab.run("underlay", &["sh", "-ec", "ip address add 10.0.1.14/24 dev underlay; ping -c1 -W1 10.0.1.11"]);
    lab.run("h1", &["ping", "-c1", "-W1", "10.0.1.14"]);
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeWire, Breach, "acme", &["leave for 10.0.1.14 with key 7"]);
    lab.vsctl("h1", "del-port odd");
    // VXLAN, as a mirror would.
    lab.vsctl(
        "h1",
        "add-port br-acme odd -- set Interface odd type=vxlan options:remote_ip=10.0.1.12 options:key=7",
    );
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeWire, Breach, "acme", &["device eth0", "no tunnel of the mesh's"]);
    lab.vsctl("h1", "del-port odd");
    // Without split horizon frames come back; the probe does not feed the loop.
    for on in ["h1", "h2", "h3"] {
        for port in lab.vsctl(on, "list-ports br-acme").lines().filter(|port| port.starts_with("gre-")) {
            lab.vsctl(on, &format!("set Port {port} protected=false"));
        }
    }
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeWire, Breach, "acme", &["own frames come back", "with key 7"]);
}

/// Where it is known already that tunnels are not protected, on any host, nothing is sent that would go round for ever.
#[tokio::test]
async fn a_tenant_whose_packets_would_go_round_is_left_out() {
    let lab = three_hosts().await;
    for port in lab.vsctl("h3", "list-ports br-acme").lines().filter(|port| port.starts_with("gre-")) {
        lab.vsctl("h3", &format!("set Port {port} protected=false"));
    }
    for before in [Level::Static, Level::Trace] {
        let levels = [before, Level::Probe].into();
        let options = VerifyOptions { levels, ..VerifyOptions::new(7) };
        let (report, _) = lab.mesh.verify(options, &()).await.unwrap();
        assert!(report.findings().iter().all(|it| it.level == before), "{report}");
        for host in report.matrix() {
            assert!(host.checked.contains(&Level::Probe), "{report}");
            let reasons: Vec<&str> = host.skipped.iter().map(|it| it.reason.as_str()).collect();
            assert_eq!(reasons, ["tenant acme is not probed: packets would go round in it for ever"]);
        }
    }
}

/// Addresses that only another tenant has stay silent, and one that does not is a breach.
#[tokio::test]
async fn an_answer_for_another_tenants_address_is_found() {
    let text = simple(2, &[("acme", 7), ("globex", 8)], false).to_toml();
    let at = text.find("name = \"globex\"").unwrap();
    let lab =
        TestLab::up(topology(&[&text[..at], &text[at..].replace("192.168.7.", "192.168.8.")].concat())).await;
    assert_eq!(told(&probed(&lab, "h1").await), "");
    lab.run("102", &["ip", "address", "add", "192.168.8.11/32", "dev", "eth0"]);
    for on in ["h1", "h2"] {
        let found = probed(&lab, on).await;
        finds(
            &found,
            Check::ProbeForeignAnswer,
            Severity::Breach,
            "acme+globex",
            &["192.168.8.11", "in tenant acme"],
        );
        assert_eq!(found.len(), 1, "{}", told(&found));
    }
}

/// A virtual address of the tenant's own, which the topology does not name, may be one that another tenant has too.
#[tokio::test]
async fn a_virtual_address_of_the_tenants_own_subnet_is_nobodys_fault() {
    let text = simple(2, &[("acme", 7), ("globex", 8)], false).to_toml();
    let at = text.find("name = \"globex\"").unwrap();
    let lab =
        TestLab::up(topology(&[&text[..at], &text[at..].replace("192.168.7.1", "192.168.7.2")].concat()))
            .await;
    lab.run("102", &["ip", "address", "add", "192.168.7.21/32", "dev", "eth0"]);
    for on in ["h1", "h2"] {
        assert_eq!(told(&probed(&lab, on).await), "", "on {on}");
    }
}
