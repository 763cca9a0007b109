//! `verify` finds every fault of the catalogue by its name, and nothing wrong in a healthy mesh, whatever is beside it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ovs_mesh::isolation::{Check, Level, Report, Severity, VerifyOptions};
use ovs_mesh::{Chain, Datapath};
use ovsmesh_tests::faults::{FATAL, Fault, PROBED, catalogue, healthy, shell};
use ovsmesh_tests::traffic::{BUSY, flow, loses_nothing};
use ovsmesh_tests::{TestLab, datapath};

/// How long a lab may take to be healthy again.
const MENDED: Duration = Duration::from_secs(15);
/// The levels that send nothing.
const QUIET: [Level; 2] = [Level::Static, Level::Trace];

async fn verify(lab: &TestLab, levels: &[Level]) -> Report {
    let mut options = VerifyOptions { levels: levels.iter().copied().collect(), ..VerifyOptions::new(7) };
    // Nobody in a lab is further than that.
    options.probe.wait = Duration::from_millis(100);
    let (report, notes) =
        lab.mesh.verify(options, &()).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
    assert_eq!(notes, [""; 0], "something was not read");
    report
}

/// Undoes and syncs until nothing is found any more.
async fn mend(lab: &TestLab, fault: &Fault, levels: &[Level]) -> Result<(), String> {
    fault.undo(lab);
    let started = Instant::now();
    loop {
        let synced = lab.mesh.sync_all(lab.mesh.topology(), &()).await;
        let report = verify(lab, levels).await;
        match (synced, report.findings()) {
            (Ok(_), []) => return Ok(()),
            (synced, _) if started.elapsed() > MENDED => {
                let why = synced.err().map(|error| Chain(&error).to_string()).unwrap_or_default();
                return Err(format!("{} is not mended: {why}\n{report}", fault.name));
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What each level finds of a fault by itself; the probe of one that would have its packets go round for ever is left out, as
/// it is where the other levels have run before.
async fn found(lab: &TestLab, fault: &Fault) -> (Report, bool) {
    let mut report = verify(lab, &QUIET).await;
    let is_probed = report.findings().iter().all(|finding| finding.check != Check::TunnelProtected);
    if is_probed {
        report.join(verify(lab, &[Level::Probe]).await);
    }
    print!("{}", row(fault, &report, is_probed));
    (report, is_probed)
}

/// A row of the table: what each level found.
fn row(fault: &Fault, report: &Report, is_probed: bool) -> String {
    // Where a packet does not get to also depends on what a bridge happens to have learned.
    const BY_CHANCE: [Check; 3] = [Check::TraceMissing, Check::ProbeMac, Check::ProbeMtu];
    let expected = fault.expected();
    let mut row = format!("| {} |", fault.name);
    for level in Level::ALL {
        if level == Level::Probe && !is_probed {
            row += " – |";
            continue;
        }
        let found = report.findings().iter().map(|finding| finding.check);
        let found = found.filter(|check| check.level() == level);
        let found: BTreeSet<Check> =
            found.filter(|check| !BY_CHANCE.contains(check) || expected.contains(check)).collect();
        let named = |check: &Check| {
            let marks = if expected.contains(check) { "**" } else { "" };
            format!("{marks}{check}{marks}")
        };
        let _ = write!(row, " {} |", found.iter().map(named).collect::<Vec<_>>().join(", "));
    }
    row + "\n"
}

/// What must have found a fault, and did not.
fn missed(fault: &Fault, report: &Report) -> Option<String> {
    let has = |check: &&Check| !report.findings().iter().any(|finding| finding.check == **check);
    let expected = fault.expected();
    let missed: Vec<&str> = expected.iter().filter(has).map(|check| check.as_str()).collect();
    let text = || format!("{}: not found by {}:\n{report}", fault.name, missed.join(" and "));
    (!missed.is_empty()).then(text)
}

#[tokio::test]
async fn every_fault_is_found_by_its_name() {
    let lab = TestLab::up(healthy()).await;
    lab.forward_first();
    let clean = verify(&lab, &Level::ALL).await;
    assert_eq!(clean.findings(), [], "{clean}");
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut table = String::new();
    let head = |name: &str| {
        format!("\n## {name}\n\n| fault | static | trace | probe |\n| --- | --- | --- | --- |\n")
    };
    for (name, faults) in catalogue() {
        table += &head(name);
        for fault in faults.iter().filter(|fault| datapath() == Datapath::Netdev || !fault.userspace_only) {
            fault.inject(&lab);
            let (report, is_probed) = found(&lab, fault).await;
            count += 1;
            table += &row(fault, &report, is_probed);
            wrong.extend(missed(fault, &report));
            // What no packet has shown leaves nothing that one could.
            let is_shown = report.findings().iter().any(|finding| finding.level == Level::Probe);
            let levels = if is_shown { &Level::ALL[..] } else { &QUIET };
            if let Err(why) = mend(&lab, fault, levels).await {
                panic!("{}\n{table}\n{why}", wrong.join("\n"));
            }
        }
    }
    let clean = verify(&lab, &Level::ALL).await;
    assert_eq!(clean.findings(), [], "{clean}");
    drop(lab);
    table += &head("Daemons");
    for fault in FATAL {
        let lab = TestLab::up(ovsmesh_tests::simple(2, &[("acme", 7), ("globex", 8)], false)).await;
        fault.inject(&lab);
        let (report, is_probed) = found(&lab, fault).await;
        println!("{report}");
        count += 1;
        table += &row(fault, &report, is_probed);
        wrong.extend(missed(fault, &report));
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} faults");
    // The kernel's datapath may be told of by other words.
    if datapath() == Datapath::Netdev {
        written(&document(count, &table));
    }
}

/// Foreign bridges with all that a tenant's must not have, tunnels of others, another mesh, Linux bridges and routers with the
/// tenants' own addresses: none of it is the mesh's affair.
const BESIDE: &str = "
    for br in br-int br-ex br-far; do vs add-br $br -- set Bridge $br datapath_type=$DP external_ids:agent=other; done
    vs add-port br-int vx0 -- set Interface vx0 type=vxlan options:remote_ip=10.0.1.12 options:key=7
    vs add-port br-int gn0 -- set Interface gn0 type=geneve options:remote_ip=10.0.1.12 options:key=7
    vs add-port br-int gr0 -- set Interface gr0 type=gre options:remote_ip=10.0.1.12 options:local_ip=10.0.1.11 options:key=70
    vs add-port br-int gr1 -- set Interface gr1 type=gre options:remote_ip=10.0.1.99 options:key=7
    vs add-port br-int gr2 -- set Interface gr2 type=gre options:remote_ip=flow options:key=flow
    vs add-port br-int pi -- set Interface pi type=patch options:peer=pe
    vs add-port br-ex pe -- set Interface pe type=patch options:peer=pi
    vs add-port br-int lost -- set Interface lost type=patch options:peer=nowhere
    vs --id=@m create Mirror name=m0 select_all=true output_vlan=9 -- set Bridge br-ex mirrors=@m
    vs set-controller br-int tcp:127.0.0.1:6653 -- set-fail-mode br-int secure
    vs set Bridge br-ex stp_enable=true mcast_snooping_enable=true
    vs add-port br-ex in0 tag=7 -- set Interface in0 type=internal
    ip link set in0 up; ip address add 192.168.7.11/24 dev in0
    vs set Bridge br-far external_ids:ovsmesh-mesh=far external_ids:ovsmesh-tenant=acme
    vs add-port br-far far0 -- set Port far0 external_ids:ovsmesh-mesh=far external_ids:ovsmesh-tenant=acme \
        external_ids:ovsmesh-ctid=101 -- set Interface far0 type=gre options:remote_ip=10.0.1.12 options:key=71
    ip link add docker0 type bridge; ip link set docker0 up; ip address add 192.168.7.1/24 dev docker0
    ip netns add $MESH-beside
    ip link add vd0 type veth peer name eth0 netns $MESH-beside
    ip link set vd0 master docker0 up
    ip -n $MESH-beside link set eth0 up; ip -n $MESH-beside address add 192.168.7.12/24 dev eth0
    ip link add vd1 type veth peer name eth1 netns $MESH-beside
    vs add-port br-ex vd1; ip link set vd1 up
    ip -n $MESH-beside link set eth1 up; ip -n $MESH-beside address add 192.168.9.12/24 dev eth1
    forward $MESH-beside 1
    echo 1 > /proc/sys/net/ipv4/ip_forward";

#[tokio::test]
async fn what_is_beside_a_healthy_mesh_is_nobodys_finding() {
    let lab = TestLab::up(healthy()).await;
    shell(&lab, "h1", BESIDE);
    let report = verify(&lab, &Level::ALL).await;
    // But for the one tunnel that could send into it.
    let [foreign] = report.findings() else { panic!("{report}") };
    assert_eq!((foreign.check, foreign.severity), (Check::TunnelForeign, Severity::Notice), "{report}");
    assert_eq!(
        (foreign.host.as_str(), foreign.object.as_str()),
        ("h1", "port gr2 on bridge br-int"),
        "{report}"
    );
    for square in report.matrix() {
        assert_eq!(
            (square.checked.into_iter().collect::<Vec<_>>(), square.skipped),
            (Level::ALL.to_vec(), vec![])
        );
    }
}

/// The measure itself: what a switch drops for a moment is seen.
#[tokio::test]
async fn a_packet_that_the_network_loses_is_counted() {
    let lab = TestLab::up(healthy()).await;
    let (flow, ()) = flow(&lab, Duration::from_secs(1), async {
        shell(&lab, "h2", "of add-flow br-acme priority=9,udp,actions=drop; sleep 0.1; of del-flows --strict br-acme priority=9,udp");
    })
    .await;
    assert!(flow.lost() > 50 && flow.unread == 0, "{flow}");
}

/// 2,000 packets a second between two hosts' containers lose none while all hosts are verified at all levels.
#[tokio::test]
async fn a_verification_loses_no_packet() {
    let lab = TestLab::up(healthy()).await;
    let verified = async || {
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < BUSY {
            let (report, notes) = lab.mesh.verify(VerifyOptions::new(7), &()).await.unwrap();
            assert_eq!((report.findings(), notes), (&[][..], vec![]), "{report}");
            for square in report.matrix() {
                assert_eq!(square.checked.len(), Level::ALL.len(), "{report}");
            }
            count += 1;
        }
        count
    };
    loses_nothing(&lab, verified).await;
}

/// Exit code and stdout of `ovsmesh verify`.
fn said(lab: &TestLab, words: &[&str]) -> (Option<i32>, String) {
    let output = lab.output("h1", &[&["ovsmesh", "verify"], words].concat());
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same hosts by files, by sockets and over TCP; which host a database is shows by its rows.
#[tokio::test]
async fn hosts_are_verified_together_wherever_they_are() {
    let lab = TestLab::up(healthy()).await;
    let place = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut sockets = Vec::new();
    for name in ["h1", "h2", "h3"] {
        let file = place.path().join(name).display().to_string();
        lab.run(name, &["ovsmesh", "snapshot", "--out", &file]);
        files.push(file);
        let host = lab.mesh.lab().plan().host(&ovsmesh_tests::host(name)).unwrap();
        sockets.push(format!("unix:{}", host.db_socket().display()));
    }
    let flagged = |flag, values: &'_ [String]| -> Vec<String> {
        values.iter().flat_map(|value| [String::from(flag), value.clone()]).collect()
    };
    let run = |list: Vec<String>| said(&lab, &list.iter().map(String::as_str).collect::<Vec<_>>());
    let (code, text) = run(flagged("--snapshot", &files));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("h1, h2 (static)") && text.contains("h3 (static)"), "{text}");
    let (code, text) = run(flagged("--db", &sockets));
    assert_eq!(code, Some(0), "{text}");
    // Packets can be sent on this host only.
    assert!(text.contains("h1 (static, trace, probe)") && text.contains("h3 (static, trace)"), "{text}");
    // A level that was asked for and cannot be run is not proved.
    let traced = std::iter::once("--trace".to_owned()).chain(flagged("--snapshot", &files));
    let (code, text) = run(traced.collect());
    assert_eq!(code, Some(3), "{text}");

    // What one host alone cannot know: its end is there, the other is another tenant's.
    shell(&lab, "h1", "vs del-port $GLOBEX_H2 -- set Interface $ACME_H2 options:key=8");
    shell(&lab, "h2", "vs del-port $ACME_H1");
    let (_, text) = run(flagged("--db", &sockets[..1]));
    assert!(!text.contains("peer-crossing"), "{text}");
    let h2 = files[1].clone();
    lab.run("h2", &["ovsmesh", "snapshot", "--out", &h2]);
    let (code, text) =
        run(["--snapshot".to_owned(), h2].into_iter().chain(flagged("--db", &sockets[..1])).collect());
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("BREACH peer-crossing on h1: acme, globex"), "{text}");
    lab.mesh.sync_all(lab.mesh.topology(), &()).await.unwrap();

    // Over TCP there are rows only, and the report says so.
    lab.run("h2", &["ovs-appctl", "-t", "ovsdb-server", "ovsdb-server/add-remote", "ptcp:6640:10.0.1.12"]);
    let remote = || ["--db", "tcp:10.0.1.12:6640", "--db"].map(str::to_owned).to_vec();
    let (code, text) = run([remote(), sockets[..1].to_vec()].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("h2 (static)") && text.contains("ovs-vswitchd's control socket is on"), "{text}");
    let (code, text) = run([remote(), vec!["h3=unix:/nonexistent".to_owned()]].concat());
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("degraded switch-unreachable on h3"), "{text}");
}

/// Time that is short is told of, not overrun: what was not traced is not proved.
#[tokio::test]
async fn what_is_not_traced_in_time_is_not_proved() {
    let lab = TestLab::up(healthy()).await;
    let (code, text) = said(&lab, &["--trace", "--trace-time", "1ns"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("h1 (not checked)\n  11 checks not made: the time was up"), "{text}");
    // No more so with no level named.
    let (code, text) = said(&lab, &["--trace-time", "1ns"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("h1 (static, probe)"), "{text}");
    let (code, text) = said(&lab, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("h1 (static, trace, probe)"), "{text}");
    // Without CAP_NET_RAW no packet can be sent.
    let program = ovsmesh_tests::ovsmesh().display().to_string();
    let bare = |words: &[&str]| {
        let drop = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", &program, "verify"];
        let output = lab.output("h1", &[&drop, words].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = bare(&[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("h1 (static, trace)"), "{text}");
    let (code, text) = bare(&["--static", "--trace"]);
    assert_eq!(code, Some(0), "{text}");
    // A daemon that hangs costs one wait.
    shell(&lab, "h1", "kill -STOP $(cat $OVS_RUNDIR/ovs-vswitchd.pid)");
    let started = Instant::now();
    let (code, text) = said(&lab, &["--timeout", "500ms"]);
    shell(&lab, "h1", "kill -CONT $(cat $OVS_RUNDIR/ovs-vswitchd.pid)");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("degraded switch-applied") && text.contains("degraded trace-failed"), "{text}");
}

fn document(count: usize, table: &str) -> String {
    let mut text = format!(
        "# What `ovsmesh verify` finds\n\n\
         {count} faults, each put into a healthy lab of three hosts and three tenants with equal addresses, on real Open vSwitch \
         daemons (userspace datapath), and what each level found then, by itself. In bold: the checks that must find it (`trace-missing`, \
         `probe-mac` and `probe-mtu` stand only where they must). –: not run, for packets would go round for ever. After each the lab \
         is mended and must have no finding again; those of daemons have a lab each.\n\n\
         Written by `tests/tests/verify.rs`, which fails when this is not what it finds. To write it anew:\n\
         `OVSMESH_WRITE_FAULTS=1 cargo test -p ovsmesh-tests --test verify every_fault`\n"
    );
    text += table;
    if !PROBED.is_empty() {
        text += "\n## Only live packets see it (not counted)\n\n| fault | probe |\n| --- | --- |\n";
        for (name, check) in PROBED {
            let _ = writeln!(text, "| {name} | **{check}** |");
        }
    }
    text
}

fn written(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    if std::env::var_os("OVSMESH_WRITE_FAULTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/faults.md is not what was found; to write it anew, set OVSMESH_WRITE_FAULTS=1:\n{text}"
    );
}
