//! Whole labs with real daemons. Needs root and Debian's openvswitch-switch.
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ovs_mesh::MeshName;
use ovs_mesh::link::{Netns, features};
use ovsmesh_lab::capture::Capture;
use ovsmesh_lab::{
    DownReport, ExecError, HostPlan, Lab, LabContainer, LabGateway, LabHost, LabPlan, LabSpec, Progress,
    StateError, UpError, list,
};

use pnet::datalink::{self, Channel, Config};

/// Names the lab that [`child_brings_a_lab_up`] makes.
const CHILD: &str = "OVSMESH_TEST_LAB";

/// A lab's name, taken down when the test ends, however it ends.
struct Guard(MeshName);

impl Guard {
    fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("t{}-{number}-{what}", std::process::id()).parse().unwrap())
    }

    /// Hosts `h1`, `h2`… with a container each; containers 101, 102… of tenant `acme`.
    fn spec(&self, hosts: usize) -> LabSpec {
        spec(&self.0, hosts)
    }

    fn nothing_left(&self) {
        let prefix = format!("{}-", self.0);
        let left: Vec<_> =
            Netns::list().unwrap().into_iter().filter(|n| n.as_str().starts_with(&prefix)).collect();
        assert!(left.is_empty(), "{left:?}");
        for file in [self.0.to_string(), format!(".{}.new", self.0)] {
            assert!(!Path::new("/run/ovsmesh/lab").join(file).exists());
        }
        let dir = format!("/run/ovsmesh/lab/{}/", self.0);
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            assert!(!line.contains(&dir), "{line}");
        }
        assert!(!list().unwrap().contains(&self.0));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(why) = Lab::down(&self.0) {
            eprintln!("{why}");
        }
    }
}

fn spec(name: &MeshName, hosts: usize) -> LabSpec {
    let host = |i: usize| LabHost {
        name: format!("h{i}").parse().unwrap(),
        underlay: format!("172.31.0.{i}/24").parse().unwrap(),
    };
    let container = |i: usize| LabContainer {
        ctid: format!("{}", 100 + i).parse().unwrap(),
        host: format!("h{i}").parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        address: format!("10.50.0.{i}/24").parse().unwrap(),
        mtu: 8959,
    };
    let gateway = LabGateway {
        host: "h1".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        netns: format!("{name}-h1-acme").parse().unwrap(),
    };
    LabSpec {
        name: name.clone(),
        underlay_mtu: 9001,
        datapath: ovs_mesh::Datapath::Netdev,
        hosts: (1..=hosts).map(host).collect(),
        containers: (1..=hosts).map(container).collect(),
        gateways: vec![gateway],
    }
}

fn inside(lab: &Lab, target: &str, command: &[&str]) -> Output {
    let netns = Netns::open(lab.plan().target(target).unwrap().netns).unwrap();
    let mut process = Command::new(command[0]);
    process.args(&command[1..]);
    netns.run(move || process.output()).unwrap().unwrap()
}

fn says(lab: &Lab, target: &str, command: &[&str]) -> String {
    let output = inside(lab, target, command);
    assert!(output.status.success(), "{command:?} in {target}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn vsctl(host: &HostPlan, command: &str) -> io::Result<()> {
    let db = format!("--db=unix:{}", host.db_socket().display());
    let status = Command::new("ovs-vsctl").args([&db, "--timeout=10"]).args(command.split(' ')).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command}: {status}"))) }
}

/// The mesh of one tenant, as an operator would make it by hand.
fn tunnel(lab: &Lab) {
    for host in &lab.plan().hosts {
        vsctl(host, "add-br br-acme -- set bridge br-acme datapath_type=netdev").unwrap();
        for peer in lab.plan().hosts.iter().filter(|peer| peer.name != host.name) {
            let (name, remote, local) = (&peer.name, peer.underlay_address.ip(), host.underlay_address.ip());
            let port = format!(
                "add-port br-acme gre-{name} -- set port gre-{name} protected=true -- set interface gre-{name} \
                 type=gre options:remote_ip={remote} options:local_ip={local} options:key=101"
            );
            vsctl(host, &port).unwrap();
        }
    }
}

