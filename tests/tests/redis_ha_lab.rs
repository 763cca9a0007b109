//! `redis-ha lab` and `ovsmesh lab` as their users have them: binaries, signals, exit codes, and what is left.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use ovs_mesh::link::Netns;
use ovs_mesh::{HostName, MeshName};
use ovsmesh_lab::Lab;
use ovsmesh_tests::{binary, unique_name};
use redis_ha::{Place, Service, ServiceLab};
use serde_json::{Value, json};

const SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/redis-ha.toml");
const MESH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/ha-redis.toml");

/// A lab's name; whatever there is of it is gone when the test ends, however it ends.
struct Named(MeshName);

impl Drop for Named {
    fn drop(&mut self) {
        if let Err(error) = Lab::down(&self.0) {
            eprintln!("lab {} did not go down: {error}", self.0);
        }
    }
}

impl Named {
    fn new() -> Self {
        Self(unique_name())
    }

    fn dir(&self) -> PathBuf {
        Path::new("/run/ovsmesh/lab").join(self.0.as_str())
    }

    /// `redis-ha lab WORDS`, or `drill WORDS`, of this lab.
    fn command(&self, words: &[&str]) -> Command {
        // Whoever runs the tests by nohup(1) would have it outlive a hangup.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP").arg(binary("redis-ha"));
        command.args(["--config", SERVICE]).args(words).args(["--name", self.0.as_str()]);
        command.stdin(Stdio::null()).env_remove("REDIS_HA_FORMAT");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("redis-ha runs")
    }

    fn mesh_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("ovsmesh"));
        command.args(["--config", MESH]).args(words).args(["--name", self.0.as_str()]).stdin(Stdio::null());
        command
    }

    /// That a command ends with that code and says all of these.
    fn says(&self, words: &[&str], code: i32, expected: &[&str]) {
        said(&self.run(words), code, expected);
    }

    /// No namespace, no file and no process: each of the lab's daemons has a file of its directory open.
    fn nothing_left(&self) {
        let prefix = format!("{}-", self.0);
        let left: Vec<_> =
            Netns::list().unwrap().into_iter().filter(|name| name.as_str().starts_with(&prefix)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!self.dir().exists());
        let dir = format!("{}/", self.dir().display());
        for process in fs::read_dir("/proc").unwrap().flatten() {
            for open in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
                let path = fs::read_link(open.path()).unwrap_or_default();
                assert!(!path.to_string_lossy().starts_with(&dir), "{process:?} has {}", path.display());
            }
        }
    }
}

fn said(output: &Output, code: i32, expected: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    for expected in expected {
        assert!(text.contains(expected), "no `{expected}` in: {text}");
    }
}

/// Starts it and waits until something is there.
fn start(command: &mut Command, path: &Path) -> Child {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    while !path.exists() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?} before there was {}", path.display());
        assert!(started.elapsed() < Duration::from_secs(60), "there is no {}", path.display());
        sleep(Duration::from_millis(2));
    }
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn up_status_mend_and_down() {
    let lab = Named::new();
    lab.says(&["lab", "status"], 1, &["there is no lab", "hint: bring it up with: redis-ha lab up"]);
    lab.says(&["lab", "up"], 0, &["acme: master 101", "has the VIPs"]);
    let again = format!("is up already; `redis-ha lab down --name {0}` takes it down", lab.0);
    lab.says(&["lab", "up"], 1, &[&again]);
    // Another program's message too names the command that made it.
    said(&lab.mesh_command(&["lab", "up"]).output().unwrap(), 1, &[&again]);

    let status = lab.run(&["--format", "json", "lab", "status"]);
    said(&status, 0, &[]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["whole"], true, "{status}");
    assert_eq!(status["damage"], json!({ "mendable": [], "lost": [] }));
    assert_eq!(status.get("ec2_error"), Some(&Value::Null));
    let server = &status["proxies"][0]["servers"][0];
    let keys: Vec<&String> = server.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["node", "status", "tenant"], "{server}");

    refused(&lab);
    mended(&lab);
    without_a_vip(&lab);
    drilled(&lab);
    lab.says(&["lab", "down"], 0, &[&format!("lab {} is down: ", lab.0)]);
    lab.nothing_left();
    lab.says(&["lab", "down"], 0, &["there is no lab"]);
}

