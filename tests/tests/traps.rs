//! What Open vSwitch does to those who do not know it (the numbers are those of the list that the design keeps).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ovs_mesh::{Chain, State, Topology, status, sync};
use ovsmesh_tests::{TestLab, host, simple};

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn variant(lab: &TestLab, tenants: &[(&str, u32)]) -> Topology {
    let hosts = lab.mesh.topology().hosts().len();
    simple(hosts, tenants, false).copied_as(lab.mesh.name().clone(), ovsmesh_tests::datapath())
}

/// Trap 2: in one transaction a tuple under a new name fails with `File exists`; a sync takes two steps.
#[tokio::test]
async fn a_tuple_changes_hands() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    // The trap itself, with a tunnel of nobody's.
    let tunnel = "type=gre options:remote_ip=10.0.1.12 options:local_ip=10.0.1.11 options:key=99";
    lab.add_bridge("h1", "br-x");
    lab.vsctl("h1", &format!("add-port br-x one -- set Interface one {tunnel}"));
    lab.vsctl("h1", &format!("del-port br-x one -- add-port br-x two -- set Interface two {tunnel}"));
    let error = lab.vsctl("h1", "get Interface two error");
    assert!(error.contains("File exists"), "OVS has no such trap any more: {error}");
    // The key moves to another tenant, on another bridge.
    let report = lab.mesh.sync_host(&variant(&lab, &[("globex", 7)]), &host("h1")).await.unwrap();
    assert!(report.transactions >= 2, "{report:?}");
    let listed = lab.run("h1", &["ovs-appctl", "ofproto/list-tunnels"]);
    assert!(listed.contains("key=0x7"), "{listed}");
}

/// Traps 3 and 5: an equal tuple of somebody else's is refused by name, however its key is written, and nothing is changed;
/// where it comes to be later, `status` says whose it is. (A tunnel that is not listed: the test of `status` itself.)
#[tokio::test]
async fn an_equal_tuple_is_refused_and_a_missing_tunnel_seen() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    lab.add_bridge("h1", "br-x");
    lab.vsctl("h1", "add-port br-x theirs -- set Interface theirs type=gre options:remote_ip=10.0.1.12 options:local_ip=10.0.1.11 options:key=8");
    lab.vsctl("h1", "set Port theirs external_ids:agent=other");
    // Key 8, as vswitchd reads it.
    for key in ["8", "010", "0x8", "4294967304"] {
        lab.vsctl("h1", &format!("set Interface theirs options:key={key}"));
        let before = lab.snapshot("h1").await;
        let topology = variant(&lab, &[("acme", 7), ("globex", 8)]);
        let error = lab.mesh.sync_host(&topology, &host("h1")).await.unwrap_err();
        let told = Chain(&error).to_string();
        assert!(told.contains("theirs") && told.contains("br-x") && told.contains("agent=other"), "{told}");
        assert_eq!(lab.snapshot("h1").await, before, "something was changed");
    }
    // Editing theirs into ours gives a valid ofport and no error; ours or theirs is missing from the list.
    lab.vsctl("h1", "set Interface theirs options:key=7");
    let said = lab.output("h1", &["ovsmesh", "status"]);
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    assert!(text(&said).contains("theirs"), "{said:?}");
    lab.vsctl("h1", "del-br br-x");
    lab.run("h1", &["ovsmesh", "sync"]);
}

/// Trap 4: keys that vswitchd reads as something else are seen and mended, in canonical decimal.
#[tokio::test]
async fn keys_are_canonical() {
    let lab = TestLab::up(simple(2, &[("acme", 10)], false)).await;
    let port = lab
        .vsctl("h1", "list-ports br-acme")
        .lines()
        .find(|port| port.starts_with("gre-"))
        .unwrap()
        .to_owned();
    for wrong in ["012", "0xa", "4294967306", "abc", "11"] {
        lab.vsctl("h1", &format!("set Interface {port} options:key={wrong}"));
        assert_eq!(lab.output("h1", &["ovsmesh", "sync", "--dry-run"]).status.code(), Some(3), "{wrong}");
        lab.run("h1", &["ovsmesh", "sync"]);
        assert_eq!(lab.vsctl("h1", &format!("get Interface {port} options:key")).trim(), "\"10\"");
        assert!(lab.pings("101", "192.168.7.12", 1458), "after key {wrong}");
    }
}

