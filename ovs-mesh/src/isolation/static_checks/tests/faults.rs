//! One fault after the other in a healthy mesh: each is found by its name, and nothing else is.

use uuid::Uuid;

use super::*;
use crate::isolation::{Cell, Mirror, NetnsLinks, PeerNetns};
use crate::plan::{CTID_ID, GATEWAY_ID, MESH_ID, PEER_ID};
use crate::snapshot::Opening;
use crate::testing::hosts::{ByName, add_port, blank};
use crate::unixctl::ListedKey;
use Check::*;
use Severity::{Breach, Degraded, Notice};

type Expected = Vec<(Check, Severity)>;

/// Puts the fault into host a (0), b (1) or another, and says what all hosts' snapshots come to.
fn found(fault: &dyn Fn(&mut [HostSnapshot])) -> Report {
    let topology = topology();
    let mut hosts = healthy_hosts(&topology);
    fault(&mut hosts);
    static_checks(&topology, &hosts).unwrap()
}

fn on_a(fault: impl Fn(&mut HostSnapshot) + 'static) -> Box<dyn Fn(&mut [HostSnapshot])> {
    Box::new(move |hosts| fault(&mut hosts[0]))
}

fn option(name: &str, option: &str, value: &str) -> Box<dyn Fn(&mut [HostSnapshot])> {
    let (name, option, value) = (name.to_owned(), option.to_owned(), value.to_owned());
    // ovs-vswitchd follows its rows: only what is checked by them is to be found.
    on_a(move |host| {
        host.interface(&name).options.insert(option.clone(), value.clone());
        host.tunnels = None;
    })
}

fn judge(table: Vec<(&str, Box<dyn Fn(&mut [HostSnapshot])>, Expected)>) {
    for (name, fault, mut expected) in table {
        let report = found(&*fault);
        let mut found: Expected = report.findings().iter().map(|one| (one.check, one.severity)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}:\n{report}");
    }
}

#[test]
fn of_bridges() {
    let mirror =
        || Mirror { name: "m0".to_owned(), select_all: true, output_vlan: Some(9), ..Mirror::default() };
    judge(vec![
        ("daemon down", on_a(|host| host.rows.next_cfg += 1), vec![(SwitchApplied, Degraded)]),
        (
            "bridge missing",
            on_a(|host| {
                let uuid = host.bridge("br-acme").uuid;
                host.rows.bridges.remove(&uuid);
                host.tunnels = None;
            }),
            // Both peers have their ends: one finding of the host that lacks its own.
            vec![(BridgeMissing, Degraded), (PeerSymmetry, Degraded)],
        ),
        (
            "bridge of somebody else's",
            on_a(|host| drop(host.bridge("br-acme").external_ids.insert(MESH_ID.to_owned(), "x".to_owned()))),
            vec![(BridgeOwner, Breach)],
        ),
        (
            "bridge of another tenant's",
            on_a(|host| {
                drop(host.bridge("br-acme").external_ids.insert(TENANT_ID.to_owned(), "globex".to_owned()));
            }),
            vec![(BridgeOwner, Breach)],
        ),
        (
            "other datapath",
            on_a(|host| host.bridge("br-acme").datapath_type = "netdev".to_owned()),
            vec![(BridgeDatapath, Degraded)],
        ),
        (
            "fail mode",
            on_a(|host| host.bridge("br-acme").fail_mode = Some("secure".to_owned())),
            vec![(BridgeFailMode, Degraded)],
        ),
        (
            "controller",
            on_a(|host| host.details("br-acme").controllers.push("tcp:10.9.9.9".to_owned())),
            vec![(BridgeController, Breach)],
        ),
        (
            "mirror",
            on_a(move |host| host.details("br-acme").mirrors.push(mirror())),
            vec![(BridgeMirror, Breach)],
        ),
        ("sflow", on_a(|host| host.details("br-acme").sflow = true), vec![(BridgeSampling, Breach)]),
        ("netflow", on_a(|host| host.details("br-acme").netflow = true), vec![(BridgeSampling, Notice)]),
        ("ipfix", on_a(|host| host.details("br-acme").ipfix = true), vec![(BridgeSampling, Notice)]),
        ("stp", on_a(|host| host.details("br-acme").stp = true), vec![(BridgeSpanningTree, Degraded)]),
        ("rstp", on_a(|host| host.details("br-acme").rstp = true), vec![(BridgeSpanningTree, Degraded)]),
        (
            "flood vlans",
            on_a(|host| host.details("br-acme").flood_vlans.push(7)),
            vec![(BridgeForwarding, Degraded)],
        ),
        (
            "flow tables",
            on_a(|host| host.details("br-acme").flow_tables.push(0)),
            vec![(BridgeForwarding, Degraded)],
        ),
        (
            "multicast snooping",
            on_a(|host| host.details("br-acme").mcast_snooping = true),
            vec![(BridgeForwarding, Degraded)],
        ),
        (
            "stale bridge with tunnels",
            // Host d does not carry acme; as if it had.
            Box::new(|hosts| {
                hosts[3].bridge("br-globex").name = "br-old".to_owned();
                hosts[3].port("br-globex").name = "br-old".to_owned();
                hosts[3].interface("br-globex").name = "br-old".to_owned();
            }),
            vec![(BridgeMissing, Degraded), (PeerSymmetry, Degraded), (RowStale, Breach)],
        ),
    ]);
}

