//! Attached interfaces follow their devices and their tenants, whatever happened meanwhile.

use ovs_mesh::Topology;
use ovsmesh_tests::{TestLab, host, simple};

/// Makes a container's pair of devices anew, as a restart does that told nobody.
fn restart(lab: &TestLab, ctid: &str, address: &str) {
    let netns = format!("{}-ct{ctid}", lab.mesh.name());
    let device = format!("veth{ctid}.0");
    let script = format!(
        "ip link delete {device}
         ip link add {device} mtu 1458 type veth peer name eth0 mtu 1458 netns {netns}
         ip link set {device} up
         ip -n {netns} link set eth0 up
         ip -n {netns} address add {address}/24 dev eth0"
    );
    lab.run("h1", &["sh", "-ec", &script]);
}

fn row(lab: &TestLab, device: &str) -> String {
    lab.vsctl("h1", &format!("--bare --columns=_uuid find Port name={device}")).trim().to_owned()
}

/// Trap 9: under its old row a device that was made anew has its link up, no error, and passes no packets. `status` says
/// so, and a sync mends it without the row ever being gone.
#[tokio::test]
async fn a_device_made_anew_under_its_row_is_seen_and_mended() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    assert!(lab.pings("101", "192.168.7.12", 1458));
    let before = row(&lab, "veth101.0");
    restart(&lab, "101", "192.168.7.11");
    assert!(!lab.pings("101", "192.168.7.12", 100), "Open vSwitch has no such trap any more");
    let status = lab.output("h1", &["ovsmesh", "status"]);
    assert_eq!(status.status.code(), Some(3), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("its device was made anew"), "{status:?}");
    lab.run("h1", &["ovsmesh", "sync"]);
    // The container still waits for the answers to what it asked in vain.
    lab.run("101", &["ip", "neigh", "flush", "all"]);
    assert!(lab.pings("101", "192.168.7.12", 1458));
    assert_eq!(row(&lab, "veth101.0"), before);
    assert!(lab.run("h1", &["ovsmesh", "sync"]).ends_with("nothing to change\n"));
}

/// A row whose device is gone goes with the next sync; rows of others without a device stay.
#[tokio::test]
async fn a_row_without_its_device_goes_and_a_strangers_stays() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    lab.vsctl("h1", "add-port br-acme stranger0");
    lab.run("h1", &["ip", "link", "delete", "veth101.0"]);
    let status = lab.output("h1", &["ovsmesh", "status"]);
    assert_eq!(status.status.code(), Some(3), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("its device is gone"), "{status:?}");
    lab.run("h1", &["ovsmesh", "sync"]);
    assert_eq!(row(&lab, "veth101.0"), "");
    assert!(!row(&lab, "stranger0").is_empty());
}

/// A tenant whose bridge is renamed takes its containers along; one whose row says another tenant goes to that one's bridge.
#[tokio::test]
async fn containers_follow_their_tenants_bridge() {
    let lab = TestLab::up(simple(2, &[("acme", 7), ("globex", 8)], false)).await;
    let text = lab.mesh.topology().to_toml().replace("bridge = \"br-acme\"", "bridge = \"br-new\"");
    let renamed: Topology = text.parse().unwrap();
    let renamed = renamed.copied_as(lab.mesh.name().clone(), ovsmesh_tests::datapath());
    for name in ["h1", "h2"] {
        lab.mesh.sync_host(&renamed, &host(name)).await.unwrap();
        assert!(!lab.vsctl(name, "list-br").contains("br-acme"), "the old bridge is still there");
        assert!(
            lab.vsctl(name, "list-ports br-new").contains("veth10"),
            "its container is not on the new one"
        );
    }
    assert!(lab.pings("101", "192.168.7.12", 1458), "acme is cut after its bridge was renamed");
    lab.vsctl("h1", "set Port veth201.0 external_ids:ovsmesh-tenant=acme external_ids:ovsmesh-ctid=999");
    lab.mesh.sync_host(&renamed, &host("h1")).await.unwrap();
    assert!(lab.vsctl("h1", "list-ports br-new").contains("veth201.0"));
    assert!(lab.pings("201", "192.168.7.12", 1458), "what was moved to acme does not reach it");
}
