//! Frames of others, on real labs.

use ovs_mesh::Datapath;
use ovs_mesh::isolation::{Check, Finding, Level, Severity, VerifyOptions};
use ovsmesh_tests::{TestLab, datapath};

use super::{finds, mac_of, three_hosts, told};

/// What a host finds that knows all hosts' rows and devices.
async fn knowing(lab: &TestLab, name: &str) -> Vec<Finding> {
    let options = VerifyOptions { levels: [Level::Probe].into(), ..VerifyOptions::new(7) };
    let (report, notes) = lab.mesh.verify(options, &()).await.unwrap();
    assert_eq!(notes, [""; 0], "something was not read");
    report.findings().iter().filter(|finding| finding.host.as_str() == name).cloned().collect()
}

/// Goes on asking, some twenty times a second, for an address that nobody has.
struct Asking(std::process::Child);

impl Asking {
    fn start(lab: &TestLab, place: &str, device: &str, name: &str) -> Self {
        lab.run(place, &["sysctl", "-qw", &format!("net.ipv4.neigh.{device}.retrans_time_ms=50")]);
        let address = "192.168.7.99";
        Self(lab.command(place, &["ping", "-q", "-i0.2", "-I", name, address]))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 103 asks in the name of 102, for which it does not answer.
#[tokio::test]
async fn a_forged_sender_is_found() {
    let lab = three_hosts().await;
    lab.run("103", &["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=8"]);
    lab.run("103", &["ip", "address", "add", "192.168.7.12/32", "dev", "eth0"]);
    let quiet = knowing(&lab, "h1").await;
    // It does not answer for its own any more either.
    finds(&quiet, Check::ProbeUnanswered, Severity::Degraded, "acme", &["container 103"]);
    assert_eq!(quiet.len(), 1, "{}", told(&quiet));
    let asking = Asking::start(&lab, "103", "eth0", "192.168.7.12");
    let forger = mac_of(&lab, "103", "eth0");
    let own = mac_of(&lab, "102", "eth0");
    for on in ["h1", "h2"] {
        let found = knowing(&lab, on).await;
        let words = ["container 102 (192.168.7.12)", &forger, &own, "host h3"];
        finds(&found, Check::ProbeSpoof, Severity::Degraded, "acme", &words);
        assert_eq!(found.len(), 2, "on {on}: {}", told(&found));
    }
    drop(asking);
    // With another's MAC address.
    lab.run("103", &["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0"]);
    lab.run("103", &["ip", "address", "del", "192.168.7.12/32", "dev", "eth0"]);
    lab.run("103", &["ip", "link", "set", "eth0", "address", &own]);
    let _asking = Asking::start(&lab, "103", "eth0", "192.168.7.13");
    let found = knowing(&lab, "h1").await;
    finds(
        &found,
        Check::ProbeSpoof,
        Severity::Degraded,
        "acme",
        &[&own, "by host h3", "attached to host h2"],
    );
}

/// Joins acme and globex on h2 by patch ports that only flows use.
fn quiet_patch(lab: &TestLab) {
    lab.vsctl(
        "h2",
        "add-port br-acme px -- set Interface px type=patch options:peer=py \
         -- add-port br-globex py -- set Interface py type=patch options:peer=px"
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    );
    for (bridge, port) in [("br-acme", "px"), ("br-globex", "py")] {
        lab.run("h2", &["ovs-ofctl", "mod-port", bridge, port, "no-flood"]);
    }
    lab.run("h2", &["ovs-appctl", "fdb/flush"]);
}

/// Where tenants have equal addresses, one who gets what is for his MAC address still tells that they are joined.
#[tokio::test]
async fn a_frame_for_another_tenants_mac_address_that_is_answered_is_found() {
    let lab = three_hosts().await;
    quiet_patch(&lab);
    let (container, asker) = (mac_of(&lab, "202", "eth0"), mac_of(&lab, "h1", "br-acme"));
    assert_eq!(told(&knowing(&lab, "h1").await), "");
    let flow = format!("priority=9,dl_dst={container},actions=output:px");
    lab.run("h2", &["ovs-ofctl", "add-flow", "br-acme", &flow]);
    let found = knowing(&lab, "h1").await;
    let words = ["an answer to tenant acme comes by the network of tenant globex"];
    finds(&found, Check::ProbeForeignFrame, Severity::Breach, "acme+globex", &words);
    // And back by the same way.
    let flow = format!("priority=9,in_port=veth202.0,dl_dst={asker},actions=output:py");
    lab.run("h2", &["ovs-ofctl", "add-flow", "br-globex", &flow]);
    let found = knowing(&lab, "h1").await;
    let words = [format!("MAC address {container}"), "is answered in tenant acme".to_owned()];
    let words = words.each_ref().map(String::as_str);
    finds(&found, Check::ProbeForeignAnswer, Severity::Breach, "acme+globex", &words);
}

/// One container's frames get into another tenant's network, and nobody else's do: no question shows it.
#[tokio::test]
async fn a_foreign_frame_is_found_where_it_arrives() {
    let lab = three_hosts().await;
    quiet_patch(&lab);
    let flow = "priority=9,arp,in_port=veth202.0,actions=NORMAL,output:py";
    lab.run("h2", &["ovs-ofctl", "add-flow", "br-globex", flow]);
    let _asking = Asking::start(&lab, "202", "eth0", "192.168.7.12");
    let foreign = mac_of(&lab, "202", "eth0");
    for on in ["h1", "h2"] {
        let found = knowing(&lab, on).await;
        let words = [foreign.as_str(), "is tenant globex's, is in tenant acme"];
        finds(&found, Check::ProbeForeignFrame, Severity::Breach, "acme+globex", &words);
    }
}

/// Somebody sends with the tenant's key to a machine that is no host of the mesh, and from there.
#[tokio::test]
async fn a_strangers_tunnel_is_found_from_the_wire() {
    let lab = three_hosts().await;
    let underlay = if datapath() == Datapath::System { "eth0" } else { "br-phy" };
    lab.run("h3", &["ip", "address", "add", "10.0.1.14/24", "dev", underlay]);
    lab.add_bridge("h3", "br-other");
    let options = "options:remote_ip=10.0.1.11 options:local_ip=10.0.1.14 options:key=7";
    lab.vsctl("h3", &format!("add-port br-other g7 -- set Interface g7 type=gre {options}"));
    lab.run("h3", &["ip", "link", "set", "br-other", "up"]);
    lab.run("h3", &["ip", "address", "add", "192.168.7.98/24", "dev", "br-other"]);
    let _asking = Asking::start(&lab, "h3", "br-other", "192.168.7.98");
    let found = knowing(&lab, "h1").await;
    finds(&found, Check::ProbeWire, Severity::Breach, "acme", &["come from 10.0.1.14 with key 7"]);
    assert_eq!(found.len(), 1, "{}", told(&found));
    // Where somebody else on this host has such a tunnel, it may be his.
    lab.add_bridge("h1", "br-other");
    lab.vsctl(
        "h1",
        "add-port br-other gx -- set Interface gx type=gre options:remote_ip=10.0.1.14 options:key=7",
    );
    assert_eq!(told(&knowing(&lab, "h1").await), "");
}