#[test]
fn of_tunnels() {
    let topology = topology();
    let to_b = tunnel(&topology, "a", "acme", "b");
    let theirs = tunnel(&topology, "a", "globex", "b");
    let (name, other) = (to_b.clone(), theirs.clone());
    let on_tunnel = move |fault: fn(&mut HostSnapshot, &str)| {
        let name = name.clone();
        on_a(move |host| {
            fault(host, &name);
            host.tunnels = None;
        })
    };
    let one_way = (PeerSymmetry, Degraded);
    judge(vec![
        (
            "not protected",
            on_tunnel(|host, name| host.port(name).protected = false),
            vec![(TunnelProtected, Breach)],
        ),
        (
            "missing",
            on_tunnel(|host, name| {
                let uuid = host.port(name).uuid;
                host.bridge("br-acme").ports.retain(|port| *port != uuid);
            }),
            vec![(TunnelMissing, Degraded), one_way],
        ),
        (
            "other type",
            on_tunnel(|host, name| host.interface(name).kind = "vxlan".to_owned()),
            vec![(TunnelType, Breach), one_way],
        ),
        ("nobody's key", option(&to_b, "key", "999"), vec![(TunnelKey, Breach), one_way]),
        ("any key", option(&to_b, "key", "flow"), vec![(TunnelKey, Breach), one_way]),
        (
            "no key",
            on_tunnel(|host, name| drop(host.interface(name).options.remove("key"))),
            vec![(TunnelKey, Breach), one_way],
        ),
        // The key of a tenant, to a host that carries it: frames of acme's come out as globex's.
        (
            "key of the other tenant's",
            option(&to_b, "key", "102"),
            vec![(TunnelKeySwapped, Breach), (TunnelDuplicate, Breach), (PeerCrossing, Breach), one_way],
        ),
        (
            "key of the other tenant's, outgoing only",
            option(&to_b, "out_key", "102"),
            vec![(TunnelKeySwapped, Breach), (TunnelOptions, Degraded), (PeerCrossing, Breach), one_way],
        ),
        ("key too large", option(&to_b, "key", "4294967397"), vec![(TunnelKeyTruncated, Breach), one_way]),
        ("key no number", option(&to_b, "key", "abc"), vec![(TunnelKeyTruncated, Breach), one_way]),
        (
            "key that is cut to the other tenant's",
            option(&to_b, "key", "4294967398"),
            vec![(TunnelKeyTruncated, Breach), (TunnelDuplicate, Breach), (PeerCrossing, Breach), one_way],
        ),
        ("octal key", option(&to_b, "key", "0101"), vec![(TunnelKeyTruncated, Breach), one_way]),
        ("hexadecimal key", option(&to_b, "key", "0x65"), vec![(TunnelOptions, Notice)]),
        ("checksums", option(&to_b, "csum", "true"), vec![(TunnelOptions, Degraded)]),
        ("other local address", option(&to_b, "local_ip", "10.0.0.9"), vec![(TunnelLocal, Degraded)]),
        ("to a stranger", option(&to_b, "remote_ip", "10.9.9.9"), vec![(TunnelStranger, Breach), one_way]),
        (
            "to a host that is not the tenant's",
            option(&to_b, "remote_ip", "10.0.0.4"),
            vec![(TunnelStranger, Breach), one_way],
        ),
        (
            "to another host",
            option(&to_b, "remote_ip", "10.0.0.3"),
            vec![(TunnelRemote, Breach), (TunnelDuplicate, Degraded), one_way],
        ),
        ("to any host", option(&to_b, "remote_ip", "flow"), vec![(TunnelRemote, Breach), one_way]),
        (
            "an extra one",
            on_a(|host| {
                let ids = [(MESH_ID, "m"), (TENANT_ID, "acme"), (PEER_ID, "b")];
                let options = [("key", "101"), ("remote_ip", "10.0.0.2"), ("local_ip", "10.0.0.8")];
                add_port(host, "br-acme", "gre-extra", "gre", &options, &ids);
                host.port("gre-extra").protected = true;
                host.tunnels = None;
            }),
            vec![(TunnelExtra, Breach), (TunnelLocal, Degraded)],
        ),
        (
            "somebody else's with one tuple",
            on_a(|host| {
                let options = [("key", "0x65"), ("remote_ip", "10.0.0.2")];
                let acme = host.bridge("br-acme").clone();
                let uuid = Uuid::from_u128(9);
                let row = BridgeRow {
                    uuid,
                    name: "br-x".to_owned(),
                    ports: vec![],
                    external_ids: Default::default(),
                    ..acme
                };
                host.rows.bridges.insert(uuid, row);
                host.rows.bridge_set.push(uuid);
                add_port(host, "br-x", "vm-tun", "gre", &options, &[]);
            }),
            vec![(TunnelDuplicate, Breach)],
        ),
        (
            "not in ovs-vswitchd's list",
            on_a(|host| drop(host.tunnels.as_mut().unwrap().pop())),
            vec![(TunnelListed, Degraded)],
        ),
        (
            "with another key in ovs-vswitchd's list",
            on_a(|host| host.tunnels.as_mut().unwrap()[0].in_key = ListedKey::Exact(7)),
            vec![(TunnelListed, Breach)],
        ),
        (
            "of the other tenant's, on this one's bridge",
            on_a(move |host| {
                let uuid = host.port(&other).uuid;
                host.bridge("br-globex").ports.retain(|port| *port != uuid);
                host.bridge("br-acme").ports.push(uuid);
            }),
            vec![
                (PortMisplaced, Breach),
                (TunnelKeySwapped, Breach),
                (TunnelExtra, Breach),
                (TunnelMissing, Degraded),
                (PeerCrossing, Breach),
                one_way,
            ],
        ),
        (
            "two tenants' keys swapped at both ends",
            Box::new(|hosts| {
                let topology = super::topology();
                for (host, peer, at) in [("a", "b", 0), ("b", "a", 1)] {
                    let name = tunnel(&topology, host, "acme", peer);
                    hosts[at].interface(&name).options.insert("key".to_owned(), "102".to_owned());
                    hosts[at].tunnels = None;
                }
            }),
            vec![
                (TunnelKeySwapped, Breach),
                (TunnelKeySwapped, Breach),
                (TunnelDuplicate, Breach),
                (TunnelDuplicate, Breach),
                (PeerCrossing, Breach),
            ],
        ),
    ]);
}

