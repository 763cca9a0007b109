//! Runs against a world that is made up, without a socket or a clock.

mod faults;
mod late;
mod others;
mod scale;

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::asks::{Wanted, Way, asks};
use super::facts::{Beside, Facts, Place};
use super::layout::Layout;
use super::owners::{End, Owners};
use super::run::{Next, Run, Sending, Via};
use super::*;
use crate::isolation::findings::{Check, Finding, Level, Severity};
use crate::isolation::{Probed, Skipped};
use crate::link::Mac;
use crate::names::TenantName;

const WIRE: u32 = 1;
const VETH_ACME: u32 = 2;
const VETH_GLOBEX: u32 = 3;
const GATEWAY_ACME: u32 = 4;
const TAP: u32 = 5;
const NOBODYS: u32 = 6;
const BRIDGE_ACME: u32 = 7;
const BRIDGE_GLOBEX: u32 = 8;
/// The host-side veth of acme's gateway, as the plan names it.
const GATEWAY: &str = "gw-reygmj2v3c6c";

fn topology() -> Topology {
    r#"
    mesh = { name = "m", underlay_mtu = 1500 }
    host = [
        { name = "a", underlay_ip = "10.0.0.1" },
        { name = "b", underlay_ip = "10.0.0.2" },
        { name = "c", underlay_ip = "10.0.0.3" },
    ]
    [[tenant]]
    name = "acme"
    key = 7
    subnet = "192.168.0.0/24"
    gateways = { a = "192.168.0.1" }
    containers = [
        { ctid = "101", host = "a", ip = "192.168.0.11" },
        { ctid = "102", host = "b", ip = "192.168.0.12" },
    ]
    [[tenant]]
    name = "globex"
    key = 8
    subnet = "192.168.0.0/23"
    containers = [
        { ctid = "201", host = "a", ip = "192.168.0.11" },
        { ctid = "203", host = "c", ip = "192.168.1.13" },
    ]
    "#
    .parse()
    .unwrap()
}

fn mac(last: u8) -> Mac {
    Mac::from([2, 0, 0, 0, 0, last])
}

fn facts() -> Facts {
    let tenant = |name: &str| name.parse::<TenantName>().unwrap();
    let port =
        |tenant_name: &str, name: &str| Place::Port { tenant: tenant(tenant_name), name: name.to_owned() };
    let places = [
        (WIRE, Place::Other { name: "eth0".to_owned() }),
        (VETH_ACME, port("acme", "veth101.0")),
        (VETH_GLOBEX, port("globex", "veth201.0")),
        (GATEWAY_ACME, port("acme", GATEWAY)),
        (TAP, Place::Stranger { tenant: tenant("acme"), name: "tap0".to_owned() }),
        (NOBODYS, Place::Other { name: "vmbr0".to_owned() }),
        (BRIDGE_ACME, port("acme", "br-acme")),
        (BRIDGE_GLOBEX, port("globex", "br-globex")),
    ];
    let container =
        |name: &str, ctid: &str, port: &str| ((tenant(name), ctid.parse().unwrap()), port.to_owned());
    Facts {
        bridges: HashMap::from([
            ("br-acme".parse().unwrap(), mac(70)),
            ("br-globex".parse().unwrap(), mac(80)),
        ]),
        places: HashMap::from(places),
        containers: HashMap::from([
            container("acme", "101", "veth101.0"),
            container("globex", "201", "veth201.0"),
        ]),
        gateways: HashMap::from([(tenant("acme"), mac(1))]),
        beside: vec![Beside { remote: Some("10.0.0.66".parse().unwrap()), key: Some(7) }],
    }
}

/// Those of host a, and of host c: nothing is known of host b.
fn owners(topology: &Topology) -> Owners<'_> {
    let mut owners = Owners::new(topology);
    for (tenant, address, last, host, port) in [
        (0, "192.168.0.11", 11, "a", "veth101.0"),
        (1, "192.168.0.11", 21, "a", "veth201.0"),
        (0, "192.168.0.1", 1, "a", GATEWAY),
        (1, "192.168.1.13", 23, "c", "veth203.0"),
    ] {
        let end = End { host: host.parse().unwrap(), port: port.to_owned() };
        owners.put(tenant, Some(address.parse().unwrap()), mac(last), end);
    }
    owners
}

