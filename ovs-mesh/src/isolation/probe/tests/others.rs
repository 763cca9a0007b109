//! What is overheard: frames that are nobody's of the probe's.

use super::*;

fn from(last: u8) -> Seen {
    Seen { outer: None, source: mac(last), claim: None, content: Content::Other }
}

fn says(last: u8, address: &str) -> Seen {
    let claim = Claim { address: address.parse().unwrap(), mac: mac(last) };
    Seen { claim: Some(claim), ..from(last) }
}

fn inside(src: &str, dst: &str, key: u32, seen: Seen) -> Seen {
    let outer = Outer { src: src.parse().unwrap(), dst: dst.parse().unwrap(), key: Some(key) };
    Seen { outer: Some(outer), ..seen }
}

/// What a whole run finds where this is met with every question of acme's.
fn overheard(met: &[(u32, bool, Seen)]) -> Vec<Finding> {
    let Outcome { findings, .. } = whole(|mark, _, mut events| {
        if mark.tenant == 0 {
            events.extend(met.iter().map(|(device, outgoing, seen)| Event::Met(*device, *outgoing, *seen)));
        }
        events
    });
    findings
}

type Case = (&'static str, fn() -> Vec<(u32, bool, Seen)>, &'static [(Check, Severity, &'static str)]);

const CASES: &[Case] = {
    use Check::{ProbeForeignFrame, ProbeSpoof, ProbeWire};
    use Severity::{Breach, Degraded};
    const JOINED: &[(Check, Severity, &str)] = &[(ProbeForeignFrame, Breach, "acme+globex")];
    const SPOOF: &[(Check, Severity, &str)] = &[(ProbeSpoof, Degraded, "acme")];
    const WIRE: &[(Check, Severity, &str)] = &[(ProbeWire, Breach, "acme")];
    use super::WIRE as ETH0;
    &[
        ("another tenant's container sends by a port", || vec![(VETH_ACME, false, from(21))], JOINED),
        ("one of another host's", || vec![(VETH_ACME, false, from(23))], JOINED),
        ("its frame gets to a port", || vec![(VETH_ACME, true, from(21))], JOINED),
        ("and to a bridge's own device", || vec![(BRIDGE_ACME, false, from(21))], JOINED),
        ("it comes by a tunnel", || vec![(ETH0, false, inside("10.0.0.2", "10.0.0.1", 7, from(21)))], JOINED),
        ("it leaves by a tunnel", || vec![(ETH0, true, inside("10.0.0.1", "10.0.0.3", 7, from(21)))], JOINED),
        (
            "an answer of its to somebody else",
            || vec![(VETH_ACME, true, bare(answer("192.168.0.11", 21, 12)))],
            JOINED,
        ),
        ("another tenant's address", || vec![(VETH_ACME, true, says(99, "192.168.1.13"))], JOINED),
        (
            "a frame at a stranger's port",
            || vec![(TAP, true, from(99))],
            &[(ProbeForeignFrame, Breach, "acme")],
        ),
        (
            "an address is taken, of which it is known whose it is",
            || vec![(ETH0, false, inside("10.0.0.2", "10.0.0.1", 7, says(99, "192.168.0.11")))],
            SPOOF,
        ),
        (
            "and one of which only the answer tells",
            || vec![(VETH_ACME, false, says(11, "192.168.0.12"))],
            SPOOF,
        ),
        (
            "the gateway's",
            || vec![(ETH0, false, inside("10.0.0.3", "10.0.0.1", 7, says(9, "192.168.0.1")))],
            SPOOF,
        ),
        (
            "somebody sends as one of this host's",
            || vec![(ETH0, false, inside("10.0.0.3", "10.0.0.1", 7, from(11)))],
            SPOOF,
        ),
        ("and by another port", || vec![(GATEWAY_ACME, false, from(11))], SPOOF),
        (
            "the tenant's key to nobody's machine",
            || vec![(ETH0, true, inside("10.0.0.1", "10.0.0.9", 7, from(99)))],
            WIRE,
        ),
        ("and from there", || vec![(ETH0, false, inside("10.0.0.9", "10.0.0.1", 7, from(99)))], WIRE),
        (
            "one of the tenant's, by nobody's key",
            || vec![(ETH0, true, inside("10.0.0.1", "10.0.0.2", 70, from(11)))],
            WIRE,
        ),
        (
            "one of the tenant's, by somebody else's tunnel",
            || vec![(ETH0, true, inside("10.0.0.1", "10.0.0.66", 7, from(11)))],
            WIRE,
        ),
        // What is nobody's fault.
        ("its own", || vec![(VETH_ACME, false, from(11)), (GATEWAY_ACME, true, from(11))], &[]),
        (
            "one of whom nothing is known",
            || vec![(VETH_ACME, false, from(99)), (ETH0, false, inside("10.0.0.2", "10.0.0.1", 7, from(99)))],
            &[],
        ),
        ("the right one", || vec![(VETH_ACME, false, says(11, "192.168.0.11"))], &[]),
        (
            "the right one, of whom only his answer tells",
            || vec![(ETH0, false, inside("10.0.0.2", "10.0.0.1", 7, says(12, "192.168.0.12")))],
            &[],
        ),
        ("a virtual address", || vec![(VETH_ACME, false, says(11, "192.168.0.100"))], &[]),
        (
            "a virtual address that another tenant has, too",
            || vec![(BRIDGE_GLOBEX, false, says(99, "192.168.0.12"))],
            &[],
        ),
        (
            "a virtual router's",
            || {
                let claim =
                    Claim { address: "192.168.0.11".parse().unwrap(), mac: Mac::from([0, 0, 0x5e, 0, 1, 9]) };
                vec![(VETH_ACME, false, Seen { source: claim.mac, claim: Some(claim), ..from(0) })]
            },
            &[],
        ),
        (
            "flooded to a bridge's own device",
            || vec![(BRIDGE_ACME, false, from(11)), (BRIDGE_ACME, false, says(12, "192.168.0.12"))],
            &[],
        ),
        (
            "another tenant's own",
            || {
                vec![
                    (VETH_GLOBEX, false, from(21)),
                    (ETH0, false, inside("10.0.0.3", "10.0.0.1", 8, from(23))),
                ]
            },
            &[],
        ),
        ("at a device of nobody's", || vec![(NOBODYS, false, says(99, "192.168.0.11"))], &[]),
        ("somebody else's tunnel", || vec![(ETH0, true, inside("10.0.0.1", "10.0.0.66", 7, from(99)))], &[]),
        ("a key of nobody's", || vec![(ETH0, true, inside("10.0.0.1", "10.0.0.9", 70, from(99)))], &[]),
        ("between other machines", || vec![(ETH0, false, inside("10.0.0.9", "10.0.0.8", 7, from(11)))], &[]),
    ]
};

#[test]
fn what_is_not_where_it_may_be_is_named() {
    for (case, met, expected) in CASES {
        let findings = overheard(&met());
        let expected: Vec<_> =
            expected.iter().map(|(check, severity, of)| (*check, *severity, (*of).to_owned())).collect();
        assert_eq!(named(&findings), expected, "{case}: {findings:#?}");
        assert!(findings.len() <= 1, "{case}: {findings:#?}");
    }
}

/// Where frames go round, all come from where they should not.
#[test]
fn a_way_round_is_told_of_once() {
    let moved = inside("10.0.0.3", "10.0.0.1", 7, from(11));
    let Outcome { findings, .. } = whole(|mark, _, events| match mark.tenant {
        0 => and(
            and(events, Event::Met(WIRE, false, moved)),
            Event::Met(WIRE, false, wired("10.0.0.3", "10.0.0.1", 7, own(mark))),
        ),
        _ => events,
    });
    assert_eq!(named(&findings), [(Check::ProbeWire, Severity::Breach, "acme".to_owned())], "{findings:#?}");
}

/// Of whom nothing is known, and who does not answer, anybody may be.
#[test]
fn a_claim_against_nobody_is_none() {
    let Outcome { findings, .. } = whole(|_, to, events| match to {
        "192.168.0.12" => {
            let claim = wired("10.0.0.2", "10.0.0.1", 7, Content::Other);
            let claim = Seen { source: mac(99), claim: says(99, "192.168.0.12").claim, ..claim };
            vec![Event::Met(WIRE, false, claim)]
        }
        _ => events,
    });
    assert!(findings.iter().all(|it| it.check != Check::ProbeSpoof), "{findings:#?}");
    assert!(findings.iter().any(|it| it.check == Check::ProbeUnanswered), "{findings:#?}");
}

/// A MAC address that two tenants have, and a container with two.
#[test]
fn what_several_have_is_nobodys_alone() {
    let topology = topology();
    let mut owners = owners(&topology);
    let end = |port: &str| End { host: "a".parse().unwrap(), port: port.to_owned() };
    owners.put(1, None, mac(11), end("veth209.0"));
    assert_eq!((owners.other(0, mac(11)), owners.other(1, mac(11))), (None, None));
    assert_eq!(owners.other(0, mac(21)), Some(1));
    owners.put(0, Some("192.168.0.11".parse().unwrap()), mac(13), end("veth101.1"));
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let asks = asks(&layout, &facts(), &owners, &ProbeOptions::new(99));
    let found = asks.iter().find(|ask| ask.tenant == 0 && ask.address.to_string() == "192.168.0.11").unwrap();
    assert!(matches!(found.wanted, Wanted::Known { mac: None, .. }), "any of the two may answer");
}

/// Whoever sends forged frames can send any number.
#[test]
fn a_flood_is_told_of_with_measure() {
    let met: Vec<_> = (0..200).map(|last| (VETH_ACME, false, says(last, "192.168.1.13"))).collect();
    let found = overheard(&met);
    assert!((2..=32).contains(&found.len()), "{}", found.len());
}
