//! Live packets find what is wrong, name it, and leave nothing behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod faults;
mod others;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ovs_mesh::isolation::{
    Check, Cookie, Finding, Level, Owners, ProbeError, ProbeOptions, Report, Severity, Stage, probe,
};
use ovs_mesh::{Chain, Datapath, HostName, Tenant, Topology};
use ovsmesh_lab::MeshLab;
use ovsmesh_lab::capture::GreFrame;
use ovsmesh_tests::traffic::{BUSY, loses_nothing};
use ovsmesh_tests::{FIVE_HOSTS, TestLab, datapath, host, simple, topology};

const COOKIE: u64 = 0x6f76_736d_6573_6821;

async fn run(mesh: &MeshLab, name: &HostName) -> Result<Report, ProbeError> {
    let switch = mesh.switch(name).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
    probe(&switch, mesh.topology(), name, &ProbeOptions::new(COOKIE), &Owners::new(mesh.topology())).await
}

async fn probed(lab: &TestLab, name: &str) -> Vec<Finding> {
    let report = run(&lab.mesh, &host(name)).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
    report.findings().to_vec()
}

/// The same for those who have something else to do meanwhile.
fn probed_meanwhile(lab: &TestLab, name: &str) -> Vec<Finding> {
    std::thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(probed(lab, name))
        };
        scope.spawn(work).join().unwrap()
    })
}

/// Which checks found something about which tenants, and how bad it is.
fn named(findings: &[Finding]) -> BTreeSet<(Check, Severity, String)> {
    let one = |finding: &Finding| {
        let tenants: Vec<&str> = finding.tenants.iter().map(ovs_mesh::TenantName::as_str).collect();
        (finding.check, finding.severity, tenants.join("+"))
    };
    findings.iter().map(one).collect()
}

