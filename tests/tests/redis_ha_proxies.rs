//! Proxies as `redis-ha render` has them: Debian's systemd runs the rendered units, with its packages' HAProxy and keepalived.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write as _;
use std::fs;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ovsmesh_tests::FIVE_HOSTS;
use ovsmesh_tests::machines::{Machines, all_active, inside, put};
use ovsmesh_tests::service::{SERVICE, TestService, python, redis_ha};
use redis_ha::{AGENT_PRIORITY, Certificates, Service as Daemon, render};

const PROXIES: [&str; 2] = ["proxy1", "proxy2"];
const UNITS: [&str; 5] =
    ["ovsmesh", "redis-ha-agent", "redis-ha-haproxy", "redis-ha-keepalived", "redis-ha-notify"];
/// The lab has made the mesh. As after a boot, it is not there until the first of these has ended.
const MOCK_OVSMESH: &str = "#!/bin/sh
case \"$*\" in
    'sync --timeout 60s') sleep 1; echo \"$OVSMESH_HOST\" > /run/mesh ;;
    'sync --watch') exec sleep infinity ;;
    *) exit 2 ;;
esac
";
/// Units that need it.
const AFTER: [&str; 2] = ["redis-ha-agent", "redis-ha-haproxy"];
/// How long clients may be without their Redis when the VIP moves, on a machine that does other things too.
const MOVE: Duration = Duration::from_secs(2);
/// What is nothing to a client, on such a machine: what ends its session or refuses one takes longer, or it does not wait.
const NOTHING: Duration = Duration::from_secs(1);
/// How long it may take until all is as it should be.
const SETTLE: Duration = Duration::from_secs(30);

/// A lab whose nodes run as labs have them, and whose proxies do nothing.
struct Nodes {
    service: TestService,
    /// Where its EC2 is, and the keys to it.
    endpoint: String,
    keys: String,
}

