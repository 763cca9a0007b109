//! Others' tunnels, of Open vSwitch and of the kernel. Acme's key is 101, globex's 102, and host d does not carry acme.

use super::*;
use crate::isolation::Forwarding;
use crate::link::GreDevice;

/// Somebody else's tunnel on host a, on a bridge of his own.
fn alien(options: &'static [(&str, &str)]) -> Fault {
    on_a(move |host| put(host, options))
}

fn put(host: &mut HostSnapshot, options: &[(&str, &str)]) {
    add_alien(host);
    add_port(host, "br-x", "vm-tun", "gre", options, &[]);
    host.interface("vm-tun").opening = Opening::Done;
}

/// Takes the tunnel of acme's from host a to host b away, as a sync that has failed has left it.
fn remove(host: &mut HostSnapshot) {
    let name = tunnel(&topology(), "a", "acme", "b");
    let uuid = host.port(&name).uuid;
    host.bridge("br-acme").ports.retain(|port| *port != uuid);
}

const ABSENT: [(Check, Severity); 2] = [(TunnelMissing, Degraded), (PeerSymmetry, Degraded)];

fn and_absent(found: (Check, Severity)) -> Expected {
    [&ABSENT[..], &[found]].concat()
}

#[test]
fn of_others_tunnels() {
    judge(vec![
        (
            "any key to anywhere",
            alien(&[("remote_ip", "flow"), ("key", "flow")]),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "any key to a host",
            alien(&[("remote_ip", "10.0.0.2"), ("out_key", "flow"), ("in_key", "7")]),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "any key from a host",
            alien(&[("remote_ip", "10.0.0.2"), ("out_key", "7"), ("in_key", "flow")]),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "a tenant's key out alone",
            alien(&[("remote_ip", "10.0.0.2"), ("out_key", "101"), ("in_key", "7")]),
            vec![(TunnelForeign, Breach)],
        ),
        (
            "a tenant's key out, cut to 32 bits, from the host's address",
            alien(&[
                ("remote_ip", "10.0.0.2"),
                ("local_ip", "10.0.0.1"),
                ("out_key", "4294967397"),
                ("in_key", "7"),
            ]),
            vec![(TunnelForeign, Breach)],
        ),
        (
            "a tenant's key to whatever flows say",
            alien(&[("remote_ip", "flow"), ("key", "102")]),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "a tenant's key to a host that does not carry it",
            alien(&[("remote_ip", "10.0.0.4"), ("key", "101")]),
            vec![],
        ),
        (
            "a tenant's key, from a host that does not carry it",
            Box::new(|hosts| put(&mut hosts[3], &[("remote_ip", "10.0.0.2"), ("key", "101")])),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "a tenant's key, but it could not be opened",
            on_a(|host| {
                put(host, &[("remote_ip", "10.0.0.2"), ("out_key", "101"), ("in_key", "7")]);
                host.interface("vm-tun").opening = Opening::Failed;
            }),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "a tenant's key, from another host's address",
            alien(&[("remote_ip", "10.0.0.2"), ("local_ip", "10.0.0.3"), ("key", "101")]),
            vec![(TunnelForeign, Notice)],
        ),
        (
            "a tenant's key, from no host's address",
            alien(&[("remote_ip", "10.0.0.2"), ("local_ip", "10.0.9.1"), ("key", "101")]),
            vec![],
        ),
        ("nobody's key", alien(&[("remote_ip", "10.0.0.2"), ("key", "7")]), vec![]),
        ("any key to somewhere else", alien(&[("remote_ip", "10.0.9.9"), ("key", "flow")]), vec![]),
        ("any key to this host itself", alien(&[("remote_ip", "10.0.0.1"), ("key", "flow")]), vec![]),
        ("no far end", alien(&[("key", "flow")]), vec![]),
        (
            "the tuple of a tenant's, and another tenant's key out",
            alien(&[("remote_ip", "10.0.0.2"), ("in_key", "101"), ("out_key", "102")]),
            vec![(TunnelDuplicate, Breach), (TunnelForeign, Breach)],
        ),
        (
            "a tenant's tuple, on another datapath",
            on_a(|host| {
                put(host, &[("remote_ip", "10.0.0.2"), ("key", "101")]);
                host.bridge("br-x").datapath_type = "netdev".to_owned();
            }),
            vec![(TunnelForeign, Breach)],
        ),
        (
            "a tenant's key in, on another datapath",
            on_a(|host| {
                put(host, &[("remote_ip", "10.0.0.2"), ("in_key", "101"), ("out_key", "7")]);
                host.bridge("br-x").datapath_type = "netdev".to_owned();
            }),
            vec![],
        ),
    ]);
}

