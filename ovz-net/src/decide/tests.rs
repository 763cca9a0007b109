use std::path::Path;

use super::*;
use crate::conf::Generation;

/// Two hosts. acme is on both and has 101 on h1 and 102 on h2; globex is on both and has 201 on h1; far is on h2 alone.
const TOPOLOGY: &str = r#"
mesh = { name = "m", underlay_mtu = 9001 }
host = [{ name = "h1", underlay_ip = "10.0.0.1" }, { name = "h2", underlay_ip = "10.0.0.2" }]
[[tenant]]
name = "acme"
key = 1
subnet = "192.168.0.0/24"
containers = [
    { ctid = "101", host = "h1", ip = "192.168.0.1" },
    { ctid = "102", host = "h2", ip = "192.168.0.2" },
    { ctid = "3fa85f64-5717-4562-b3fc-2c963f66afa6", host = "h1", ip = "192.168.0.3" },
]
[[tenant]]
name = "globex"
key = 2
subnet = "192.168.0.0/24"
containers = [{ ctid = "201", host = "h1", ip = "192.168.0.1" }]
[[tenant]]
name = "far"
key = 3
subnet = "192.168.0.0/24"
hosts = ["h2"]
[[tenant]]
name = "lan"
key = 4
subnet = "192.168.0.0/24"
[[tenant]]
name = "twin"
key = 5
bridge = "acme"
subnet = "192.168.0.0/24"
"#;

struct Case {
    topology: String,
    host: &'static str,
    own: Option<String>,
    global: Option<String>,
    devices: Devices,
}

impl Case {
    fn new() -> Self {
        let bridge = |name: &str| name.parse().unwrap();
        let devices = Devices {
            bridges: [bridge("vmbr0"), bridge("vmbr1"), bridge("lan"), bridge("virbr0")].into(),
            networks: [
                ("Bridged".to_owned(), bridge("vmbr1")),
                ("Tenant acme".to_owned(), bridge("br-acme")),
                ("my own net".to_owned(), bridge("virbr0")),
                ("globex".to_owned(), bridge("virbr0")),
                ("Switched".to_owned(), bridge("ovsbr0")),
                ("twin".to_owned(), bridge("acme")),
                ("far".to_owned(), bridge("ovsbr0")),
            ]
            .into(),
            present: true,
        };
        Self { topology: TOPOLOGY.to_owned(), host: "h1", own: None, global: None, devices }
    }

    fn own(netif: &str) -> Self {
        Self { own: Some(format!("\nNETIF=\"{netif}\"")), ..Self::new() }
    }

    fn decide(&self, call: &str, environment: &[(&str, &str)]) -> Result<Decision, Refusal> {
        let call = Call::parse(call.split(' '), environment.iter().copied()).unwrap();
        self.call(&call, call.generation())
    }

    fn call(&self, call: &Call, generation: Generation) -> Result<Decision, Refusal> {
        let topology = self.topology.parse().unwrap_or_else(|error| panic!("{error}"));
        let read = |name: &str, text: &str| Configuration::read(Path::new(name), text.as_bytes(), generation);
        let own = self.own.as_deref().map(|text| read("c.conf", text));
        let global = self.global.as_deref().map(|text| read("vz.conf", text));
        let host = self.host.parse().unwrap();
        let (own, global) = (own.as_ref(), global.as_ref());
        decide(call, &Site { topology: &topology, host: &host, global, own, devices: &self.devices })
    }

    /// A vzctl container's start, in short.
    fn start(&self, veid: &str, bridge: &str) -> String {
        let call = format!("init veth veth{veid}.0 {bridge}");
        shown(self.decide(call.trim_end(), &[("VEID", veid)]))
    }

    fn add(&self, veid: &str, network: &str, kind: &str) -> String {
        shown(
            self.decide(&format!("addif veth0a0b0c0d {network}"), &[("VEID", veid), ("NETWORK_TYPE", kind)]),
        )
    }
}

