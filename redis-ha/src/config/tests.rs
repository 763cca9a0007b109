use std::fmt::Write;
use std::path::Path;

use super::*;

const MESH: &str = r#"
[mesh]
name = "m"
underlay_mtu = 9001
[[host]]
name = "r1"
underlay_ip = "10.0.1.11"
[[host]]
name = "r2"
underlay_ip = "10.0.1.12"
[[host]]
name = "r3"
underlay_ip = "10.0.1.13"
[[host]]
name = "p1"
underlay_ip = "10.0.1.21"
[[host]]
name = "p2"
underlay_ip = "10.0.1.22"
[[tenant]]
name = "acme"
key = 101
subnet = "192.168.10.0/24"
gateways = { p1 = "192.168.10.4", p2 = "192.168.10.5" }
containers = [
    { ctid = "101", host = "r1", ip = "192.168.10.11" },
    { ctid = "102", host = "r2", ip = "192.168.10.12" },
    { ctid = "103", host = "r3", ip = "192.168.10.13" },
    { ctid = "104", host = "r3", ip = "192.168.10.14" },
]
[[tenant]]
name = "bare"
key = 102
subnet = "192.168.10.0/24"
"#;

const GOOD: &str = r#"mesh = "mesh.toml"
secret_file = "secrets/service"
host_memory = { r1 = "16GiB" }

[proxy]
hosts = ["p1", "p2"]
interface = "eth0"
vips = ["10.0.1.100/24"]
router_id = 51

[[cluster]]
tenant = "acme"
nodes = ["101", "102", "103"]
listen = "10.0.1.100:6379"
max_memory = "256MiB"
password_file = "secrets/acme"
"#;

const PROXY: &str = r#"[proxy]
hosts = ["p1", "p2"]
interface = "eth0"
vips = ["10.0.1.100/24"]
router_id = 51"#;

const CLUSTER: &str = r#"[[cluster]]
tenant = "acme"
nodes = ["101", "102", "103"]
listen = "10.0.1.100:6379"
max_memory = "256MiB"
password_file = "secrets/acme"
"#;

fn parse(text: &str) -> Result<Config, FileError> {
    Config::parse(text, Path::new("/etc/redis-ha/redis-ha.toml"), MESH.parse().unwrap())
}

#[test]
fn reads_what_the_file_says() {
    let config = parse(GOOD).unwrap();
    let cluster = &config.clusters[0];
    assert_eq!(config.proxies.hosts.iter().map(HostName::as_str).collect::<Vec<_>>(), ["p1", "p2"]);
    assert_eq!(cluster.listen, "10.0.1.100:6379".parse().unwrap());
    assert_eq!(cluster.max_memory, Bytes::new(256 << 20));
    assert_eq!(cluster.persistence, Persistence::Aof);
    assert_eq!(cluster.profile, Profile::Fast);
    assert_eq!(cluster.password_file, Path::new("/etc/redis-ha/secrets/acme"));
    assert_eq!(cluster.majority(), 2);
    let nodes: Vec<String> =
        config.nodes(cluster).map(|node| format!("{} {} {}", node.ctid, node.host, node.ip)).collect();
    assert_eq!(nodes, ["101 r1 192.168.10.11", "102 r2 192.168.10.12", "103 r3 192.168.10.13"]);
    assert_eq!(config.gateway(&config.proxies.hosts[1], &cluster.tenant).as_str(), "m-p2-acme");
    assert_eq!(config.host_memory.len(), 1);
}

