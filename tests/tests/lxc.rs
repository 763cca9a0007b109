//! LXC's containers join their tenants through examples/lxc/ovsmesh-lxc, real ones of Debian's lxc.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::Output;

use ovsmesh_tests::{TestLab, ovsmesh, simple};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/lxc/ovsmesh-lxc");

struct Lxc<'a> {
    lab: &'a TestLab,
    place: tempfile::TempDir,
}

impl Lxc<'_> {
    /// A container that shares this machine's files and does nothing.
    fn configure(&self, name: &str, tenant: &str) {
        let text = format!(
            "lxc.uts.name = {name}
lxc.init.cmd = /bin/sleep 1000000
lxc.signal.halt = SIGKILL
lxc.apparmor.profile = unconfined
lxc.console.path = none
lxc.tty.max = 0
lxc.net.0.type = veth
lxc.net.0.veth.pair = veth{name}
lxc.net.0.flags = up
lxc.net.0.ipv4.address = 192.168.7.50/24
lxc.net.0.script.up = {SCRIPT} up {tenant}
lxc.net.0.script.down = {SCRIPT} down
"
        );
        let place = self.place.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("config"), text).unwrap();
    }

    fn call(&self, program: &str, name: &str) -> Output {
        let ovsmesh = format!("OVSMESH={}", ovsmesh().display());
        let path = self.place.path().to_str().unwrap();
        // Its daemon must not hold this test's pipes.
        let quiet = "exec \"$@\" > \"$0\" 2>&1";
        let log = self.place.path().join("log");
        let command =
            ["env", &ovsmesh, "sh", "-c", quiet, log.to_str().unwrap(), program, "-P", path, "-n", name];
        self.lab.output("h1", &command)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("log")).unwrap()
    }
}

impl Drop for Lxc<'_> {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.place.path()).unwrap().flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().is_dir()) {
                self.call("lxc-stop", name);
            }
        }
    }
}

#[tokio::test]
async fn an_lxc_container_joins_and_leaves_its_tenant() {
    assert!(Path::new("/usr/bin/lxc-start").exists(), "Debian's package lxc is missing");
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let lxc = Lxc { lab: &lab, place: tempfile::tempdir().unwrap() };
    lxc.configure("web", "acme 900");
    let started = lxc.call("lxc-start", "web");
    assert!(started.status.success(), "{}", lxc.log());
    assert!(lab.vsctl("h1", "list-ports br-acme").contains("vethweb"));
    let ids = lab.vsctl("h1", "get Port vethweb external_ids");
    assert!(ids.contains("900"), "whose it is: {ids}");
    assert!(lab.pings("102", "192.168.7.50", 1458), "the container is not reached from another host");
    let stopped = lxc.call("lxc-stop", "web");
    assert!(stopped.status.success(), "{}", lxc.log());
    assert!(!lab.vsctl("h1", "list-ports br-acme").contains("vethweb"), "its row is left");
    // What may not join does not start.
    lxc.configure("stray", "globex");
    let refused = lxc.call("lxc-start", "stray");
    assert!(!refused.status.success(), "it starts without its network");
    assert!(!lab.vsctl("h1", "show").contains("vethstray"));
}
