//! What `ovsmesh vznet install` and `uninstall` print, where, and how they exit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that stands for a host with the program, systemd and a topology.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for directory in ["etc/vz/conf", "etc/systemd/system", "etc/ovsmesh", "var/lib", "usr/bin", "usr/lib"]
        {
            fs::create_dir_all(host.path(directory)).unwrap();
        }
        host.write("etc/ovsmesh/mesh.toml", "", 0o644);
        host.write("usr/bin/ovsmesh", "", 0o755);
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        fs::write(self.path(path), text).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs `ovsmesh vznet …` and shows its exit code, stdout and stderr.
    fn shown(&self, words: &str, environment: &[(&str, &str)]) -> String {
        let output = Command::new(assert_cmd::cargo::cargo_bin!("ovsmesh"))
            .arg("vznet")
            .args(words.split(' '))
            .arg("--root")
            .arg(self.0.path())
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir("/")
            .output()
            .unwrap();
        let mut text = format!("$ ovsmesh vznet {words} --root ROOT\nexit {:?}\n", output.status.code());
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            let _ = writeln!(text, "--- {name}\n{}", String::from_utf8_lossy(bytes).trim_end());
        }
        text.replace(self.0.path().to_str().unwrap(), "ROOT")
    }
}

const INSTALL: &str = "install --program /usr/bin/ovsmesh";

#[test]
fn a_hand_written_script_gives_way_and_comes_back() {
    let host = Host::new();
    host.write("etc/vz/vznet.conf", "#!/bin/sh\nEXTERNAL_SCRIPT=\"/usr/local/sbin/mine\"\n", 0o644);
    host.write("etc/vz/conf/vps.umount", "#!/bin/sh\nexit 0\n", 0o755);
    let given = [("OVSMESH_HOST", "redis1"), ("OVSMESH_DB", "unix:run/db.sock"), ("OVSMESH_FORMAT", "text")];
    let mut text = host.shown(&format!("{INSTALL} --dry-run --timeout 1500ms"), &given);
    let mut say = |words: &str| text += &host.shown(words, &given);
    say(INSTALL);
    say(INSTALL);
    say(&format!("{INSTALL} --dry-run"));
    say("uninstall --dry-run");
    say("uninstall");
    say("uninstall");
    insta::assert_snapshot!(text);
}

#[test]
fn as_json() {
    let host = Host::new();
    let mut text = host.shown(&format!("{INSTALL} --format json"), &[("OVSMESH_CA_CERT", "/a b/ca.pem")]);
    text += &host.shown("uninstall --format json", &[]);
    insta::assert_snapshot!(text);
}

#[test]
fn what_was_edited_is_named_and_left() {
    let host = Host::new();
    host.write("etc/vz/vznet.conf", "", 0o644);
    host.shown(INSTALL, &[]);
    for file in ["etc/vz/vznet.conf", "etc/vz/conf/vps.umount"] {
        host.write(file, "edited", 0o755);
    }
    let mut text = host.shown(&format!("{INSTALL} --host other"), &[]);
    text += &host.shown("uninstall", &[]);
    text += &host.shown("uninstall", &[]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_host_without_systemd_is_told_in_words_and_faults_are_named() {
    let host = Host::new();
    fs::remove_dir_all(host.path("etc/systemd")).unwrap();
    fs::remove_dir_all(host.path("etc/vz")).unwrap();
    fs::remove_file(host.path("etc/ovsmesh/mesh.toml")).unwrap();
    let mut text = host.shown(&format!("{INSTALL} --format ovs-vsctl"), &[]);
    text += &host.shown("install --program /usr/bin/none", &[]);
    assert!(!host.path("var/lib/ovsmesh").exists());
    text += &host.shown(INSTALL, &[]);
    host.write("var/lib/ovsmesh/vznet.json", "{", 0o644);
    text += &host.shown("uninstall", &[]);
    insta::assert_snapshot!(text);
}

/// Without `--program` it is this program itself, whatever it was called by.
#[test]
fn the_program_is_this_one() {
    let host = Host::new();
    let text = host.shown("install", &[]);
    assert!(text.contains("exit Some(0)"), "{text}");
    let link = fs::read_link(host.path("usr/lib/ovsmesh/vznetaddbr")).unwrap();
    assert_eq!(link, Path::new(assert_cmd::cargo::cargo_bin!("ovsmesh")).canonicalize().unwrap());
}
