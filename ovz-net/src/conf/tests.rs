use super::*;

fn read(text: &str, generation: Generation) -> Configuration {
    Configuration::read(Path::new("101.conf"), text.as_bytes(), generation)
}

/// The interfaces in short: `ifname>device@bridge-or-network`.
fn short(text: &str, generation: Generation) -> String {
    let ctid = "101".parse().unwrap();
    let conf = read(text, generation);
    let one = |netif: &Netif| {
        let device = netif.device(&ctid, generation).unwrap_or_else(|| "?".to_owned());
        let place = netif.bridge.as_deref().or(netif.network.as_deref()).unwrap_or("-");
        format!("{}>{device}@{place}", netif.ifname)
    };
    conf.netifs().iter().map(one).collect::<Vec<_>>().join(" ")
}

fn warnings(text: &str, generation: Generation) -> Vec<String> {
    read(text, generation).warnings().iter().map(ToString::to_string).collect()
}

/// Each row: a text, what vzctl and what libvzctl makes of it.
#[test]
fn lines_are_read_as_the_programs_read_them() {
    const ONE: &str = "eth0>v0@b";
    let table = [
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b\"", ONE, ONE),
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b\"\r\n", ONE, ONE),
        // Unquoted.
        ("NETIF=ifname=eth0,host_ifname=v0,bridge=b", ONE, ONE),
        // Leading space and comments.
        (" \t NETIF=\"ifname=eth0,host_ifname=v0,bridge=b\"  ", ONE, ONE),
        ("# NETIF=\"ifname=eth9\"\n  #x\n\nNETIF=ifname=eth0,host_ifname=v0,bridge=b", ONE, ONE),
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b\" # eth0", ONE, ONE),
        // The last `"` of the line ends the value for vzctl: what stands between is a part of it.
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b\" # \"lan\"", "eth0>v0@b\" # \"lan", ONE),
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b,x=\"y\"", ONE, ONE),
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b\" x", ONE, "eth0>v0@b\" x"),
        // A `#` inside an unquoted value ends it for libvzctl alone.
        ("NETIF=ifname=eth0,host_ifname=v0,bridge=b #c", "eth0>v0@b #c", ONE),
        ("NETIF=ifname=eth0,host_ifname=v0,bridge=b#c", "eth0>v0@b#c", "eth0>v0@b#c"),
        // Backslash escapes go first.
        ("NETIF=\\\"ifname=et\\h0,host_ifname=v0,bridge=b\\\"", ONE, ONE),
        ("NETIF=ifname=eth0,host_ifname=v0,bridge=a\\\\b", "eth0>v0@a\\b", "eth0>v0@a\\b"),
        ("NETIF=ifname=eth0,host_ifname=v0,bridge=b\\", ONE, ONE),
        // Single quotes.
        ("NETIF='ifname=eth0,host_ifname=v0,bridge=b'", "", ONE),
        ("NETIF='x=y,ifname=eth0,host_ifname=v0,bridge=b'", "eth0>v0@b'", ONE),
        // A line that is none.
        ("NETIF = \"ifname=eth0\"", "", ""),
        ("NETIF =\"ifname=eth0\"", "", ""),
        ("NETIF= \"ifname=eth0\"", "", ""),
        ("export NETIF=\"ifname=eth0\"", "", ""),
        ("netif=\"ifname=eth0\"", "", ""),
        ("NETIF", "", ""),
        ("NETIF=", "", ""),
        ("NETIF=\"\"", "", ""),
        ("NETIF=\"", "", ""),
        ("\"", "", ""),
        ("=", "", ""),
        ("VETH=\"veth101.0,00:11,eth0\"", "", ""),
        // No closing quote.
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=b", "", ONE),
        // A line does not continue on the next.
        ("NETIF=\"ifname=eth0,host_ifname=v0,\\\nbridge=b\"", "", "eth0>v0@-"),
        // Nothing is expanded or executed.
        ("NETIF=\"ifname=eth0,host_ifname=v0,bridge=$(id)\"", "eth0>v0@$(id)", "eth0>v0@$(id)"),
        // A zero byte ends a line.
        ("NETIF=ifname=eth0,host_ifname=v0,bridge=b\0c\nX=1", ONE, ONE),
    ];
    for (text, vzctl, libvzctl) in table {
        assert_eq!(short(text, Generation::Vzctl), vzctl, "vzctl: {text}");
        assert_eq!(short(text, Generation::Libvzctl), libvzctl, "libvzctl: {text}");
    }
}

