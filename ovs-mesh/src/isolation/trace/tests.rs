use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::isolation::findings::{Check, Severity};
use crate::isolation::trace::cases::Packet;
use crate::topology::{Datapath, Topology};

/// The two tenants of examples/ha-redis.toml as the lab `iso` ran them, on which OVS 3.1.0 wrote the samples.
fn topology() -> Topology {
    let text = include_str!("../../../../examples/ha-redis.toml");
    let topology = Topology::parse(text, Path::new("ha-redis.toml")).unwrap();
    topology.copied_as("iso".parse().unwrap(), Datapath::Netdev)
}

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("samples/", $name, ".txt"))
    };
}

const CONTAINER: &str = "veth101.0";
/// To redis2, redis3, proxy2 and proxy1.
const TUNNELS: [&str; 4] = ["gre-5epzyhnzp52", "gre-s6iygr7xi2w", "gre-y5hwvfbcv43", "gre-fyxvgmkkmxg"];

/// What a trace on host redis1 comes to, in short.
fn judged(in_port: &str, packet: Packet, expected: Option<Expected>, reply: &str) -> Vec<(Check, Severity)> {
    let topology = topology();
    let ports = DatapathPorts::parse(sample!("dpif_show_redis1")).unwrap();
    let tracing = Tracing::new(&topology, &"redis1".parse().unwrap(), &ports).unwrap();
    let mut case = tracing
        .cases(&[])
        .into_iter()
        .find(|case| case.in_port == in_port && case.packet == Packet::Broadcast)
        .unwrap();
    case.packet = packet;
    case.expected = expected.unwrap_or(case.expected);
    let found = tracing.judge([(&case, &reply.parse().unwrap())]);
    found.into_iter().map(|finding| (finding.check, finding.severity)).collect()
}

/// A port, a trace of a packet from it, and what it comes to.
type Row = (&'static str, &'static str, (Packet, Option<Expected>), Vec<(Check, Severity)>);

