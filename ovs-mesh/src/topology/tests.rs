use super::*;

const GOOD: &str = r#"[mesh]
name = "prod"
underlay_mtu = 9001
datapath = "system"

[[host]]
name = "redis1"
underlay_ip = "10.0.1.11"
[[host]]
name = "proxy1"
underlay_ip = "10.0.2.21"

[[tenant]]
name = "acme"
key = 101
subnet = "192.168.10.0/24"
gateways = { proxy1 = "192.168.10.4" }
containers = [ { ctid = "101", host = "redis1", ip = "192.168.10.11" } ]

[[tenant]]
name = "globex"
key = 4294967295
subnet = "192.168.10.0/24"
hosts = ["redis1"]
bridge = "glx"
"#;

fn faults(text: &str) -> Vec<String> {
    let error = Topology::parse(text, Path::new("mesh.toml")).unwrap_err();
    error
        .faults()
        .iter()
        .map(|fault| {
            let (line, column) = error.place(fault);
            format!("{line}:{column} {} | {}", fault.message(), fault.accepted())
        })
        .collect()
}

#[test]
fn reads_what_the_file_says() {
    let topology: Topology = GOOD.parse().unwrap();
    assert_eq!(topology.tenant_mtu(), 8959);
    assert_eq!(topology.openvz_conf_dir(), Path::new("/etc/vz/conf"));
    let acme = &topology.tenants()[0];
    assert_eq!((acme.bridge().as_str(), topology.members(acme).count()), ("br-acme", 2));
    let globex = &topology.tenants()[1];
    assert_eq!((globex.bridge().as_str(), topology.members(globex).count()), ("glx", 1));
    let (tenant, container) = topology.container(&"101".parse().unwrap()).unwrap();
    assert_eq!((tenant.name().as_str(), container.host().as_str()), ("acme", "redis1"));
}

#[test]
fn an_ipv6_underlay_costs_sixty_two_bytes() {
    let topology: Topology =
        GOOD.replace("10.0.1.11", "fd00::11").replace("10.0.2.21", "fd00::21").parse().unwrap();
    assert_eq!((topology.tenant_mtu(), topology.tunnel_kind()), (8939, TunnelKind::Ip6Gre));
}

#[test]
fn openvz_keys_are_optional_and_survive_writing() {
    let topology: Topology = GOOD.parse().unwrap();
    assert_eq!(topology.openvz_default_bridge(), None);
    let text = format!("{GOOD}[openvz]\nconf_dir = \"/srv/vz\"\ndefault_bridge = \"vmbr0\"\n");
    let topology: Topology = text.parse().unwrap();
    assert_eq!(topology.openvz_conf_dir(), Path::new("/srv/vz"));
    assert_eq!(topology.openvz_default_bridge().map(BridgeName::as_str), Some("vmbr0"));
    assert_eq!(topology.to_toml().parse::<Topology>(), Ok(topology));
}

#[test]
fn openvz_faults_name_their_place() {
    let table = [
        ("conf_dir = \"vz\"", "27:12 conf_dir `vz` is not an absolute path"),
        ("default_bridge = 0", "27:18 default_bridge cannot be of type integer"),
        ("default_bridge = \"vm br\"", "27:18 bridge name `vm br` has the character ' '"),
        ("default_bridge = \"ovs-system\"", "27:18 bridge name `ovs-system` is reserved"),
        (
            "default_bridge = \"glx\"",
            "27:18 default_bridge `glx` is a tenant's bridge | a Linux bridge outside",
        ),
        ("default_bridge = \"br-acme\"", "27:18 default_bridge `br-acme` is a tenant's bridge"),
        (
            "bridge = \"vmbr0\"",
            "27:1 [openvz] has no key `bridge` | accepted are `conf_dir`, `default_bridge`",
        ),
    ];
    for (line, expected) in table {
        let found = faults(&format!("{GOOD}[openvz]\n{line}\n"));
        assert_eq!(found.len(), 1, "{line}: {found:#?}");
        assert!(found[0].starts_with(expected), "{line}: {found:#?}");
    }
}