fn shown(result: Result<Decision, Refusal>) -> String {
    match result {
        Ok(Decision::Attach { attachment, bridge, by }) => {
            format!("attach {} to {} on {bridge} by {by}", attachment.device, attachment.tenant)
        }
        Ok(Decision::Enslave { device, bridge, by, instead_of: None }) => {
            format!("enslave {device} to {bridge} by {by}")
        }
        Ok(Decision::Enslave { device, bridge, by, instead_of: Some(tenant) }) => {
            format!("enslave {device} to {bridge} by {by}, not {tenant}")
        }
        Ok(Decision::Detach { device }) => format!("detach {device}"),
        Ok(Decision::Routed { device }) => format!("routed {device}"),
        Err(refusal) => refusal.to_string(),
    }
}

/// Each row: VEID, the interface's `bridge=` (or none), the fourth argument (or none), and what comes of it.
#[test]
fn the_precedence_table_of_vzctl() {
    const CONF: &str = "c.conf:2 (eth0)";
    let table = [
        // Placed here.
        ("101", "", "", "attach veth101.0 to acme on br-acme by the topology".to_owned()),
        ("101", "br-acme", "", format!("attach veth101.0 to acme on br-acme by {CONF}")),
        ("101", "", "br-acme", "attach veth101.0 to acme on br-acme by the argument BRIDGE".to_owned()),
        (
            "101",
            "br-globex",
            "",
            format!("{CONF} names `br-globex`, the bridge of tenant `globex`, but the topology"),
        ),
        (
            "101",
            "",
            "br-globex",
            "the argument BRIDGE names `br-globex`, the bridge of tenant `globex`, but".to_owned(),
        ),
        ("101", "br-globex", "br-acme", format!("{CONF} names `br-globex`, the bridge of tenant `globex`")),
        ("101", "br-globex", "vmbr0", format!("{CONF} names `br-globex`, the bridge of tenant `globex`")),
        ("101", "br-acme", "br-globex", "the argument BRIDGE names `br-globex`".to_owned()),
        ("101", "br-far", "", format!("{CONF} names `br-far`, the bridge of tenant `far`, but the topology")),
        ("101", "vmbr0", "", format!("enslave veth101.0 to vmbr0 by {CONF}, not acme")),
        ("101", "vmbr0", "vmbr1", "enslave veth101.0 to vmbr1 by the argument BRIDGE, not acme".to_owned()),
        ("101", "br-acme", "vmbr1", "enslave veth101.0 to vmbr1 by the argument BRIDGE, not acme".to_owned()),
        (
            "101",
            "vmbr7",
            "",
            format!("{CONF} names `vmbr7`, which is neither a tenant's bridge nor a Linux bridge"),
        ),
        ("101", "", "vmbr7", "the argument BRIDGE names `vmbr7`, which is neither".to_owned()),
        // Placed on another host.
        (
            "102",
            "",
            "",
            "the topology places container 102 of tenant `acme` on host `h2`, not on `h1`".to_owned(),
        ),
        ("102", "br-acme", "", "the topology places container 102 of tenant `acme` on host `h2`".to_owned()),
        ("102", "br-globex", "", format!("{CONF} names `br-globex`, the bridge of tenant `globex`, but")),
        ("102", "vmbr7", "", "the topology places container 102 of tenant `acme` on host `h2`".to_owned()),
        ("102", "vmbr0", "", format!("enslave veth102.0 to vmbr0 by {CONF}, not acme")),
        // Not placed.
        (
            "900",
            "",
            "",
            "nothing says where `veth900.0` of container 900 belongs: c.conf:2 (eth0) names no".to_owned(),
        ),
        ("900", "br-acme", "", format!("attach veth900.0 to acme on br-acme by {CONF}")),
        ("900", "", "br-acme", "attach veth900.0 to acme on br-acme by the argument BRIDGE".to_owned()),
        (
            "900",
            "br-acme",
            "br-globex",
            "container 900 would join two tenants: the argument BRIDGE names".to_owned(),
        ),
        (
            "900",
            "br-far",
            "",
            format!("{CONF} names tenant `far`, which has no bridge on host `h1`; its hosts are: h2"),
        ),
        ("900", "vmbr0", "", format!("enslave veth900.0 to vmbr0 by {CONF}")),
        ("900", "vmbr7", "", format!("{CONF} names `vmbr7`, which is neither")),
        // `bridge=` is a bridge's name, never a tenant's.
        ("900", "globex", "", format!("{CONF} names `globex`, which is neither")),
        ("900", "acme", "", format!("attach veth900.0 to twin on acme by {CONF}")),
        ("900", "lan", "", format!("enslave veth900.0 to lan by {CONF}")),
    ];
    for (veid, bridge, argument, expected) in table {
        let case = Case::own(&format!("ifname=eth0,bridge={bridge}"));
        let found = case.start(veid, argument);
        assert!(found.starts_with(&expected), "{veid} {bridge:?} {argument:?}:\n{found}\n{expected}");
        // A decision is shown whole.
        assert!(!found.contains("enslave") || found == expected, "{found}\n{expected}");
    }
}

