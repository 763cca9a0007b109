//! Containers as `redis-ha render` has LXC make them: Debian's systemd runs the rendered units, on tenants' bridges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ovsmesh_tests::{FIVE_HOSTS, TestLab, binary, ovsmesh, topology};
use redis_ha::{Certificates, Config, Secrets, render};

const SERVICE: &str = include_str!("../../examples/redis-ha.toml");
const NODES: [(&str, &str); 3] = [("redis1", "101"), ("redis2", "102"), ("redis3", "103")];

/// Where the containers are: hosts of a lab, with places of the test's own where the script writes, and a `sysctl` that leaves this
/// machine's kernel alone. All of it dies with its first process, and that with the test.
struct Machines<'a> {
    lab: &'a TestLab,
    dir: tempfile::TempDir,
    first: Child,
    pid: String,
}

impl<'a> Machines<'a> {
    fn new(lab: &'a TestLab) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lxc", "sbin", "sysctl.d"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let sysctl = "#!/bin/sh\necho mock sysctl \"$@\"\n";
        put(&dir.path().join("sbin/sysctl"), sysctl, 0o755);
        let place = "mount --bind lxc /var/lib/lxc; mount --bind sbin /usr/local/sbin
                     mount --bind sysctl.d /etc/sysctl.d; echo; exec sleep infinity";
        let unshare =
            ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut first = Command::new("setpriv")
            .args(unshare)
            .args(["sh", "-ec", place])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", first.id());
        let pid = fs::read_to_string(children).unwrap().trim().to_owned();
        assert!(!pid.is_empty(), "util-linux' unshare started nothing");
        Self { lab, dir, first, pid }
    }

    /// Runs a script on a host, with what it says in `log`: a container's daemon must not hold this test's pipes.
    fn run(&self, host: &str, script: &str) -> Output {
        let log = self.dir.path().join("log");
        let script = format!(
            "export PATH=/usr/local/sbin:/usr/sbin:/usr/bin OVSMESH={} OVSMESH_CONFIG={1}/ha-redis.toml TEMPLATE={2} REDIS_HA_CONFIG={1}/redis-ha.toml\ncd {1}\n{script}",
            ovsmesh().display(),
            self.dir.path().display(),
            template().display(),
        );
        let log = format!("exec > {} 2>&1; exec \"$@\"", log.display());
        let enter = ["nsenter", "--target", &self.pid, "--mount", "--pid", "sh", "-c", &log, "sh"];
        self.lab.output(host, &[&enter[..], &["sh", "-euc", &script]].concat())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The same, which must succeed; what it said.
    fn done(&self, host: &str, script: &str) -> String {
        let output = self.run(host, script);
        assert!(output.status.success(), "{host}: {script}: {}", self.log());
        self.log()
    }

    /// The same until it succeeds.
    fn wait(&self, host: &str, script: &str) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.run(host, script).status.success() {
            assert!(Instant::now() < end, "{host}: {script}: {}", self.log());
            std::thread::sleep(Duration::from_millis(300));
        }
        self.log()
    }
}