fn attach_all(lab: &Lab) {
    for container in &lab.plan().containers {
        let host = lab.plan().host(&container.host).unwrap();
        vsctl(host, &format!("add-port br-acme {}", container.device)).unwrap();
    }
}

struct Steps(RefCell<Vec<(usize, usize, String)>>);

impl Progress for Steps {
    fn step(&self, done: usize, total: usize, what: &str) {
        self.0.borrow_mut().push((done, total, what.to_owned()));
    }
}

#[tokio::test]
async fn a_lab_carries_traffic_and_leaves_nothing() {
    let guard = Guard::new("whole");
    let steps = Steps(RefCell::default());
    let lab = Lab::up(LabPlan::new(guard.spec(2)).unwrap(), &steps).await.unwrap();
    let told = steps.0.take();
    assert_eq!(told.iter().map(|(done, ..)| *done).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(told.iter().all(|(_, total, _)| *total == 5));

    assert!(says(&lab, "h1", &["ip", "link", "show", "br-phy"]).contains("mtu 9001"));
    assert!(says(&lab, "h1", &["ip", "-d", "addr", "show", "br-phy"]).contains("172.31.0.1/24"));
    says(&lab, "h1", &["ping", "-c1", "-W2", "-Mdo", "-s8973", "172.31.0.2"]);
    let ct = Netns::open(lab.plan().target("101").unwrap().netns).unwrap();
    assert!(!features(Some(&ct), "eth0").await.unwrap().tx_checksum());
    assert!(says(&lab, "h1", &["ip", "link", "show", "veth101.0"]).contains("mtu 8959"));

    tunnel(&lab);
    attach_all(&lab);
    let underlay = Netns::open(lab.plan().target("underlay").unwrap().netns).unwrap();
    let mut capture = Capture::open(&underlay, "port0").unwrap();
    says(&lab, "ct101", &["ping", "-c2", "-i0.2", "-W2", "10.50.0.2"]);
    let frames =
        capture.collect_until(Instant::now() + Duration::from_secs(5), |frames| frames.len() >= 4).unwrap();
    assert!(frames.len() >= 4, "{frames:?}");
    assert!(frames.iter().all(|frame| frame.key == Some(101)), "{frames:?}");
    let src = frames[0].src.to_string();
    assert!(src == "172.31.0.1" || src == "172.31.0.2", "{src}");
    says(&lab, "ct101", &["ping", "-c1", "-W2", "-Mdo", "-s8931", "10.50.0.2"]);
    tcp_crosses(&lab);

    let status = lab.status().unwrap();
    assert!(
        status.hosts.iter().all(|host| host.netns && host.daemons.iter().all(|daemon| daemon.pid.is_some()))
    );
    assert!(status.underlay && status.containers.iter().all(|container| container.netns));
    assert!(!status.gateways[0].netns && !status.whole());
    assert!(list().unwrap().contains(&guard.0));

    let report = Lab::down(&guard.0).unwrap();
    assert_eq!((report.found, report.processes, report.killed, report.netns), (true, 4, 0, 5));
    guard.nothing_left();
    assert_eq!(Lab::down(&guard.0).unwrap(), DownReport::default());
    assert!(matches!(Lab::open(&guard.0), Err(StateError::Absent { .. })));
}

/// One Ethernet address for a host's underlay address: whoever asks would keep that of the answer that came last.
#[tokio::test]
async fn a_host_answers_for_its_underlay_address_once() {
    let guard = Guard::new("arp");
    let lab = Lab::up(LabPlan::new(guard.spec(2)).unwrap(), &()).await.unwrap();
    let shown = says(&lab, "h2", &["ip", "-o", "link", "show", "br-phy"]);
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    let expected = words.next().unwrap();
    let underlay = Netns::open(lab.plan().target("underlay").unwrap().netns).unwrap();
    assert_eq!(arp_answers(&underlay, "port1", [172, 31, 0, 2]), [expected]);
}

/// The Ethernet addresses that answer, within a second, for an address that is asked for out of a device (RFC 826).
fn arp_answers(netns: &Netns, device: &str, target: [u8; 4]) -> Vec<String> {
    let config = Config { read_timeout: Some(Duration::from_millis(20)), ..Config::default() };
    let open = || {
        let found = datalink::interfaces().into_iter().find(|found| found.name == device).unwrap();
        datalink::channel(&found, config).unwrap()
    };
    let Channel::Ethernet(mut out, mut frames) = netns.run(open).unwrap() else { panic!("no Ethernet") };
    let own = [2, 0, 0, 0, 0, 9];
    let ask =
        [&[0xff; 6][..], &own, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &own, &[172, 31, 0, 9], &[0; 6], &target]
            .concat();
    out.send_to(&ask, None).unwrap().unwrap();
    let mut answers = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        let Ok(frame) = frames.next() else { continue };
        if frame.len() >= 42 && frame[..6] == own && frame[12..14] == [8, 6] && frame[28..32] == target {
            answers
                .push(frame[22..28].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
        }
    }
    answers
}

/// Facts: without `tx` off at the containers' ends, ping crosses and TCP does not.
fn tcp_crosses(lab: &Lab) {
    let server = Netns::open(lab.plan().target("102").unwrap().netns).unwrap();
    let client = Netns::open(lab.plan().target("101").unwrap().netns).unwrap();
    let listener = server.run(|| std::net::TcpListener::bind("10.50.0.2:7000")).unwrap().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap()
    });
    let to = "10.50.0.2:7000".parse().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&to, Duration::from_secs(5));
    let mut stream = client.run(connect).unwrap().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sent = vec![7_u8; 20_000];
    io::Write::write_all(&mut stream, &sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    io::Read::read_to_end(&mut stream, &mut back).unwrap();
    assert_eq!(back.len(), sent.len());
    assert_eq!(echo.join().unwrap(), 20_000);
}

