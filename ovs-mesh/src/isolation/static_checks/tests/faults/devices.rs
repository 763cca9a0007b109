use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
            "made anew, and ovs-vswitchd was told of it",
            on_a(|host| {
                let id = (crate::plan::IFINDEX_ID.to_owned(), "77".to_owned());
                host.port("veth101").external_ids.extend([id]);
            }),
            vec![(DeviceStale, Degraded)],
        ),
        (
            "gone",
            on_a(|host| host.links.as_mut().unwrap().devices.retain(|device| device.name != "veth101")),
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
            "device of a virtual router's address in a gateway's namespace",
            on_a(move |host| {
                let netns = gateway(host, "acme").1;
                let devices = &mut host.netns(&netns).devices;
                let lower = devices.iter().find(|it| it.is_kind("veth")).unwrap().index;
                devices.push(Device { peer_index: Some(lower), ..device("vrrp.51", 90, "macvlan") });
            }),
            vec![(GatewayShared, Notice)],
        ),
        (
            "device of a virtual router's address, and one on top of that",
            on_a(move |host| {
                let netns = gateway(host, "acme").1;
                let devices = &mut host.netns(&netns).devices;
                let lower = devices.iter().find(|it| it.is_kind("veth")).unwrap().index;
                devices.push(Device { peer_index: Some(lower), ..device("vrrp.51", 90, "macvlan") });
                devices.push(Device { peer_index: Some(90), ..device("v7", 91, "vlan") });
            }),
            vec![
                (GatewayShared, Notice),
                (GatewayShared, Notice),
                (BridgeJoined, Breach),
                (BridgeJoined, Breach),
            ],
        ),
        (
            "device on top of a container's, on the host",
            on_a(move |host| {
                let lower = host.device("veth101").index;
                push(host, Device { peer_index: Some(lower), ..device("mv0", 90, "macvlan") });
            }),
            vec![(BridgeJoined, Breach)],
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