#[test]
fn of_several_lines_vzctl_takes_the_first_and_libvzctl_the_last() {
    let two = "NETIF=\"ifname=eth0,host_ifname=a\"\nX=1\nNETIF=\"ifname=eth0,host_ifname=b\"\n";
    assert_eq!(short(two, Generation::Vzctl), "eth0>a@-");
    assert_eq!(short(two, Generation::Libvzctl), "eth0>b@-");
    assert_eq!(
        warnings(two, Generation::Vzctl),
        ["101.conf:3: this NETIF is ignored, line 1 has another; keep one of them"]
    );
    assert_eq!(
        warnings(two, Generation::Libvzctl),
        ["101.conf:1: this NETIF is ignored, line 3 has another; keep one of them"]
    );
    // To vzctl a line without a valid interface is none.
    for first in ["NETIF=\"\"", "NETIF=\"bridge=b\"", "NETIF='ifname=eth0'"] {
        let text =
            format!("{first}\nNETIF=\"ifname=eth0,host_ifname=b\"\nNETIF=\"ifname=eth0,host_ifname=c\"\n");
        assert_eq!(short(&text, Generation::Vzctl), "eth0>b@-", "{first}");
    }
}

#[test]
fn vz_conf_applies_unless_the_container_sets_an_interface() {
    let global = "NETIF=\"ifname=eth0,host_ifname=g\"";
    let table = [
        ("", "g", "g"),
        ("ONBOOT=yes", "g", "g"),
        ("NETIF = \"ifname=eth0,host_ifname=o\"", "g", "g"),
        ("NETIF=\"ifname=eth0,host_ifname=o\"", "o", "o"),
        ("NETIF=\"ifname=eth1,host_ifname=o\"", "o", "o"),
        ("NETIF=\"\"", "g", ""),
    ];
    for (own, vzctl, libvzctl) in table {
        for (generation, expected) in [(Generation::Vzctl, vzctl), (Generation::Libvzctl, libvzctl)] {
            let (own, global) = (read(own, generation), read(global, generation));
            let conf = Configuration::in_force(Some(&own), Some(&global)).unwrap();
            let devices: Vec<String> = conf.devices(&"101".parse().unwrap()).map(|(name, _)| name).collect();
            assert_eq!(devices.join(" "), expected, "{own:?}");
        }
    }
    assert_eq!(Configuration::in_force(None, None), None);
}

