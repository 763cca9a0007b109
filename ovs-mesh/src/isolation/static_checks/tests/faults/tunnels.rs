use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
                add_alien(host);
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
