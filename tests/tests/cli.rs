//! What `ovsmesh` does on a host: its words, its exit codes, and the modes that stay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ovs_mesh::Topology;
use ovsmesh_tests::{TestLab, ovsmesh, simple, unique_name};

fn variant(lab: &TestLab, tenants: &[(&str, u32)]) -> Topology {
    let hosts = lab.mesh.topology().hosts().len();
    simple(hosts, tenants, false).copied_as(lab.mesh.name().clone(), ovsmesh_tests::datapath())
}

/// Exit code, stdout and stderr, with the lab's own name taken out, also of what is derived from it.
fn shown(lab: &TestLab, command: &[&str]) -> String {
    let output = lab.output("h1", command);
    let mut text = format!("$ {}\nexit {:?}\n", command.join(" "), output.status.code());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let _ = writeln!(text, "--- {name}\n{}", String::from_utf8_lossy(bytes).trim_end());
    }
    let text = text.replace(lab.mesh.name().as_str(), "MESH");
    // What Open vSwitch has counted by now is chance.
    let counts = [", carrying traffic", ", nothing received", ", no traffic yet"];
    let uncounted = |line: &str| {
        let end = counts.iter().filter_map(|count| line.find(count)).min().unwrap_or(line.trim_end().len());
        format!("{}\n", &line[..end])
    };
    let text: String = text.lines().map(uncounted).collect();
    let words = text.split_inclusive([' ', ':', '\n', '"']);
    let counted = |word: &str| word.starts_with("gw-") && word.len() > 14;
    words
        .map(|word| if counted(word) { format!("gw-HASH{}", &word[15..]) } else { word.to_owned() })
        .collect()
}

#[tokio::test]
async fn sync_and_status_say_what_they_did_and_found() {
    let lab = TestLab::up(simple(3, &[], false)).await;
    let config = lab.mesh.lab().topology_path();
    std::fs::write(&config, variant(&lab, &[("acme", 7)]).to_toml()).unwrap();
    let mut text = String::new();
    let mut say = |command: &str| text += &shown(&lab, &command.split(' ').collect::<Vec<_>>());
    say("ovsmesh sync --dry-run");
    say("ovsmesh status");
    say("ovsmesh sync");
    say("ovsmesh sync --dry-run");
    say("ovsmesh sync --format json");
    lab.vsctl("h1", "add-port br-acme alien0 -- set Interface alien0 type=internal");
    let ports = lab.vsctl("h1", "list-ports br-acme");
    let tunnels: Vec<&str> = ports.lines().filter(|port| port.starts_with("gre-")).collect();
    lab.vsctl("h1", &format!("set Port {} protected=false tag=5", tunnels[0]));
    lab.vsctl("h1", &format!("del-port {}", tunnels[1]));
    say("ovsmesh status");
    say("ovsmesh sync");
    std::fs::write(&config, variant(&lab, &[]).to_toml()).unwrap();
    say("ovsmesh sync");
    insta::assert_snapshot!(text);
}

/// The report in its three forms, of a healthy lab and of one with a stranger's port and a flow that nobody's sync made.
#[tokio::test]
async fn verify_says_what_is_proved_and_what_is_wrong() {
    let lab = TestLab::up(simple(2, &[("acme", 7), ("globex", 8)], false)).await;
    let mut text = String::new();
    let mut say = |command: &str| {
        let shown = shown(&lab, &command.split(' ').collect::<Vec<_>>());
        // Checks that passed are the same everywhere.
        let is_passed = |line: &&str| line.trim_start().starts_with("<testcase") && line.ends_with("/>");
        text.extend(shown.lines().filter(|line| !is_passed(line)).map(|line| format!("{line}\n")));
    };
    let forms =
        ["text", "json", "junit"].map(|form| format!("ovsmesh verify --static --trace --format {form}"));
    for command in &forms {
        say(command);
    }
    lab.vsctl("h1", "add-port br-acme alien0 -- set Interface alien0 type=internal mtu_request=1458");
    lab.run("h1", &["ip", "link", "set", "alien0", "up"]);
    lab.run("h1", &["ovs-ofctl", "add-flow", "br-globex", "priority=100,arp,actions=drop"]);
    for command in &forms {
        say(command);
    }
    lab.vsctl("h1", "del-port alien0");
    say("ovsmesh verify --trace");
    say("ovsmesh verify --snapshot /nonexistent.json");
    say("ovsmesh sync --db h1=unix:/x --db unix:/y");
    say("ovsmesh sync --format junit --dry-run");
    insta::assert_snapshot!(text);
}