/// A hot-added interface: vzctl calls before it saves the configuration.
#[test]
fn a_device_that_no_configuration_has() {
    let table = [
        ("101", "", "attach veth101.0 to acme on br-acme by the topology"),
        ("101", "vmbr0", "enslave veth101.0 to vmbr0 by the argument BRIDGE"),
        ("101", "br-globex", "the argument BRIDGE names `br-globex`"),
        ("900", "br-acme", "attach veth900.0 to acme on br-acme by the argument BRIDGE"),
        ("900", "vmbr0", "enslave veth900.0 to vmbr0 by the argument BRIDGE"),
    ];
    for (veid, argument, expected) in table {
        // Another interface goes to the tenant, if there is one.
        let found = Case::own("ifname=eth5").start(veid, argument);
        assert!(found.starts_with(expected), "{veid} {argument:?}: {found}");
    }
    let unknown = Case::own("ifname=eth5").start("900", "");
    assert!(unknown.contains("belongs: c.conf does not have it, the topology does not place"), "{unknown}");
    assert!(unknown.contains("set `[openvz] default_bridge`"), "{unknown}");
    let unknown = Case::new().start("900", "");
    assert!(unknown.contains("belongs: the container has no configuration"), "{unknown}");
}

#[test]
fn the_default_bridge_takes_what_nobody_placed() {
    let with_default = |bridge: &str, case: Case| Case {
        topology: format!("{TOPOLOGY}\n[openvz]\ndefault_bridge = \"{bridge}\"\n"),
        ..case
    };
    let expected = "enslave veth900.0 to vmbr0 by the topology's default_bridge";
    for case in [Case::new(), Case::own("ifname=eth0"), Case::own("ifname=eth5,bridge=br-acme")] {
        assert_eq!(with_default("vmbr0", case).start("900", ""), expected);
    }
    let table = [
        ("101", "ifname=eth0", "attach veth101.0 to acme on br-acme by the topology"),
        ("102", "ifname=eth0", "the topology places container 102 of tenant `acme` on host `h2`"),
        ("900", "ifname=eth0,bridge=vmbr1", "enslave veth900.0 to vmbr1 by c.conf:2 (eth0)"),
        ("900", "ifname=eth0,bridge=vmbr7", "c.conf:2 (eth0) names `vmbr7`, which is neither"),
    ];
    for (veid, netif, expected) in table {
        let found = with_default("vmbr0", Case::own(netif)).start(veid, "");
        assert!(found.starts_with(expected), "{veid} {netif}: {found}");
    }
    let found = with_default("vmbr7", Case::new()).start("900", "");
    assert!(
        found.starts_with("`veth900.0` belongs on default_bridge `vmbr7` of the topology, which is no"),
        "{found}"
    );
}