/// What no drill can be made of is told before anything is touched.
fn refused(lab: &Named) {
    let drill = |words: &[&str], expected: &[&str]| {
        lab.says(&[&["drill", "master-killed"], words].concat(), 2, expected);
    };
    drill(&["--tenant", "nosuch"], &["the service has no tenant `nosuch`; it has acme, globex"]);
    drill(&["--patience", "0"], &["accepted are 1ms to 1m"]);
    drill(&["--plot", "/nowhere/x.svg"], &["the directory /nowhere is not there; make it"]);
    drill(&["--plot", "/tmp"], &["it is a directory; name a file in it"]);
    lab.says(&["lab", "status"], 0, &[]);
}

fn mended(lab: &Named) {
    let service = ServiceLab::open(&lab.0).unwrap();
    let redis = Service::Redis("102".parse().unwrap());
    service.signal(&redis, Signal::SIGKILL).unwrap();
    let sentinel = Service::Sentinel("203".parse().unwrap());
    service.signal(&sentinel, Signal::SIGSTOP).unwrap();
    let hint = format!("hint: make it whole with: redis-ha lab mend --name {}", lab.0);
    let expected = ["redis of node 102 does not run", "sentinel of node 203 is stopped", &hint];
    lab.says(&["lab", "status"], 3, &expected);
    let status = lab.run(&["--format", "json", "lab", "status"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["damage"], json!({ "mendable": expected[..2], "lost": [] }), "{status}");
    lab.says(&["lab", "mend"], 0, &["redis of node 102 is started", "sentinel of node 203 goes on"]);
    whole(lab);
    lab.says(&["lab", "mend"], 0, &["is broken"]);

    // What one that was killed has left is not in the way of the next.
    let keepalived = Service::Keepalived("proxy2".parse().unwrap());
    let first = service.pid(&keepalived).unwrap();
    let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(child), Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    while service.pid(&keepalived).is_some() {
        sleep(Duration::from_millis(2));
    }
    lab.says(&["lab", "mend"], 0, &["keepalived on proxy2 is started"]);
    whole(lab);
    // One that cannot run is not told to.
    service.signal(&redis, Signal::SIGKILL).unwrap();
    let conf = lab.dir().join("redis-ha/node-102/redis.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}nosuch 1\n")).unwrap();
    lab.says(
        &["lab", "mend"],
        1,
        &["redis of node 102 was started and ended at once; its output is in /run/"],
    );
    fs::write(&conf, text).unwrap();
    lab.says(&["lab", "mend"], 0, &["redis of node 102 is started"]);
    whole(lab);
    // A switch that hangs is told for what it is.
    let switch: i32 =
        fs::read_to_string(lab.dir().join("redis2/ovs-vswitchd.pid")).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(switch), Signal::SIGSTOP).unwrap();
    let told = ["ovs-vswitchd on redis2 does not answer", "hint: take it down with: redis-ha lab down"];
    lab.says(&["lab", "status"], 3, &told);
    lab.says(&["lab", "mend"], 1, &told);
    kill(Pid::from_raw(switch), Signal::SIGCONT).unwrap();
    whole(lab);
}

/// What a proxy says that sees itself alone.
fn without_a_vip(lab: &Named) {
    let service = ServiceLab::open(&lab.0).unwrap();
    let proxies = &service.config().proxies.hosts;
    let status = |proxy: &HostName, words: &[&str]| {
        let socket = service.layout(&Place::Proxy(proxy.clone())).haproxy_socket();
        let mut command = Command::new(binary("redis-ha"));
        command.arg("--config").arg(service.config_path()).args(["status", "--host", proxy.as_str()]);
        command.arg("--haproxy-socket").arg(socket).args(words).stdin(Stdio::null());
        service.host_netns(proxy).unwrap().run(|| command.output()).unwrap().unwrap()
    };
    let at = |output: &Output| {
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        status["proxies"][0]["vips"].clone()
    };
    let vips = |at: &str| json!([{ "vip": "10.0.1.100", "at": at, "why": null }]);
    let lab_status = lab.run(&["--format", "json", "lab", "status"]);
    let lab_status: Value = serde_json::from_slice(&lab_status.stdout).unwrap();
    for (proxy, seen) in proxies.iter().zip(lab_status["proxies"].as_array().unwrap()) {
        let (says, is) = if seen["has_vips"] == true {
            ("has the VIPs", "here")
        } else {
            ("stands by; 10.0.1.100 answers elsewhere", "elsewhere")
        };
        said(&status(proxy, &[]), 0, &[&format!("{proxy} {says}; acme goes to 10")]);
        assert_eq!((&seen["vips"], at(&status(proxy, &["--format", "json"]))), (&vips(is), vips(is)));
    }
    // All of it runs but for those who would have the VIP.
    for proxy in proxies {
        service.signal(&Service::Keepalived(proxy.clone()), Signal::SIGTERM).unwrap();
    }
    for proxy in proxies {
        said(
            &status(proxy, &[]),
            3,
            &[&format!("{proxy} stands by; NOBODY has 10.0.1.100; acme goes to 10")],
        );
        assert_eq!(at(&status(proxy, &["--format", "json"])), vips("nobody"));
    }
    lab.says(&["lab", "status"], 3, &["proxy1 stands by; NOBODY has 10.0.1.100; acme"]);
    lab.says(&["lab", "mend"], 0, &["keepalived on proxy1 is started", "keepalived on proxy2 is started"]);
    whole(lab);
}

