//! Attached interfaces follow their devices and their tenants, whatever happened meanwhile.

use std::time::Duration;

use ovs_mesh::{Datapath, Topology};
use ovsmesh_tests::{TestLab, host, ovsmesh, simple};

/// Makes a container's pair of devices anew, as a restart does that told nobody.
fn restart(lab: &TestLab, ctid: &str, address: &str) {
    let netns = format!("{}-ct{ctid}", lab.mesh.name());
    let device = format!("veth{ctid}.0");
    let script = format!(
        "ip link delete {device}
         ip link add {device} type veth peer name eth0 mtu 1458 netns {netns}
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
    lab.run("h1", &["ip", "link", "set", "veth101.0", "mtu", "1458", "up"]);
    let trapped = !lab.pings("101", "192.168.7.12", 100);
    assert!(
        trapped || lab.mesh.topology().datapath() == Datapath::System,
        "Open vSwitch has no such trap any more"
    );
    lab.run("h1", &["ip", "link", "set", "veth101.0", "mtu", "1500", "down"]);
    let status = lab.output("h1", &["ovsmesh", "status"]);
    assert_eq!(status.status.code(), Some(3), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("its device was made anew"), "{status:?}");
    lab.run("h1", &["ovsmesh", "sync"]);
    // The container still waits for the answers to what it asked in vain.
    lab.run("101", &["ip", "neigh", "flush", "all"]);
    assert!(lab.pings("101", "192.168.7.12", 1458));
    assert!(lab.run("h1", &["ip", "link", "show", "veth101.0"]).contains("mtu 1458"));
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

/// From another network namespace the devices cannot be seen: nothing is taken for gone.
#[tokio::test]
async fn devices_that_cannot_be_seen_are_not_gone() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let db = format!("unix:{}", lab.mesh.lab().plan().host(&host("h2")).unwrap().db_socket().display());
    let config = lab.mesh.lab().topology_path();
    let output = std::process::Command::new(ovsmesh())
        .args(["--host", "h2", "--db", &db, "--config", config.to_str().unwrap(), "sync", "--dry-run"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// On the userspace datapath the kernel sees what comes in by a container's veth as well: it must not answer for the host,
/// nor route into the underlay, where a packet can be made up that looks like another tenant's.
#[tokio::test]
async fn a_container_does_not_reach_the_host_behind_its_veth() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let inside = lab.run("h1", &["cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(inside.trim(), "0");
    lab.run("h1", &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    let shown = lab.run("h1", &["ip", "-o", "link", "show", "veth101.0"]);
    let mac = shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let script = format!(
        "ip route add 10.0.1.0/24 dev eth0
         ip neigh replace 10.0.1.12 lladdr {mac} dev eth0 nud permanent
         ip neigh replace 10.0.1.11 lladdr {mac} dev eth0 nud permanent"
    );
    lab.run("101", &["sh", "-ec", &script]);
    // ARP for the host's own address, its address itself, its link-local one, and a way through it.
    let arping = ["arping", "-q", "-c2", "-w1", "-I", "eth0", "10.0.1.11"];
    assert!(!lab.output("101", &arping).status.success(), "the host answers ARP for its underlay address");
    assert!(!lab.pings("101", "10.0.1.11", 100), "the host answers on its underlay address");
    let link_local = lab.run("h1", &["ip", "-6", "-o", "address", "show", "dev", "veth101.0"]);
    let userspace = lab.mesh.topology().datapath() == Datapath::Netdev;
    assert!(!userspace || link_local.is_empty(), "the host has a link-local address towards the container");
    let seen = |lab: &TestLab| {
        let tcpdump = lab.command(
            "underlay",
            &["timeout", "3", "tcpdump", "-c1", "-nn", "-i", "underlay", "icmp and src 192.168.7.11"],
        );
        std::thread::sleep(Duration::from_millis(500));
        lab.pings("101", "10.0.1.12", 100);
        tcpdump.wait_with_output().unwrap().status.success()
    };
    assert!(!seen(&lab), "the host routes from a tenant into the underlay");
    if userspace {
        let open = "for device in all veth101.0; do echo 0 > /proc/sys/net/ipv4/conf/$device/rp_filter; done
                    echo 1 > /proc/sys/net/ipv4/conf/veth101.0/forwarding";
        lab.run("h1", &["sh", "-ec", open]);
        assert!(seen(&lab), "nothing is routed without the care taken either: this test shows nothing");
    }
}

/// A topology that has given a bridge to another tenant, and no sync yet: a container does not join what is still on it.
#[tokio::test]
async fn no_container_joins_a_bridge_that_still_carries_another_tenant() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let config = lab.mesh.lab().topology_path();
    let text = lab.mesh.topology().to_toml().replace("name = \"acme\"", "name = \"globex\"");
    std::fs::write(&config, text.replace("key = 7", "key = 8")).unwrap();
    lab.run("h1", &["ip", "link", "add", "veth900.0", "type", "veth", "peer", "name", "in900"]);
    let output = lab.output("h1", &["ovsmesh", "attach", "veth900.0", "--tenant", "globex"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("still carries `acme`: run `ovsmesh sync`"),
        "{output:?}"
    );
    assert_eq!(row(&lab, "veth900.0"), "");
    lab.run("h1", &["ovsmesh", "sync"]);
    lab.run("h1", &["ovsmesh", "attach", "veth900.0", "--tenant", "globex"]);
}