#[test]
fn a_container_has_one_interface_in_its_tenant_and_one_outside() {
    let two = "ifname=eth0,bridge=br-acme;ifname=eth1,bridge=vmbr0";
    let decide = |netif: &str, device: &str| {
        shown(Case::own(netif).decide(&format!("init veth {device}"), &[("VEID", "101")]))
    };
    assert_eq!(decide(two, "veth101.0"), "attach veth101.0 to acme on br-acme by c.conf:2 (eth0)");
    // Nothing to warn of: eth0 is the tenant's.
    assert_eq!(decide(two, "veth101.1"), "enslave veth101.1 to vmbr0 by c.conf:2 (eth1)");
    assert_eq!(
        decide("ifname=eth0;ifname=eth1,bridge=vmbr0", "veth101.1"),
        "enslave veth101.1 to vmbr0 by c.conf:2 (eth1)"
    );
    assert_eq!(
        decide("ifname=eth0,type=routed;ifname=eth1,bridge=vmbr0", "veth101.1"),
        "enslave veth101.1 to vmbr0 by c.conf:2 (eth1), not acme"
    );
}

#[test]
fn an_unplaced_container_joins_one_tenant_at_most() {
    let both = "ifname=eth0,bridge=br-acme;ifname=eth1,bridge=br-globex;ifname=eth2,bridge=vmbr0";
    let decide = |netif: &str, device: &str| {
        shown(Case::own(netif).decide(&format!("init veth {device}"), &[("VEID", "900")]))
    };
    assert_eq!(
        decide(both, "veth900.0"),
        "container 900 would join two tenants: c.conf:2 (eth0) names `acme`, and c.conf:2 (eth1) names `globex`; leave \
         one of them, or place the container in the topology"
    );
    assert!(decide(both, "veth900.1").starts_with("container 900 would join two tenants"));
    assert_eq!(decide(both, "veth900.2"), "enslave veth900.2 to vmbr0 by c.conf:2 (eth2)");
    let routed = "ifname=eth0,bridge=br-acme;ifname=eth1,bridge=br-globex,type=routed";
    assert_eq!(decide(routed, "veth900.0"), "attach veth900.0 to acme on br-acme by c.conf:2 (eth0)");
}

/// Each row: VEID, NETWORK, `NETWORK_TYPE`, and what comes of it.
#[test]
fn the_precedence_table_of_libvzctl() {
    const UUID: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
    let by = |what: &str| format!("{what} by the argument NETWORK");
    let table = [
        (UUID, "br-acme", "bridge", by("attach veth0a0b0c0d to acme on br-acme")),
        (UUID, "br-acme", "", by("attach veth0a0b0c0d to acme on br-acme")),
        (
            UUID,
            "br-globex",
            "bridge",
            "the argument NETWORK names `br-globex`, the bridge of tenant".to_owned(),
        ),
        (UUID, "vmbr0", "bridge", format!("{}, not acme", by("enslave veth0a0b0c0d to vmbr0"))),
        ("900", "br-acme", "bridge", by("attach veth0a0b0c0d to acme on br-acme")),
        (
            "900",
            "br-far",
            "",
            "the argument NETWORK names tenant `far`, which has no bridge on host `h1`".to_owned(),
        ),
        // A network that the host maps, whole or split.
        ("900", "Bridged", "", by("enslave veth0a0b0c0d to vmbr1")),
        ("900", "Tenant acme", "", by("attach veth0a0b0c0d to acme on br-acme")),
        ("900", "my own  net", "", by("enslave veth0a0b0c0d to virbr0")),
        // One that the host maps to what is no Linux bridge.
        ("900", "Switched", "", "the argument NETWORK names `Switched`, which is neither".to_owned()),
        (
            "900",
            "far",
            "",
            "the argument NETWORK names `far`, which is tenant `far` and bridge `ovsbr0`".to_owned(),
        ),
        // One of its own kind is no bridge.
        ("900", "Bridged", "bridge", "the argument NETWORK names `Bridged`, which is neither".to_owned()),
        // A tenant's name.
        ("900", "twin", "", by("attach veth0a0b0c0d to twin on acme")),
        ("900", "globex", "bridge", by("attach veth0a0b0c0d to globex on br-globex")),
        ("900", "nowhere", "", "the argument NETWORK names `nowhere`, which is neither".to_owned()),
        // A name of two things.
        (
            "900",
            "acme",
            "",
            "the argument NETWORK names `acme`, which is tenant `acme` and tenant `twin`".to_owned(),
        ),
        ("900", "acme", "bridge", by("attach veth0a0b0c0d to twin on acme")),
        (
            "900",
            "lan",
            "",
            "the argument NETWORK names `lan`, which is tenant `lan` and bridge `lan`".to_owned(),
        ),
        ("900", "lan", "bridge", by("enslave veth0a0b0c0d to lan")),
        (
            "900",
            "globex",
            "",
            "the argument NETWORK names `globex`, which is tenant `globex` and bridge `virbr0`".to_owned(),
        ),
        ("900", "br-acme", "routed", "routed veth0a0b0c0d".to_owned()),
    ];
    for (veid, network, kind, expected) in table {
        let found = Case::new().add(veid, network, kind);
        assert!(found.starts_with(&expected), "{veid} {network:?} {kind:?}:\n{found}\n{expected}");
    }
}

