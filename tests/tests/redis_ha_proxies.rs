//! Proxies as `redis-ha render` has them: Debian's systemd runs the rendered units, with its packages' HAProxy and keepalived.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ovs_mesh::{Chain, Datapath};
use ovsmesh_lab::{Lab, LabOptions};
use ovsmesh_tests::machines::{Machines, inside, put};
use ovsmesh_tests::{binary, ovsmesh, unique_name};
use redis_ha::{Certificates, Config, Service as Daemon, ServiceLab, ServiceOptions, render};

const MESH: &str = include_str!("../../examples/ha-redis.toml");
const SERVICE: &str = include_str!("../../examples/redis-ha.toml");
const PROXIES: [&str; 2] = ["proxy1", "proxy2"];
const UNITS: &str = "redis-ha-agent redis-ha-haproxy redis-ha-keepalived redis-ha-notify";
/// How long clients may be without their Redis when the VIP moves, on a machine that does other things too.
const MOVE: Duration = Duration::from_secs(3);
/// What is nothing to a client, on such a machine.
const NOTHING: Duration = Duration::from_millis(500);
/// How long it may take until all is as it should be.
const SETTLE: Duration = Duration::from_secs(30);

/// A lab whose nodes run as labs have them, and whose proxies do nothing; gone with the test.
struct Service {
    lab: ServiceLab,
    /// Where its EC2 is, and the keys to it.
    endpoint: String,
    keys: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = Lab::down(self.lab.mesh().name()) {
            eprintln!("the lab did not go down: {error}");
        }
    }
}