/// Each row: one interface, what vzctl and what libvzctl makes of it.
#[test]
fn interfaces_are_read_as_the_programs_read_them() {
    let table = [
        // Any order, unknown keys ignored, only ifname required.
        ("bridge=b,host_ifname=v0,ifname=eth0", "eth0>v0@b", "eth0>v0@b"),
        ("ifname=eth0,colour=red,=,,x,host_ifname=v0,", "eth0>v0@-", "eth0>v0@-"),
        ("host_ifname=v0,bridge=b", "", ""),
        ("ifname=,host_ifname=v0", "", ""),
        // The first name wins, an empty one is none.
        ("ifname=eth0,ifname=eth1,host_ifname=v0,host_ifname=v1,bridge=b,bridge=c", "eth0>v0@b", "eth0>v0@b"),
        ("ifname=,ifname=eth1,host_ifname=,host_ifname=v1,bridge=,bridge=c", "eth1>v1@c", "eth1>v1@c"),
        // A space before a key makes it unknown.
        (
            "ifname=eth0, host_ifname=v0, bridge=b,mac=00:18:51:AB:CD:EF",
            "eth0>veth101.0@-",
            "eth0>veth51abcdef@-",
        ),
        (" ifname=eth0,host_ifname=v0", "", ""),
        // Names of 15 bytes, of 16 and of 17: libvzctl counts one too many.
        ("ifname=abcdefghijklmno,host_ifname=v0", "abcdefghijklmno>v0@-", "abcdefghijklmno>v0@-"),
        ("ifname=abcdefghijklmnop,host_ifname=v0", "", "abcdefghijklmnop>v0@-"),
        ("ifname=abcdefghijklmnopq,host_ifname=v0", "", ""),
        ("ifname=eth0,host_ifname=abcdefghijklmnop", "", "eth0>abcdefghijklmnop@-"),
        ("ifname=eth0,host_ifname=abcdefghijklmnopq", "", ""),
        ("ifname=eth0,host_ifname=v0,ifname=abcdefghijklmnop", "", "eth0>v0@-"),
        ("ifname=eth0,host_ifname=v0,bridge=abcdefghijklmnop", "", "eth0>v0@-"),
        // The default device of vzctl.
        ("ifname=eth7", "eth7>veth101.7@-", "eth7>?@-"),
        ("ifname=eth12a3", "eth12a3>veth101.12@-", "eth12a3>?@-"),
        ("ifname=lan", "lan>veth101.0@-", "lan>?@-"),
        ("ifname=0eth5", "0eth5>veth101.0@-", "0eth5>?@-"),
        ("ifname=e4294967297", "e4294967297>veth101.1@-", "e4294967297>?@-"),
        // The default device of libvzctl.
        ("ifname=eth0,mac=00:18:51:AB:CD:EF", "eth0>veth101.0@-", "eth0>veth51abcdef@-"),
        ("ifname=eth0,mac=00-18-51-0a-0B-0c", "eth0>veth101.0@-", "eth0>veth510a0b0c@-"),
        ("ifname=eth0,mac=001851ABCDEF", "", "eth0>veth51abcdef@-"),
        // Of two MAC addresses the last counts.
        (
            "ifname=eth0,mac=00:00:00:00:00:01,mac=00:00:00:00:00:02",
            "eth0>veth101.0@-",
            "eth0>veth00000002@-",
        ),
        ("ifname=eth0,mac=00:18:51:AB:CD", "", ""),
        ("ifname=eth0,mac=00:18:51:AB:CD:XX", "", ""),
        ("ifname=eth0,host_mac=x", "", ""),
        ("ifname=eth0,mac_filter=on", "eth0>veth101.0@-", "eth0>?@-"),
        ("ifname=eth0,mac_filter=maybe", "", ""),
        // libvzctl's own keys.
        (
            "ifname=eth0,host_ifname=v0,network=my net,type=bridge,vport=ovs",
            "eth0>v0@my net",
            "eth0>v0@my net",
        ),
        ("ifname=eth0,host_ifname=v0,network=a/b", "eth0>v0@-", ""),
        ("ifname=eth0,host_ifname=v0,type=tunnel", "eth0>v0@-", ""),
        ("ifname=eth0,host_ifname=v0,vport=linux", "eth0>v0@-", ""),
        ("ifname=eth0,host_ifname=v0,gw=10.0.0.1,gw6=fe80::1,dhcp=yes,dhcp6=no", "eth0>v0@-", "eth0>v0@-"),
        ("ifname=eth0,host_ifname=v0,gw=nowhere", "eth0>v0@-", ""),
        ("ifname=eth0,host_ifname=v0,gw=10.0.0.1,gw=nowhere", "eth0>v0@-", "eth0>v0@-"),
        ("ifname=eth0,host_ifname=v0,dhcp=1", "eth0>v0@-", ""),
        ("ifname=eth0,host_ifname=v0,ip_filter=1", "eth0>v0@-", ""),
        ("ifname=eth0,host_ifname=v0,configure=perhaps", "eth0>v0@-", "eth0>v0@-"),
    ];
    for (netif, vzctl, libvzctl) in table {
        let text = format!("NETIF=\"{netif}\"");
        assert_eq!(short(&text, Generation::Vzctl), vzctl, "vzctl: {netif}");
        assert_eq!(short(&text, Generation::Libvzctl), libvzctl, "libvzctl: {netif}");
    }
}