#[test]
fn a_new_network_counts_before_the_configuration_has_it() {
    // libvzctl saves after the call: the configuration still has the network that the interface leaves.
    let case = Case::own("ifname=eth0,host_ifname=veth0a0b0c0d,network=br-globex,type=bridge");
    assert_eq!(
        case.add("101", "br-acme", "bridge"),
        "attach veth0a0b0c0d to acme on br-acme by the argument NETWORK"
    );
    assert!(case.add("101", "br-globex", "bridge").starts_with("the argument NETWORK names `br-globex`"));
    let routed = Case::own("ifname=eth0,host_ifname=veth0a0b0c0d,type=routed");
    assert!(routed.add("101", "br-acme", "bridge").starts_with("attach"));
}

#[test]
fn the_programs_own_key_comes_before_the_others() {
    let case = Case::own("ifname=eth0,host_ifname=v,network=vmbr1,bridge=vmbr0,type=bridge");
    let call = Call::init("900".parse().unwrap(), "v".parse().unwrap());
    let by = |generation| shown(case.call(&call, generation));
    assert_eq!(by(Generation::Vzctl), "enslave v to vmbr0 by c.conf:2 (eth0)");
    assert_eq!(by(Generation::Libvzctl), "enslave v to vmbr1 by c.conf:2 (eth0)");
    // The other's can still name another tenant.
    let case = Case::own("ifname=eth0,network=br-globex,bridge=br-acme");
    assert!(
        case.start("101", "").starts_with("c.conf:2 (eth0) names `br-globex`, the bridge of tenant `globex`")
    );
}

#[test]
fn what_is_not_on_a_bridge_stays_off() {
    let case = Case::own("ifname=eth0,type=routed,bridge=br-globex");
    assert_eq!(case.start("101", ""), "routed veth101.0");
    let delif = |case: &Case| shown(case.decide("delif veth101.0", &[("VEID", "101")]));
    assert_eq!(delif(&case), "detach veth101.0");
    // Whatever else is wrong.
    assert_eq!(
        delif(&Case { host: "nobody", devices: Devices::default(), ..Case::new() }),
        "detach veth101.0"
    );
}

#[test]
fn vz_conf_speaks_where_the_container_does_not() {
    let global = || Some("NETIF=\"ifname=eth0,bridge=br-globex\"".to_owned());
    let case = Case { global: global(), ..Case::new() };
    assert!(case.start("101", "").starts_with("vz.conf:1 (eth0) names `br-globex`"));
    assert_eq!(case.start("201", ""), "attach veth201.0 to globex on br-globex by vz.conf:1 (eth0)");
    let case = Case { global: global(), ..Case::own("ifname=eth0") };
    assert_eq!(case.start("101", ""), "attach veth101.0 to acme on br-acme by the topology");
}