fn told(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .map(|it| format!("{} {}: {}: {}", it.severity.as_str(), it.check, it.object, it.reason));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn finds(findings: &[Finding], check: Check, severity: Severity, tenants: &str, words: &[&str]) {
    let found = findings.iter().any(|finding| {
        let own: Vec<&str> = finding.tenants.iter().map(ovs_mesh::TenantName::as_str).collect();
        let text = format!("{}: {}", finding.object, finding.reason);
        finding.check == check
            && finding.severity == severity
            && own.join("+") == tenants
            && words.iter().all(|word| text.contains(word))
    });
    assert!(found, "no {check} of {tenants} with {words:?} in:\n{}", told(findings));
}

/// A healthy lab has no finding on any host, and no more is sent than is documented.
async fn healthy(topology: Topology) {
    let lab = TestLab::up(topology).await;
    let topology = lab.mesh.topology().clone();
    // The kernel's datapath is that of an emulated machine, where all takes its time.
    let window = Duration::from_millis(if datapath() == Datapath::System { 4000 } else { 2000 });
    for (at, one) in topology.hosts().iter().enumerate() {
        let mut findings = Vec::new();
        // The first run after a start may have to ask again: ovs-vswitchd drops what it has no neighbour for.
        for _ in 0..2 {
            findings.extend(probed(&lab, one.name().as_str()).await);
        }
        let started = Instant::now();
        let frames = lab.captured(window, || {
            findings.extend(probed_meanwhile(&lab, one.name().as_str()));
            assert!(started.elapsed() < window, "{:?}", started.elapsed());
        });
        assert_eq!(told(&findings), "", "on host {}", one.name());
        let cookie = Cookie::new(COOKIE, u16::try_from(at).unwrap());
        let sent = |stage: Stage| {
            let is_it = |frame: &&GreFrame| {
                frame.src == one.underlay_ip()
                    && cookie.find(&frame.inner).is_some_and(|it| it.stage == stage)
            };
            frames.iter().filter(is_it).count()
        };
        let (mut short, mut long, mut echo) = (0, 0, 0);
        let of = |tenant: &Tenant| -> BTreeMap<IpAddr, HostName> {
            let containers = tenant.containers().iter().map(|it| (it.ip(), it.host().clone()));
            containers.chain(tenant.gateways().iter().map(|it| (it.ip(), it.host().clone()))).collect()
        };
        for tenant in topology.tenants() {
            let peers = topology.members(tenant).count() - 1;
            let own = of(tenant);
            let subnet = tenant.subnet();
            let others = topology.tenants().iter().flat_map(of).filter(|(ip, _)| !subnet.contains(*ip));
            let others: BTreeSet<IpAddr> = others.map(|(ip, _)| ip).collect();
            // Others are known here by the MAC addresses of their containers and gateways on this host.
            let known = topology.tenants().iter().filter(|other| other.name() != tenant.name());
            let known: usize =
                known.map(|other| of(other).values().filter(|at| *at == one.name()).count()).sum();
            let remote = own.values().filter(|at| *at != one.name()).count();
            assert!(others.len() + known <= ProbeOptions::new(COOKIE).foreign, "not all are asked for");
            short += (own.len() + others.len() + known) * peers;
            long += remote;
            if own.iter().any(|(ip, at)| {
                at == one.name() && tenant.gateways().iter().any(|gateway| gateway.ip() == *ip)
            }) {
                echo += remote;
            }
        }
        assert_eq!(
            (sent(Stage::Question), sent(Stage::Full), sent(Stage::Echo), sent(Stage::Short)),
            (short, long, echo, 0),
            "on host {}",
            one.name()
        );
        let mtu = usize::from(topology.tenant_mtu());
        let whole = frames
            .iter()
            .filter(|frame| cookie.find(&frame.inner).is_some_and(|it| it.stage != Stage::Question));
        assert!(whole.clone().all(|frame| frame.inner.len() == 14 + mtu), "not at full MTU");
    }
}

#[tokio::test]
async fn five_healthy_hosts_with_equal_subnets_have_no_finding() {
    healthy(topology(FIVE_HOSTS)).await;
}

#[tokio::test]
async fn an_ipv6_underlay_and_ipv6_tenants_have_no_finding() {
    let text = simple(2, &[("acme", 7), ("globex", 8)], true).to_toml();
    let six = text.replacen("192.168.7.0/24", "fd07::/64", 1).replacen("192.168.7.1\"", "fd07::1\"", 1);
    let six =
        (1..=3).fold(six, |text, n| text.replacen(&format!("192.168.7.1{n}\""), &format!("fd07::1{n}\""), 1));
    let six = topology(&six);
    assert!(six.tenants()[0].subnet().is_ipv6() && six.tenants()[1].subnet().is_ipv4());
    healthy(six).await;
}

/// An address that a container is just trying out (RFC 4862) is asked for, and is not given up for that.
#[tokio::test]
async fn an_ipv6_address_that_is_being_configured_is_not_lost() {
    let text = simple(2, &[("acme", 7)], false).to_toml();
    let text = text.replacen("192.168.7.0/24", "fd07::/64", 1).replacen("192.168.7.1\"", "fd07::1\"", 1);
    let six = (1..=2)
        .fold(text, |text, n| text.replacen(&format!("192.168.7.1{n}\""), &format!("fd07::1{n}\""), 1));
    let lab = TestLab::up(topology(&six)).await;
    assert_eq!(told(&probed(&lab, "h1").await), "");
    let address = lab.run("102", &["ip", "-6", "address", "show", "dev", "eth0", "scope", "global"]);
    let length = if address.contains("fd07::12/64") { "fd07::12/64" } else { "fd07::12/128" };
    // It takes a second for each of these.
    lab.run(
        "102",
        &["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1", "net.ipv6.conf.eth0.dad_transmits=3"],
    );
    lab.run("102", &["ip", "-6", "address", "del", length, "dev", "eth0"]);
    lab.run("102", &["ip", "-6", "address", "add", length, "dev", "eth0"]);
    let shown = || lab.run("102", &["ip", "-6", "address", "show", "dev", "eth0", "to", "fd07::12"]);
    assert!(shown().contains("tentative"), "{}", shown());
    let found = probed(&lab, "h1").await;
    finds(&found, Check::ProbeUnanswered, Severity::Degraded, "acme", &["container 102"]);
    for _ in 0..100 {
        if !shown().contains("tentative") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(shown().contains("fd07::12") && !shown().contains("tentative"), "{}", shown());
    assert!(!shown().contains("dadfailed"), "{}", shown());
    assert_eq!(told(&probed(&lab, "h1").await), "");
}

/// acme's and globex' container of each of three hosts, and a gateway of each on h1.
async fn three_hosts() -> TestLab {
    let lab = TestLab::up(simple(3, &[("acme", 7), ("globex", 8)], false)).await;
    assert_eq!(told(&probed(&lab, "h1").await), "");
    lab
}

fn mac_of(lab: &TestLab, place: &str, device: &str) -> String {
    let shown = lab.run(place, &["ip", "-br", "link", "show", "dev", device]);
    shown.split_whitespace().nth(2).unwrap().to_owned()
}

/// Bridges' own devices, which are down unless somebody sets them up, are handed the answers then.
#[tokio::test]
async fn bridges_whose_own_devices_are_up_have_no_finding() {
    let lab = three_hosts().await;
    for bridge in ["br-acme", "br-globex"] {
        lab.run("h1", &["ip", "link", "set", bridge, "up"]);
        lab.run("h2", &["ip", "link", "set", bridge, "up"]);
    }
    for on in ["h1", "h2", "h3"] {
        assert_eq!(told(&probed(&lab, on).await), "", "on {on}");
    }
}

/// All hosts at once, as for a whole lab: nobody takes another's questions or answers for his own.
#[tokio::test]
async fn all_hosts_can_be_probed_at_once() {
    let lab = TestLab::up(topology(FIVE_HOSTS)).await;
    let hosts = lab.mesh.topology().hosts().to_vec();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let all = hosts.iter().map(|one| scope.spawn(|| probed_meanwhile(&lab, one.name().as_str())));
            for (one, found) in hosts.iter().zip(all.collect::<Vec<_>>()) {
                assert_eq!(told(&found.join().unwrap()), "", "on host {}", one.name());
            }
        });
    }
}