#[test]
fn every_value_is_there() {
    let text = "NETIF=\"ifname=eth0,bridge=b,mac=00:18:51:AB:CD:EF,host_ifname=v0,host_mac=FE:FF:FF:FF:FF:FF,\
                network=n,type=routed,vport=ovs,ifaceid=i,ip=10.0.0.2/255.255.255.0:nonsense:10.0.0.3,\
                ip6=fd00::2/64,fd00::3\"";
    let conf = read(text, Generation::Libvzctl);
    let expected = Netif {
        line: 1,
        ifname: "eth0".to_owned(),
        host_ifname: Some("v0".to_owned()),
        mac: Some("00:18:51:ab:cd:ef".parse().unwrap()),
        host_mac: Some("fe:ff:ff:ff:ff:ff".parse().unwrap()),
        bridge: Some("b".to_owned()),
        network: Some("n".to_owned()),
        kind: Some(NetifKind::Routed),
        vport: Some(Vport::Ovs),
        iface_id: Some("i".to_owned()),
        ips: ["10.0.0.2/24", "10.0.0.3/32", "fd00::2/64", "fd00::3/128"].map(|ip| ip.parse().unwrap()).into(),
    };
    assert_eq!(conf.netifs(), [expected]);
    assert_eq!(conf.warnings(), []);
}

#[test]
fn interfaces_are_parted_by_semicolons() {
    let text = "NETIF=\";ifname=eth0,bridge=a;;ifname=eth1,bridge=b;ifname=eth0,bridge=c;\"";
    assert_eq!(short(text, Generation::Vzctl), "eth0>veth101.0@a eth1>veth101.1@b");
    assert_eq!(
        warnings(text, Generation::Vzctl),
        [
            "101.conf:1: there are two interfaces `eth0`, and the first is taken; give the other a name of its own"
        ]
    );
}

#[test]
fn after_an_invalid_interface_vzctl_stops_and_libvzctl_goes_on() {
    let text = "A=1\nNETIF=\"ifname=eth0,host_ifname=a;ifname=a-name-too-long--;ifname=eth2,host_ifname=c\"";
    assert_eq!(short(text, Generation::Vzctl), "eth0>a@-");
    assert_eq!(short(text, Generation::Libvzctl), "eth0>a@- eth2>c@-");
    let skipped = "101.conf:2: OpenVZ skips the interface `ifname=a-name-too-long--`: `ifname=a-name-too-long--` has a \
                   name of 17 bytes; at most 15 are accepted";
    let dropped = "101.conf:2: vzctl does not read the 1 after it either; correct the one it skips";
    assert_eq!(warnings(text, Generation::Vzctl), [skipped, dropped]);
    assert_eq!(warnings(text, Generation::Libvzctl), [skipped]);
}