#[tokio::test]
async fn commands_run_where_they_are_told_to() {
    let guard = Guard::new("exec");
    let lab = Lab::up(LabPlan::new(guard.spec(1)).unwrap(), &()).await.unwrap();
    let lab = Lab::open(&lab.plan().name).unwrap();
    let run = |target: &str, script: &str| {
        lab.exec(target, OsStr::new("sh"), ["-c", script].map(OsString::from)).unwrap().code()
    };
    assert_eq!(run("h1", "test \"$(ovs-vsctl --timeout=5 list-br)\" = br-phy"), Some(0));
    assert_eq!(run("h1", "ovs-appctl -t ovs-vswitchd version >/dev/null"), Some(0));
    assert_eq!(run("101", "ip -br addr show eth0 | grep -q 10.50.0.1/24"), Some(0));
    assert_eq!(run("underlay", "ip -br link show port0 >/dev/null; exit 7"), Some(7));
    let why = lab.exec("h9", OsStr::new("true"), []).unwrap_err();
    assert!(why.to_string().ends_with("has no `h9`; it has h1, h1/acme, ct101, underlay"), "{why}");
    let why = lab.exec("h1", OsStr::new("no-such-command"), []).unwrap_err();
    assert!(matches!(why, ExecError::Command { .. }));
}

#[tokio::test]
async fn a_second_of_that_name_and_a_foreign_namespace_are_refused_untouched() {
    let guard = Guard::new("taken");
    let plan = LabPlan::new(guard.spec(1)).unwrap();
    let foreign = plan.target("ct101").unwrap().netns.clone();
    let kept = Netns::ensure(&foreign).unwrap();
    let why = Lab::up(plan.clone(), &()).await.unwrap_err();
    assert!(matches!(why, UpError::State(StateError::NetnsTaken { .. })), "{why}");
    assert_eq!(Lab::down(&guard.0).unwrap(), DownReport::default());
    assert!(kept.is_current());
    Netns::delete(&foreign).unwrap();

    let lab = Lab::up(plan.clone(), &()).await.unwrap();
    let why = Lab::up(plan, &()).await.unwrap_err();
    assert_eq!(
        why.to_string(),
        format!("lab `{0}` is up already; `ovsmesh lab down --name {0}` takes it down", guard.0)
    );
    assert!(lab.status().unwrap().hosts[0].daemons.iter().all(|daemon| daemon.pid.is_some()));
    drop(guard);
}

