use std::path::Path;

use super::*;
use crate::config::{Certificates, Cluster, Config};

const MESH: &str = include_str!("../../../examples/ha-redis.toml");
const SERVICE: &str = include_str!("../../../examples/redis-ha.toml");

fn config(service: &str) -> Config {
    Config::parse(service, Path::new("redis-ha.toml"), MESH.parse().unwrap()).unwrap()
}

fn checks(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings.iter().map(|finding| (finding.check, finding.object.as_str())).collect()
}

#[test]
fn the_example_is_consistent() {
    assert_eq!(consistent(&config(SERVICE)), []);
}

#[test]
fn memory_is_that_of_all_tenants_on_a_host() {
    // 2 × 256 + 128 MiB of acme, and 2 × 64 + 128 MiB of globex: 896 MiB a host.
    let with =
        |memory: &str| config(&SERVICE.replace("redis2 = \"4GiB\"", &format!("redis2 = \"{memory}\"")));
    assert_eq!(consistent(&with("896MiB")), []);
    assert_eq!(checks(&consistent(&with("895MiB"))), [("memory", "host redis2")]);
}

#[test]
fn what_is_compared_with_nothing_is_told() {
    let alone = "router_id: compared with no other router (--beside FILE)";
    assert_eq!(ours::unchecked(&config(SERVICE), &["x".into()]), Vec::<String>::new());
    assert_eq!(ours::unchecked(&config(SERVICE), &[]), [alone]);
    let unsaid = SERVICE.replace("redis1 = \"4GiB\", ", "").replace(", redis3 = \"4GiB\"", "");
    let memory = "memory: not checked on redis1, redis3: no host_memory";
    assert_eq!(ours::unchecked(&config(&unsaid), &[]), [memory, alone]);
}

#[test]
fn an_mtu_that_carries_nothing() {
    let mesh = MESH.replace("underlay_mtu = 9001", "underlay_mtu = 1300");
    let config = Config::parse(SERVICE, Path::new("redis-ha.toml"), mesh.parse().unwrap()).unwrap();
    assert_eq!(checks(&consistent(&config)), [("mtu", "the topology")]);
}

#[test]
fn clusters_made_otherwise() {
    let mut config = config(SERVICE);
    config.clusters[0].nodes.pop();
    let first = config.clusters[1].nodes[0].clone();
    config.clusters[1].nodes[1] = first;
    assert_eq!(
        checks(&consistent(&config)),
        [("quorum", "cluster acme"), ("anti-affinity", "cluster globex")]
    );
}

#[test]
fn another_router_with_the_same_id() {
    let config = config(SERVICE);
    let conf = |id: &str| format!("vrrp_instance x {{\n    virtual_router_id {id}\n}}\n");
    assert!(ours::router_id(&config, &conf("51"), "x").is_some());
    assert!(ours::router_id(&config, &conf("5"), "x").is_none());
    assert!(ours::router_id(&config, "# virtual_router_id 51", "x").is_none());
}

#[test]
fn an_address_that_could_be_taken_from_anybody() {
    let with = |aws: &str| {
        consistent(&config(&SERVICE.replace("router_id = 51", &format!("router_id = 51\naws = {aws}"))))
    };
    let interfaces = r#"interfaces = { proxy1 = "eni-0123456789abcdef0", proxy2 = "eni-0123456789abcdef1" }"#;
    assert_eq!(with(&format!(r#"{{ mode = "address", {interfaces} }}"#)), []);
    assert_eq!(with(r#"{ mode = "route", route_tables = ["rtb-0123456789abcdef0"] }"#), []);
    assert_eq!(checks(&with(r#"{ mode = "address" }"#)), [("interfaces", "[proxy.aws]")]);
}

#[test]
fn systemd_accepts_every_unit() {
    let interfaces = r#"interfaces = { proxy1 = "eni-0123456789abcdef0", proxy2 = "eni-0123456789abcdef1" }"#;
    let others = [
        format!(r#"aws = {{ mode = "address", {interfaces}, reserve = "eni-0123456789abcdef2" }}"#),
        r#"aws = { mode = "route", route_tables = ["rtb-0123456789abcdef0"], region = "eu-central-1" }"#
            .to_owned(),
        "profile = \"seed\"".to_owned(),
    ];
    let with = |line: &String| SERVICE.replace("router_id = 51", &format!("router_id = 51\n{line}"));
    let seed = SERVICE.replace("max_memory", "profile = \"seed\"\nmax_memory");
    for service in others.iter().map(with).chain([SERVICE.to_owned(), seed]) {
        let config = config(&service);
        let client = |cluster: &Cluster| Ok(format!("clients-of-{}-0000", cluster.tenant).parse().unwrap());
        let secrets = Secrets::new(&config, &"the-operators-secret".parse().unwrap(), client).unwrap();
        let (dir, mut report, mut units) = (tempfile::tempdir().unwrap(), CheckReport::default(), 0);
        for file in render(&config, &secrets, &Certificates::new(&config, |_| unreachable!()).unwrap()) {
            let path = dir.path().join(file.relative());
            if path.extension().is_some_and(|kind| kind == "service") {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &file.text).unwrap();
                programs::check(&file, &path, &mut report).unwrap();
                units += 1;
            }
        }
        assert_eq!(report.findings, []);
        assert_eq!((report.accepted, units >= 18), (units, true), "{:?}", report.notes);
    }
}
