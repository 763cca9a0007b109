//! A sync converges from wherever it starts, touches nothing of others, and many may run at once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::Duration;

use ovs_mesh::{HostName, Plan, Snapshot, Topology};
use ovsmesh_tests::{TestLab, host, ovsmesh, simple};

/// Each bridge of the mesh's on the switch, with its tunnels' names; every one of them protected.
fn bridges(snapshot: &Snapshot, mesh: &ovs_mesh::MeshName) -> BTreeMap<String, BTreeSet<String>> {
    let owned = snapshot.bridges.values().filter(|row| row.is_owned_by(mesh));
    owned
        .map(|row| {
            let ports = row.ports.iter().map(|uuid| &snapshot.ports[uuid]);
            let tunnels = ports.filter(|port| {
                let tunnel = snapshot.only_interface(port).is_some_and(ovs_mesh::InterfaceRow::is_tunnel);
                assert!(!tunnel || port.protected, "{} is not protected", port.name);
                tunnel
            });
            (row.name.clone(), tunnels.map(|port| port.name.clone()).collect())
        })
        .collect()
}

fn planned(topology: &Topology, host: &HostName) -> BTreeMap<String, BTreeSet<String>> {
    let plan = Plan::new(topology, host).unwrap();
    let names =
        |bridge: &ovs_mesh::Bridge| bridge.tunnels.iter().map(|tunnel| tunnel.port.to_string()).collect();
    plan.bridges.iter().map(|bridge| (bridge.name.to_string(), names(bridge))).collect()
}

/// The lab's mesh with other tenants.
fn variant(lab: &TestLab, tenants: &[(&str, u32)]) -> Topology {
    let hosts = lab.mesh.topology().hosts().len();
    simple(hosts, tenants, false).copied_as(lab.mesh.name().clone(), ovsmesh_tests::datapath())
}

fn file(topology: &Topology) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), topology.to_toml()).unwrap();
    file
}

#[tokio::test]
async fn a_second_sync_writes_nothing() {
    let lab = TestLab::up(simple(3, &[("acme", 7), ("globex", 8)], false)).await;
    let before = lab.snapshot("h1").await;
    let said = lab.run("h1", &["ovsmesh", "sync"]);
    assert!(said.ends_with("converged, nothing to change\n"), "{said}");
    assert_eq!(lab.snapshot("h1").await, before);
}

#[tokio::test]
async fn fifty_syncs_at_once_leave_one_mesh() {
    let lab = TestLab::up(simple(5, &[], false)).await;
    let topology = variant(&lab, &[("acme", 7), ("globex", 8), ("initech", 9)]);
    let config = file(&topology);
    let config = config.path().to_str().unwrap();
    let syncs: Vec<_> = (0..50)
        .map(|_| lab.command("h1", &["ovsmesh", "--config", config, "--timeout", "60s", "sync"]))
        .collect();
    for sync in syncs {
        let output = sync.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let snapshot = lab.snapshot("h1").await;
    assert_eq!(bridges(&snapshot, lab.mesh.name()), planned(&topology, &host("h1")));
    assert!(lab.run("h1", &["ovsmesh", "--config", config, "status"]).contains("gateway"));
}

/// SIGKILL at random moments: the database is at a whole state each time, and one more sync finishes the job.
#[tokio::test]
async fn killed_at_any_moment_the_next_sync_converges() {
    let lab = TestLab::up(simple(6, &[], false)).await;
    let topologies = [
        variant(&lab, &[("acme", 7), ("globex", 8), ("initech", 9)]),
        // The keys change hands: removal and addition are two steps.
        variant(&lab, &[("acme", 8), ("globex", 7), ("hooli", 10)]),
    ];
    let files = [file(&topologies[0]), file(&topologies[1])];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut killed = 0;
    for round in 0..100 {
        let config = files[round % 2].path().to_str().unwrap().to_owned();
        let mut sync = lab.command("h1", &["ovsmesh", "--config", &config, "sync"]);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 60_000));
        let _ = sync.kill();
        killed += usize::from(!sync.wait().unwrap().success());
        // What is there of a bridge is one topology's, whole; what is gone may be on its way to the other's.
        let found = bridges(&lab.snapshot("h1").await, lab.mesh.name());
        let plans = [planned(&topologies[0], &host("h1")), planned(&topologies[1], &host("h1"))];
        for (bridge, tunnels) in &found {
            let whole = plans.iter().any(|plan| plan.get(bridge) == Some(tunnels));
            assert!(whole || tunnels.is_empty(), "round {round}: {bridge} has half a mesh: {tunnels:?}");
        }
    }
    assert!(killed >= 30, "only {killed} of 100 syncs were killed before their end");
    for (config, topology) in files.iter().zip(&topologies) {
        lab.run("h1", &["ovsmesh", "--config", config.path().to_str().unwrap(), "sync"]);
        let snapshot = lab.snapshot("h1").await;
        assert_eq!(bridges(&snapshot, lab.mesh.name()), planned(topology, &host("h1")));
    }
}