#[test]
fn the_mac_is_the_environments_else_the_configurations() {
    let mac = |case: &Case, call: &str, environment: &[(&str, &str)]| match case.decide(call, environment) {
        Ok(Decision::Attach { attachment, .. }) => attachment.mac,
        other => panic!("{other:?}"),
    };
    let case = Case::own("ifname=eth0,host_ifname=v,mac=00:18:51:AB:CD:EF,network=br-acme");
    let veid = ("VEID", "101");
    assert_eq!(mac(&case, "init veth v", &[veid]), Some("00:18:51:ab:cd:ef".parse().unwrap()));
    let set = [veid, ("MAC", "00:18:51:00:00:01")];
    assert_eq!(mac(&case, "addif v br-acme", &set), Some("00:18:51:00:00:01".parse().unwrap()));
    assert_eq!(mac(&Case::new(), "init veth v", &[veid]), None);
}

#[test]
fn a_host_or_device_that_is_not_there_is_named() {
    let case = Case { host: "nobody", ..Case::new() };
    assert_eq!(case.start("101", ""), "the topology has no host `nobody`; its hosts are: h1, h2");
    let mut case = Case::new();
    case.devices.present = false;
    assert_eq!(
        case.start("101", ""),
        "there is no device `veth101.0` on this host; the container has to be running"
    );
    // The other faults come first: they are the reason why it was called for.
    assert!(case.start("102", "").starts_with("the topology places container 102"));
}

/// A sync that repeats what a missed call left undone, for both generations.
#[test]
fn a_missed_call_is_made_up_for() {
    let case = Case::own("ifname=eth0,mac=00:18:51:AB:CD:EF,network=acme,type=bridge");
    let call = Call::init("900".parse().unwrap(), "veth51abcdef".parse().unwrap());
    assert_eq!(
        shown(case.call(&call, Generation::Libvzctl)),
        "attach veth51abcdef to twin on acme by c.conf:2 (eth0)"
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever says what: a container that the topology places never gets into another tenant, and one that it does
        /// not place never into two.
        #[test]
        fn nobody_gets_into_another_tenant(
            veid in prop::sample::select(vec!["101", "102", "201", "900"]),
            bridges in prop::collection::vec(name(), 1..4),
            networks in prop::collection::vec(name(), 1..4),
            argument in name(),
            libvzctl in any::<bool>(),
            kind in prop::sample::select(vec!["", "bridge"]),
        ) {
            let netifs: Vec<String> = bridges.iter().zip(networks.iter().cycle()).enumerate()
                .map(|(at, (bridge, network))| {
                    let named = if libvzctl { format!("network={network}") } else { format!("bridge={bridge}") };
                    format!("ifname=eth{at},host_ifname=veth{veid}.{at},type={kind},{named}").replace("type=,", "")
                })
                .collect();
            let case = Case::own(&netifs.join(";"));
            let mut joined = std::collections::BTreeSet::new();
            for at in 0..netifs.len() {
                let (call, argument) = match (libvzctl, at) {
                    (true, _) if networks[at % networks.len()].is_empty() => continue,
                    (true, _) => (format!("addif veth{veid}.{at} "), networks[at % networks.len()]),
                    // Proxmox hands over what the configuration has; here also something else, once.
                    (false, 0) => (format!("init veth veth{veid}.{at} "), argument),
                    (false, _) => (format!("init veth veth{veid}.{at} "), bridges[at]),
                };
                let call = format!("{call}{argument}");
                let environment = [("VEID", veid), ("NETWORK_TYPE", if libvzctl { kind } else { "" })];
                if let Ok(Decision::Attach { attachment, bridge, .. }) = case.decide(call.trim_end(), &environment) {
                    let topology: ovs_mesh::Topology = TOPOLOGY.parse().unwrap();
                    prop_assert_eq!(topology.tenant(&attachment.tenant).unwrap().bridge(), &bridge);
                    if let Some((tenant, container)) = topology.container(&veid.parse().unwrap()) {
                        prop_assert_eq!(&attachment.tenant, tenant.name());
                        prop_assert_eq!(container.host().as_str(), "h1");
                    }
                    joined.insert(attachment.tenant.to_string());
                }
            }
            prop_assert!(joined.len() <= 1, "{:?}", joined);
        }
    }

    fn name() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "",
            "br-acme",
            "br-globex",
            "br-far",
            "acme",
            "globex",
            "far",
            "lan",
            "twin",
            "vmbr0",
            "vmbr9",
            "Bridged",
        ])
    }
}