#[test]
fn each_fault_is_told_with_its_place() {
    let table = [
        (r#"hosts = ["p1", "p2"]"#, r#"hosts = ["p1"]"#),
        (r#"hosts = ["p1", "p2"]"#, r#"hosts = ["p1", "p1"]"#),
        (r#"hosts = ["p1", "p2"]"#, r#"hosts = ["p1", "p3"]"#),
        (r#"hosts = ["p1", "p2"]"#, r#"hosts = "p1""#),
        (r#"interface = "eth0""#, r#"interface = "a name too long for one""#),
        (r#"vips = ["10.0.1.100/24"]"#, r#"vips = ["10.0.1.11/24"]"#),
        (r#"vips = ["10.0.1.100/24"]"#, "vips = []"),
        (r#"vips = ["10.0.1.100/24"]"#, r#"vips = ["10.0.1.100/24", "fd00::100/64"]"#),
        ("router_id = 51", "router_id = 256"),
        ("router_id = 51", "router_id = 51\nprofile = \"faster\""),
        ("router_id = 51", "router_id = 51\naws = { mode = \"route\" }"),
        ("router_id = 51", "router_id = 51\naws = { mode = \"route\", route_tables = [\"x\"] }"),
        (
            "router_id = 51",
            "router_id = 51\naws = { mode = \"address\", route_tables = [\"rtb-0123456789abcdef0\"] }",
        ),
        (
            "router_id = 51",
            "router_id = 51\naws = { mode = \"address\", interfaces = { r1 = \"eni-0123456789abcdef0\" } }",
        ),
        (
            "router_id = 51",
            "router_id = 51\naws = { mode = \"route\", route_tables = [\"rtb-0123456789abcdef0\"], reserve = \"eni-0123456789abcdef0\" }",
        ),
        (
            "router_id = 51",
            "router_id = 51\naws = { mode = \"address\", interfaces = { p1 = \"x\" }, region = \"?\" }",
        ),
        (r#"tenant = "acme""#, r#"tenant = "acne""#),
        (r#"tenant = "acme""#, r#"tenant = "bare""#),
        (r#"nodes = ["101", "102", "103"]"#, r#"nodes = ["101", "102"]"#),
        (r#"nodes = ["101", "102", "103"]"#, r#"nodes = ["101", "102", "102"]"#),
        (r#"nodes = ["101", "102", "103"]"#, r#"nodes = ["101", "103", "104"]"#),
        (r#"nodes = ["101", "102", "103"]"#, r#"nodes = ["101", "102", "999"]"#),
        (r#"nodes = ["101", "102", "103"]"#, ""),
        (r#"listen = "10.0.1.100:6379""#, r#"listen = "10.0.1.101:6379""#),
        (r#"listen = "10.0.1.100:6379""#, r#"listen = "10.0.1.100""#),
        (r#"listen = "10.0.1.100:6379""#, ""),
        (r#"max_memory = "256MiB""#, r#"max_memory = "256""#),
        (r#"max_memory = "256MiB""#, "max_memory = 256"),
        (r#"max_memory = "256MiB""#, "max_memory = \"0MiB\"\neviction = \"lru\""),
        (r#"password_file = "secrets/acme""#, "password = \"open\""),
        (r#"host_memory = { r1 = "16GiB" }"#, r#"host_memory = { r9 = "16GiB" }"#),
        ("router_id = 51", "router_id = = 51"),
        (r#"secret_file = "secrets/service""#, r#"secret_file = """#),
        (GOOD, ""),
        (GOOD, "# nothing yet\n\n"),
        (PROXY, ""),
        (PROXY, "[proxy]"),
        (PROXY, "[proxy]\nhosts = [\"p1\", \"p2\"]\nvips = [\"10.0.1.100/24\"]"),
        (PROXY, "[[proxy]]"),
        (CLUSTER, ""),
        (CLUSTER, "[[cluster]]"),
        (CLUSTER, &CLUSTER.replace("[[cluster]]", "[cluster]")),
        (GOOD, &format!("cluster = []\n{}", GOOD.replace(CLUSTER, ""))),
    ];
    let mut told = String::new();
    for (from, to) in table {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replace(from, to)).unwrap_err();
        writeln!(told, "--- {from} → {to}").unwrap();
        for fault in error.faults() {
            let (line, column) = error.place(fault);
            writeln!(told, "{line}:{column} {} | {}", fault.message(), fault.accepted()).unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_topology_that_cannot_be_read_is_a_fault_where_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("redis-ha.toml");
    let mesh = dir.path().join("mesh.toml");
    let told = |text: &str| {
        std::fs::write(&file, text).unwrap();
        match Config::read(&file).unwrap_err() {
            ConfigError::File(error) => error.to_string().replace(&dir.path().display().to_string(), "DIR"),
            other => panic!("{other:?}"),
        }
    };
    let mut all = vec![told(GOOD), told(&GOOD.replace("router_id = 51", "router_id = 0"))];
    std::fs::create_dir(&mesh).unwrap();
    all.push(told(GOOD));
    std::fs::remove_dir(&mesh).unwrap();
    std::fs::write(&mesh, [0xff, 0xfe]).unwrap();
    all.push(told(GOOD));
    all.push(told(""));
    insta::assert_snapshot!(all.join("\n\n=====\n"));
    std::fs::write(&mesh, MESH).unwrap();
    std::fs::write(&file, GOOD).unwrap();
    assert!(Config::read(&file).is_ok());
}

#[test]
fn two_clusters_share_nothing() {
    let second = GOOD.split_once("[[cluster]]").unwrap().1;
    let error = parse(&format!("{GOOD}\n[[cluster]]{second}")).unwrap_err();
    let told: Vec<&str> = error.faults().iter().map(ovs_mesh::file::Fault::message).collect();
    assert_eq!(told, ["tenant `acme` is used twice", "address `10.0.1.100:6379` is used twice"]);
}

#[test]
fn amounts_of_memory() {
    for (text, bytes) in [("1KiB", 1024), ("512MiB", 512 << 20), ("2 GiB", 2 << 30), ("1TiB", 1 << 40)] {
        assert_eq!(text.parse::<Bytes>().unwrap().get(), bytes);
    }
    for text in ["", "MiB", "12", "1.5GiB", "-1MiB", "0GiB", "99999999999TiB", "5MB"] {
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
    assert_eq!(Bytes::new(1536 << 20).to_string(), "1536MiB");
}

#[test]
fn what_is_written_reads_the_same() {
    let rich = GOOD
        .replace(
            "router_id = 51",
            "router_id = 51\naws = { mode = \"route\", route_tables = [\"rtb-0123456789abcdef0\", \"rtb-0123456789abcdef1\"], region = \"eu-central-1\", interfaces = { p1 = \"eni-0123456789abcdef0\" } }",
        )
        .replace(
            "max_memory = \"256MiB\"",
            "max_memory = \"256MiB\"\ntls = \"a.pem\"\npersistence = \"none\"\nprofile = \"calm\"",
        );
    let reserved = GOOD.replace(
        "router_id = 51",
        "router_id = 51\naws = { mode = \"address\", reserve = \"eni-0123456789abcdef0\" }",
    );
    for text in [GOOD, &rich, &reserved] {
        let config = parse(text).unwrap();
        let written = config.to_toml(Path::new("mesh.toml"));
        assert_eq!(parse(&written).unwrap(), config, "{written}");
    }
    let dotted = |text: &str| text.replace("p1", "p.1");
    let mesh = dotted(MESH).replace("{ p.1 = ", "{ \"p.1\" = ");
    let parse =
        |text: &str| Config::parse(text, Path::new("/etc/redis-ha/redis-ha.toml"), mesh.parse().unwrap());
    let rich = dotted(&rich).replace("{ p.1 = ", "{ \"p.1\" = ");
    let config = parse(&rich).unwrap();
    assert_eq!(parse(&config.to_toml(Path::new("mesh.toml"))).unwrap(), config);
}