/// Waits for something to come true on the lab.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `--watch` mends what others break, follows the file, keeps the last good one, and outlives ovsdb-server.
#[tokio::test]
async fn a_watching_sync_follows_the_switch_and_the_file() {
    let lab = TestLab::up(simple(2, &[("acme", 7)], false)).await;
    let config = lab.mesh.lab().topology_path();
    let mut watch = lab.command("h1", &["ovsmesh", "sync", "--watch"]);
    let tunnels = || {
        let ports = lab.vsctl("h1", "--bare --columns=name find Interface type=gre");
        ports.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = tunnels();
    assert_eq!(first.len(), 1);
    lab.vsctl("h1", &format!("del-port {}", first[0]));
    eventually("a tunnel that was deleted is back", || tunnels() == first);
    std::fs::write(&config, "[mesh]\nname = \"half").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    lab.vsctl("h1", &format!("set Port {} protected=false", first[0]));
    eventually("the last good topology stays in force", || {
        lab.vsctl("h1", &format!("get Port {} protected", first[0])).trim() == "true"
    });
    // As editors and configuration managers do it: a new file in the old one's place.
    let edited = config.with_extension("new");
    std::fs::write(&edited, variant(&lab, &[("acme", 7), ("globex", 8)]).to_toml()).unwrap();
    std::fs::rename(&edited, &config).unwrap();
    eventually("a new tenant comes", || tunnels().len() == 2);
    let host = lab.mesh.lab().plan().host(&ovsmesh_tests::host("h1")).unwrap();
    let dir = host.dir.display();
    let pid = std::fs::read_to_string(host.dir.join("ovsdb-server.pid")).unwrap();
    lab.run("h1", &["kill", pid.trim()]);
    let db = format!("{dir}/conf.db");
    let [remote, pidfile] =
        [format!("--remote=punix:{dir}/db.sock"), format!("--pidfile={dir}/ovsdb-server.pid")];
    eventually("ovsdb-server has ended", || !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
    lab.run("h1", &["ovsdb-server", &db, &remote, &pidfile, "--detach", "--no-chdir"]);
    std::fs::write(&config, variant(&lab, &[("acme", 7)]).to_toml()).unwrap();
    eventually("after a restart of ovsdb-server it goes on", || tunnels().len() == 1);
    lab.run("h1", &["kill", "-TERM", &watch.id().to_string()]);
    assert!(watch.wait().unwrap().success());
}

fn call(words: &[&str]) -> Output {
    Command::new(ovsmesh()).args(words).stdin(Stdio::null()).output().unwrap()
}

/// Killed anywhere on its way up, a lab goes down without a trace, and can come up again.
#[test]
fn a_lab_that_was_killed_goes_down() {
    let name = unique_name().to_string();
    let mut cut = 0;
    for after in [30_u64, 120, 250, 400, 550] {
        let mut up = Command::new(ovsmesh());
        up.args(["lab", "up", "--name", &name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut up = up.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        up.kill().unwrap();
        cut += usize::from(!up.wait().unwrap().success());
        assert!(call(&["lab", "down", "--name", &name]).status.success());
        let netns = Command::new("ip").args(["netns", "list"]).output().unwrap();
        assert!(
            !String::from_utf8_lossy(&netns.stdout).contains(&format!("{name}-")),
            "after {after} ms: {netns:?}"
        );
        let processes = Command::new("pgrep").args(["-f", &format!("/{name}/")]).output().unwrap();
        assert!(processes.stdout.is_empty(), "after {after} ms processes are left: {processes:?}");
    }
    assert!(cut >= 2, "only {cut} of 5 were killed before they were up");
}

/// Who is not root is told so, whatever else is missing.
#[test]
fn a_lab_takes_root() {
    let place =
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let binary = place.path().join("ovsmesh");
    // By another process: what is open for writing here, and in the children of other tests, cannot be run.
    assert!(Command::new("cp").args([&ovsmesh(), &binary]).status().unwrap().success());
    let output = Command::new(&binary)
        .args(["lab", "up", "--name", "nobody"])
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("root"), "{output:?}");
}