/// What a peer sends goes to the tenant's own tunnel, as long as there is one.
#[test]
fn of_others_tunnels_where_the_tenants_is_missing() {
    let missing = |options: &'static [(&str, &str)]| -> Fault {
        on_a(move |host| {
            put(host, options);
            remove(host);
        })
    };
    judge(vec![
        (
            "any key from anywhere",
            missing(&[("remote_ip", "flow"), ("key", "flow")]),
            and_absent((TunnelForeign, Breach)),
        ),
        (
            "a tenant's key in from that host",
            missing(&[("remote_ip", "10.0.0.2"), ("in_key", "101"), ("out_key", "7")]),
            and_absent((TunnelForeign, Breach)),
        ),
        (
            "a tenant's key in from another host",
            missing(&[("remote_ip", "flow"), ("in_key", "102"), ("out_key", "7")]),
            and_absent((TunnelForeign, Notice)),
        ),
        (
            "the tenant's tuple",
            missing(&[("remote_ip", "10.0.0.2"), ("local_ip", "10.0.0.1"), ("key", "101")]),
            and_absent((TunnelForeign, Breach)),
        ),
        (
            "any key, and ovs-vswitchd does not have the tenant's",
            on_a(|host| {
                put(host, &[("remote_ip", "flow"), ("key", "flow")]);
                let name = tunnel(&topology(), "a", "acme", "b");
                host.tunnels.as_mut().unwrap().retain(|listed| listed.name != name);
            }),
            vec![(TunnelListed, Degraded), (TunnelForeign, Breach)],
        ),
    ]);
}

/// A mesh on the userspace datapath: the kernel hears what comes to the underlay's device too.
#[test]
fn of_the_kernels_beside_the_userspace_datapath() {
    let text = topology().to_toml().replace("datapath = \"system\"", "datapath = \"netdev\"");
    let topology: Topology = text.parse().unwrap();
    for (datapath, severity) in [("system", Breach), ("netdev", Notice)] {
        let mut hosts = healthy_hosts(&topology);
        put(&mut hosts[0], &[("remote_ip", "flow"), ("key", "flow")]);
        datapath.clone_into(&mut hosts[0].bridge("br-x").datapath_type);
        let report = static_checks(&topology, &hosts).unwrap();
        let found: Expected = report.findings().iter().map(|one| (one.check, one.severity)).collect();
        assert_eq!(found, [(TunnelForeign, severity)], "{datapath}:\n{report}");
    }
    let mut hosts = healthy_hosts(&topology);
    push(&mut hosts[0], device("gretap", GreDevice { external: true, ..GreDevice::default() }));
    let report = static_checks(&topology, &hosts).unwrap();
    assert_eq!(report.worst(), Some(Breach), "{report}");
}

fn device(kind: &str, gre: GreDevice) -> Device {
    Device {
        index: 77,
        name: "g0".to_owned(),
        up: true,
        kind: Some(kind.to_owned()),
        gre: Some(gre),
        ..blank()
    }
}

fn push(host: &mut HostSnapshot, device: Device) {
    host.links.as_mut().unwrap().devices.push(device);
}