/// Trap 6: `cur_cfg` advances although a port failed; the failure shows, in OVS's own words.
#[tokio::test]
async fn a_port_that_failed_is_not_taken_for_applied() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let switch = lab.mesh.switch(&host("h1")).await.unwrap();
    let plan = ovs_mesh::Plan::new(lab.mesh.topology(), &host("h1")).unwrap();
    // `ovs-vsctl` waits for `cur_cfg`, exits 0 and is content.
    let ids = format!("external_ids:ovsmesh-mesh={} external_ids:ovsmesh-tenant=acme", lab.mesh.name());
    lab.vsctl("h1", &format!("add-port br-acme lo -- set Port lo {ids}"));
    let found = status(&switch, &plan).await.unwrap();
    let object = found.objects.into_iter().find(|object| object.name == "lo").unwrap();
    let State::Failing { reason } = object.state else { panic!("{object:?}") };
    assert!(reason.contains("could not add network device lo"), "{reason}");
    assert_eq!(lab.output("h1", &["ovsmesh", "status"]).status.code(), Some(6));
}

/// Trap 7: without ovs-vswitchd nothing hangs: 'committed, not applied', within the deadline.
#[tokio::test]
async fn without_vswitchd_a_sync_ends_in_time() {
    let lab = TestLab::up(simple(2, &[], false)).await;
    let topology = variant(&lab, &[("acme", 7)]);
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), topology.to_toml()).unwrap();
    let config = config.path().to_str().unwrap();
    let dir = lab.mesh.lab().plan().host(&host("h1")).unwrap().dir.clone();
    let pid =
        |daemon: &str| std::fs::read_to_string(dir.join(format!("{daemon}.pid"))).unwrap().trim().to_owned();
    lab.run("h1", &["kill", "-STOP", &pid("ovs-vswitchd")]);
    let started = Instant::now();
    let output = lab.output("h1", &["ovsmesh", "--config", config, "--timeout", "1s", "sync"]);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(text(&output).contains("committed, not applied"), "{output:?}");
    lab.run("h1", &["kill", "-CONT", &pid("ovs-vswitchd")]);
    lab.run("h1", &["ovsmesh", "--config", config, "sync"]);
    // ovsdb-server that does not answer, and none at all.
    lab.run("h1", &["kill", "-STOP", &pid("ovsdb-server")]);
    let started = Instant::now();
    let output = lab.output("h1", &["ovsmesh", "--config", config, "--timeout", "1s", "sync"]);
    lab.run("h1", &["kill", "-CONT", &pid("ovsdb-server")]);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let output =
        lab.output("h1", &["ovsmesh", "--config", config, "--db", "unix:/nonexistent/db.sock", "sync"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

/// Trap 8: a removal of many ports is cut into steps, so that ovs-vswitchd serves others in between.
#[tokio::test]
async fn many_removals_let_others_in_between() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let mut text = lab.mesh.topology().to_toml();
    for host in 0..2600 {
        let _ = writeln!(
            text,
            "[[host]]\nname = \"x{host}\"\nunderlay_ip = \"10.9.{}.{}\"",
            host / 250,
            host % 250 + 1
        );
    }
    let many = text.replace("hosts = [\"h1\", \"h2\"]", "");
    let many: Topology = many.parse().unwrap_or_else(|error| panic!("{error}"));
    let h1 = host("h1");
    assert_eq!(lab.mesh.sync_host(&many, &h1).await.unwrap().changes.len(), 2600);
    let before = lab.snapshot("h1").await.ports.len();
    let report = lab.mesh.sync_host(lab.mesh.topology(), &h1).await.unwrap();
    let steps = 2600_usize.div_ceil(ovs_mesh::removals_at_once(before));
    assert!(steps >= 2, "removals_at_once({before}) leaves one step");
    assert!(report.transactions as usize >= steps, "{} transactions", report.transactions);
    assert_eq!(lab.run("h1", &["ovs-appctl", "ofproto/list-tunnels"]).lines().count(), 1);
    assert!(lab.pings("101", "192.168.7.12", 1458));
}

/// Trap 11: the userspace datapath needs the underlay address on a bridge of its own kind; otherwise one is told.
#[tokio::test]
async fn an_underlay_beside_the_datapath_is_told() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let switch = lab.mesh.switch(&host("h1")).await.unwrap();
    let plan = ovs_mesh::Plan::new(lab.mesh.topology(), &host("h1")).unwrap();
    assert_eq!(sync(&switch, &plan, &()).await.unwrap().warnings, Vec::<String>::new());
    lab.vsctl("h1", "del-br br-phy");
    lab.run("h1", &["ip", "address", "add", "10.0.1.11/24", "dev", "eth0"]);
    lab.run("h1", &["ip", "link", "set", "eth0", "up"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let warnings = status(&switch, &plan).await.unwrap().warnings;
        if warnings.iter().any(|text| text.contains("native tunnel routing will fail: h2")) {
            break;
        }
        assert!(Instant::now() < deadline, "{warnings:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Traps 15 and 16: MTU on every device of a tenant's, room for large MAC tables, and `local_ip` for multi-homed hosts.
#[tokio::test]
async fn mtu_mac_table_and_local_address_are_set() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    for place in ["101", "h1/acme"] {
        assert!(lab.run(place, &["ip", "link", "show", "eth0"]).contains("mtu 1458"), "{place}");
    }
    for device in lab.vsctl("h1", "list-ports br-acme").lines().filter(|name| !name.starts_with("gre-")) {
        assert!(lab.run("h1", &["ip", "link", "show", device]).contains("mtu 1458"), "{device}");
    }
    assert!(lab.run("h1", &["ip", "link", "show", "br-acme"]).contains("mtu 1458"));
    let table = lab.run("h1", &["ovs-appctl", "fdb/stats-show", "br-acme"]);
    assert!(table.contains("65536"), "{table}");
    assert!(lab.vsctl("h1", "find Interface type=gre").contains("local_ip=\"10.0.1.11\""));
}

/// Trap 17: internal ports die with ovs-vswitchd; a gateway's veth pair does not.
#[tokio::test]
async fn a_gateway_survives_vswitchd() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    assert!(lab.pings("h2", "10.0.1.11", 100) && lab.pings("h1/acme", "192.168.7.12", 1458));
    let dir = lab.mesh.lab().plan().host(&host("h1")).unwrap().dir.clone();
    let pid = std::fs::read_to_string(dir.join("ovs-vswitchd.pid")).unwrap();
    lab.run("h1", &["kill", "-KILL", pid.trim()]);
    let gone = Instant::now() + Duration::from_secs(10);
    while std::path::Path::new(&format!("/proc/{}", pid.trim())).exists() {
        assert!(Instant::now() < gone, "ovs-vswitchd is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(lab.run("h1/acme", &["ip", "address", "show", "eth0"]).contains("192.168.7.1/24"));
    let (dir, db) = (dir.display(), format!("unix:{}/db.sock", dir.display()));
    let pidfile = format!("--pidfile={dir}/ovs-vswitchd.pid");
    let log = format!("--log-file={dir}/ovs-vswitchd.log");
    lab.run(
        "h1",
        &["ovs-vswitchd", &db, &pidfile, &log, "--detach", "--no-chdir", "-vsyslog:off", "-vconsole:off"],
    );
    // br-phy is such an internal port: its address is the host's business.
    lab.run("h1", &["ip", "address", "replace", "10.0.1.11/24", "dev", "br-phy"]);
    lab.run("h1", &["ip", "link", "set", "br-phy", "up"]);
    lab.run("h1", &["ovsmesh", "sync"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !lab.pings("h1/acme", "192.168.7.12", 1458) {
        assert!(Instant::now() < deadline, "no ping after the restart");
    }
}