#[test]
fn of_ports() {
    judge(vec![
        (
            "a stranger's",
            on_a(|host| add_port(host, "br-acme", "tap7", "", &[], &[("owner", "x")])),
            vec![(PortStranger, Breach)],
        ),
        (
            "a stranger's internal one",
            on_a(|host| add_port(host, "br-acme", "int0", "internal", &[], &[])),
            vec![(PortStranger, Breach)],
        ),
        (
            "patch to the other tenant",
            on_a(|host| {
                add_port(host, "br-acme", "pa", "patch", &[("peer", "pb")], &[]);
                add_port(host, "br-globex", "pb", "patch", &[("peer", "pa")], &[]);
            }),
            vec![(PortPatch, Breach), (PortPatch, Breach), (TenantsJoined, Breach)],
        ),
        (
            "bond",
            on_a(|host| {
                let second = host.interface("br-globex").uuid;
                host.port("veth101").interfaces.push(second);
            }),
            vec![(PortBond, Breach), (PortShared, Breach), (TenantsJoined, Breach), (DeviceDown, Degraded)],
        ),
        ("tag", on_a(|host| host.port("veth101").tag = Some(7)), vec![(PortVlan, Degraded)]),
        ("trunks", on_a(|host| host.port("veth101").trunks = vec![7, 8]), vec![(PortVlan, Degraded)]),
        (
            "vlan mode of the bridge's own port",
            on_a(|host| host.port("br-acme").vlan_mode = Some("dot1q-tunnel".to_owned())),
            vec![(PortVlan, Degraded)],
        ),
        ("protected", on_a(|host| host.port("veth101").protected = true), vec![(PortProtected, Degraded)]),
        (
            "on two bridges",
            on_a(|host| {
                let uuid = host.port("veth101").uuid;
                host.bridge("br-globex").ports.push(uuid);
            }),
            // There its row and its container are wrong, both bridges have one device, and its address is taken.
            vec![
                (PortShared, Breach),
                (ContainerTenant, Breach),
                (ContainerDuplicate, Breach),
                (TenantsJoined, Breach),
                (AddressDuplicate, Degraded),
                (AddressDuplicate, Degraded),
            ],
        ),
        (
            "error",
            on_a(|host| host.interface("veth101").error = Some("could not open network device".to_owned())),
            vec![(PortError, Degraded)],
        ),
        (
            "not opened",
            on_a(|host| host.interface("veth101").opening = Opening::Failed),
            vec![(PortError, Degraded)],
        ),
        (
            "container of the other tenant's",
            on_a(|host| drop(host.port("veth101").external_ids.insert(CTID_ID.to_owned(), "201".to_owned()))),
            // The other one is still attached too.
            vec![(ContainerTenant, Breach), (ContainerDuplicate, Breach), (AddressDuplicate, Degraded)],
        ),
        (
            "port that says it is the other tenant's",
            on_a(|host| {
                drop(host.port("veth101").external_ids.insert(TENANT_ID.to_owned(), "globex".to_owned()))
            }),
            vec![(PortMisplaced, Breach)],
        ),
        (
            "container of another host's",
            on_a(|host| {
                drop(host.port("veth101").external_ids.insert(CTID_ID.to_owned(), "102".to_owned()));
            }),
            vec![(ContainerHost, Degraded), (ContainerDuplicate, Degraded), (AddressDuplicate, Degraded)],
        ),
        (
            "port of the mesh's on another bridge",
            on_a(|host| {
                let uuid = Uuid::from_u128(9);
                let port = host.port("veth101").uuid;
                let acme = host.bridge("br-acme");
                acme.ports.retain(|own| *own != port);
                let row = BridgeRow {
                    uuid,
                    name: "br-x".to_owned(),
                    ports: vec![port],
                    external_ids: Default::default(),
                    ..acme.clone()
                };
                host.rows.bridges.insert(uuid, row);
            }),
            vec![(PortMisplaced, Breach)],
        ),
        (
            "stale gateway",
            Box::new(|hosts| {
                let ids = [(MESH_ID, "m"), (TENANT_ID, "acme"), (GATEWAY_ID, "m-b-acme")];
                add_port(&mut hosts[1], "br-acme", "gw-old", "", &[], &ids);
            }),
            vec![(RowStale, Breach)],
        ),
        (
            "gateway missing",
            on_a(|host| {
                let gateway = gateway(host, "acme").0;
                let uuid = host.port(&gateway).uuid;
                host.bridge("br-acme").ports.retain(|port| *port != uuid);
            }),
            vec![(GatewayMissing, Degraded)],
        ),
    ]);
}