/// Something that is met because a frame was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Met(u32, bool, Seen),
    Echo(usize, Seen),
}

/// From whoever answers; from one of whom nothing is known, else.
fn bare(content: Content) -> Seen {
    let claim = match content {
        Content::Answer { address, mac, .. } => Some(Claim { address, mac }),
        _ => None,
    };
    Seen { outer: None, source: claim.map_or(mac(250), |claim| claim.mac), claim, content }
}

fn wired(src: &str, dst: &str, key: u32, content: Content) -> Seen {
    let outer = Outer { src: src.parse().unwrap(), dst: dst.parse().unwrap(), key: Some(key) };
    Seen { outer: Some(outer), ..bare(content) }
}

fn answer(address: &str, from: u8, to: u8) -> Content {
    Content::Answer { address: address.parse().unwrap(), mac: mac(from), to: mac(to) }
}

/// What becomes of a frame where all is well.
fn well(mark: Mark, address: &str) -> Vec<Event> {
    let own = Content::Own { mark, plain: true };
    let (key, bridge) = if mark.tenant == 0 { (7, 70) } else { (8, 80) };
    let mut events = Vec::new();
    match mark.stage {
        Stage::Question => {
            for peer in ["10.0.0.2", "10.0.0.3"] {
                events.push(Event::Met(WIRE, true, wired("10.0.0.1", peer, key, own)));
            }
            let ports = if mark.tenant == 0 { &[VETH_ACME, GATEWAY_ACME][..] } else { &[VETH_GLOBEX] };
            events.extend(ports.iter().map(|port| Event::Met(*port, true, bare(own))));
        }
        Stage::Full => {}
        Stage::Echo | Stage::Short => {
            events.push(Event::Met(GATEWAY_ACME, false, bare(own)));
            events.push(Event::Echo(0, bare(Content::EchoReply(mark))));
            return events;
        }
    }
    let from =
        |last, peer| Event::Met(WIRE, false, wired(peer, "10.0.0.1", key, answer(address, last, bridge)));
    let at = |last, port| Event::Met(port, false, bare(answer(address, last, bridge)));
    events.extend(match (mark.tenant, address) {
        (0, "192.168.0.1") => Some(at(1, GATEWAY_ACME)),
        (0, "192.168.0.11") => Some(at(11, VETH_ACME)),
        (0, "192.168.0.12") => Some(from(12, "10.0.0.2")),
        (1, "192.168.0.11") => Some(at(21, VETH_GLOBEX)),
        (1, "192.168.1.13") => Some(from(23, "10.0.0.3")),
        _ => None,
    });
    events
}

fn and(mut events: Vec<Event>, more: Event) -> Vec<Event> {
    events.push(more);
    events
}

fn own(mark: Mark) -> Content {
    Content::Own { mark, plain: true }
}

struct Outcome {
    findings: Vec<Finding>,
    report: Report,
    sent: Vec<(Via, Mark)>,
    took: Duration,
}

/// A whole run in a world that changes what becomes of a frame.
fn whole(mut change: impl FnMut(Mark, &str, Vec<Event>) -> Vec<Event>) -> Outcome {
    let (topology, facts, options) = (topology(), facts(), ProbeOptions::new(99));
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = owners(&topology);
    let started = Instant::now();
    let mut now = started;
    let mut run = Run::new(&layout, &facts, &owners, &options, now);
    let (mut sent, mut last) = (Vec::new(), None);
    loop {
        match run.next(now) {
            Next::Done => break,
            Next::Wait(until) => {
                assert!(until > now, "it would turn round and round");
                now = until;
            }
            Next::Send(Sending { tenant, ask, via, frame }) => {
                assert!(last.is_none_or(|last| now >= last + options.gap), "faster than it says");
                last = Some(now);
                let mark = run.cookie.find(&frame).unwrap();
                assert_eq!((usize::from(mark.tenant), usize::from(mark.ask)), (tenant, ask));
                sent.push((via, mark));
                // Who has the address does not hear what is for another alone.
                let ask = &run.asked[ask].ask;
                let address = ask.to.map_or(ask.address.to_string(), |mac| mac.to_string());
                for event in change(mark, &address, well(mark, &address)) {
                    match event {
                        Event::Met(device, outgoing, seen) => run.met(device, outgoing, &seen),
                        Event::Echo(tenant, seen) => run.met_in_gateway(tenant, &seen),
                    }
                }
            }
        }
    }
    Outcome { findings: run.findings(), report: run.report(), sent, took: now - started }
}