fn gre(remote: Option<&str>, in_key: u32, out_key: u32) -> GreDevice {
    let remote = remote.map(|remote| remote.parse().unwrap());
    GreDevice { remote, in_key: Some(in_key), out_key: Some(out_key), ..GreDevice::default() }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn of_the_kernels_devices() {
    let on_host = |kind: &'static str, gre: GreDevice| -> Fault {
        on_a(move |host| push(host, device(kind, gre.clone())))
    };
    let b = Some("10.0.0.2");
    let local = |address: &str| Some(address.parse().unwrap());
    let elsewhere = |address: &'static str, gre: GreDevice, netns: PeerNetns| -> Fault {
        on_a(move |host| {
            let card = Device {
                name: "eth0".to_owned(),
                index: 2,
                addresses: vec![address.parse().unwrap()],
                ..blank()
            };
            let devices = vec![card, Device { peer_netns: netns.clone(), ..device("gretap", gre.clone()) }];
            let space = NetnsLinks { name: "x".to_owned(), devices, forwarding: Forwarding::default() };
            host.links.as_mut().unwrap().netns.push(space);
        })
    };
    let far = || gre(b, 101, 101);
    judge(vec![
        ("both ways", on_host("gretap", far()), vec![(DeviceTunnel, Breach)]),
        (
            "from the host's address",
            on_host("gretap", GreDevice { local: local("10.0.0.1"), ..far() }),
            vec![(DeviceTunnel, Breach)],
        ),
        ("from another address", on_host("gretap", GreDevice { local: local("10.0.9.1"), ..far() }), vec![]),
        ("only out", on_host("gretap", gre(b, 7, 101)), vec![(DeviceTunnel, Breach)]),
        ("only in", on_host("gretap", gre(b, 101, 7)), vec![(DeviceTunnel, Breach)]),
        ("in from anybody", on_host("gretap", gre(None, 101, 7)), vec![(DeviceTunnel, Breach)]),
        ("out to anybody", on_host("gretap", gre(None, 7, 101)), vec![(DeviceTunnel, Notice)]),
        ("nobody's key", on_host("gretap", gre(b, 7, 7)), vec![]),
        (
            "no key",
            on_host("gretap", GreDevice { remote: local("10.0.0.2"), ..GreDevice::default() }),
            vec![],
        ),
        ("to a stranger", on_host("gretap", gre(Some("10.0.9.9"), 101, 101)), vec![]),
        (
            "to a host that does not carry the tenant",
            on_host("gretap", gre(Some("10.0.0.4"), 101, 101)),
            vec![],
        ),
        (
            "from a host that does not carry the tenant",
            Box::new(|hosts| push(&mut hosts[3], device("gretap", gre(Some("10.0.0.2"), 101, 101)))),
            vec![(DeviceTunnel, Notice)],
        ),
        (
            "down",
            on_a(move |host| {
                push(host, Device { up: false, ..device("gretap", gre(Some("10.0.0.2"), 101, 101)) });
            }),
            vec![(DeviceTunnel, Notice)],
        ),
        ("of IPv6", on_host("ip6gretap", far()), vec![]),
        // The kernel's datapath has a device that comes first, and takes all frames.
        ("without Ethernet", on_host("gre", far()), vec![(DeviceTunnel, Notice)]),
        (
            "of packets that say where to",
            on_host("gretap", GreDevice { external: true, ..GreDevice::default() }),
            vec![(DeviceTunnel, Notice)],
        ),
        (
            "the one that is always there, up",
            on_host("gretap", GreDevice::default()),
            vec![(DeviceTunnel, Notice)],
        ),
        (
            "the one that is always there",
            on_a(|host| push(host, Device { up: false, ..device("gretap", GreDevice::default()) })),
            vec![],
        ),
        (
            "the one that is always there, up, where a tenant's tunnel is missing",
            on_a(|host| {
                push(host, device("gretap", GreDevice::default()));
                remove(host);
            }),
            and_absent((DeviceTunnel, Breach)),
        ),
        (
            "Open vSwitch's own",
            on_a(|host| {
                let openvswitch = Device {
                    name: "ovs-system".to_owned(),
                    index: 78,
                    kind: Some("openvswitch".to_owned()),
                    ..blank()
                };
                push(host, openvswitch);
                let own = device("gretap", GreDevice { external: true, ..GreDevice::default() });
                push(host, Device { name: "gre_sys".to_owned(), master: Some(78), ..own });
            }),
            vec![],
        ),
        (
            "moved into a namespace",
            elsewhere("10.0.9.9/24", far(), PeerNetns::Host),
            vec![(DeviceTunnel, Breach)],
        ),
        (
            "in a namespace, from nobody knows which",
            elsewhere("10.0.9.9/24", far(), PeerNetns::Unknown),
            vec![(DeviceTunnel, Breach)],
        ),
        (
            "of a namespace, which the host may give its address",
            elsewhere("10.0.9.9/24", far(), PeerNetns::Same),
            vec![(DeviceTunnel, Notice)],
        ),
        (
            "of a namespace, from anybody",
            elsewhere("10.0.9.9/24", gre(None, 101, 101), PeerNetns::Same),
            vec![],
        ),
        ("of another host's", elsewhere("10.0.0.3/24", far(), PeerNetns::Same), vec![]),
    ]);
}