impl Service {
    async fn up() -> Self {
        let python = binary("redis-ha").with_file_name("../venv/bin/python");
        assert!(python.exists(), "{} is not there: run scripts/venv", python.display());
        let config = Config::parse(SERVICE, Path::new("redis-ha.toml"), MESH.parse().unwrap()).unwrap();
        let mesh = LabOptions { name: unique_name(), datapath: Datapath::Netdev, hook: &ovsmesh() };
        let options = ServiceOptions { mesh, program: &binary("redis-ha"), ec2: Some(&python) };
        let lab = ServiceLab::up(config, options, &()).await;
        let lab = lab.unwrap_or_else(|error| panic!("{}", Chain(&error)));
        let mut service = Self { lab, endpoint: String::new(), keys: String::new() };
        // What the lab's own notifiers were told.
        let notify = service.lab.pid(&Daemon::Notify(PROXIES[0].parse().unwrap())).unwrap();
        let words = |file: &str| {
            let text = fs::read_to_string(format!("/proc/{notify}/{file}")).unwrap();
            text.split('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        let options = words("cmdline");
        let at = options.iter().position(|option| option == "--ec2-endpoint").unwrap();
        service.endpoint.clone_from(&options[at + 1]);
        let keys = words("environ").into_iter().filter(|variable| variable.starts_with("AWS_"));
        service.keys = keys.collect::<Vec<_>>().join(" ");
        for proxy in PROXIES {
            for daemon in [Daemon::Keepalived, Daemon::Notify, Daemon::Haproxy, Daemon::Agent] {
                service.lab.signal(&daemon(proxy.parse().unwrap()), Signal::SIGTERM).unwrap();
            }
        }
        service
    }

    /// A machine for each proxy: its host's network, and this machine's files, Debian's packages among them, with the rendered ones laid
    /// over. What is written there is in memory.
    fn machines(&self) -> Machines<'_> {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::read(self.lab.config()).unwrap();
        for file in render(self.lab.config(), self.lab.secrets(), &certificates) {
            put(&dir.path().join("rendered").join(file.relative()), &file.text, file.mode);
            if file.path.ends_with("redis-ha-notify.service") {
                // There is no instance with a role here.
                let start = file.text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
                let (endpoint, keys) = (&self.endpoint, &self.keys);
                let lab =
                    format!("[Service]\nExecStart=\n{start} --ec2-endpoint {endpoint}\nEnvironment={keys}\n");
                let unit = dir.path().join("rendered").join(file.relative());
                put(&unit.with_extension("service.d").join("lab.conf"), &lab, 0o644);
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
: > {proxy}/etc/fstab
cp -r --preserve=mode rendered/proxies/{proxy}/. {proxy}/",
                redis_ha = binary("redis-ha").display()
            );
        }
        let containers = PROXIES.map(|proxy| (proxy, proxy));
        Machines::new(self.lab.mesh(), dir, &mount, String::new(), &containers)
    }

    /// The proxies that have the VIPs, and those that EC2 leads them to.
    async fn holders(&self) -> (Vec<String>, Vec<String>) {
        let proxies = self.lab.proxies().await.unwrap();
        let holders = proxies.into_iter().filter(|proxy| proxy.has_vips).map(|proxy| proxy.host.to_string());
        let led = self.lab.led().unwrap().unwrap();
        (holders.collect(), led.iter().map(ToString::to_string).collect())
    }

    /// Waits until one proxy alone has the VIPs, and EC2 leads them there.
    async fn settled(&self) -> String {
        let end = Instant::now() + SETTLE;
        loop {
            match self.holders().await {
                (holders, led) if holders.len() == 1 && holders == led => return holders[0].clone(),
                both => assert!(Instant::now() < end, "{both:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The longest that a client of acme's, who writes all the while, has no answer, from `act` to a second after it.
    fn gap(&self, act: impl FnOnce()) -> Duration {
        let (acme, credentials) = self.lab.secrets().of(self.lab.config()).next().unwrap();
        let url = format!("redis://:{}@{}/", credentials.client.expose(), acme.listen);
        let netns = self.lab.client_netns().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let client = scope.spawn(|| netns.run(|| answers(&url, &is_over)).unwrap());
            thread::sleep(Duration::from_millis(300));
            let began = Instant::now();
            act();
            thread::sleep(Duration::from_secs(1));
            is_over.store(true, Ordering::Relaxed);
            let answers = client.join().unwrap();
            let (before, after): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| *answer < began);
            assert!(!before.is_empty(), "the client could not write before");
            let mut last = began;
            let mut longest = Duration::ZERO;
            for answer in after.into_iter().chain([Instant::now()]) {
                longest = longest.max(answer - last);
                last = answer;
            }
            longest
        })
    }
}

/// When a client's writes were acknowledged.
fn answers(url: &str, is_over: &AtomicBool) -> Vec<Instant> {
    let mut answers = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let connection =
            redis::Client::open(url).unwrap().get_connection_with_timeout(Duration::from_millis(100));
        let Ok(mut connection) = connection else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        connection.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
        while !is_over.load(Ordering::Relaxed)
            && redis::cmd("INCR").arg("writes").exec(&mut connection).is_ok()
        {
            answers.push(Instant::now());
            thread::sleep(Duration::from_millis(5));
        }
    }
    answers
}

#[tokio::test]
async fn the_rendered_units_are_a_pair_of_proxies() {
    let service = Service::up().await;
    let machines = service.machines();
    let systemctl =
        |proxy: &str, words: &str| machines.done(proxy, &inside(proxy, &format!("systemctl {words}")));
    let restarts = |proxy: &str, unit: &str| -> u32 {
        systemctl(proxy, &format!("show -P NRestarts {unit}")).trim().parse().unwrap()
    };
    let all_active =
        |proxy: &str| machines.wait(proxy, &inside(proxy, &format!("systemctl is-active {UNITS}")));
    let status = |proxy: &str| {
        let status = "env /usr/local/bin/redis-ha --config /etc/redis-ha/redis-ha.toml status --host";
        machines.wait(proxy, &inside(proxy, &format!("{status} {proxy}")))
    };
    for proxy in PROXIES {
        machines.done(proxy, &format!("lxc-start -n {proxy}"));
        machines.wait(proxy, &inside(proxy, "systemctl is-active basic.target"));
        systemctl(proxy, &format!("enable --now {UNITS}"));
    }
    let mut active = service.settled().await;
    for proxy in PROXIES {
        all_active(proxy);
        let is = if *proxy == active { "has the VIPs" } else { "stands by" };
        let told = status(proxy);
        assert!(told.contains(&format!("{proxy} {is}, acme goes to 101, globex goes to 201")), "{told}");
    }

    // What is done to the proxy that has the VIPs; whether they move; how long clients may be without.
    let faults = [
        ("kill -s KILL redis-ha-agent", false, NOTHING),
        ("kill -s STOP redis-ha-agent", false, NOTHING),
        ("kill -s KILL redis-ha-notify", false, NOTHING),
        ("reload redis-ha-keepalived", false, NOTHING),
        ("reload redis-ha-haproxy", false, MOVE),
        ("kill -s KILL redis-ha-haproxy", true, MOVE),
        ("kill -s KILL redis-ha-keepalived", true, MOVE),
        ("restart redis-ha-agent", true, MOVE),
        ("stop redis-ha-agent", true, MOVE),
    ];
    for (fault, moves, allowed) in faults {
        let unit = fault.rsplit(' ').next().unwrap();
        let before = restarts(&active, unit);
        let gap = service.gap(|| drop(systemctl(&active, fault)));
        let now = service.settled().await;
        println!("{fault} on {active}: {gap:?}, then {now} has the VIPs");
        assert!(gap <= allowed, "{fault}: {gap:?}");
        assert_eq!(now != active, moves, "{fault}: {active}, {now}");
        if fault.starts_with("kill") {
            assert_eq!(restarts(&active, unit), before + 1, "{fault}");
        }
        if fault.starts_with("stop") {
            systemctl(&active, &format!("start {unit}"));
        }
        for proxy in PROXIES {
            all_active(proxy);
            status(proxy);
        }
        active = now;
    }

    // A file that HAProxy does not take is not taken, and nothing else happens.
    let cfg = "/etc/redis-ha/haproxy.cfg";
    machines
        .done(&active, &inside(&active, &format!("sh -c 'cp -p {cfg} /root/good; echo nonsense >> {cfg}'")));
    let gap = service.gap(|| {
        let reload = inside(&active, "systemctl reload redis-ha-haproxy");
        assert!(!machines.run(&active, &reload).status.success(), "{}", machines.log());
    });
    assert!(gap <= NOTHING, "{gap:?}");
    machines.done(&active, &inside(&active, &format!("cp -p /root/good {cfg}")));
    systemctl(&active, "reload redis-ha-haproxy");

    // One whose agent cannot come back, since its file cannot be read, gives the VIPs to the other.
    let toml = "/etc/redis-ha/redis-ha.toml";
    machines.done(&active, &inside(&active, &format!("mv {toml} /root/away")));
    let gap = service.gap(|| drop(systemctl(&active, "kill -s KILL redis-ha-agent")));
    let now = service.settled().await;
    println!("{active} has no agent any more: {gap:?}, then {now} has the VIPs");
    assert!(gap <= MOVE && now != active, "{gap:?}, {now}");
    machines.done(&active, &inside(&active, &format!("mv /root/away {toml}")));
    all_active(&active);
    status(&active);
    let active = now;

    // One that shuts down hands over, and takes nothing back.
    let gap = service.gap(|| drop(machines.done(&active, &format!("lxc-stop -n {active} --timeout 30"))));
    let now = service.settled().await;
    println!("{active} shuts down: {gap:?}, then {now} has the VIPs");
    assert!(gap <= MOVE && now != active, "{gap:?}, {now}");
    machines.done(&active, &format!("lxc-start -n {active}"));
    machines.wait(&active, &inside(&active, "systemctl is-active basic.target"));
    let enabled = systemctl(&active, &format!("is-enabled {UNITS}"));
    assert_eq!(enabled, "enabled\n".repeat(4));
    let gap = service.gap(|| drop(systemctl(&active, &format!("start {UNITS}"))));
    assert!(gap <= NOTHING, "{gap:?}");
    all_active(&active);
    status(&active);
    assert_eq!(service.settled().await, now);
}