fn named(findings: &[Finding]) -> Vec<(Check, Severity, String)> {
    let mut named: Vec<_> = findings
        .iter()
        .map(|it| {
            (it.check, it.severity, it.tenants.iter().map(TenantName::as_str).collect::<Vec<_>>().join("+"))
        })
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

#[test]
fn all_is_asked_once_where_all_is_well() {
    let Outcome { findings, sent, took, .. } = whole(|_, _, events| events);
    assert_eq!(findings, []);
    let count = |stage| sent.iter().filter(|(_, mark)| mark.stage == stage).count();
    // acme: three of its own, one of globex' only; globex: two of its own, and none of acme's, which its own subnet has too.
    // Of each, two MAC addresses are known for the other to ask.
    assert_eq!(Stage::ALL.map(count), [6 + 4, 5, 2, 0]);
    assert!(sent.iter().all(|(via, mark)| (*via == Via::Gateway) == (mark.stage == Stage::Echo)));
    assert!(took < Duration::from_millis(700), "{took:?}");
}

#[test]
fn who_is_asked_and_who_should_answer() {
    let topology = topology();
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = owners(&topology);
    let asks = asks(&layout, &facts(), &owners, &ProbeOptions { foreign: 2, ..ProbeOptions::new(99) });
    let text = |at: usize| {
        let list = asks.iter().filter(|ask| ask.tenant == at).map(|ask| match &ask.wanted {
            Wanted::Known { what, way: Some(Way::Port(port)), mac, echo, .. } => {
                format!("{} {what} {port} {mac:?} {echo}", ask.address)
            }
            Wanted::Known { what, way, mac, echo, .. } => {
                format!("{} {what} {way:?} {mac:?} {echo}", ask.address)
            }
            Wanted::Nobody(owners) => {
                let owners: Vec<_> = owners.iter().map(|owner| layout.name(*owner)).collect();
                format!("{} {:?} {owners:?}", ask.address, ask.to)
            }
        });
        list.collect::<Vec<_>>()
    };
    assert_eq!(
        text(0),
        [
            "192.168.0.11 container 101 veth101.0 Some(02:00:00:00:00:0b) true",
            "192.168.0.12 container 102 Some(Peer(10.0.0.2)) None true",
            "192.168.0.1 gateway of host a gw-reygmj2v3c6c Some(02:00:00:00:00:01) false",
            "192.168.1.13 None [\"globex\"]",
            "192.168.0.11 Some(02:00:00:00:00:15) [\"globex\"]",
        ]
    );
    // Those of acme's that are in its own subnet may be somebody's of its own.
    assert_eq!(
        text(1),
        [
            "192.168.0.11 container 201 veth201.0 Some(02:00:00:00:00:15) false",
            "192.168.1.13 container 203 Some(Peer(10.0.0.3)) Some(02:00:00:00:00:17) false",
            "192.168.0.1 Some(02:00:00:00:00:01) [\"acme\"]",
            "192.168.0.11 Some(02:00:00:00:00:0b) [\"acme\"]",
        ]
    );
    let few = ProbeOptions { foreign: 0, skip: ["globex".parse().unwrap()].into(), ..ProbeOptions::new(99) };
    let none = super::asks::asks(&layout, &facts(), &owners, &few);
    assert!(none.iter().all(|ask| ask.tenant == 0), "a tenant that is to be left alone is asked");
    assert!(none.iter().all(|ask| matches!(ask.wanted, Wanted::Known { .. })), "more than were to be");
}

#[test]
fn the_report_tells_what_was_asked_for() {
    let Outcome { report, .. } = whole(|_, _, events| events);
    let square = &report.matrix()[0];
    let numbers = |it: &Probed| (it.addresses, it.silent_addresses, it.silent_macs);
    let probed: Vec<_> = square.probed.iter().map(|it| (it.tenant.as_str(), numbers(it))).collect();
    assert_eq!(probed, [("acme", (3, 1, 2)), ("globex", (2, 0, 2))]);
    assert_eq!(square.skipped, []);
    let text = report.to_string();
    let line =
        "asked for: 5 addresses of the tenants' own; for silence, 1 addresses and 4 MAC addresses of others";
    assert!(text.contains(line), "{text}");
    // Of whom nothing is known, nothing can be asked: acme has no address that is not globex' own subnet's.
    let (topology, facts) = (topology(), facts());
    let options = ProbeOptions::new(99);
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = Owners::new(&topology);
    let mut now = Instant::now();
    let mut run = Run::new(&layout, &facts, &owners, &options, now);
    loop {
        match run.next(now) {
            Next::Done => break,
            Next::Wait(until) => now = until,
            Next::Send(_) => {}
        }
    }
    let square = &run.report().matrix()[0];
    let skipped: Vec<_> =
        square.skipped.iter().map(|it| (it.checks.as_slice(), it.reason.as_str())).collect();
    let [(checks, reason)] = skipped.as_slice() else { panic!("{skipped:?}") };
    assert_eq!(*checks, [Check::ProbeForeignAnswer]);
    assert!(reason.starts_with("nothing that only others have was asked for in globex: "), "{reason}");
}

#[test]
fn one_copy_on_devices_on_top_of_each_other_is_one_copy() {
    let Outcome { findings, sent, .. } = whole(|_, _, events| {
        let again = events.iter().filter_map(|event| match event {
            Event::Met(WIRE, outgoing, seen) => Some(Event::Met(NOBODYS, *outgoing, *seen)),
            _ => None,
        });
        let again: Vec<Event> = again.collect();
        events.into_iter().chain(again).collect()
    });
    assert_eq!(findings, []);
    assert_eq!(sent.len(), 17);
}

/// Where a bridge's own device is up, the switch hands it what is addressed to it.
#[test]
fn an_answer_at_the_bridges_own_device_is_no_other_way() {
    let Outcome { findings, sent, .. } = whole(|mark, _, mut events| {
        let bridge = if mark.tenant == 0 { BRIDGE_ACME } else { BRIDGE_GLOBEX };
        let handed = events.iter().filter_map(|event| match event {
            Event::Met(_, false, Seen { content: content @ Content::Answer { .. }, .. }) => {
                Some(Event::Met(bridge, false, bare(*content)))
            }
            _ => None,
        });
        let handed: Vec<Event> = handed.collect();
        events.extend(handed);
        events
    });
    assert_eq!(findings, []);
    assert_eq!(sent.len(), 17);
}

#[test]
fn a_loop_is_not_fed() {
    let Outcome { sent, .. } = whole(|mark, _, events| match mark.tenant {
        0 => and(events, Event::Met(WIRE, false, wired("10.0.0.3", "10.0.0.1", 7, own(mark)))),
        _ => events,
    });
    assert_eq!(sent.iter().filter(|(_, mark)| mark.tenant == 0).count(), 1);
}

proptest! {
    /// Whatever is lost is no breach, and no more is sent than is documented, nor for longer.
    #[test]
    fn what_is_lost_is_no_breach(kept in proptest::collection::vec(0_u8..4, 400)) {
        let mut kept = kept.into_iter().cycle();
        let Outcome { findings, sent, took, .. } =
            whole(|_, _, events| events.into_iter().filter(|_| kept.next() != Some(0)).collect());
        prop_assert!(findings.iter().all(|finding| finding.severity < Severity::Breach), "{findings:?}");
        // 5 addresses, 1 of others', 4 MAC addresses of others', 2 that are echoed; each 3 times, and each echo in 2 lengths.
        prop_assert!(sent.len() <= 3 * (5 + 1 + 4) + 3 * 5 + 2 * 3 * 2, "{}", sent.len());
        prop_assert!(took < Duration::from_secs(15), "{took:?}");
    }
}