#[test]
fn real_traces_are_judged() {
    use Check::{TraceLeak, TraceMissing, TraceRewrite, TraceTransit, TraceTunnel, TraceUserspace};
    use Severity::{Breach, Degraded};
    let flood = || (Packet::Broadcast, None);
    let known = |port: &str| {
        let mac = "62:1e:7e:e6:2d:d1".parse().unwrap();
        (Packet::Known(mac), Some(Expected::Port(port.to_owned())))
    };
    let tunnel = TUNNELS[0];
    let table: Vec<Row> = vec![
        (CONTAINER, sample!("broadcast"), flood(), vec![]),
        (CONTAINER, sample!("known_unicast"), known(tunnel), vec![]),
        (tunnel, sample!("from_tunnel"), flood(), vec![]),
        (tunnel, sample!("from_tunnel_known"), known(CONTAINER), vec![]),
        // Split horizon: the address is known to be behind another tunnel.
        (TUNNELS[2], sample!("from_tunnel_to_tunnel_known"), (flood().0, Some(Expected::Anywhere)), vec![]),
        (CONTAINER, sample!("vlan_tagged"), flood(), vec![]),
        // Reserved addresses and the sender's own go nowhere, rightly.
        (CONTAINER, sample!("stp"), (flood().0, Some(Expected::Anywhere)), vec![]),
        (CONTAINER, sample!("reflected"), (flood().0, Some(Expected::Anywhere)), vec![]),
        (CONTAINER, sample!("csum"), known(tunnel), vec![]),
        // OVS asks for the address of a peer that it has not talked to, and drops meanwhile.
        (CONTAINER, sample!("noneigh"), flood(), vec![]),
        // The tunnel's own key wins over a flow's.
        (CONTAINER, sample!("of_set_tun_id"), known(tunnel), vec![]),
        (CONTAINER, sample!("of_ct"), flood(), vec![]),
        // `protected` holds against flows and mirrors too.
        (tunnel, sample!("of_tunnel_to_tunnel"), flood(), vec![]),
        (tunnel, sample!("mirror_to_tunnel"), known(CONTAINER), vec![]),
        (tunnel, sample!("mirror"), known(CONTAINER), vec![]),
        (tunnel, sample!("unprotected"), flood(), vec![(TraceTransit, Breach)]),
        (CONTAINER, sample!("of_drop"), flood(), vec![(TraceMissing, Degraded)]),
        (CONTAINER, sample!("stp_on"), flood(), vec![(TraceMissing, Degraded)]),
        (CONTAINER, sample!("noroute"), flood(), vec![(TraceMissing, Degraded)]),
        (CONTAINER, sample!("of_in_port"), known(tunnel), vec![(TraceMissing, Degraded)]),
        (CONTAINER, sample!("of_rewrite"), known(tunnel), vec![(TraceRewrite, Degraded)]),
        (CONTAINER, sample!("of_controller"), flood(), vec![(TraceUserspace, Breach)]),
        (CONTAINER, sample!("sflow"), flood(), vec![(TraceUserspace, Breach)]),
        (CONTAINER, sample!("bigkey"), flood(), vec![(TraceTunnel, Breach)]),
        (CONTAINER, sample!("nokey"), flood(), vec![(TraceTunnel, Breach)]),
        (CONTAINER, sample!("vxlan"), flood(), vec![(TraceTunnel, Breach)]),
        // Four tunnels of the other tenant's, its bridge's device and its container.
        (CONTAINER, sample!("patch"), flood(), vec![(TraceTunnel, Breach), (TraceLeak, Breach)]),
    ];
    for (number, (port, reply, (packet, expected), wanted)) in table.into_iter().enumerate() {
        let mut found = judged(port, packet, expected, reply);
        found.sort_by_key(|(check, _)| std::cmp::Reverse(*check));
        let mut wanted = wanted;
        wanted.sort_by_key(|(check, _)| std::cmp::Reverse(*check));
        assert_eq!(found, wanted, "row {number}: {reply}");
    }
    let mirrored = judged(CONTAINER, Packet::Broadcast, None, sample!("mirror_vlan"));
    assert!(mirrored.iter().all(|found| *found == (TraceRewrite, Degraded)) && !mirrored.is_empty());
}

#[test]
fn a_gateway_is_traced_as_a_container_is() {
    let topology = topology();
    let ports = DatapathPorts::parse(sample!("dpif_show_proxy1")).unwrap();
    let tracing = Tracing::new(&topology, &"proxy1".parse().unwrap(), &ports).unwrap();
    let case = tracing.cases(&[]).into_iter().find(|case| case.in_port == "gw-6wquvq46crxc").unwrap();
    assert_eq!(tracing.judge([(&case, &sample!("gateway_broadcast").parse().unwrap())]), []);
}

