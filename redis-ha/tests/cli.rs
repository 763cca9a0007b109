//! The command line as a user has it: what it prints, where, and its exit codes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use redis_ha::{DrillReport, Fault, Moment, ProxyView, VipView, Whereabouts};
use serde_json::{Value, json};

const MESH: &str = include_str!("../../examples/ha-redis.toml");
const SERVICE: &str = include_str!("../../examples/redis-ha.toml");

/// The example's files, with secrets of their own, and a certificate.
fn example() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a file of the test");
    let service = SERVICE.replacen("[[cluster]]", "[[cluster]]\ntls = \"acme.pem\"", 1);
    fs::write(dir.path().join("ha-redis.toml"), MESH).expect("a file of the test");
    fs::write(dir.path().join("redis-ha.toml"), service).expect("a file of the test");
    let openssl = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=redis \
                   -keyout acme.pem -out acme.pem";
    let made = Command::new("sh").args(["-c", openssl]).current_dir(dir.path()).output().expect("openssl");
    assert!(made.status.success(), "{}", shown(&made));
    fs::create_dir(dir.path().join("secrets")).expect("a file of the test");
    for name in ["service", "acme", "globex"] {
        let path = dir.path().join("secrets").join(name);
        fs::write(&path, format!("{name}-0123456789abcdef\n")).expect("a file of the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of the test");
    }
    dir
}