/// Hosts and tenants that left the file lose their rows; what belongs to others stays.
#[tokio::test]
async fn what_left_the_file_goes_and_what_is_others_stays() {
    let lab = TestLab::up(simple(3, &[("acme", 7), ("globex", 8)], false)).await;
    lab.add_bridge("h1", "br-int");
    lab.vsctl(
        "h1",
        "add-port br-int vx1 -- set Interface vx1 type=vxlan options:remote_ip=10.0.1.12 options:key=7",
    );
    lab.vsctl("h1", "add-port br-globex alien0 -- set Interface alien0 type=internal");
    let before = lab.snapshot("h1").await;
    let report = lab.mesh.sync_host(&variant(&lab, &[("acme", 7)]), &host("h1")).await.unwrap();
    assert_eq!(report.kept.iter().map(|kept| kept.bridge.as_str()).collect::<Vec<_>>(), ["br-globex"]);
    let after = lab.snapshot("h1").await;
    let others = |snapshot: &Snapshot| -> BTreeSet<String> {
        let ports = snapshot.ports.values().filter(|port| !port.is_owned_by(lab.mesh.name()));
        ports.map(|port| format!("{port:?}")).collect()
    };
    assert_eq!(others(&before), others(&after));
    assert!(!after.ports.values().any(|port| port.tenant() == Some("globex")), "globex still has ports");
    assert!(!lab.run("h1", &["ip", "netns", "list"]).contains(&format!("{}-h1-globex", lab.mesh.name())));
    lab.vsctl("h1", "del-port alien0");
    let report = lab.mesh.sync_host(&variant(&lab, &[("acme", 7)]), &host("h1")).await.unwrap();
    assert_eq!(report.changes.len(), 1, "{report:?}");
    assert!(!lab.vsctl("h1", "list-br").contains("br-globex"));
    assert!(lab.vsctl("h1", "list-br").contains("br-int"));
}

#[tokio::test]
async fn a_gateway_is_mended_whatever_happened_to_it() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let netns = format!("{}-h1-acme", lab.mesh.name());
    let device = lab
        .vsctl("h1", "list-ports br-acme")
        .lines()
        .find(|port| port.starts_with("gw-"))
        .unwrap()
        .to_owned();
    for harm in [
        format!("ip netns delete {netns}"),
        format!("ip link delete {device}"),
        format!("ip -n {netns} address flush dev eth0"),
        format!("ip -n {netns} link set eth0 mtu 1400"),
        format!("ip link set {device} down"),
        format!("ovs-vsctl del-port {device}"),
    ] {
        lab.run("h1", &harm.split(' ').collect::<Vec<_>>());
        let status = lab.output("h1", &["ovsmesh", "status"]);
        assert_eq!(status.status.code(), Some(3), "after {harm}: {status:?}");
        lab.run("h1", &["ovsmesh", "sync"]);
        assert!(lab.pings("h1/acme", "192.168.7.12", 1458), "after {harm}");
        assert!(lab.run("h1", &["ovsmesh", "sync"]).ends_with("nothing to change\n"), "after {harm}");
    }
}

/// Gateways of a topology that the lab was not made with, and one whose maker was killed at once, go with the lab.
#[tokio::test]
async fn a_lab_takes_later_gateways_along() {
    let name = {
        let lab = TestLab::up(simple(2, &[], false)).await;
        lab.mesh.sync_host(&variant(&lab, &[("acme", 7)]), &host("h1")).await.unwrap();
        lab.run("h1", &["ip", "netns", "add", &format!("{}-h1-begun", lab.mesh.name())]);
        lab.run("h1", &["ip", "netns", "add", &format!("{}x-h1-other", lab.mesh.name())]);
        lab.mesh.name().to_string()
    };
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.contains(&format!("{name}-")), "{left}");
    assert!(left.contains(&format!("{name}x-h1-other")), "somebody else's namespace is gone: {left}");
    assert!(
        Command::new("ip").args(["netns", "del", &format!("{name}x-h1-other")]).status().unwrap().success()
    );
}

/// Two labs of the same hosts stand side by side; a name can be taken once; down works twice.
#[tokio::test]
async fn labs_stand_side_by_side_and_go_without_a_trace() {
    let names = [ovsmesh_tests::unique_name().to_string(), ovsmesh_tests::unique_name().to_string()];
    let call = |words: &[&str]| Command::new(ovsmesh()).args(words).stdin(Stdio::null()).output().unwrap();
    for name in &names {
        let up = call(&["lab", "up", "--name", name]);
        assert!(up.status.success(), "{up:?}");
    }
    let again = call(&["lab", "up", "--name", &names[0]]);
    assert!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is up already"),
        "{again:?}"
    );
    assert_eq!(call(&["lab", "status", "--name", &names[0]]).status.code(), Some(0));
    let ping = ["lab", "exec", "--name", &names[1], "101", "--", "ping", "-q", "-c1", "-W2", "192.168.10.12"];
    assert!(call(&ping).status.success());
    assert_eq!(
        call(&["lab", "exec", "--name", &names[0], "proxy1", "--", "sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    let unknown = call(&["lab", "exec", "--name", &names[0], "nobody", "--", "true"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("redis1"), "{unknown:?}");
    for name in [&names[0], &names[0], &names[1]] {
        assert!(call(&["lab", "down", "--name", name]).status.success());
    }
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!names.iter().any(|name| left.contains(name.as_str())), "{left}");
}
