//! The hook through vzctl's calling sequence, on real Open vSwitch: after every step packets pass, or the error is the
//! documented one; at the end nothing is left.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use ovs_mesh::Topology;
use ovsmesh_tests::vzctl::{Nic, Vzctl};
use ovsmesh_tests::{TestLab, host, ovsmesh, simple};

fn nic(number: u8, bridge: Option<&'static str>, address: &str) -> Nic {
    let last = address.rsplit('.').next().unwrap().parse::<u8>().unwrap();
    let mac = format!("02:00:00:00:{number:02x}:{last:02x}");
    Nic { number, bridge, mac, address: address.to_owned() }
}

fn said(output: &Output) -> String {
    format!(
        "{:?}: {}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn rows(lab: &TestLab, on: &str) -> Vec<String> {
    let all = lab.vsctl(on, "--bare --columns=name find Port other_config:transient=true");
    all.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn two_hosts() -> TestLab {
    TestLab::up(simple(2, &[("acme", 7), ("globex", 8)], false)).await
}

/// Start, stop without a call, restart, a stale row on the wrong bridge, restore.
#[tokio::test]
async fn a_container_starts_stops_and_starts_again() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    let eth0 = [nic(0, Some("br-acme"), "192.168.7.11")];
    vzctl.stop("101");
    for round in 0..3 {
        // The row of the round before is still there: nobody was told of the stop.
        assert!(rows(&lab, "h1").contains(&"veth101.0".to_owned()), "round {round}");
        vzctl.configure("101", &eth0);
        vzctl.start("101", &eth0).unwrap_or_else(|output| panic!("{}", said(&output)));
        assert!(lab.pings("101", "192.168.7.12", 1458), "round {round}: started, but no packets pass");
        vzctl.stop("101");
    }
    let holder = |device: &str| lab.vsctl("h1", &format!("port-to-br {device}")).trim().to_owned();
    lab.vsctl("h1", "del-port veth101.0 -- add-port br-globex veth101.0");
    let ids = format!("external_ids:ovsmesh-mesh={} external_ids:ovsmesh-tenant=globex", lab.mesh.name());
    lab.vsctl("h1", &format!("set Port veth101.0 {ids}"));
    vzctl.start("101", &eth0).unwrap_or_else(|output| panic!("{}", said(&output)));
    assert_eq!(holder("veth101.0"), "br-acme");
    assert!(lab.pings("101", "192.168.7.12", 1458), "no packets after the row was on another bridge");
    // A restore, or a call by hand: everything is there already.
    let before = lab.snapshot("h1").await.next_cfg;
    let again = vzctl.hook("101", &["init", "veth", "veth101.0"]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(lab.snapshot("h1").await.next_cfg, before, "a second call wrote something");
    assert!(lab.pings("101", "192.168.7.12", 1458));
    vzctl.stop("101");
    // As the umount script calls it, with the device gone.
    assert!(lab.run("h1", &["ovsmesh", "detach", "--ctid", "101"]).contains("veth101.0"));
    assert!(lab.run("h1", &["ovsmesh", "detach", "--ctid", "101"]).contains("no row"));
    assert_eq!(rows(&lab, "h1"), ["veth201.0"]);
}

/// One interface in the tenant, one on a Linux bridge outside the mesh; a third, hot-added before it is saved.
#[tokio::test]
async fn interfaces_go_where_each_belongs() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    let script = "ip link add vmbr0 type bridge
                  ip link set vmbr0 up
                  ip address add 172.16.0.1/24 dev vmbr0";
    lab.run("h1", &["sh", "-ec", script]);
    let nics = [nic(0, Some("br-acme"), "192.168.7.11"), nic(1, Some("vmbr0"), "172.16.0.2")];
    vzctl.stop("101");
    vzctl.configure("101", &nics);
    vzctl.start("101", &nics).unwrap_or_else(|output| panic!("{}", said(&output)));
    assert!(lab.pings("101", "192.168.7.12", 1458));
    assert!(lab.pings("101", "172.16.0.1", 1000), "the interface on the Linux bridge passes no packets");
    assert!(lab.run("h1", &["ip", "link", "show", "veth101.1"]).contains("master vmbr0"));
    assert!(!rows(&lab, "h1").contains(&"veth101.1".to_owned()));
    // Hot-added: the topology says where a container's interface goes of which nothing is written yet.
    let hot = nic(2, None, "192.168.7.21");
    vzctl.make("101", &hot);
    let output = vzctl.hook("101", &["init", "veth", "veth101.2"]);
    assert!(output.status.success(), "{}", said(&output));
    vzctl.boot("101", &hot);
    assert!(rows(&lab, "h1").contains(&"veth101.2".to_owned()));
    // OpenVZ 7: on a network by name, and off it.
    let addif = ["addif", "veth101.2", "br-acme"];
    let output = vzctl.hook_with("101", &addif, &[("NETWORK_TYPE", "bridge"), ("MAC", hot.mac.as_str())]);
    assert!(output.status.success(), "{}", said(&output));
    let output = vzctl.hook("101", &["delif", "veth101.2"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!rows(&lab, "h1").contains(&"veth101.2".to_owned()));
    // From the Linux bridge into the mesh: it leaves the one before it joins the other.
    lab.run("h1", &["ip", "link", "set", "veth101.2", "master", "vmbr0"]);
    let output = vzctl.hook("101", &["init", "veth", "veth101.2", "br-acme"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!lab.run("h1", &["ip", "link", "show", "veth101.2"]).contains("vmbr0"));
    vzctl.stop("101");
    lab.run("h1", &["ovsmesh", "sync"]);
    assert_eq!(rows(&lab, "h1"), ["veth201.0"]);
}

/// A configuration that names another tenant's bridge, one that names nothing that is known, a container of nobody's.
#[tokio::test]
async fn what_may_not_be_attached_is_refused_with_the_reason() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    vzctl.stop("101");
    lab.run("h1", &["ovsmesh", "sync"]);
    let other = [nic(0, Some("br-globex"), "192.168.7.11"), nic(1, Some("br-acme"), "192.168.7.31")];
    vzctl.configure("101", &other);
    let output = vzctl.start("101", &other).unwrap_err();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for word in ["101.conf:2", "br-globex", "globex", "acme"] {
        assert!(said(&output).contains(word), "{}", said(&output));
    }
    assert_eq!(rows(&lab, "h1"), ["veth201.0"], "the second interface was not skipped, or left a row");
    let unknown = [nic(0, Some("br-nobody"), "192.168.7.11")];
    vzctl.configure("101", &unknown);
    let output = vzctl.start("101", &unknown).unwrap_err();
    assert!(said(&output).contains("br-nobody"), "{}", said(&output));
    let odd = vzctl.hook("101", &["init", "tun", "x"]);
    assert_eq!(odd.status.code(), Some(2), "{}", said(&odd));
    let nowhere = vzctl.hook("4711", &["init", "veth", "veth4711.0"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", said(&nowhere));
    assert_eq!(rows(&lab, "h1"), ["veth201.0"]);
}

/// A container that the topology does not know: where its interfaces say, but never in two tenants, and on a Linux bridge
/// by the name of an OpenVZ 7 network.
#[tokio::test]
async fn a_container_that_nobody_placed_is_in_one_tenant() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    let script = "for n in 0 1 2; do ip link add veth900.$n type veth peer name in900.$n; done
                  ip link add br0 type bridge";
    lab.run("h1", &["sh", "-ec", script]);
    let first = vzctl.hook("900", &["init", "veth", "veth900.0", "br-acme"]);
    assert!(first.status.success(), "{}", said(&first));
    let second = vzctl.hook("900", &["init", "veth", "veth900.1", "br-globex"]);
    assert_eq!(second.status.code(), Some(1), "{}", said(&second));
    assert!(said(&second).contains("`veth900.0` is in tenant `acme`"), "{}", said(&second));
    let unknown = vzctl.hook("900", &["addif", "veth900.2", "Bridged"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
    let networks = lab.mesh.lab().vz_conf_dir().join("../../libvirt/qemu/networks");
    std::fs::create_dir_all(&networks).unwrap();
    let text = "<network><name>Bridged</name><bridge name='br0'/></network>";
    std::fs::write(networks.join("Bridged.xml"), text).unwrap();
    let known = vzctl.hook("900", &["addif", "veth900.2", "Bridged"]);
    assert!(known.status.success(), "{}", said(&known));
    assert!(lab.run("h1", &["ip", "link", "show", "veth900.2"]).contains("master br0"));
    assert!(!rows(&lab, "h1").iter().any(|port| port == "veth900.1" || port == "veth900.2"));
}

/// Nothing hangs and nothing is left while Open vSwitch is down, and the next sync attaches what started meanwhile.
#[tokio::test]
async fn without_open_vswitch_the_hook_fails_in_time_and_leaves_no_row() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    let eth0 = nic(0, Some("br-acme"), "192.168.7.11");
    vzctl.stop("101");
    lab.run("h1", &["ovsmesh", "sync"]);
    vzctl.make("101", &eth0);
    let dir = lab.mesh.lab().plan().host(&host("h1")).unwrap().dir.clone();
    let signal = |signal: &str, daemon: &str| {
        let pid = std::fs::read_to_string(dir.join(format!("{daemon}.pid"))).unwrap();
        lab.run("h1", &["kill", signal, pid.trim()]);
    };
    for (daemon, code, word) in [("ovs-vswitchd", 6, "taken back"), ("ovsdb-server", 5, "not answered")] {
        signal("-STOP", daemon);
        let started = Instant::now();
        let output = vzctl.hook_with("101", &["init", "veth", "veth101.0"], &[("OVSMESH_TIMEOUT", "1s")]);
        let took = started.elapsed();
        signal("-CONT", daemon);
        assert!(took < Duration::from_secs(2), "{daemon}: {took:?}");
        assert_eq!(output.status.code(), Some(code), "{daemon}: {}", said(&output));
        assert!(said(&output).contains(word), "{daemon}: {}", said(&output));
        assert_eq!(rows(&lab, "h1"), ["veth201.0"], "{daemon}: a row is left");
    }
    // vzctl would have killed the container. One that runs all the same, as after a failed hot-add, is attached by a sync.
    let dry = lab.output("h1", &["ovsmesh", "sync", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(3), "{}", said(&dry));
    let status = lab.output("h1", &["ovsmesh", "status"]);
    assert_eq!(status.status.code(), Some(3), "{}", said(&status));
    assert!(said(&status).contains("veth101.0        CTID 101, missing"), "{}", said(&status));
    assert!(
        lab.run("h1", &["ovsmesh", "sync"]).contains("+ port    br-acme veth101.0: tenant acme, CTID 101")
    );
    vzctl.boot("101", &eth0);
    assert!(lab.pings("101", "192.168.7.12", 1458));
    // Nobody listens at all.
    signal("-KILL", "ovs-vswitchd");
    signal("-KILL", "ovsdb-server");
    let output = vzctl.hook("101", &["init", "veth", "veth101.0"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
}

/// With its descriptors closed, called by its own name, by a path.
#[tokio::test]
async fn the_hook_needs_no_descriptors() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    vzctl.stop("101");
    vzctl.make("101", &nic(0, Some("br-acme"), "192.168.7.11"));
    let vznetcfg = lab.mesh.lab().plan().host(&host("h1")).unwrap().vznetcfg();
    let script = format!("VEID=101 exec {} init veth veth101.0 <&- >&- 2>&-", vznetcfg.display());
    let output = lab.output("h1", &["sh", "-c", &script]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(rows(&lab, "h1").contains(&"veth101.0".to_owned()));
}

/// A log daemon that does not read, and an output that takes nothing, hold up no container.
#[tokio::test]
async fn nobody_who_does_not_listen_holds_the_hook_up() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    vzctl.stop("101");
    vzctl.make("101", &nic(0, Some("br-acme"), "192.168.7.11"));
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let _deaf = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let full = std::os::unix::net::UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"x", &path).is_ok() {}
    let vznetcfg = lab.mesh.lab().plan().host(&host("h1")).unwrap().vznetcfg();
    let script = format!(
        "mount -t tmpfs none /dev
         mknod -m 666 /dev/null c 1 3
         mknod -m 666 /dev/full c 1 7
         ln -s {} /dev/log
         VEID=101 exec timeout 8 {} init veth veth101.0 > /dev/full",
        path.display(),
        vznetcfg.display()
    );
    let output = lab.output("h1", &["unshare", "--mount", "sh", "-ec", &script]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(rows(&lab, "h1").contains(&"veth101.0".to_owned()));
}

/// Two calls for one device, as a restore beside a start: both succeed, and the row stays.
#[tokio::test]
async fn two_hooks_for_one_device_do_not_defeat_each_other() {
    let lab = two_hosts().await;
    let vzctl = Vzctl::on(&lab, "h1");
    let eth0 = nic(0, Some("br-acme"), "192.168.7.11");
    let vznetcfg = lab.mesh.lab().plan().host(&host("h1")).unwrap().vznetcfg();
    for round in 0..8 {
        vzctl.stop("101");
        vzctl.make("101", &eth0);
        let call = ["env", "-i", "VEID=101", vznetcfg.to_str().unwrap(), "init", "veth", "veth101.0"];
        let calls: Vec<_> = (0..3).map(|_| lab.command("h1", &call)).collect();
        for call in calls {
            let output = call.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", said(&output));
        }
        assert!(rows(&lab, "h1").contains(&"veth101.0".to_owned()), "round {round}: the row is gone");
    }
    vzctl.boot("101", &eth0);
    assert!(lab.pings("101", "192.168.7.12", 1458));
}

/// Many at once lose nothing.
#[tokio::test]
async fn a_hundred_hooks_at_once_attach_a_hundred() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let ctids: Vec<u32> = (1001..=1100).collect();
    let placed = |ctid: &u32| {
        let ip = format!("192.168.7.{}", ctid - 1001 + 100);
        format!("[[tenant.containers]]\nctid = \"{ctid}\"\nhost = \"h1\"\nip = \"{ip}\"\n")
    };
    let placed: String = ctids.iter().map(placed).collect();
    let text = lab.mesh.topology().to_toml();
    let text = text.replacen("[[tenant.containers]]", &format!("{placed}[[tenant.containers]]"), 1);
    std::fs::write(lab.mesh.lab().topology_path(), text).unwrap();
    let make = ctids.iter().fold(String::new(), |make, ctid| {
        make + &format!("ip link add veth{ctid}.0 type veth peer name in{ctid}\nip link set in{ctid} up\n")
    });
    lab.run("h1", &["sh", "-ec", &make]);
    let vznetcfg = lab.mesh.lab().plan().host(&host("h1")).unwrap().vznetcfg();
    let hooks: Vec<_> = ctids
        .iter()
        .map(|ctid| {
            let device = format!("veth{ctid}.0");
            let veid = format!("VEID={ctid}");
            let command = ["env", "-i", &veid, "OVSMESH_TIMEOUT=60s", vznetcfg.to_str().unwrap()];
            lab.command("h1", &[&command[..], &["init", "veth", &device]].concat())
        })
        .collect();
    for hook in hooks {
        let output = hook.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let attached = rows(&lab, "h1");
    assert!(ctids.iter().all(|ctid| attached.contains(&format!("veth{ctid}.0"))), "{attached:?}");
    let status = lab.output("h1", &["ovsmesh", "status"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    lab.run("h1", &["sh", "-ec", "for n in $(seq 1001 1100); do ip link delete veth$n.0; done"]);
    lab.run("h1", &["ovsmesh", "sync"]);
    assert_eq!(rows(&lab, "h1"), ["veth101.0"]);
}

/// Moves container 101 from h1 to h2 and pings it from h3 at once, its address being known there as behind h1.
async fn moved(announced: bool) -> Option<Duration> {
    let lab = TestLab::up(simple(3, &[("acme", 7)], false)).await;
    // Nothing but the hook tells where the address is: the container says nothing by itself.
    lab.run("101", &["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"]);
    let (from, to) = (Vzctl::on(&lab, "h1"), Vzctl::on(&lab, "h2"));
    let eth0 = nic(0, Some("br-acme"), "192.168.7.11");
    from.stop("101");
    from.configure("101", std::slice::from_ref(&eth0));
    from.start("101", std::slice::from_ref(&eth0)).unwrap_or_else(|output| panic!("{}", said(&output)));
    lab.run("101", &["ip", "link", "set", "eth0", "arp", "off"]);
    lab.run("101", &["ip", "link", "set", "eth0", "arp", "on"]);
    assert!(lab.pings("103", "192.168.7.11", 100), "not even before it moves");
    from.stop("101");
    let text = lab.mesh.topology().to_toml();
    let text = text.replace("ctid = \"101\"\nhost = \"h1\"", "ctid = \"101\"\nhost = \"h2\"");
    let ctid = "101".parse().unwrap();
    let topology: Topology = text.parse().unwrap();
    assert_eq!(topology.container(&ctid).unwrap().1.host().as_str(), "h2");
    std::fs::write(lab.mesh.lab().topology_path(), text).unwrap();
    let arriving = Nic { mac: eth0.mac.clone(), ..eth0.clone() };
    to.make("101", &arriving);
    to.boot("101", &arriving);
    if !announced {
        let text = "NETIF=\"ifname=eth0,bridge=br-acme,host_ifname=veth101.0\"\n";
        std::fs::write(lab.mesh.lab().vz_conf_dir().join("101.conf"), text).unwrap();
    }
    let output = to.hook("101", &["init", "veth", "veth101.0"]);
    let attached = Instant::now();
    assert!(output.status.success(), "{}", said(&output));
    let mut ping = lab.command("103", &["ping", "-q", "-c1", "-w1", "-i0.1", "192.168.7.11"]);
    ping.wait().unwrap().success().then(|| attached.elapsed())
}

#[tokio::test]
async fn a_moved_container_answers_within_a_second() {
    let answered = moved(true).await.expect("no answer within a second");
    assert!(answered < Duration::from_secs(1), "{answered:?}");
    assert_eq!(moved(false).await, None, "it answers without an announcement too: this test shows nothing");
}

/// Help and usage of the binary under the hook's name.
#[test]
fn the_hooks_name_is_enough() {
    let place = tempfile::tempdir().unwrap();
    let hook = place.path().join("vznetaddbr");
    std::os::unix::fs::symlink(ovsmesh(), &hook).unwrap();
    let output = std::process::Command::new(&hook)
        .args(["init", "veth"])
        .env_clear()
        .env("VEID", "101")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("init veth DEV [BRIDGE]"), "{}", said(&output));
}