impl Drop for Machines<'_> {
    fn drop(&mut self) {
        for (host, ctid) in NODES {
            if std::thread::panicking() {
                self.run(
                    host,
                    &format!("lxc-attach -n {ctid} --clear-env -- /bin/journalctl --no-pager -o cat -n 40"),
                );
                eprintln!("== {ctid}\n{}", self.log());
            }
            self.run(host, &format!("lxc-stop --kill --name {ctid}"));
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

fn template() -> PathBuf {
    let template = binary("redis-ha").with_file_name("../redis-ha-debian-12.tar");
    assert!(template.exists(), "{} is missing: run `scripts/template` first", template.display());
    template
}

fn put(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The service of acme alone: its files below `rendered`, and what a proxy's `redis-ha` reads.
fn write(dir: &Path, mesh: &str) {
    let service = SERVICE.rsplit_once("[[cluster]]").unwrap().0;
    fs::write(dir.join("ha-redis.toml"), mesh).unwrap();
    fs::write(dir.join("redis-ha.toml"), service).unwrap();
    fs::create_dir(dir.join("secrets")).unwrap();
    for name in ["service", "acme"] {
        put(&dir.join("secrets").join(name), &format!("{name}-0123456789abcdef\n"), 0o600);
    }
    let config = Config::read(&dir.join("redis-ha.toml")).unwrap();
    let (secrets, certificates) = (Secrets::read(&config).unwrap(), Certificates::read(&config).unwrap());
    for file in render(&config, &secrets, &certificates) {
        put(&dir.join("rendered").join(file.relative()), &file.text, file.mode);
    }
}

#[tokio::test]
async fn containers_of_the_rendered_script_are_a_cluster() {
    let acme = FIVE_HOSTS.rsplit_once("[[tenant]]").unwrap().0;
    // The lab has no stand-ins for the containers: they are real here.
    let (before, containers) = acme.split_once("containers = [").unwrap();
    let (_, after) = containers.split_once("\n]").unwrap();
    let lab = TestLab::up(topology(&format!("{before}{after}"))).await;
    let mesh = acme.replace("\"ha-redis\"", &format!("\"{}\"", lab.mesh.name()));
    let machines = Machines::new(&lab);
    write(machines.dir.path(), &mesh);

    for (host, ctid) in NODES {
        let script = format!("cd rendered; sh hosts/{host}/containers-lxc.sh");
        let told = machines.done(host, &script);
        assert!(told.contains("mock sysctl -q -p /etc/sysctl.d/60-redis-ha.conf"), "{told}");
        assert!(lab.vsctl(host, "list-ports br-acme").contains(&format!("veth{ctid}.0")));
        // The userspace datapath hands on what the sender left to its card to sum up.
        machines.done(host, &format!("lxc-attach -n {ctid} -s NETWORK -- ethtool -K eth0 tx off"));
    }
    for (host, ctid) in NODES {
        let inside = format!("lxc-attach -n {ctid} --clear-env -- /bin/systemctl");
        machines.wait(host, &format!("{inside} is-active redis-ha-redis redis-ha-sentinel"));
        let failed = machines.done(host, &format!("{inside} list-units --state failed --no-legend --plain"));
        assert!(!failed.contains("redis"), "{failed}");
        let allowed = "lxc-attach -n {ctid} --clear-env -- /bin/cat /proc/sys/net/core/somaxconn";
        assert_eq!(machines.done(host, &allowed.replace("{ctid}", ctid)), "4096\n");
    }
    let redis_ha = binary("redis-ha");
    let bootstrap = format!("{} bootstrap --host proxy1", redis_ha.display());
    let told = machines.wait("proxy1", &bootstrap);
    assert!(told.contains("acme: 101 is the master, with all replicas"), "{told}");

    // A master that is restarted at once comes back as nobody's replica, and another is there. No agent has told the Sentinels to ask
    // more often than they do of themselves.
    machines.done("redis1", "lxc-attach -n 101 --clear-env -- /bin/systemctl restart redis-ha-redis");
    let told = machines.wait("proxy1", &bootstrap);
    assert!(told.contains("is already the master, with all replicas"), "{told}");
    assert!(!told.contains("101 is already"), "{told}");
    // A master that is killed is started again by its unit, and replaced as well.
    let named =
        |told: &str| told.lines().find_map(|line| line.strip_prefix("acme: ")?.get(..3).map(str::to_owned));
    let killed = named(&told).unwrap();
    let (host, _) = NODES.into_iter().find(|(_, ctid)| *ctid == killed).unwrap();
    machines.done(
        host,
        &format!("lxc-attach -n {killed} --clear-env -- /bin/systemctl kill -s KILL redis-ha-redis"),
    );
    std::thread::sleep(Duration::from_secs(2));
    let told = machines.wait("proxy1", &bootstrap);
    assert!(told.contains("is already the master, with all replicas"), "{told}");
    assert_ne!(named(&told).unwrap(), killed, "{told}");

    // A script that is run again leaves alone what runs; a container that stops leaves its bridge.
    let begun = "lxc-attach -n 102 --clear-env -- /bin/systemctl show -P ActiveEnterTimestampMonotonic redis-ha-redis";
    let before = machines.done("redis2", begun);
    machines.done("redis2", "cd rendered; sh hosts/redis2/containers-lxc.sh");
    assert_eq!(machines.done("redis2", begun), before);
    machines.done("redis3", "lxc-stop --name 103 --timeout 20");
    assert!(!lab.vsctl("redis3", "list-ports br-acme").contains("veth103.0"), "its row is left");
    // Started again, it has its files and finds the others.
    machines.done("redis3", "cd rendered; sh hosts/redis3/containers-lxc.sh");
    machines.wait("redis3", "lxc-attach -n 103 --clear-env -- /bin/systemctl is-active redis-ha-redis");
}