fn redis_ha(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_redis-ha"))
        .current_dir(dir)
        .env_remove("REDIS_HA_CONFIG")
        .args(["--config", "redis-ha.toml"])
        .args(args)
        .output()
        .expect("a file of the test")
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "exit {:?}\n--- stdout\n{}--- stderr\n{}",
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn what_cannot_be_used_is_told_with_a_remedy() {
    let dir = example();
    let file = dir.path().join("redis-ha.toml");
    let mut told = String::new();
    let mut tell = |what: &str, args: &[&str]| {
        writeln!(told, "=== {what}\n{}", shown(&redis_ha(dir.path(), args))).unwrap();
    };
    for command in ["agent", "bootstrap", "status"] {
        tell(&format!("{command} on a host that is no proxy"), &[command, "--host", "redis1"]);
    }
    tell("no directory to check", &["check", "nosuch"]);
    tell("a file to check", &["check", "redis-ha.toml"]);
    tell("a directory to check that was not rendered", &["check", "."]);
    tell("a tenant without a cluster", &["bootstrap", "--host", "proxy1", "--tenant", "nobody"]);
    tell("no fault of that name", &["drill", "master-tired"]);
    tell("no such lab", &["drill", "master-killed", "--name", "nosuchlab"]);
    tell("no name of a lab", &["lab", "up", "--name", "../x"]);
    tell("a client without patience", &["drill", "link-flap", "--patience", "0"]);
    tell("a plot in no directory", &["drill", "link-flap", "--plot", "/nowhere/drill.svg"]);
    tell("a plot that is a directory", &["drill", "link-flap", "--plot", "/"]);
    tell("no VIP", &["notify"]);
    fs::set_permissions(dir.path().join("secrets/acme"), fs::Permissions::from_mode(0o644)).unwrap();
    tell("a password that all can read", &["render", "--out", "out"]);
    fs::remove_file(dir.path().join("secrets/acme")).unwrap();
    tell("no password", &["render", "--out", "out"]);
    // It is there: what would make one must not be advised.
    let secret = dir.path().join("secrets/acme");
    fs::create_dir(&secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    tell("a password that cannot be read", &["render", "--out", "out"]);
    fs::remove_dir(&secret).unwrap();
    fs::write(&secret, "acme-0123456789abcdef\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.path().join("acme.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    tell("a certificate without its key", &["render", "--out", "out"]);
    fs::write(&file, SERVICE.replace("router_id = 51", "router_id = 0")).unwrap();
    tell("a fault in the file", &["render", "--out", "out"]);
    fs::write(&file, "").unwrap();
    tell("nothing in the file", &["render", "--out", "out"]);
    fs::write(&file, SERVICE.replace("ha-redis.toml", "nosuch.toml")).unwrap();
    tell("no topology", &["render", "--out", "out"]);
    fs::remove_file(&file).unwrap();
    tell("no file", &["render", "--out", "out"]);
    fs::create_dir(&file).unwrap();
    tell("a directory for a file", &["render", "--out", "out"]);
    insta::assert_snapshot!(told);
    assert!(!dir.path().join("out").exists(), "something was rendered");
}

#[test]
fn what_is_rendered_is_accepted_by_the_daemons_and_what_was_changed_is_not() {
    let dir = example();
    let rendered = redis_ha(dir.path(), &["render", "--out", "out"]);
    assert!(rendered.status.success(), "{}", shown(&rendered));
    let checked = redis_ha(dir.path(), &["check", "out"]);
    assert!(checked.status.success(), "{}", shown(&checked));
    assert!(shown(&checked).contains("36 files accepted by the daemons, 0 findings"), "{}", shown(&checked));
    for (file, from, to, says) in [
        ("nodes/101/etc/redis-ha/redis.conf", "maxmemory-policy", "maxmemory-polices", "Bad directive"),
        ("nodes/101/etc/redis-ha/sentinel.conf", "announce-ip", "anounce-ip", "Unrecognized sentinel"),
        ("proxies/proxy1/etc/redis-ha/haproxy.cfg", "mode tcp", "mode udp", "unknown proxy mode"),
        ("proxies/proxy1/etc/redis-ha/keepalived.conf", "advert_int", "advert_itn", "Unknown keyword"),
        ("proxies/proxy2/etc/redis-ha/tls/acme.pem", "PRIVATE KEY", "NO KEY", "No Private Key found"),
        (
            "nodes/101/etc/systemd/system/redis-ha-redis.service",
            "Restart=always",
            "Restart=allways",
            "ignoring: allways",
        ),
    ] {
        let path = dir.path().join("out").join(file);
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, good.replace(from, to)).unwrap();
        let checked = redis_ha(dir.path(), &["check", "out"]);
        assert_eq!(checked.status.code(), Some(3), "{}", shown(&checked));
        assert!(shown(&checked).contains(says), "{file}: {}", shown(&checked));
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_stack_that_is_open_to_everyone_is_told() {
    let dir = example();
    let stack = |client: &str, ssh: &str| {
        let ranges = ["--client", client, "--ssh", ssh];
        let fixed = [
            "stack",
            "template",
            "--topology",
            "ha-redis.toml",
            "--vip",
            "10.0.1.100",
            "--client-port",
            "6379",
        ];
        redis_ha(dir.path(), &[&fixed[..], &ranges].concat())
    };
    let stderr = |output: &Output| String::from_utf8(output.stderr.clone()).expect("text");
    let closed = stack("192.0.2.0/24", "198.51.100.7/32");
    assert_eq!((closed.status.code(), stderr(&closed)), (Some(0), String::new()));
    let open = stack("0.0.0.0/0", "0.0.0.0/0");
    let notes = "note: --client 0.0.0.0/0 lets everyone reach the tenants' ports on the proxies\n\
                 note: --ssh 0.0.0.0/0 lets everyone reach port 22 of every host\n";
    assert_eq!((open.status.code(), stderr(&open)), (Some(0), notes.to_owned()));
    serde_json::from_slice::<Value>(&open.stdout).expect("a template");
    let unclear = stack("192.0.2.0/24", "198.51.100.7/24");
    let refused = "error: --ssh 198.51.100.7/24 is an address in a network\n\
                   hint: write 198.51.100.0/24 for the network, 198.51.100.7/32 for the address\n";
    assert_eq!((unclear.status.code(), stderr(&unclear)), (Some(2), refused.to_owned()));
}

#[test]
fn a_stack_that_needs_a_bucket_is_told() {
    let dir = example();
    let template = |tenants: u32| {
        let mut mesh = MESH.to_owned();
        for at in 0..tenants {
            write!(mesh, "[[tenant]]\nname = \"t{at}\"\nkey = {}\nsubnet = \"10.1.0.0/16\"\n", at + 1000)
                .unwrap();
        }
        fs::write(dir.path().join("mesh.toml"), mesh).expect("a file of the test");
        let options = [
            "--vip",
            "10.0.1.100",
            "--client",
            "192.0.2.0/24",
            "--client-port",
            "6379",
            "--ssh",
            "192.0.2.7/32",
        ];
        redis_ha(dir.path(), &[&["stack", "template", "--topology", "mesh.toml"][..], &options].concat())
    };
    let told = |tenants: u32| {
        let output = template(tenants);
        assert!(output.status.success(), "{}", shown(&output));
        (output.stdout.len(), String::from_utf8(output.stderr).expect("text"))
    };
    let first = (1..60).find(|tenants| !told(*tenants).1.is_empty()).expect("one is too large");
    let ((fits, _), (bytes, note)) = (told(first - 1), told(first));
    assert!(fits <= 51_200 && bytes > 51_200, "{fits}, {bytes}");
    let says = "`aws cloudformation deploy` takes more than 51200 with --s3-bucket alone";
    assert_eq!(note, format!("note: the template has {bytes} bytes; {says}\n"));
}

/// Copied by what does not keep modes, or by somebody whose mask is another.
#[test]
fn modes_that_are_not_those_of_render_are_found() {
    let dir = example();
    let rendered = redis_ha(dir.path(), &["render", "--out", "out"]);
    assert!(rendered.status.success(), "{}", shown(&rendered));
    for (path, mode) in [
        ("proxies/proxy1/etc/redis-ha/secrets", 0o755),
        ("proxies/proxy1/etc/redis-ha/secrets/service", 0o644),
        ("proxies/proxy1/etc/redis-ha/haproxy.cfg", 0o620),
        ("nodes/101/etc/redis-ha", 0o700),
        ("nodes/101/etc/redis-ha/redis.conf", 0o600),
        ("hosts/redis1/containers-lxc.sh", 0o644),
    ] {
        fs::set_permissions(dir.path().join("out").join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    // Notes are about this machine.
    let told = shown(&redis_ha(dir.path(), &["check", "out"]));
    let told: Vec<&str> = told.lines().filter(|line| !line.starts_with("note: ")).collect();
    insta::assert_snapshot!(told.join("\n"));
}

/// The docs' one command for a proxy: all that our program reads there is in its place, and nobody else reads a secret.
#[test]
fn a_proxys_tree_is_all_that_it_needs() {
    let dir = example();
    let rendered = redis_ha(dir.path(), &["render", "--out", "out"]);
    assert!(rendered.status.success(), "{}", shown(&rendered));
    assert_eq!(fs::read_to_string(dir.path().join("out/.gitignore")).expect("a file of the test"), "*\n");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("a file of the test");
    let copy = ["-r", "--preserve=mode", "out/proxies/proxy2/.", "root"];
    let copied = Command::new("cp").current_dir(dir.path()).args(copy).status().expect("cp");
    assert!(copied.success());
    let mode = |path: &str| fs::metadata(root.join(path)).expect("it is there").permissions().mode() & 0o7777;
    let conf = [
        "",
        "/redis-ha.toml",
        "/secrets",
        "/secrets/tenants",
        "/secrets/service",
        "/secrets/tenants/acme.secret",
        "/tls",
        "/tls/acme.pem",
    ];
    let modes = conf.map(|path| mode(&format!("etc/redis-ha{path}")));
    assert_eq!(modes, [0o755, 0o644, 0o700, 0o700, 0o600, 0o600, 0o700, 0o600]);
    // There it says the same as where it was written: what is rendered from it is equal, and checks.
    let there = root.join("etc/redis-ha");
    let again = redis_ha(&there, &["render", "--out", "../../again"]);
    assert!(again.status.success(), "{}", shown(&again));
    let differ = Command::new("diff")
        .current_dir(dir.path())
        .args(["-r", "out", "root/again"])
        .output()
        .expect("diff");
    assert!(differ.status.success(), "{}", shown(&differ));
}

/// All keys of a document, at any depth.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_json_is_documented() {
    let dir = example();
    let rendered = redis_ha(dir.path(), &["render", "--out", "out"]);
    assert!(rendered.status.success(), "{}", shown(&rendered));
    fs::remove_file(dir.path().join("out/hosts/redis1/containers-lxc.sh")).unwrap();
    let checked = redis_ha(dir.path(), &["check", "out", "--format", "json"]);
    let moment = Moment { at_ms: -1, who: String::new(), what: String::new() };
    let drill = DrillReport {
        fault: Fault::MasterKilled,
        tenant: String::new(),
        outage_ms: 0.0,
        acknowledged: 0,
        lost: 0,
        errors: 0,
        others_disturbed: Some(Vec::new()),
        others_gap_ms: None,
        failovers: 0,
        timeline: vec![moment],
        writes: Vec::new(),
    };
    let vip = VipView { vip: "10.0.1.100".parse().unwrap(), at: Whereabouts::Here, why: None };
    let proxy = ProxyView {
        host: "proxy1".parse().unwrap(),
        has_vips: true,
        vips: vec![vip],
        servers: None,
        unanswered: None,
    };
    let mut all = BTreeSet::new();
    for value in [serde_json::from_slice(&checked.stdout).unwrap(), json!(drill), json!(proxy)] {
        keys(&value, &mut all);
    }
    assert!(all.contains("remedy") && all.contains("at_ms"), "{all:?}");
    let docs = include_str!("../../docs/json.md").split_once("# redis-ha").unwrap().1;
    let missing: Vec<_> = all
        .iter()
        .filter(|key| !docs.contains(&format!("`{key}`")) && !docs.contains(&format!("`{key}[]`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