impl Nodes {
    async fn up() -> Self {
        let service = TestService::up(SERVICE, FIVE_HOSTS, Some(&python())).await;
        // What the lab's own notifiers were told.
        let notify = service.lab.pid(&Daemon::Notify(PROXIES[0].parse().unwrap())).unwrap();
        let words = |file: &str| {
            let text = fs::read_to_string(format!("/proc/{notify}/{file}")).unwrap();
            text.split('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        let options = words("cmdline");
        let at = options.iter().position(|option| option == "--ec2-endpoint").unwrap();
        let is_key = |variable: &String| {
            ["AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="].iter().any(|name| variable.starts_with(name))
        };
        let keys: Vec<String> = words("environ").into_iter().filter(is_key).collect();
        assert_eq!(keys.len(), 2, "{keys:?}");
        for proxy in PROXIES {
            for daemon in [Daemon::Keepalived, Daemon::Notify, Daemon::Haproxy, Daemon::Agent] {
                service.lab.signal(&daemon(proxy.parse().unwrap()), Signal::SIGTERM).unwrap();
            }
        }
        Self { service, endpoint: options[at + 1].clone(), keys: keys.join(" ") }
    }

    /// A machine for each proxy: its host's network, and this machine's files, Debian's packages among them, with the rendered ones laid
    /// over. What is written there is in memory.
    fn machines(&self) -> Machines<'_> {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::read(self.service.lab.config()).unwrap();
        put(&dir.path().join("ovsmesh"), MOCK_OVSMESH, 0o755);
        for file in render(self.service.lab.config(), self.service.lab.secrets(), &certificates) {
            let path = dir.path().join("rendered").join(file.relative());
            put(&path, &file.text, file.mode);
            let drop_in = path.with_extension("service.d").join("lab.conf");
            if AFTER.iter().any(|unit| file.path.ends_with(format!("{unit}.service"))) {
                put(
                    &drop_in,
                    "[Service]\nExecStartPre=/bin/sh -c 'test -e /run/mesh || { touch /run/too-early; exit 1; }'\n",
                    0o644,
                );
            }
            if file.path.ends_with("redis-ha-notify.service") {
                // There is no instance with a role here.
                let start = file.text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
                let (endpoint, keys) = (&self.endpoint, &self.keys);
                let lab =
                    format!("[Service]\nExecStart=\n{start} --ec2-endpoint {endpoint}\nEnvironment={keys}\n");
                put(&drop_in, &lab, 0o644);
            }
        }
        let mut mount = String::new();
        for proxy in PROXIES {
            let config = format!(
                "lxc.include = /usr/share/lxc/config/common.conf
lxc.uts.name = {proxy}
lxc.rootfs.path = dir:{dir}/{proxy}
lxc.apparmor.profile = generated
lxc.apparmor.allow_nesting = 1
lxc.net.0.type = none
lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755
lxc.mount.entry = /run/netns run/netns none rbind,create=dir
lxc.init.cmd = /lib/systemd/systemd --unit=basic.target
",
                dir = dir.path().display()
            );
            put(&dir.path().join("lxc").join(proxy).join("config"), &config, 0o644);
            // Writing into a string cannot fail.
            let _ = write!(
                mount,
                "
mkdir {proxy} {proxy}.own
mount -t tmpfs tmpfs {proxy}.own
mkdir {proxy}.own/files {proxy}.own/work
mount -t overlay overlay -o lowerdir=/,upperdir={proxy}.own/files,workdir={proxy}.own/work {proxy}
install -D {redis_ha} {proxy}/usr/local/bin/redis-ha
install ovsmesh {proxy}/usr/local/bin/ovsmesh
: > {proxy}/etc/fstab
cp -r --preserve=mode rendered/proxies/{proxy}/. {proxy}/",
                redis_ha = redis_ha().display()
            );
        }
        let containers = PROXIES.map(|proxy| (proxy, proxy));
        Machines::new(self.service.lab.mesh(), dir, &mount, String::new(), &containers)
    }

    /// The proxies that have the VIPs, and those that EC2 leads them to.
    async fn holders(&self) -> (Vec<String>, Vec<String>) {
        let proxies = self.service.lab.proxies().await.unwrap();
        let holders = proxies.into_iter().filter(|proxy| proxy.has_vips).map(|proxy| proxy.host.to_string());
        let led = self.service.lab.led().unwrap().unwrap();
        (holders.collect(), led.iter().map(ToString::to_string).collect())
    }

    /// Waits until one proxy alone has the VIPs, and EC2 leads them there: such a one.
    async fn settled(&self, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SETTLE;
        loop {
            match self.holders().await {
                (holders, led) if holders.len() == 1 && holders == led && is_it(&holders[0]) => {
                    return holders[0].clone();
                }
                both => assert!(Instant::now() < end, "{both:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A client of acme's that writes from now on.
    fn client(&self) -> Client {
        let lab = &self.service.lab;
        let (acme, credentials) = lab.secrets().of(lab.config()).next().unwrap();
        let url = format!("redis://:{}@{}/", credentials.client.expose(), acme.listen);
        let netns = lab.client_netns().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || netns.run(|| write(&url, &tell)).unwrap());
        let mut client = Client { told, last: Instant::now() };
        client.answered();
        client.last = Instant::now();
        client
    }
}

/// A client that writes all the while, until this goes.
struct Client {
    told: Receiver<Option<Instant>>,
    last: Instant,
}

impl Client {
    /// The longest that it had no answer from then on, until it had one a second from now.
    fn gap(mut self) -> Duration {
        let end = Instant::now() + Duration::from_secs(1);
        let mut longest = Duration::ZERO;
        while self.last < end {
            longest = longest.max(self.answered());
        }
        longest
    }

    /// Waits for the next answer; how long after the last that was.
    fn answered(&mut self) -> Duration {
        let end = Instant::now() + SETTLE;
        loop {
            if let Some(at) = self.told.recv_timeout(SETTLE).unwrap() {
                let since = at.saturating_duration_since(self.last);
                self.last = self.last.max(at);
                return since;
            }
            assert!(Instant::now() < end, "the client is not served any more");
        }
    }
}

/// Writes for as long as anybody hears when it was acknowledged, or that it was not.
fn write(url: &str, tell: &Sender<Option<Instant>>) {
    loop {
        // Sooner than TCP tries again by itself, after a second.
        let soon = Duration::from_millis(250);
        let connection = redis::Client::open(url).unwrap().get_connection_with_timeout(soon);
        if let Ok(mut connection) = connection {
            connection.set_read_timeout(Some(NOTHING)).unwrap();
            while redis::cmd("INCR").arg("writes").exec(&mut connection).is_ok() {
                if tell.send(Some(Instant::now())).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        if tell.send(None).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks systemd on a proxy.
fn systemctl(machines: &Machines<'_>, proxy: &str, words: &str) -> String {
    machines.done(proxy, &inside(proxy, &format!("systemctl {words}")))
}

/// How often systemd has started a unit again.
fn restarts(machines: &Machines<'_>, proxy: &str, unit: &str) -> u32 {
    systemctl(machines, proxy, &format!("show -P NRestarts {unit}")).trim().parse().unwrap()
}

/// Waits until all units of a proxy run and it finds all as it should be; what it says.
fn whole(machines: &Machines<'_>, proxy: &str) -> String {
    machines.wait(proxy, &all_active(proxy, &UNITS));
    let status = "env /usr/local/bin/redis-ha --config /etc/redis-ha/redis-ha.toml status --host";
    machines.wait(proxy, &inside(proxy, &format!("{status} {proxy}")))
}

fn boot(machines: &Machines<'_>, proxy: &str) {
    machines.done(proxy, &format!("lxc-start -n {proxy}"));
    machines.wait(proxy, &all_active(proxy, &["basic.target"]));
}

/// That what needs the mesh was not started before it was there.
fn came_after_the_mesh(machines: &Machines<'_>, proxy: &str) {
    assert_eq!(machines.done(proxy, &inside(proxy, "cat /run/mesh")), format!("{proxy}\n"));
    assert!(!machines.run(proxy, &inside(proxy, "ls /run/too-early")), "{proxy}");
}

/// That the agent comes first where the kernel lets anybody, and says so where it does not.
fn comes_first_or_says_so(machines: &Machines<'_>, proxy: &str) {
    if machines.run(proxy, &inside(proxy, "chrt -r 10 true")) {
        let scheduled = inside(proxy, "sh -c 'chrt -p $(systemctl show -P MainPID redis-ha-agent)'");
        let told = machines.done(proxy, &scheduled);
        assert!(told.contains("SCHED_RR") && told.contains(&format!("priority: {AGENT_PRIORITY}")), "{told}");
    } else {
        let journal = inside(proxy, "journalctl --no-pager -o cat -u redis-ha-agent");
        let told = machines.done(proxy, &journal);
        assert!(told.contains("note: no real-time scheduling"), "{told}");
    }
}

#[tokio::test]
async fn the_rendered_units_are_a_pair_of_proxies() {
    let nodes = Nodes::up().await;
    let machines = &nodes.machines();
    for proxy in PROXIES {
        boot(machines, proxy);
        systemctl(machines, proxy, &format!("enable --now {}", UNITS.join(" ")));
        came_after_the_mesh(machines, proxy);
    }
    let mut active = nodes.settled(|_| true).await;
    for proxy in PROXIES {
        let told = whole(machines, proxy);
        let is = if *proxy == active { "has the VIPs" } else { "stands by; 10.0.1.100 answers elsewhere" };
        assert!(told.contains(&format!("{proxy} {is}; acme goes to 101, globex goes to 201")), "{told}");
        comes_first_or_says_so(machines, proxy);
    }

    // What is done to the proxy that has the VIPs; whether they move; how long clients may be without.
    let faults = [
        ("kill -s KILL redis-ha-agent", false, NOTHING),
        ("kill -s STOP redis-ha-agent", false, NOTHING),
        ("kill -s KILL redis-ha-notify", false, NOTHING),
        ("reload redis-ha-keepalived", false, NOTHING),
        ("reload redis-ha-haproxy", false, NOTHING),
        ("kill -s KILL redis-ha-haproxy", true, MOVE),
        ("kill -s KILL redis-ha-keepalived", true, MOVE),
        ("restart redis-ha-agent", true, MOVE),
        ("stop redis-ha-agent", true, MOVE),
    ];
    for (fault, moves, allowed) in faults {
        let unit = fault.rsplit(' ').next().unwrap();
        let before = restarts(machines, &active, unit);
        let client = nodes.client();
        systemctl(machines, &active, fault);
        let now = nodes.settled(|holder| (holder != active) == moves).await;
        let gap = client.gap();
        println!("{fault} on {active}: {gap:?}, then {now} has the VIPs");
        assert!(gap <= allowed, "{fault}: {gap:?}");
        if fault.starts_with("kill") {
            let end = Instant::now() + SETTLE;
            // An agent that a busy machine keeps from its first word is killed, too.
            while restarts(machines, &active, unit) <= before {
                assert!(Instant::now() < end, "{fault}: {unit} is not started again");
                thread::sleep(Duration::from_millis(100));
            }
        }
        if fault.starts_with("stop") {
            systemctl(machines, &active, &format!("start {unit}"));
        }
        for proxy in PROXIES {
            whole(machines, proxy);
        }
        assert_eq!(nodes.settled(|_| true).await, now, "{fault}");
        active = now;
    }

    // A file that HAProxy does not take is not taken, and nothing else happens.
    let cfg = "/etc/redis-ha/haproxy.cfg";
    let spoil = format!("sh -c 'cp -p {cfg} /root/good; echo nonsense >> {cfg}'");
    machines.done(&active, &inside(&active, &spoil));
    let client = nodes.client();
    let reload = inside(&active, "systemctl reload redis-ha-haproxy");
    assert!(!machines.run(&active, &reload), "{}", machines.log());
    let gap = client.gap();
    assert!(gap <= NOTHING, "{gap:?}");
    machines.done(&active, &inside(&active, &format!("cp -p /root/good {cfg}")));
    systemctl(machines, &active, "reload redis-ha-haproxy");
    whole(machines, &active);
    assert_eq!(nodes.settled(|_| true).await, active);

    // One whose agent cannot come back, since its file cannot be read, gives the VIPs to the other.
    let toml = "/etc/redis-ha/redis-ha.toml";
    machines.done(&active, &inside(&active, &format!("mv {toml} /root/away")));
    let client = nodes.client();
    systemctl(machines, &active, "kill -s KILL redis-ha-agent");
    let now = nodes.settled(|holder| holder != active).await;
    let gap = client.gap();
    println!("{active} has no agent any more: {gap:?}, then {now} has the VIPs");
    assert!(gap <= MOVE, "{gap:?}");
    machines.done(&active, &inside(&active, &format!("mv /root/away {toml}")));
    whole(machines, &active);
    let active = now;

    // One that shuts down hands over, and takes nothing back when it is there again. (It boots without what would start the units,
    // which is more of this machine's than theirs.)
    let stop = format!("lxc-stop -n {active} --nokill --timeout 30");
    let client = nodes.client();
    machines.done(&active, &stop);
    let now = nodes.settled(|holder| holder != active).await;
    let gap = client.gap();
    println!("{active} shuts down: {gap:?}, then {now} has the VIPs");
    assert!(gap <= MOVE, "{gap:?}");
    boot(machines, &active);
    let enabled = systemctl(machines, &active, &format!("is-enabled {}", UNITS.join(" ")));
    assert_eq!(enabled, "enabled\n".repeat(UNITS.len()));
    let start = format!("start {}", UNITS.join(" "));
    let client = nodes.client();
    systemctl(machines, &active, &start);
    let gap = client.gap();
    assert!(gap <= NOTHING, "{gap:?}");
    came_after_the_mesh(machines, &active);
    whole(machines, &active);
    assert_eq!(nodes.settled(|_| true).await, now);
}