/// The port and the namespace of a gateway on host a.
fn gateway(_: &HostSnapshot, tenant: &str) -> (String, String) {
    let topology = topology();
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let gateway = plan.bridge_of(&tenant.parse().unwrap()).unwrap().gateway.clone().unwrap();
    (gateway.port.to_string(), gateway.netns.to_string())
}

#[test]
fn of_devices() {
    let device = |name: &str, index, kind: &str| Device {
        name: name.to_owned(),
        index,
        up: true,
        mtu: 1458,
        kind: Some(kind.to_owned()),
        ..blank()
    };
    let push = |host: &mut HostSnapshot, device: Device| host.links.as_mut().unwrap().devices.push(device);
    judge(vec![
        ("mtu too large", on_a(|host| host.device("veth101").mtu = 1500), vec![(MtuTenant, Degraded)]),
        ("mtu too small", on_a(|host| host.device("veth101").mtu = 1400), vec![(MtuTenant, Degraded)]),
        (
            "gateway's inner mtu",
            on_a(|host| {
                let netns = gateway(host, "acme").1;
                host.netns(&netns).devices[1].mtu = 1500;
            }),
            vec![(MtuTenant, Degraded)],
        ),
        ("underlay's mtu", on_a(|host| host.device("eth0").mtu = 1400), vec![(MtuUnderlay, Degraded)]),
        (
            "no underlay address",
            on_a(|host| host.device("eth0").addresses.clear()),
            vec![(UnderlayAddress, Degraded)],
        ),
        ("down", on_a(|host| host.device("veth101").up = false), vec![(DeviceDown, Degraded)]),
        (
            "made anew",
            on_a(|host| host.interface("veth101").ifindex = Some(77)),
            vec![(DeviceStale, Degraded)],
        ),
        (
            "address on the bridge's device",
            on_a(|host| host.device("br-acme").addresses.push("192.168.0.254/24".parse().unwrap())),
            vec![(HostAddress, Breach)],
        ),
        (
            "addresses on both bridges' devices",
            on_a(|host| {
                for bridge in ["br-acme", "br-globex"] {
                    host.device(bridge).up = true;
                    host.device(bridge).addresses.push("192.168.0.254/24".parse().unwrap());
                }
            }),
            vec![(HostAddress, Breach), (TenantsJoined, Breach)],
        ),
        (
            "port of a Linux bridge too",
            on_a(move |host| {
                push(host, device("lb0", 90, "bridge"));
                host.device("veth101").master = Some(90);
            }),
            vec![(DeviceEnslaved, Breach), (BridgeJoined, Breach)],
        ),
        (
            "ovs-system is no other bridge",
            on_a(move |host| {
                push(host, device("ovs-system", 90, "openvswitch"));
                host.device("veth101").master = Some(90);
            }),
            vec![],
        ),
        (
            "Linux bridge between two tenants",
            on_a(move |host| {
                push(host, device("lb0", 90, "bridge"));
                host.device("veth101").master = Some(90);
                host.device("veth201").master = Some(90);
            }),
            vec![
                (DeviceEnslaved, Breach),
                (DeviceEnslaved, Breach),
                (BridgeJoined, Breach),
                (TenantsJoined, Breach),
            ],
        ),
        (
            "veth between two tenants",
            on_a(move |host| {
                for (name, bridge, index, peer) in [("v0", "br-acme", 91, 92), ("v1", "br-globex", 92, 91)] {
                    push(host, Device { peer_index: Some(peer), ..device(name, index, "veth") });
                    add_port(host, bridge, name, "", &[], &[]);
                }
            }),
            vec![(PortStranger, Breach), (PortStranger, Breach), (TenantsJoined, Breach)],
        ),
        (
            "macvlan on a tenant's device",
            on_a(move |host| {
                let below = host.device("veth101").index;
                push(host, Device { peer_index: Some(below), ..device("mv0", 91, "macvlan") });
            }),
            vec![(BridgeJoined, Breach)],
        ),
        (
            "a namespace that forwards between two tenants",
            on_a(move |host| {
                for (tenant, address) in [("acme", "192.168.0.9/24"), ("globex", "192.168.0.8/24")] {
                    let (outer, peer) = if tenant == "acme" { (91, 5) } else { (92, 6) };
                    let name = format!("x{outer}");
                    let far = Device {
                        peer_index: Some(peer),
                        peer_netns: PeerNetns::Named("router".to_owned()),
                        ..device(&name, outer, "veth")
                    };
                    push(host, far);
                    let ids = [(MESH_ID, "m"), (TENANT_ID, tenant)];
                    add_port(host, &format!("br-{tenant}"), &name, "", &[], &ids);
                    let near = Device {
                        peer_index: Some(outer),
                        peer_netns: PeerNetns::Host,
                        addresses: vec![address.parse().unwrap()],
                        ..device(&format!("eth{peer}"), peer, "veth")
                    };
                    let links = host.links.as_mut().unwrap();
                    match links.netns.iter_mut().find(|space| space.name == "router") {
                        Some(space) => space.devices.push(near),
                        None => links.netns.push(NetnsLinks {
                            name: "router".to_owned(),
                            devices: vec![near],
                            forwarding: crate::isolation::Forwarding { ipv4: true, ipv6: false },
                        }),
                    }
                }
            }),
            vec![(TenantsJoined, Breach)],
        ),
        (
            "gateway's device missing",
            on_a(|host| {
                let port = gateway(host, "acme").0;
                host.links.as_mut().unwrap().devices.retain(|device| device.name != port);
            }),
            vec![(GatewayLink, Degraded)],
        ),
        (
            "gateway's namespace missing",
            on_a(|host| {
                let netns = gateway(host, "acme").1;
                host.links.as_mut().unwrap().netns.retain(|space| space.name != netns);
            }),
            vec![(GatewayLink, Degraded)],
        ),
        (
            "gateway's address missing",
            on_a(|host| {
                let netns = gateway(host, "acme").1;
                host.netns(&netns).devices[1].addresses.clear();
            }),
            vec![(GatewayLink, Degraded)],
        ),
        (
            "gateway down",
            on_a(|host| {
                let netns = gateway(host, "acme").1;
                host.netns(&netns).devices[1].up = false;
            }),
            vec![(GatewayLink, Degraded)],
        ),
        (
            "gateway that forwards",
            on_a(|host| {
                let netns = gateway(host, "acme").1;
                host.netns(&netns).forwarding.ipv4 = true;
            }),
            vec![(GatewayForwarding, Notice)],
        ),
        (
            "gateway with a lodger",
            on_a(move |host| {
                let netns = gateway(host, "acme").1;
                host.netns(&netns).devices.push(device("dum0", 9, "dummy"));
            }),
            vec![(GatewayShared, Notice)],
        ),
        (
            "gateway that forwards to a lodger",
            on_a(move |host| {
                let netns = gateway(host, "acme").1;
                host.netns(&netns).forwarding.ipv6 = true;
                host.netns(&netns).devices.push(device("dum0", 9, "dummy"));
            }),
            vec![(GatewayShared, Notice), (GatewayForwarding, Breach)],
        ),
        (
            "two gateways in one namespace",
            on_a(|host| {
                let (acme, globex) = (gateway(host, "acme").1, gateway(host, "globex").1);
                let moved = host.netns(&acme).devices.pop().unwrap();
                // The kernel gives it another index there, and its far end knows.
                let outer = gateway(host, "acme").0;
                host.device(&outer).peer_index = Some(3);
                host.device(&outer).peer_netns = PeerNetns::Named(globex.clone());
                host.netns(&globex).devices.push(Device { index: 3, name: "eth1".to_owned(), ..moved });
            }),
            vec![(GatewayShared, Breach), (GatewayShared, Breach)],
        ),
        (
            "one address twice",
            on_a(|host| host.netns("ct101").devices[1].addresses = vec!["192.168.0.12/24".parse().unwrap()]),
            vec![(AddressDuplicate, Degraded), (AddressDuplicate, Degraded)],
        ),
        (
            "one mac twice",
            Box::new(|hosts| {
                let mac = hosts[0].netns("ct101").devices[1].mac;
                hosts[1].netns("ct102").devices[1].mac = mac;
            }),
            vec![(MacDuplicate, Degraded)],
        ),
        (
            "one mac in two tenants is no trouble",
            Box::new(|hosts| {
                let mac = hosts[0].netns("ct101").devices[1].mac;
                hosts[1].netns("ct202").devices[1].mac = mac;
            }),
            vec![],
        ),
        (
            "one attached mac twice",
            Box::new(|hosts| {
                for (at, name) in [(0, "veth101"), (1, "veth102")] {
                    hosts[at].links = None;
                    let uuid = hosts[at].interface(name).uuid;
                    let details = hosts[at].switch.interfaces.get_mut(&uuid).unwrap();
                    details.external_ids.insert("attached-mac".to_owned(), "02:00:00:00:00:AA".to_owned());
                }
            }),
            vec![(MacDuplicate, Degraded)],
        ),
    ]);
}

/// Who is concerned shows in the matrix.
#[test]
fn a_breach_is_in_the_cells_of_its_tenants() {
    let topology = topology();
    let name = tunnel(&topology, "a", "acme", "b");
    let report = found(&*option(&name, "key", "102"));
    let matrix = report.matrix();
    assert_eq!(matrix[0].cells, [[Cell::Degraded, Cell::Breach], [Cell::Breach, Cell::Reaches]]);
    assert_eq!(matrix[2].cells, [[Cell::Reaches, Cell::KeptApart], [Cell::KeptApart, Cell::Reaches]]);
    let alone = found(&*on_a(|host| add_port(host, "br-acme", "tap7", "", &[], &[])));
    assert_eq!(alone.matrix()[0].cells, [[Cell::Breach, Cell::KeptApart], [Cell::KeptApart, Cell::Reaches]]);
}
