//! Containers as `redis-ha render` has LXC make them: Debian's systemd runs the rendered units, on tenants' bridges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ovsmesh_tests::machines::{Machines, all_active, inside, put};
use ovsmesh_tests::{FIVE_HOSTS, TestLab, binary, ovsmesh, topology};
use redis_ha::{Certificates, Config, Secrets, render};

const SERVICE: &str = include_str!("../../examples/redis-ha.toml");
const NODES: [(&str, &str); 3] = [("redis1", "101"), ("redis2", "102"), ("redis3", "103")];

/// The lab's hosts as machines, with places of the test's own where the script writes, and a `sysctl` that leaves this machine's kernel
/// alone.
fn machines(lab: &TestLab) -> Machines<'_> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sysctl.d")).unwrap();
    put(&dir.path().join("sbin/sysctl"), "#!/bin/sh\necho mock sysctl \"$@\"\n", 0o755);
    let mount = "mount --bind sbin /usr/local/sbin; mount --bind sysctl.d /etc/sysctl.d";
    let variables = format!(
        "OVSMESH={} OVSMESH_CONFIG={1}/ha-redis.toml TEMPLATE={2} REDIS_HA_CONFIG={1}/redis-ha.toml",
        ovsmesh().display(),
        dir.path().display(),
        template().display(),
    );
    Machines::new(&lab.mesh, dir, mount, variables, &NODES)
}

fn template() -> PathBuf {
    let template = binary("redis-ha").with_file_name("../redis-ha-debian-12.tar");
    assert!(template.exists(), "{} is missing: run `scripts/template` first", template.display());
    template
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
    let machines = machines(&lab);
    write(machines.path(), &mesh);

    for (host, ctid) in NODES {
        let script = format!("cd rendered; sh hosts/{host}/containers-lxc.sh");
        let told = machines.done(host, &script);
        assert!(told.contains("mock sysctl -q -p /etc/sysctl.d/60-redis-ha.conf"), "{told}");
        assert!(lab.vsctl(host, "list-ports br-acme").contains(&format!("veth{ctid}.0")));
        // The userspace datapath hands on what the sender left to its card to sum up.
        machines.done(host, &format!("lxc-attach -n {ctid} -s NETWORK -- ethtool -K eth0 tx off"));
    }
    for (host, ctid) in NODES {
        machines.wait(host, &all_active(ctid, &["redis-ha-redis", "redis-ha-sentinel"]));
        let failed =
            machines.done(host, &inside(ctid, "systemctl list-units --state failed --no-legend --plain"));
        assert!(!failed.contains("redis"), "{failed}");
        assert_eq!(machines.done(host, &inside(ctid, "cat /proc/sys/net/core/somaxconn")), "4096\n");
    }
    let redis_ha = binary("redis-ha");
    let bootstrap = format!("{} bootstrap --host proxy1", redis_ha.display());
    let told = machines.wait("proxy1", &bootstrap);
    assert!(told.contains("acme: 101 is the master, with all replicas"), "{told}");

    // A replica waits for nothing: its Sentinel names another.
    let asked = Instant::now();
    machines.done("redis3", &inside("103", "systemctl restart redis-ha-redis"));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    machines.wait("proxy1", &bootstrap);

    // A master that is restarted is away until it is replaced, and comes back as nobody's replica. No agent has told the Sentinels to ask
    // more often than they do of themselves.
    machines.done("redis1", &inside("101", "systemctl restart redis-ha-redis"));
    let own_sentinel = "sh -c 'REDISCLI_AUTH=$(sed -n \"s/^requirepass //p\" /etc/redis-ha/sentinel.conf) \
                 redis-cli -p 26379 SENTINEL get-master-addr-by-name acme'";
    // Sooner, and the cluster may be without a master for good.
    let told = machines.done("redis1", &inside("101", own_sentinel));
    assert!(
        told.starts_with("192.168.10.1") && !told.starts_with("192.168.10.11\n"),
        "back before another was the master: {told}"
    );
    let told = machines.wait("proxy1", &bootstrap);
    assert!(told.contains("is already the master, with all replicas"), "{told}");
    assert!(!told.contains("101 is already"), "{told}");
    // A master that is killed is started again by its unit, and replaced as well.
    let named =
        |told: &str| told.lines().find_map(|line| line.strip_prefix("acme: ")?.get(..3).map(str::to_owned));
    let killed = named(&told).unwrap();
    let (host, _) = NODES.into_iter().find(|(_, ctid)| *ctid == killed).unwrap();
    machines.done(host, &inside(&killed, "systemctl kill -s KILL redis-ha-redis"));
    std::thread::sleep(Duration::from_secs(2));
    let told = machines.wait("proxy1", &bootstrap);
    assert!(told.contains("is already the master, with all replicas"), "{told}");
    assert_ne!(named(&told).unwrap(), killed, "{told}");

    // A script that is run again, at a terminal, leaves alone what runs. What has changed is there when it is restarted.
    let begun =
        inside("102", "systemctl show -P ActiveEnterTimestampMonotonic redis-ha-redis redis-ha-sentinel");
    let before = machines.done("redis2", &begun);
    let again = "cd rendered; script -qec 'sh hosts/redis2/containers-lxc.sh' /dev/null";
    let told = machines.done("redis2", again);
    assert!(!told.contains("runs on"), "{told}");
    let rendered = machines.path().join("rendered");
    let change = |path: &str, from: &str, to: &str| {
        let text = fs::read_to_string(rendered.join(path)).unwrap();
        assert!(text.contains(from), "{path}: {text}");
        fs::write(rendered.join(path), text.replace(from, to)).unwrap();
    };
    change("nodes/102/etc/redis-ha/redis.conf", "maxclients 10000", "maxclients 9000");
    change("nodes/102/etc/redis-ha/sentinel.conf", "protected-mode yes", "protected-mode yes\n# changed");
    change("hosts/redis2/containers-lxc.sh", "640M", "700M");
    let told = machines.done("redis2", again);
    let changed = "container 102 runs on; changed in it, and not read yet: /etc/redis-ha/redis.conf /etc/redis-ha/sentinel.conf";
    assert!(told.contains(changed), "{told}");
    assert_eq!(machines.done("redis2", &begun), before);
    let memory = "lxc-cgroup -n 102 memory.max 2> /dev/null || lxc-cgroup -n 102 memory.limit_in_bytes";
    assert_eq!(machines.done("redis2", memory).trim(), (700 << 20).to_string());
    let there = machines.done("redis2", &inside("102", "stat -c %a:%U /etc/redis-ha/redis.conf"));
    assert_eq!(there, "640:root\n");
    machines.done("redis2", &inside("102", "grep -q 'maxclients 9000' /etc/redis-ha/redis.conf"));
    let live = machines.done("redis2", &inside("102", "cat /var/lib/redis-ha/sentinel/sentinel.conf"));
    assert!(live.contains("known-replica") && !live.contains("# changed"), "{live}");
    machines.done("redis2", &inside("102", "systemctl restart redis-ha-redis"));
    machines.wait("redis2", &inside("102", "systemctl is-active redis-ha-redis"));
    assert_ne!(machines.done("redis2", &begun), before);
    // A container that stops leaves its bridge.
    machines.done("redis3", "lxc-stop --name 103 --timeout 20");
    assert!(!lab.vsctl("redis3", "list-ports br-acme").contains("veth103.0"), "its row is left");
    // Started again, it has its files and finds the others.
    machines.done("redis3", "cd rendered; sh hosts/redis3/containers-lxc.sh");
    machines.wait("redis3", &inside("103", "systemctl is-active redis-ha-redis"));
}