fn whole(lab: &Named) {
    let started = Instant::now();
    while lab.run(&["lab", "status"]).status.code() != Some(0) {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", lab.run(&["lab", "status"]));
        sleep(Duration::from_millis(200));
    }
}

fn drilled(lab: &Named) {
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("drill.svg");
    let drill = ["--format", "json", "drill", "agent-killed", "--plot", plot.to_str().unwrap()];
    let output = lab.run(&drill);
    said(&output, 0, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let outage = report["outage_ms"].to_string();
    let decimals = outage.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    assert!(decimals <= 1, "{outage}");
    let drawn = fs::read_to_string(&plot).unwrap();
    let moments = report["timeline"].as_array().unwrap().len();
    let texts = drawn.lines().filter(|line| line.contains(" s  ")).count();
    assert_eq!(texts, moments, "{report}\n{drawn}");

    // An interrupted one mends what it broke.
    let sentinels = sentinels(lab);
    let mut drill = lab.command(&["drill", "sentinel-stopped"]);
    let child = drill.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !sentinels.is_stopped() {
        assert!(started.elapsed() < Duration::from_secs(60), "no Sentinel is stopped");
        sleep(Duration::from_millis(10));
    }
    signal(&child, Signal::SIGINT);
    said(&child.wait_with_output().unwrap(), 130, &["what it broke is mended"]);
    assert!(!sentinels.is_stopped());
}

/// The Sentinels of the lab's first tenant.
struct Sentinels(Vec<i32>);

impl Sentinels {
    fn is_stopped(&self) -> bool {
        self.0.iter().any(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }
}

fn sentinels(lab: &Named) -> Sentinels {
    let service = ServiceLab::open(&lab.0).unwrap();
    let nodes = service.config().clusters[0].nodes.iter();
    Sentinels(nodes.filter_map(|node| service.pid(&Service::Sentinel(node.clone()))).collect())
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    let lab = Named::new();
    let service = lab.dir().join("redis-ha");
    let hook = lab.dir().join("redis1/vznetcfg-101.out");
    // At its beginning, while the mesh is made, in a hook, and while daemons of the service run already; by itself, and as a terminal
    // does it, with all that it runs.
    let moments = [
        (lab.dir(), Signal::SIGINT, 130, false),
        (lab.dir(), Signal::SIGINT, 130, true),
        (lab.dir().join("mesh.toml"), Signal::SIGTERM, 143, false),
        (hook, Signal::SIGINT, 130, true),
        (service.join("node-101/redis.pid"), Signal::SIGHUP, 129, true),
        (service.join("proxy1/haproxy.pid"), Signal::SIGTERM, 143, false),
    ];
    for (moment, by, code, is_group) in moments {
        let child = start(lab.command(&["lab", "up"]).process_group(0), &moment);
        if is_group {
            killpg(Pid::from_raw(child.id().cast_signed()), by).unwrap();
        } else {
            signal(&child, by);
        }
        let ended = child.wait_with_output().unwrap();
        said(&ended, code, &["was stopped while it came up; nothing of it is left"]);
        lab.nothing_left();
    }
    // As does the other program's.
    let child = start(&mut lab.mesh_command(&["lab", "up"]), &lab.dir().join("mesh.toml"));
    signal(&child, Signal::SIGINT);
    said(&child.wait_with_output().unwrap(), 130, &["nothing of it is left"]);
    lab.nothing_left();
}

/// A hook in place of ours.
fn hook(dir: &Path, script: &str) -> PathBuf {
    let hook = dir.join("hook");
    fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    hook
}

/// A mount that is gone when the test ends, however it ends.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn what_a_failed_up_leaves_is_told() {
    let lab = Named::new();
    let dir = tempfile::tempdir().unwrap();
    let busy = Mount(lab.dir().join("busy"));
    let at = busy.0.display();
    let hook = hook(dir.path(), &format!("mkdir {at} && mount -t tmpfs none {at}; echo no; exit 7"));
    let left = format!("what was made could not be taken down: cannot remove {}: ", lab.dir().display());
    let remedy = format!("`redis-ha lab down --name {}` removes it", lab.0);
    let reason = "because: the hook of container 101 exited with 7: no";
    lab.says(&["lab", "up", "--ovsmesh", hook.to_str().unwrap()], 1, &[&left, &remedy, reason]);
    drop(busy);
    lab.says(&["lab", "down"], 0, &[]);
    lab.nothing_left();
}

#[test]
fn a_second_signal_ends_up_at_once() {
    let lab = Named::new();
    let dir = tempfile::tempdir().unwrap();
    let called = dir.path().join("called");
    let hook = hook(dir.path(), &format!("touch {}; exec sleep 1000", called.display()));
    let mut child = start(&mut lab.command(&["lab", "up", "--ovsmesh", hook.to_str().unwrap()]), &called);
    signal(&child, Signal::SIGTERM);
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert_eq!(told, "stopping; what was made is taken down\n");
    sleep(Duration::from_millis(200));
    assert_eq!(child.try_wait().unwrap(), None);
    signal(&child, Signal::SIGINT);
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(5));
    lab.says(&["lab", "status"], 1, &["is half there: the `redis-ha lab up`"]);
    lab.says(&["lab", "down"], 0, &["which was half there"]);
    lab.nothing_left();
}