#[tokio::test]
async fn two_labs_with_the_same_hosts_stand_side_by_side() {
    let (one, two) = (Guard::new("one"), Guard::new("two"));
    let (first, second) = tokio::join!(
        Lab::up(LabPlan::new(one.spec(2)).unwrap(), &()),
        Lab::up(LabPlan::new(two.spec(2)).unwrap(), &()),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    for lab in [&first, &second] {
        tunnel(lab);
        attach_all(lab);
    }
    for lab in [&first, &second] {
        says(lab, "101", &["ping", "-c1", "-W3", "10.50.0.2"]);
    }
    Lab::down(&one.0).unwrap();
    one.nothing_left();
    says(&second, "101", &["ping", "-c1", "-W3", "10.50.0.2"]);
}

#[tokio::test]
async fn daemons_that_hang_and_strangers_inside_go_too() {
    let guard = Guard::new("hung");
    let lab = Lab::up(LabPlan::new(guard.spec(1)).unwrap(), &()).await.unwrap();
    let pids: Vec<u32> =
        lab.status().unwrap().hosts[0].daemons.iter().map(|daemon| daemon.pid.unwrap()).collect();
    let switch = pids[1].to_string();
    assert!(Command::new("kill").args(["-STOP", &switch]).status().unwrap().success());
    let gateway = Netns::ensure(lab.plan().target("h1/acme").unwrap().netns).unwrap();
    let mut stranger = gateway.run(|| Command::new("sleep").arg("100").spawn()).unwrap().unwrap();
    // Its namespace has lost its name: it is found by its run directory.
    Netns::delete(&lab.plan().hosts[0].netns).unwrap();
    let report = Lab::down(&guard.0).unwrap();
    stranger.wait().unwrap();
    assert_eq!((report.processes, report.killed), (3, 1));
    guard.nothing_left();
}

#[tokio::test]
async fn a_failure_half_way_takes_all_of_it_back() {
    let guard = Guard::new("fails");
    let mut asked = guard.spec(2);
    // The kernel takes no such MTU for a veth, and by then the hosts are up.
    asked.containers[1].mtu = 20;
    let why = Lab::up(LabPlan::new(asked).unwrap(), &()).await.unwrap_err();
    assert!(why.to_string().contains("device `veth102.0`"), "{why}");
    guard.nothing_left();
}

/// No test of its own: [`a_crash_at_any_moment_leaves_what_down_removes`] runs it in a process that it kills.
#[tokio::test]
async fn child_brings_a_lab_up() {
    let Ok(name) = std::env::var(CHILD) else { return };
    Lab::up(LabPlan::new(spec(&name.parse().unwrap(), 2)).unwrap(), &()).await.unwrap();
    sleep(Duration::from_secs(60));
}

#[test]
fn a_crash_at_any_moment_leaves_what_down_removes() {
    let mut reports = Vec::new();
    for delay in [2, 3, 4, 5, 6, 7, 8, 10, 15, 30, 60, 100, 150, 200, 300, 400, 600, 2000] {
        let guard = Guard::new("crash");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_brings_a_lab_up"])
            .env(CHILD, guard.0.as_str())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        reports.push(Lab::down(&guard.0).unwrap_or_else(|why| panic!("after {delay} ms: {why}")));
        guard.nothing_left();
    }
    // The last had time to come up whole, which shows that the others were cut short and did not fail.
    let last = reports.last().unwrap();
    assert!(last.found && last.processes == 4 && last.netns == 5, "{reports:?}");
    eprintln!("{reports:?}");
}