/// Each row: a text and the start of the one warning that vzctl's reading of it gives.
#[test]
fn warnings_name_file_line_and_remedy() {
    let table = [
        (
            "\nNETIF = \"ifname=eth0\"",
            "101.conf:2: OpenVZ does not take this for a NETIF; write `NETIF=\"…\"`",
        ),
        ("export NETIF=\"ifname=eth0\"", "101.conf:1: OpenVZ does not take this for a NETIF"),
        ("NETIF", "101.conf:1: OpenVZ does not take this for a NETIF"),
        ("NETIF=\"ifname=eth0", "101.conf:1: the value has no closing quote"),
        ("NETIF='x=y,ifname=eth0'", "101.conf:1: vzctl takes the single quote for a part of the value"),
        ("\n\nVETH=\"x\"", "101.conf:3: VETH is ignored; write NETIF in its place"),
        (
            "NETIF=\"host_ifname=v0\"",
            "101.conf:1: OpenVZ skips the interface `host_ifname=v0`: it has no `ifname=`",
        ),
        (
            "NETIF=\"ifname=eth0,mac=1\"",
            "101.conf:1: OpenVZ skips the interface `ifname=eth0,mac=1`: `mac=1` is not valid; accepted is a MAC",
        ),
        ("NETIF=\"ifname=eth0, bridge=b\"", "101.conf:1: `bridge` has a space beside it and is ignored"),
    ];
    for (text, expected) in table {
        let found = warnings(text, Generation::Vzctl);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].starts_with(expected), "{text}: {found:#?}");
    }
    // What does not concern interfaces is nobody's business here.
    assert_eq!(warnings("nonsense\nKMEMSIZE = 1\nX=\"", Generation::Vzctl), [""; 0]);
}

#[test]
fn a_long_veid_costs_the_device_its_end() {
    let netif = &read("NETIF=ifname=eth12", Generation::Vzctl).netifs[0];
    let table = [("101", "veth101.12"), ("99999999", "veth99999999.12"), ("2147483647", "veth2147483647.")];
    for (veid, device) in table {
        assert_eq!(netif.device(&veid.parse().unwrap(), Generation::Vzctl).as_deref(), Some(device));
    }
    let uuid = "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap();
    assert_eq!(netif.device(&uuid, Generation::Vzctl), None);
}

#[test]
fn a_uuid_tells_the_generation() {
    let (number, uuid) = ("101", "3fa85f64-5717-4562-b3fc-2c963f66afa6");
    let table = [
        (number, "VEID=\"101\"", Generation::Vzctl),
        (number, "UUID=\"\"\n#UUID=1", Generation::Vzctl),
        (number, "X=1\nUUID=\"3fa85f64-5717-4562-b3fc-2c963f66afa6\"", Generation::Libvzctl),
        (uuid, "", Generation::Libvzctl),
    ];
    for (ctid, text, expected) in table {
        assert_eq!(Generation::of(&ctid.parse().unwrap(), text.as_bytes()), expected, "{ctid} {text}");
    }
}

#[test]
fn what_is_not_utf8_matches_nothing_and_breaks_nothing() {
    let text = b"\xff\nNETIF=\"ifname=eth\xff0,bridge=b\xfe;ifname=eth1,bridge=c\"\n\xc3";
    let conf = Configuration::read(Path::new("101.conf"), text, Generation::Vzctl);
    assert_eq!(conf.netifs()[0].bridge.as_deref(), Some("b\u{fffd}"));
    assert_eq!(conf.netifs()[1].bridge.as_deref(), Some("c"));
}

#[test]
fn a_line_longer_than_the_programs_buffer_comes_in_pieces() {
    // libvzctl's buffer holds 40,959 bytes: what comes after them is a line of its own.
    let text = format!("{:<40959}NETIF=ifname=eth0,host_ifname=v0", "X=1");
    assert_eq!(short(&text, Generation::Libvzctl), "eth0>v0@-");
    assert_eq!(short(&text, Generation::Vzctl), "");
    assert_eq!(short(&text[1..], Generation::Libvzctl), "");
}