/// The forms of the kernel's datapath, as the tests of OVS have them.
#[test]
fn the_kernels_actions_are_judged() {
    use Check::{TraceLeak, TraceMissing, TraceRewrite, TraceTunnel, TraceUnknown};
    let mut show = sample!("dpif_show_redis1").replace("netdev@ovs-netdev", "system@ovs-system");
    show = show.replace("(tap)", "(internal)");
    let topology = topology().copied_as("iso".parse().unwrap(), Datapath::System);
    let ports = DatapathPorts::parse(&show).unwrap();
    let tracing = Tracing::new(&topology, &"redis1".parse().unwrap(), &ports).unwrap();
    let case = tracing.cases(&[]).into_iter().find(|case| case.in_port == CONTAINER).unwrap();
    let to = |host: u8, key: &str| {
        format!("set(tunnel(tun_id={key},src=10.0.1.11,dst=10.0.1.{host},ttl=64,flags(df|key))),4")
    };
    let all = [12, 13, 21, 22].map(|host| to(host, "0x65"));
    let whole = format!("{},{},{},{},3", all[0], all[1], all[2], all[3]);
    let found = |actions: &str| -> Vec<Check> {
        let trace = format!("Datapath actions: {actions}\n").parse().unwrap();
        tracing.judge([(&case, &trace)]).iter().map(|finding| finding.check).collect()
    };
    assert_eq!(found(&whole), []);
    // After a tunnel's port, a plain one is plain again.
    assert_eq!(found(&format!("{whole},7")), [TraceLeak]);
    assert_eq!(found(&format!("{whole},{}", to(13, "0x66"))), [TraceTunnel]);
    assert_eq!(found(&format!("{whole},{}", to(99, "0x65"))), [TraceTunnel]);
    assert_eq!(found(&format!("4,{whole}")), [TraceTunnel]);
    assert_eq!(found(&format!("{whole},99")), [TraceLeak]);
    assert_eq!(found(&format!("{whole},recirc(0x1)")), [TraceUnknown]);
    assert_eq!(found(&format!("{whole},action47(00 01)")), [TraceUnknown]);
    assert_eq!(found(&format!("trunc(64),{whole}")), [TraceRewrite]);
    assert_eq!(found(&format!("clone(ct(commit),{}),{},{},3", all[0], all[1], all[2])), [TraceMissing]);
    assert_eq!(found(&format!("check_pkt_len(size=200,gt({whole}),le(7))")), [TraceLeak]);
    assert_eq!(found(&format!("sample(sample=50.0%,actions(7)),{whole}")), [TraceLeak]);
}

/// Up to OVS 2.7 the userspace datapath has no `clone`, and finds the way of what is encapsulated by itself.
#[test]
fn encapsulation_without_a_clone_is_judged() {
    let topology = topology();
    let ports = DatapathPorts::parse(sample!("dpif_show_redis1")).unwrap();
    let tracing = Tracing::new(&topology, &"redis1".parse().unwrap(), &ports).unwrap();
    let case = tracing.cases(&[]).into_iter().find(|case| case.in_port == CONTAINER).unwrap();
    let push = |host: u8| {
        format!(
            "tnl_push(tnl_port(4),header(size=42,type=3,eth(dst=de:f2:58:a6:7e:40,src=0a:37:7f:80:a3:4e,\
             dl_type=0x0800),ipv4(src=10.0.1.11,dst=10.0.1.{host},proto=47,tos=0,ttl=64,frag=0x4000),\
             gre((flags=0x2000,proto=0x6558),key=0x65)),out_port(2))"
        )
    };
    let all = [12, 13, 21, 22].map(push).join(",");
    let found = |actions: &str| -> Vec<Check> {
        let trace = format!("Datapath actions: {actions}\n").parse().unwrap();
        tracing.judge([(&case, &trace)]).iter().map(|finding| finding.check).collect()
    };
    assert_eq!(found(&format!("{all},3")), []);
    assert_eq!(found(&format!("3,{all}")), []);
    assert_eq!(found(&format!("{all},3,7")), [Check::TraceLeak]);
    assert_eq!(found(&format!("{all},3,99")), [Check::TraceLeak]);
}