/// Where the database is on another machine, there is nothing to give packets to.
#[tokio::test]
async fn a_remote_database_is_refused_with_the_reason() {
    use ovs_mesh::ovsdb::Endpoint;
    use ovs_mesh::{Switch, SwitchOptions};
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    lab.run("h1", &["ovs-appctl", "-t", "ovsdb-server", "ovsdb-server/add-remote", "ptcp:6640:10.0.1.11"]);
    let netns = lab.netns("h1");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mesh = &lab.mesh;
    let error = netns.run(|| {
        runtime().block_on(async {
            let endpoint: Endpoint = "tcp:10.0.1.11:6640".parse().unwrap();
            let switch = Switch::connect(&SwitchOptions::new(endpoint)).await.unwrap();
            let (options, owners) = (ProbeOptions::new(COOKIE), Owners::new(mesh.topology()));
            probe(&switch, mesh.topology(), &host("h1"), &options, &owners).await.unwrap_err()
        })
    });
    let error = error.unwrap();
    assert!(matches!(error, ProbeError::Remote { .. }), "{error:?}");
    assert!(error.to_string().contains("tcp:10.0.1.11:6640"), "{error}");
}

/// ovs-vswitchd that is busy for a second and a half is waited for, and one that hangs is nobody's fault.
#[tokio::test]
async fn a_switch_that_is_busy_is_waited_for() {
    let lab = three_hosts().await;
    let signal = |signal: &str| {
        lab.run("h1", &["sh", "-c", &format!("kill -{signal} $(cat $OVS_RUNDIR/ovs-vswitchd.pid)")])
    };
    signal("STOP");
    let started = Instant::now();
    let report = std::thread::scope(|scope| {
        let probing = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&lab.mesh, &host("h1"))).unwrap_or_else(|error| panic!("{}", Chain(&error)))
        });
        std::thread::sleep(Duration::from_millis(1500));
        signal("CONT");
        probing.join().unwrap()
    });
    assert!(started.elapsed() > Duration::from_millis(1500), "it did not wait");
    assert_eq!(report.findings(), [], "{report}");
    assert_eq!(report.matrix()[0].skipped, [], "{report}");
    // As long as it may take for one frame, and as long as the probe may take.
    for words in [["--timeout", "700ms"], ["--probe-time", "700ms"]] {
        signal("STOP");
        let started = Instant::now();
        let command = ["ovsmesh", "verify", "--probe", "--timeout=2s"];
        let command = if words[0] == "--timeout" { &command[..3] } else { &command[..] };
        let output = lab.output("h1", &[command, &words].concat());
        let took = started.elapsed();
        signal("CONT");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("breaches 0, degraded 0, notices 0"), "{text}");
        assert!(text.contains("h1 (not checked)") && text.contains("were not asked to the end: "), "{text}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

/// Everything that a run could have left on a host.
fn traces(lab: &TestLab, on: &str) -> Vec<String> {
    let flows = lab.run(on, &["ovs-ofctl", "--no-stats", "dump-flows", "br-acme"]);
    let links = lab.run(on, &["ip", "-o", "link"]);
    let links = links.lines().map(|line| line.split(" mtu ").next().unwrap_or_default().to_owned());
    // What IPv6 gives itself is still being tried out when a lab is new.
    let addresses = lab.run(on, &["ip", "-4", "-o", "address"]);
    let ports = lab.vsctl(on, "--columns=name,external_ids,options,type,other_config list Interface");
    [flows, addresses, ports].into_iter().chain(links).collect()
}

fn namespaces(lab: &TestLab) -> BTreeSet<String> {
    let all = ovs_mesh::link::Netns::list().unwrap().into_iter().map(|netns| netns.to_string());
    all.filter(|netns| netns.starts_with(&format!("{}-", lab.mesh.name()))).collect()
}

/// The one that is killed below.
#[tokio::test]
#[ignore = "run by `a_killed_run_leaves_nothing`"]
async fn victim() {
    let name = std::env::var("PROBE_LAB").unwrap().parse().unwrap();
    let mesh = MeshLab::open(&name).unwrap();
    let _ = run(&mesh, &host("h2")).await;
}

#[tokio::test]
async fn a_killed_run_leaves_nothing() {
    let lab = TestLab::up(simple(3, &[("acme", 7)], false)).await;
    // Then a run takes a second: there is somebody to wait for.
    lab.run("103", &["ip", "link", "set", "eth0", "down"]);
    let before: Vec<_> = ["h1", "h2", "h3"].map(|on| traces(&lab, on)).into();
    let rows = lab.snapshot("h2").await;
    let own = mac_of(&lab, "h2", "br-acme");
    let netns = namespaces(&lab);
    let mut known: BTreeSet<String> = BTreeSet::new();
    for place in ["101", "102", "103", "h1/acme"] {
        known.insert(mac_of(&lab, place, "eth0"));
    }
    for after in [0, 20, 60, 150, 400, 700] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "victim", "--ignored"]).env("PROBE_LAB", lab.mesh.name().as_str());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(50 + after)).await;
        assert!(after > 400 || child.try_wait().unwrap().is_none(), "it ended within {after} ms");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(["h1", "h2", "h3"].map(|on| traces(&lab, on)).to_vec(), before);
    assert_eq!(lab.snapshot("h2").await, rows);
    assert_eq!(namespaces(&lab), netns);
    for on in ["h1", "h2", "h3"] {
        let table = lab.run(on, &["ovs-appctl", "fdb/show", "br-acme"]);
        let macs = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned);
        let strange: Vec<String> = macs.filter(|mac| *mac != own && !known.contains(mac)).collect();
        assert!(strange.is_empty(), "{on} has learned {strange:?}:\n{table}");
        // No gateway is on h2: nobody has a neighbour of this.
        let neighbours = lab.run(on, &["ip", "neigh"]);
        assert!(!neighbours.contains(&own), "{on}: {neighbours}");
    }
    for place in ["101", "102", "h1/acme"] {
        let neighbours = lab.run(place, &["ip", "neigh"]);
        assert_eq!(neighbours, "", "{place}");
    }
    assert_eq!(told(&probed(&lab, "h1").await).lines().count(), 1);
}

/// 2,000 packets a second between two containers lose none while their tenant is probed from both ends.
#[tokio::test]
async fn traffic_loses_nothing() {
    let lab = three_hosts().await;
    let probing = async || {
        let (started, mut runs) = (Instant::now(), 0);
        while started.elapsed() < BUSY {
            for on in ["h1", "h2"] {
                let report = run(&lab.mesh, &host(on)).await.unwrap();
                assert_eq!(told(report.findings()), "");
                assert!(report.matrix().iter().any(|square| square.checked.contains(&Level::Probe)));
                runs += 1;
            }
        }
        assert!(runs >= 4, "only {runs} runs");
        runs
    };
    loses_nothing(&lab, probing).await;
}