/// A million lines, interfaces, keys or quotes take no longer than their number.
#[test]
fn large_texts_are_read_in_linear_time() {
    let started = std::time::Instant::now();
    for unit in
        ["NETIF=\"ifname=eth0\"\n", "NETIF=\"\n", ";ifname=e", ", bridge=b", "\"", "\\", "#", "\n", "NETIF="]
    {
        for opening in ["", "NETIF=", "NETIF=\"ifname=eth0"] {
            let text = format!("{opening}{}", unit.repeat(1_000_000 / unit.len()));
            for generation in [Generation::Vzctl, Generation::Libvzctl] {
                let _ = read(&text, generation);
            }
        }
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

mod properties {
    use ipnetwork::{IpNetwork, Ipv4Network};
    use ovs_mesh::link::Mac;
    use proptest::prelude::*;

    use super::super::*;

    /// An interface whose text either program could have written.
    fn netif(at: usize) -> impl Strategy<Value = Netif> {
        let name = "[a-z][a-z0-9._-]{0,14}";
        let mac = any::<[u8; 6]>().prop_map(Mac::from);
        (
            prop::option::of(name),
            mac.clone(),
            mac,
            prop::option::of(name),
            prop::option::of("[A-Za-z0-9#()_.-][A-Za-z0-9 #()_.-]{0,30}"),
            prop::sample::select(vec![None, Some(NetifKind::Bridge)]),
            prop::option::of("[a-z0-9-]{1,36}"),
            prop::collection::vec(any::<[u8; 4]>(), 0..3),
        )
            .prop_map(move |(host_ifname, mac, host_mac, bridge, network, kind, iface_id, ips)| {
                Netif {
                    line: 1,
                    ifname: format!("eth{at}"),
                    host_ifname,
                    mac: Some(mac),
                    host_mac: Some(host_mac),
                    bridge,
                    network,
                    kind,
                    vport: iface_id.is_some().then_some(Vport::Ovs),
                    iface_id,
                    ips: ips.into_iter().map(ip).collect(),
                }
            })
    }

    fn ip(octets: [u8; 4]) -> IpNetwork {
        Ipv4Network::new(octets.into(), 24).unwrap().into()
    }

    fn netifs() -> impl Strategy<Value = Vec<Netif>> {
        (0usize..4).prop_flat_map(|count| (0..count).map(netif).collect::<Vec<_>>())
    }

    fn keys(netif: &Netif, generation: Generation) -> Vec<String> {
        let Netif {
            line: _,
            ifname,
            host_ifname,
            mac,
            host_mac,
            bridge,
            network,
            kind,
            vport,
            iface_id,
            ips,
        } = netif;
        let mac_text = |mac: &Mac| mac.to_string().to_uppercase();
        let mut keys = vec![format!("ifname={ifname}")];
        keys.extend(mac.iter().map(|mac| format!("mac={}", mac_text(mac))));
        keys.extend(host_mac.iter().map(|mac| format!("host_mac={}", mac_text(mac))));
        keys.extend(host_ifname.iter().map(|name| format!("host_ifname={name}")));
        match generation {
            Generation::Vzctl => keys.extend(bridge.iter().map(|name| format!("bridge={name}"))),
            Generation::Libvzctl => {
                keys.extend(kind.iter().map(|kind| format!("type={kind}")));
                keys.extend(network.iter().map(|name| format!("network={name}")));
                keys.extend(vport.iter().map(|Vport::Ovs| "vport=ovs".to_owned()));
                keys.extend(iface_id.iter().map(|id| format!("ifaceid={id}")));
                let ips: Vec<String> = ips.iter().map(|ip| format!("{}/255.255.255.0", ip.ip())).collect();
                keys.push(format!("ip={}", ips.join(":")));
            }
        }
        keys
    }

    /// What a program keeps of an interface: not the other's keys.
    fn kept(netif: &Netif, generation: Generation) -> Netif {
        let netif = netif.clone();
        match generation {
            Generation::Vzctl => {
                Netif { network: None, kind: None, vport: None, iface_id: None, ips: Vec::new(), ..netif }
            }
            Generation::Libvzctl => Netif { bridge: None, ..netif },
        }
    }

    fn written(netifs: &[Vec<String>]) -> String {
        let netifs: Vec<String> = netifs.iter().map(|keys| keys.join(",")).collect();
        format!("NETIF=\"{}\"\n", netifs.join(";"))
    }

    fn generation() -> impl Strategy<Value = Generation> {
        prop::sample::select(vec![Generation::Vzctl, Generation::Libvzctl])
    }

    fn read(text: &str, generation: Generation) -> Configuration {
        Configuration::read(Path::new("c"), text.as_bytes(), generation)
    }

    proptest! {
        #[test]
        fn what_the_programs_write_is_read_back(netifs in netifs(), generation in generation()) {
            let text = written(&netifs.iter().map(|netif| keys(netif, generation)).collect::<Vec<_>>());
            let conf = read(&text, generation);
            let kept: Vec<Netif> = netifs.iter().map(|netif| kept(netif, generation)).collect();
            prop_assert_eq!(conf.netifs(), kept);
            prop_assert_eq!(conf.warnings(), []);
        }

        #[test]
        fn the_order_of_keys_does_not_matter(
            (netif, shuffled, generation) in (netif(3), generation()).prop_flat_map(|(netif, generation)| {
                let shuffled = Just(keys(&netif, generation)).prop_shuffle();
                (Just(netif), shuffled, Just(generation))
            })
        ) {
            let expected = kept(&netif, generation);
            let conf = read(&written(&[shuffled]), generation);
            prop_assert_eq!(conf.netifs(), [expected]);
        }

        #[test]
        fn the_first_of_two_names_wins(one in netif(0), other in netif(1), generation in generation()) {
            let both: Vec<String> = [&one, &other].into_iter().flat_map(|netif| keys(netif, generation)).collect();
            let conf = read(&written(&[both]), generation);
            let [found] = conf.netifs() else { panic!("{conf:?}") };
            prop_assert_eq!(&found.ifname, &one.ifname);
            prop_assert_eq!(&found.host_ifname, &one.host_ifname.clone().or(other.host_ifname.clone()));
            let (one, other) = (kept(&one, generation), kept(&other, generation));
            prop_assert_eq!(&found.bridge, &one.bridge.or(other.bridge));
            prop_assert_eq!(&found.network, &one.network.or(other.network));
        }

        /// Of two lines one counts, and it is read as if the other were not there.
        #[test]
        fn of_two_lines_one_counts(one in netif(0), other in netif(1), generation in generation()) {
            let lines = [written(&[keys(&one, generation)]), written(&[keys(&other, generation)])];
            let conf = read(&lines.concat(), generation);
            let (counts, line) = match generation {
                Generation::Vzctl => (&one, 1),
                Generation::Libvzctl => (&other, 2),
            };
            prop_assert_eq!(conf.netifs(), [Netif { line, ..kept(counts, generation) }]);
            prop_assert_eq!(conf.warnings().len(), 1);
        }

        /// Whatever the bytes: interfaces that the kernel could have, warnings with places, and no panic.
        #[test]
        fn any_bytes_are_a_configuration(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "((NETIF|VETH|X)[= ]?['\"]?(([ ,;]?(ifname|host_ifname|mac|bridge|ip6|type)=?)|[a-z0-9:.\"'\\\\#\u{0}é]{1,9}){0,9}['\"]?\n?){0,4}"
                    .prop_map(String::into_bytes),
            ],
            generation in generation(),
        ) {
            let conf = Configuration::read(Path::new("c"), &text, generation);
            let lines = text.split(|byte| *byte == b'\n').count();
            for netif in conf.netifs() {
                prop_assert!(!netif.ifname.is_empty() && (1..=lines).contains(&netif.line));
                for ctid in ["2147483647", "3fa85f64-5717-4562-b3fc-2c963f66afa6"] {
                    let _ = netif.device(&ctid.parse().unwrap(), generation);
                }
            }
            for warning in conf.warnings() {
                prop_assert!((1..=lines).contains(&warning.place.line) && !warning.to_string().is_empty());
            }
        }
    }
}