#[test]
fn every_form_of_an_action_is_read() {
    let change = |text: &str| Action::Change(text.to_owned());
    let neutral = |text: &str| Action::Neutral(text.to_owned());
    let unknown = |text: &str| Action::Unknown(text.to_owned());
    let out = |port| Action::Output(DpPort(port));
    let table = [
        ("drop", vec![Action::Drop]),
        ("3,2", vec![out(3), out(2)]),
        ("ct,recirc(0x2a)", vec![neutral("ct"), Action::Recirculate(42)]),
        ("ct(commit,nat(dst=10.10.10.7:80)),1", vec![neutral("ct(commit,nat(dst=10.10.10.7:80))"), out(1)]),
        ("trunc(100),3", vec![Action::Truncate("100".to_owned()), out(3)]),
        (
            "push_vlan(vid=17,pcp=0),2,pop_vlan",
            vec![change("push_vlan(vid=17,pcp=0)"), out(2), change("pop_vlan")],
        ),
        ("set(ipv4(src=1.2.3.4,ttl=63)),2", vec![change("set(ipv4(src=1.2.3.4,ttl=63))"), out(2)]),
        ("set(skb_priority(0x1)),1", vec![neutral("set(skb_priority(0x1))"), out(1)]),
        ("clone(meter(0),2),3", vec![Action::Clone(vec![neutral("meter(0)"), out(2)]), out(3)]),
        ("sample(sample=50.0%,actions(2,3))", vec![Action::Sample(vec![out(2), out(3)])]),
        (
            "check_pkt_len(size=9,gt(3),le(drop))",
            vec![Action::Branch(vec![vec![out(3)], vec![Action::Drop]])],
        ),
        (
            "dec_ttl(le_1(userspace(pid=0)))",
            vec![Action::Branch(vec![vec![Action::Userspace("pid=0".to_owned())]])],
        ),
        ("tnl_pop(4)", vec![Action::Pop(DpPort(4))]),
        (
            "set(tunnel(tun_id=0x6,ipv6_src=2001:cafe::1,ipv6_dst=fc00::2,ttl=64,flags(df|csum|key))),5",
            vec![
                Action::SetTunnel(TunnelKeySet {
                    local: Some("2001:cafe::1".parse().unwrap()),
                    remote: Some("fc00::2".parse().unwrap()),
                    key: Some(6),
                }),
                out(5),
            ],
        ),
        (
            "tnl_push(tnl_port(4),header(size=50,type=110,eth(dst=f8:bc:12:44:34:b6,src=aa:55:aa:55:00:00,\
             dl_type=0x86dd),ipv6(src=fd00::1,dst=fd00::2,label=0,proto=47,tclass=0x0,hlimit=64),gre((flags=0xb000,\
             proto=0x6558),csum=0x0,key=0x65,seq=0x0)),out_port(2)),1",
            vec![
                Action::Push(Push {
                    port: DpPort(4),
                    kind: "gre".to_owned(),
                    local: Some("fd00::1".parse().unwrap()),
                    remote: Some("fd00::2".parse().unwrap()),
                    key: Some(0x65),
                    out: Some(DpPort(2)),
                }),
                out(1),
            ],
        ),
        ("lb_output(1)", vec![unknown("lb_output(1)")]),
        ("psample(group=42,cookie=0x64)", vec![unknown("psample(group=42,cookie=0x64)")]),
        ("clone(2", vec![unknown("clone(2")]),
        ("2),3", vec![unknown("2)"), out(3)]),
        ("p1,99999999999", vec![unknown("p1"), unknown("99999999999")]),
        (
            "<empty>,***4 leftover bytes*** (00)",
            vec![unknown("<empty>"), unknown("***4 leftover bytes*** (00)")],
        ),
        ("", vec![unknown("")]),
    ];
    for (text, actions) in table {
        assert_eq!(parse_actions(text), actions, "{text}");
    }
    let deep = format!("{}2{}", "clone(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(parse_actions(&deep).len(), 1);
}

#[test]
fn cases_ask_what_ovs_understands() {
    let topology = topology();
    let ports = DatapathPorts::parse(sample!("dpif_show_redis1")).unwrap();
    let tracing = Tracing::new(&topology, &"redis1".parse().unwrap(), &ports).unwrap();
    let known = KnownMac {
        tenant: "acme".parse().unwrap(),
        mac: "62:1e:7e:e6:2d:d1".parse().unwrap(),
        port: Some(TUNNELS[0].to_owned()),
    };
    let cases = tracing.cases(&[known]);
    // Five ports of each tenant, three packets each; the known address from all of its tenant's ports but its own.
    assert_eq!(cases.len(), 2 * 5 * 3 + 4);
    let from = |port: &str, packet: Packet| {
        let case = cases.iter().find(|case| case.in_port == port && case.packet == packet).unwrap();
        (case.arguments.join(" "), case.expected.clone())
    };
    let known = Packet::Known("62:1e:7e:e6:2d:d1".parse().unwrap());
    assert_eq!(
        from(CONTAINER, known),
        (
            "br-acme in_port=5,dl_src=02:6f:76:73:6d:01,dl_dst=62:1e:7e:e6:2d:d1,dl_type=0x0800".to_owned(),
            Expected::Port(TUNNELS[0].to_owned())
        )
    );
    assert_eq!(from(TUNNELS[1], known).1, Expected::Anywhere);
    assert_eq!(
        from(TUNNELS[0], Packet::Broadcast).0,
        "br-acme in_port=2,dl_src=02:6f:76:73:6d:01,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0806,tun_id=101,\
         tun_src=10.0.1.12,tun_dst=10.0.1.11"
    );
}

#[test]
fn ports_are_read_as_every_version_writes_them() {
    let old = "system@ovs-system: hit:1 missed:2\n\tbr0:\n\t\tbr0 65534/1: (internal)\n\t\tg 1/2: (gre: remote_ip=1.1.1.1)\n";
    let ports = DatapathPorts::parse(old).unwrap();
    let gre = ports.numbered("system@ovs-system", DpPort(2)).next().unwrap();
    assert_eq!((gre.bridge.as_str(), gre.name.as_str(), gre.ofport, gre.is_tunnel()), ("br0", "g", 1, true));
    assert_eq!(ports.numbered("netdev@ovs-netdev", DpPort(2)).count(), 0);
    assert_eq!(DatapathPorts::parse(sample!("dpif_show_redis1")).unwrap().ports().len(), 16);
    for (text, missing) in [
        ("a:\n   b:\n", "indentation"),
        ("a:\n  b\n", "bridge"),
        ("a:\n  b:\n    p\n", "type"),
        ("a:\n  b:\n    p: (x)\n", "name"),
        ("a:\n  b:\n    p 1: (x)\n", "port number"),
        ("a:\n  b:\n    p x/1: (x)\n", "port number"),
        ("a:\n  b:\n    p 1/x: (x)\n", "datapath port number"),
    ] {
        assert_eq!(DatapathPorts::parse(text).unwrap_err().missing, missing, "{text}");
    }
}

#[test]
fn a_refusal_is_no_trace() {
    let error = "br-nosuch: unknown bridge\n".parse::<Trace>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "ovs-vswitchd's trace names no datapath actions: br-nosuch: unknown bridge"
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = text.parse::<Trace>();
        let _ = parse_actions(&text);
        let _ = DatapathPorts::parse(&text);
    }

    /// Whatever is put into a list of actions, what stood before it is still found, and it is not overlooked.
    #[test]
    fn nothing_is_left_out(before in 0_u32..1000, word in "[a-z]{1,8}", inside in "[a-z0-9=]{0,8}") {
        let text = format!("{before},x{word}({inside}),clone({before})");
        let actions = parse_actions(&text);
        let port = || Action::Output(DpPort(before));
        prop_assert_eq!(&actions[0], &port());
        prop_assert_eq!(&actions[1], &Action::Unknown(format!("x{word}({inside})")));
        prop_assert_eq!(&actions[2], &Action::Clone(vec![port()]));
    }

    #[test]
    fn no_change_to_a_trace_makes_it_panic(
        at in any::<prop::sample::Index>(),
        removed in 0..40usize,
        added in "[ -~é→\n]{0,6}",
    ) {
        let mut text: Vec<char> = sample!("mirror_vlan").chars().collect();
        let at = at.index(text.len());
        let end = (at + removed).min(text.len());
        text.splice(at..end, added.chars());
        if let Ok(trace) = text.into_iter().collect::<String>().parse::<Trace>() {
            let _ = trace.ends(|port| port == DpPort(4));
        }
    }
}