#[test]
fn one_that_waits_for_another_is_stopped_at_once() {
    let lab = Named::new();
    let base = lab.dir().parent().unwrap().to_owned();
    fs::create_dir_all(&base).unwrap();
    let opened = fs::File::open(&base).unwrap();
    let held = Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
    let mut command = lab.command(&["lab", "up"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    sleep(Duration::from_secs(1));
    let started = Instant::now();
    signal(&child, Signal::SIGINT);
    said(&child.wait_with_output().unwrap(), 130, &["was stopped while it came up"]);
    assert!(started.elapsed() < Duration::from_secs(2));
    drop(held);
    lab.nothing_left();
}

#[test]
fn a_killed_up_is_known_and_removed() {
    let lab = Named::new();
    let mut child = start(&mut lab.command(&["lab", "up"]), &lab.dir().join("redis-ha/node-101/redis.pid"));
    lab.says(&["lab", "status"], 1, &["is being made or taken down by another `redis-ha lab`"]);
    lab.says(&["lab", "up"], 1, &["is being made or taken down by another `redis-ha lab`"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let remedy = format!("`redis-ha lab down --name {}` removes what is left", lab.0);
    for words in [["lab", "status"], ["lab", "up"], ["lab", "mend"], ["drill", "agent-killed"]] {
        lab.says(&words, 1, &["is half there: the `redis-ha lab up`", &remedy]);
    }
    said(&lab.mesh_command(&["lab", "status"]).output().unwrap(), 1, &[&remedy]);
    lab.says(&["lab", "down"], 0, &[&format!("lab {}, which was half there, is down: ", lab.0)]);
    lab.nothing_left();
    lab.says(&["lab", "status"], 1, &["there is no lab"]);
}

#[test]
fn a_lab_of_another_program_is_left_alone() {
    let lab = Named::new();
    let small = ovsmesh_tests::simple(2, &[], false).to_toml();
    let dir = tempfile::tempdir().unwrap();
    let mesh = dir.path().join("mesh.toml");
    fs::write(&mesh, small).unwrap();
    let up = Command::new(binary("ovsmesh"))
        .args(["lab", "up", "--name", lab.0.as_str(), "--config"])
        .arg(&mesh)
        .output()
        .unwrap();
    said(&up, 0, &[]);
    let made = format!(
        "`ovsmesh lab up` made it; name another lab with --name, or take it down with: ovsmesh lab down --name {}",
        lab.0
    );
    lab.says(&["lab", "status"], 1, &[&made]);
    // One that is in the way is not taken down when the second is interrupted.
    lab.says(&["lab", "up"], 1, &["is up already; `ovsmesh lab down --name"]);
    assert!(lab.dir().exists());
}

#[test]
fn names_that_are_none_are_told() {
    for name in ["../x", "", "a b", "-x", &"x".repeat(300)] {
        for words in [&["lab", "up"][..], &["lab", "status"], &["lab", "down"], &["drill", "link-flap"]] {
            let mut command = Command::new(binary("redis-ha"));
            let output = command.args(words).arg(format!("--name={name}")).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("accepted"), "{name}: {output:?}");
        }
    }
}
