//! What `ovsmesh vznet install` writes, run as OpenVZ runs it on a host of a lab.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ovsmesh_tests::{TestLab, host, ovsmesh, simple};

/// vzctl's own, for what it starts.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Runs a program on a host as vzctl does: nothing in its environment but the container.
fn as_vzctl(lab: &TestLab, program: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(words).env_clear().stdin(Stdio::null());
    command.envs([("HOME", "/"), ("TERM", "linux"), ("PATH", PATH), ("VEID", "101")]);
    lab.netns("h1").run(move || command.output()).unwrap().unwrap()
}

fn row(lab: &TestLab) -> String {
    lab.vsctl("h1", "--bare --columns=_uuid find Port name=veth101.0").trim().to_owned()
}

fn install(lab: &TestLab, root: &Path, words: &[&str]) -> String {
    let mut all = vec!["ovsmesh", "vznet", "install", "--root", root.to_str().unwrap()];
    all.extend(words);
    lab.run("h1", &all)
}

/// A new pair of devices for the container, as vzctl makes it before it calls the hook.
fn make_veth(lab: &TestLab) {
    let netns = format!("{}-ct101", lab.mesh.name());
    let script = format!(
        "ip link add veth101.0 type veth peer name eth0 netns {netns}
         ip -n {netns} link set eth0 up mtu 1458
         ip -n {netns} address add 192.168.7.11/24 dev eth0"
    );
    lab.run("h1", &["sh", "-ec", &script]);
}

/// Started by the installed hook, ended by the installed detach point: also while Open vSwitch hangs, and while it is gone.
#[tokio::test]
async fn what_is_installed_attaches_and_detaches() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let root = tempfile::tempdir().unwrap();
    install(&lab, root.path(), &["--timeout", "3s"]);
    // In place of OpenVZ's own: reads who the hook is, and becomes it. The root stands in front of the hook's path, since
    // this machine's own /usr/lib is not the host's.
    let vznetcfg = root.path().join("vznetcfg");
    let vznet_conf = root.path().join("etc/vz/vznet.conf");
    let text = format!(
        "#!/bin/sh\n. '{}'\nexec '{}'\"$EXTERNAL_SCRIPT\" \"$@\"\n",
        vznet_conf.display(),
        root.path().display()
    );
    fs::write(&vznetcfg, text).unwrap();
    fs::set_permissions(&vznetcfg, fs::Permissions::from_mode(0o755)).unwrap();
    let umount = root.path().join("etc/vz/conf/vps.umount");

    let start = || {
        make_veth(&lab);
        let hook = as_vzctl(&lab, &vznetcfg, &["init", "veth", "veth101.0"]);
        assert!(hook.status.success(), "{hook:?}");
        assert!(!row(&lab).is_empty());
    };
    let stop = || {
        lab.run("h1", &["ip", "link", "delete", "veth101.0"]);
        let began = Instant::now();
        let output = as_vzctl(&lab, &umount, &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        (began.elapsed(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(stop().1, "");
    assert_eq!(row(&lab), "");
    start();
    assert!(lab.pings("101", "192.168.7.12", 1458));
    assert_eq!(stop().1, "");
    assert_eq!(row(&lab), "");
    // A second time there is nothing to detach.
    assert_eq!(as_vzctl(&lab, &umount, &[]).status.code(), Some(0));

    start();
    let dir = lab.mesh.lab().plan().host(&host("h1")).unwrap().dir.clone();
    let pid = |daemon: &str| fs::read_to_string(dir.join(format!("{daemon}.pid"))).unwrap().trim().to_owned();
    lab.run("h1", &["kill", "-STOP", &pid("ovsdb-server")]);
    let (took, said) = stop();
    lab.run("h1", &["kill", "-CONT", &pid("ovsdb-server")]);
    assert!(said.contains("container 101 is not detached"), "{said}");
    assert!(took < Duration::from_secs(4), "a hanging ovsdb-server kept the container for {took:?}");
    // What it left, the next sync takes.
    lab.run("h1", &["ovsmesh", "sync"]);
    assert_eq!(row(&lab), "");

    start();
    lab.run("h1", &["kill", "-KILL", &pid("ovs-vswitchd"), &pid("ovsdb-server")]);
    let (took, said) = stop();
    assert!(said.contains("container 101 is not detached"), "{said}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Everything below a directory, with owners and modes; a restored file is the very file, so its number counts as well.
fn tree(directory: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut text = format!("{:o} {} {}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_dir() {
            tree(&path, into);
        } else {
            let _ = write!(text, " {} {:?}", meta.ino(), fs::read(&path).unwrap_or_default());
        }
        into.insert(path, text);
    }
}

fn whole(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    tree(directory, &mut all);
    all
}

/// Files that belong to others come back to them, and killed in the middle, by a real signal, it loses nothing.
#[test]
fn others_files_come_back_to_their_owners_after_any_end() {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path);
    for directory in ["etc/vz/conf", "etc/systemd/system", "var/lib", "usr/lib"] {
        fs::create_dir_all(path(directory)).unwrap();
    }
    fs::write(path("etc/vz/vznet.conf"), "EXTERNAL_SCRIPT=/mine\n").unwrap();
    fs::set_permissions(path("etc/vz/vznet.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    chown(path("etc/vz/vznet.conf"), Some(1234), Some(4321)).unwrap();
    symlink("other", path("etc/vz/conf/vps.umount")).unwrap();
    let before = whole(root.path());
    let run = |word: &str| {
        let mut command = Command::new(ovsmesh());
        command.args(["vznet", word, "--root"]).arg(root.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut cut = 0;
    for after in 0..40 {
        let mut install = run("install").spawn().unwrap();
        std::thread::sleep(Duration::from_micros(after * 500));
        install.kill().unwrap();
        cut += usize::from(!install.wait().unwrap().success());
        assert!(run("uninstall").status().unwrap().success(), "after {after} x 500 µs");
        assert_eq!(whole(root.path()), before, "after {after} x 500 µs");
    }
    assert!(cut > 3, "only {cut} of 40 were killed before they were done");
    assert!(run("install").status().unwrap().success());
    assert_ne!(whole(root.path()), before);
    assert!(run("uninstall").status().unwrap().success());
    assert_eq!(whole(root.path()), before);
}