/// Each row: what to replace in the good file, by what, and the one fault that must come of it.
#[test]
fn every_fault_names_its_place_and_what_is_accepted() {
    let table = [
        ("name = \"prod\"\n", "", "1:1 [mesh] has no `name`"),
        ("underlay_mtu = 9001", "underlay_mtu = \"big\"", "3:16 underlay_mtu cannot be of type string"),
        ("underlay_mtu = 9001", "underlay_mtu = 70000", "3:16 an underlay MTU of 70000 bytes does not work"),
        ("underlay_mtu = 9001", "underlay_mtu = 109", "3:16 an underlay MTU of 109 bytes does not work"),
        ("datapath = \"system\"", "datapath = \"dpdk\"", "4:12 `dpdk` is not a datapath type"),
        ("datapath = \"system\"", "mtu = 1", "4:1 [mesh] has no key `mtu`"),
        ("\"proxy1\"", "\"redis1\"", "10:8 host name `redis1` is used twice"),
        ("10.0.2.21", "10.0.1.11", "11:15 underlay address `10.0.1.11` is used twice"),
        ("10.0.2.21", "fd00::1", "11:15 underlay address fd00::1 is of another family"),
        ("10.0.2.21", "127.0.0.1", "11:15 underlay address 127.0.0.1 cannot be a tunnel's end"),
        ("10.0.2.21", "10.0.2", "11:15 `10.0.2` is not an IP address"),
        ("name = \"acme\"", "name = \"ac me\"", "14:8 tenant name `ac me` has the character ' '"),
        ("name = \"acme\"", "name = \"acme-production\"", "14:8 the bridge `br-acme-production` would have"),
        ("name = \"acme\"", "name = \"globex\"", "21:8 tenant name `globex` is used twice"),
        ("key = 101", "key = 0", "15:7 `0` is not a GRE key"),
        ("key = 101", "key = \"101\"", "15:7 key cannot be of type string"),
        ("key = 101", "key = 99999999999999999999", "15:7 key is too large a number"),
        ("4294967295", "4294967296", "22:7 `4294967296` is not a GRE key"),
        ("4294967295", "101", "22:7 GRE key `101` is used twice"),
        (
            "subnet = \"192.168.10.0/24\"\ng",
            "subnet = \"192.168.10.1/24\"\ng",
            "16:10 subnet 192.168.10.1/24 has bits",
        ),
        ("192.168.10.4", "192.168.11.4", "17:23 address 192.168.11.4 is outside the tenant's subnet"),
        ("192.168.10.4", "192.168.10.255", "17:23 address 192.168.10.255 is the network's or the broadcast"),
        ("192.168.10.4", "192.168.10.11", "18:54 address `192.168.10.11` is used twice"),
        (
            "{ proxy1 =",
            "{ proxy9 =",
            "17:14 there is no [[host]] named `proxy9` | the hosts are: `proxy1`, `redis1`",
        ),
        ("ctid = \"101\"", "ctid = \"x\"", "18:25 `x` is not a container id"),
        ("host = \"redis1\", ip", "host = \"nobody\", ip", "18:39 there is no [[host]] named `nobody`"),
        ("hosts = [\"redis1\"]", "hosts = [\"redis1\", \"redis1\"]", "24:20 host `redis1` is used twice"),
        (
            "bridge = \"glx\"",
            "bridge = \"a-name-too-long-\"",
            "25:10 bridge name `a-name-too-long-` has 16 bytes",
        ),
        ("bridge = \"glx\"", "bridge = \"br-acme\"", "25:10 bridge `br-acme` is used twice"),
        ("bridge = \"glx\"", "bridge = \"ovs-system\"", "25:10 bridge name `ovs-system` is reserved"),
        ("[mesh]", "[mesh", "1:6 not TOML"),
    ];
    assert!(GOOD.parse::<Topology>().is_ok());
    for (from, to, expected) in table {
        assert!(GOOD.contains(from), "{from}");
        let found = faults(&GOOD.replacen(from, to, 1));
        // A name that goes also takes what leans on it along; the fault itself must be there, once.
        let hits = found.iter().filter(|fault| fault.starts_with(expected)).count();
        assert_eq!(hits, 1, "{from} → {to}: {found:#?}");
    }
}

#[test]
fn several_faults_are_reported_together_and_shown_in_the_text() {
    let text = GOOD
        .replace("key = 101", "key = 0")
        .replace("10.0.2.21", "10.0.1.11")
        .replace("hosts = [\"redis1\"]", "hosts = [\"redis7\"]");
    let error = Topology::parse(&text, Path::new("/etc/ovsmesh/mesh.toml")).unwrap_err();
    insta::assert_snapshot!(error.to_string());
}

proptest::proptest! {
    #[test]
    fn what_is_written_reads_the_same(topology in crate::testing::topologies()) {
        proptest::prop_assert_eq!(topology.to_toml().parse::<Topology>(), Ok(topology));
    }

    /// Whatever the text: a topology, or faults with places in it, and no panic in showing them.
    #[test]
    fn any_text_is_a_topology_or_faults(text in ".{0,200}|\\[mesh\\]\n(name|underlay_mtu|datapath) = .{0,40}") {
        if let Err(error) = text.parse::<Topology>() {
            proptest::prop_assert!(!error.faults().is_empty());
            proptest::prop_assert!(!error.to_string().is_empty());
        }
    }
}