/// An IPv6 underlay has devices of its own; those without Ethernet take frames there, and send none.
#[test]
fn of_the_kernels_devices_over_ipv6() {
    let text = topology().to_toml().replace("10.0.0.", "fd00::");
    let topology: Topology = text.parse().unwrap();
    let gets = "it gets what host b sends here";
    let both = format!("what it sends comes in on host b as the tenant's, and {gets}");
    for (kind, expected) in [("ip6gretap", vec![both.as_str()]), ("ip6gre", vec![gets]), ("gretap", vec![])] {
        let mut hosts = healthy_hosts(&topology);
        push(&mut hosts[0], device(kind, gre(Some("fd00::2"), 101, 101)));
        let report = static_checks(&topology, &hosts).unwrap();
        assert!(report.findings().iter().all(|one| one.severity == Breach), "{kind}:\n{report}");
        let found: Vec<&str> = report.findings().iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(found, expected, "{kind}:\n{report}");
    }
}

/// A snapshot of an older ovsmesh has devices of which it does not say what they carry.
#[test]
fn what_is_not_said_of_a_device_is_not_checked() {
    let topology = topology();
    let mut hosts = healthy_hosts(&topology);
    push(&mut hosts[0], Device { gre: None, ..device("gretap", GreDevice::default()) });
    let text = hosts[0].to_json().unwrap();
    assert!(!text.contains("\"gre\":"), "{text}");
    hosts[0] = HostSnapshot::from_json(&text).unwrap();
    let report = static_checks(&topology, &hosts).unwrap();
    assert_eq!(report.findings(), []);
    let skipped = &report.matrix()[0].skipped;
    assert_eq!(skipped[0].checks, [DeviceTunnel]);
}

/// Who is concerned, and in what words.
#[test]
fn a_strangers_tunnel_is_told_of_in_words() {
    let said = |fault: Fault| {
        let report = found(&*fault);
        let [one] = report.findings() else { panic!("{report}") };
        let tenants: Vec<&str> = one.tenants.iter().map(crate::TenantName::as_str).collect();
        format!("{} [{}]: {}", one.object, tenants.join(", "), one.reason)
    };
    let on_host = |gre| on_a(move |host| push(host, device("gretap", GreDevice::clone(&gre))));
    assert_eq!(
        said(alien(&[("remote_ip", "flow"), ("key", "flow")])),
        "port vm-tun on bridge br-x []: it could send to or take from any host with any tenant's key: whoever owns it must be \
         trusted"
    );
    assert_eq!(
        said(alien(&[("remote_ip", "10.0.0.4"), ("key", "flow")])),
        "port vm-tun on bridge br-x [globex]: it could send to or take from host d with the tenant's key: whoever owns it must \
         be trusted"
    );
    assert_eq!(
        said(alien(&[("remote_ip", "10.0.0.2"), ("in_key", "7"), ("out_key", "101")])),
        "port vm-tun on bridge br-x [acme]: what it sends comes in on host b as the tenant's"
    );
    assert_eq!(
        said(on_host(gre(Some("10.0.0.2"), 101, 101))),
        "device g0 [acme]: what it sends comes in on host b as the tenant's, and it gets what host b sends here"
    );
    assert_eq!(
        said(on_host(gre(None, 101, 7))),
        "device g0 [acme]: it gets what every other host of the tenant sends here"
    );
}
