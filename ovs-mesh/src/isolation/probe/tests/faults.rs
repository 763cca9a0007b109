//! Everything that can go wrong with a frame, and what it must be called.

use super::*;

/// One fault: its name, what it changes, what it must be named.
type Fault =
    (&'static str, fn(Mark, &str, Vec<Event>) -> Vec<Event>, &'static [(Check, Severity, &'static str)]);

fn is_answer(event: &Event) -> bool {
    matches!(event, Event::Met(_, _, Seen { content: Content::Answer { .. }, .. }))
}

fn without_answers(events: Vec<Event>) -> Vec<Event> {
    events.into_iter().filter(|event| !is_answer(event)).collect()
}

const FAULTS: &[Fault] = {
    use Check::{ProbeForeignAnswer, ProbeForeignFrame, ProbeMac, ProbeMtu, ProbeUnanswered, ProbeWire};
    use Severity::{Breach, Degraded, Notice};
    &[
        (
            "one does not answer",
            |_, to, events| if to == "192.168.0.12" { without_answers(events) } else { events },
            &[(ProbeUnanswered, Degraded, "acme")],
        ),
        (
            "short questions only",
            |mark, _, events| if mark.stage == Stage::Full && mark.tenant == 1 { Vec::new() } else { events },
            &[(ProbeMtu, Degraded, "globex")],
        ),
        (
            "short echoes only",
            |mark, _, events| if mark.stage == Stage::Echo { Vec::new() } else { events },
            &[(ProbeMtu, Degraded, "acme")],
        ),
        (
            "no echo at all",
            |mark, _, events| if mark.stage >= Stage::Echo { Vec::new() } else { events },
            &[(ProbeMtu, Notice, "acme")],
        ),
        (
            "two of one address",
            |mark, to, events| match (mark.tenant, to) {
                (0, "192.168.0.12") => {
                    let other = answer("192.168.0.12", 99, 70);
                    and(events, Event::Met(WIRE, false, wired("10.0.0.2", "10.0.0.1", 7, other)))
                }
                _ => events,
            },
            &[(ProbeMac, Degraded, "acme")],
        ),
        (
            "another MAC address",
            |mark, to, events| match (mark.tenant, mark.stage, to) {
                (1, Stage::Question | Stage::Full, "192.168.0.11") => {
                    let other = Event::Met(VETH_GLOBEX, false, bare(answer("192.168.0.11", 98, 80)));
                    and(without_answers(events), other)
                }
                _ => events,
            },
            &[(ProbeMac, Degraded, "globex")],
        ),
        (
            "two of one MAC address",
            |mark, to, events| match (mark.tenant, mark.stage, to) {
                (0, Stage::Question | Stage::Full, "192.168.0.12") => {
                    let same = answer("192.168.0.12", 11, 70);
                    let same = wired("10.0.0.2", "10.0.0.1", 7, same);
                    and(without_answers(events), Event::Met(WIRE, false, same))
                }
                _ => events,
            },
            &[(ProbeMac, Degraded, "acme")],
        ),
        (
            "it has moved",
            |mark, to, events| match (mark.tenant, mark.stage, to) {
                (0, Stage::Question | Stage::Full, "192.168.0.12") => {
                    let moved = wired("10.0.0.3", "10.0.0.1", 7, answer("192.168.0.12", 12, 70));
                    and(without_answers(events), Event::Met(WIRE, false, moved))
                }
                _ => events,
            },
            &[(ProbeMac, Degraded, "acme")],
        ),
        (
            "another tenant's container answers",
            |mark, to, events| match (mark.tenant, to) {
                (0, "192.168.0.11") => {
                    and(events, Event::Met(VETH_ACME, false, bare(answer("192.168.0.11", 21, 70))))
                }
                _ => events,
            },
            &[(ProbeMac, Degraded, "acme"), (ProbeForeignAnswer, Breach, "acme+globex")],
        ),
        (
            "an answer from nobody's machine",
            |mark, to, events| match (mark.tenant, to) {
                (0, "192.168.0.12") => {
                    let other = wired("10.0.0.9", "10.0.0.1", 7, answer("192.168.0.12", 12, 70));
                    and(events, Event::Met(WIRE, false, other))
                }
                _ => events,
            },
            &[(ProbeWire, Breach, "acme")],
        ),
        (
            "another tenant's address answers",
            |mark, to, events| match (mark.tenant, to) {
                (0, "192.168.1.13") => {
                    let other = wired("10.0.0.3", "10.0.0.1", 7, answer("192.168.1.13", 23, 70));
                    and(events, Event::Met(WIRE, false, other))
                }
                _ => events,
            },
            &[(ProbeForeignAnswer, Breach, "acme+globex")],
        ),
        (
            "another tenant's container answers a frame for itself",
            |mark, to, events| match (mark.tenant, to) {
                (0, "02:00:00:00:00:15") => {
                    let other = answer("192.168.0.11", 21, 70);
                    and(events, Event::Met(WIRE, false, wired("10.0.0.3", "10.0.0.1", 7, other)))
                }
                _ => events,
            },
            &[(ProbeForeignAnswer, Breach, "acme+globex")],
        ),
        (
            "at another tenant's port",
            |mark, _, events| match mark.tenant {
                0 => and(events, Event::Met(VETH_GLOBEX, true, bare(own(mark)))),
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "acme+globex")],
        ),
        (
            "at a stranger's port",
            |mark, _, events| match mark.tenant {
                0 => and(events, Event::Met(TAP, true, bare(own(mark)))),
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "acme")],
        ),
        (
            "an answer from a stranger's port",
            |mark, to, events| match (mark.tenant, to) {
                (0, "192.168.1.13") => {
                    and(events, Event::Met(TAP, false, bare(answer("192.168.1.13", 97, 70))))
                }
                _ => events,
            },
            &[(ProbeForeignAnswer, Breach, "acme+globex")],
        ),
        (
            "at a device of nobody's",
            |mark, _, events| match mark.tenant {
                1 => and(events, Event::Met(NOBODYS, false, bare(own(mark)))),
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "globex")],
        ),
        (
            "by another tenant's key",
            |mark, _, events| match mark.tenant {
                0 => and(events, Event::Met(WIRE, true, wired("10.0.0.1", "10.0.0.2", 8, own(mark)))),
                _ => events,
            },
            &[(ProbeWire, Breach, "acme+globex")],
        ),
        (
            "to another machine",
            |mark, _, events| match mark.tenant {
                0 => and(events, Event::Met(WIRE, true, wired("10.0.0.1", "10.0.0.9", 7, own(mark)))),
                _ => events,
            },
            &[(ProbeWire, Breach, "acme")],
        ),
        (
            "in another wrapping",
            |mark, _, events| {
                let wrapped = bare(Content::Own { mark, plain: false });
                if mark.tenant == 0 { and(events, Event::Met(WIRE, true, wrapped)) } else { events }
            },
            &[(ProbeWire, Breach, "acme")],
        ),
        (
            "back by a tunnel",
            |mark, _, events| match mark.tenant {
                0 => and(events, Event::Met(WIRE, false, wired("10.0.0.3", "10.0.0.1", 7, own(mark)))),
                _ => events,
            },
            &[(ProbeWire, Breach, "acme")],
        ),
        (
            "back by another tenant's",
            |mark, _, events| match mark.tenant {
                0 => and(events, Event::Met(WIRE, false, wired("10.0.0.3", "10.0.0.1", 8, own(mark)))),
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "acme+globex")],
        ),
        (
            "back by a port",
            |mark, _, events| match (mark.tenant, mark.stage) {
                (0, Stage::Question) => and(events, Event::Met(VETH_ACME, false, bare(own(mark)))),
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "acme")],
        ),
        (
            "an answer by another tenant's way",
            |mark, to, events| match (mark.tenant, mark.stage, to) {
                (0, _, "192.168.0.12") => {
                    let other = wired("10.0.0.2", "10.0.0.1", 8, answer("192.168.0.12", 12, 70));
                    and(events, Event::Met(WIRE, false, other))
                }
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "acme+globex")],
        ),
        (
            "an answer at another tenant's bridge",
            |mark, to, events| match (mark.tenant, to) {
                (0, "192.168.0.12") => {
                    let other = answer("192.168.0.12", 12, 70);
                    and(events, Event::Met(BRIDGE_GLOBEX, false, bare(other)))
                }
                _ => events,
            },
            &[(ProbeForeignFrame, Breach, "acme+globex")],
        ),
        (
            "no copy for one peer",
            |mark, _, events| {
                let to_c = wired("10.0.0.1", "10.0.0.3", 7, own(mark));
                events.into_iter().filter(|event| *event != Event::Met(WIRE, true, to_c)).collect()
            },
            &[(ProbeWire, Degraded, "acme")],
        ),
        (
            "two copies for one peer",
            |mark, _, events| match (mark.tenant, mark.stage) {
                (0, Stage::Question) => {
                    and(events, Event::Met(WIRE, true, wired("10.0.0.1", "10.0.0.3", 7, own(mark))))
                }
                _ => events,
            },
            &[(ProbeWire, Degraded, "acme")],
        ),
    ]
};

#[test]
fn every_fault_is_found_under_its_name_and_no_other() {
    for (fault, change, expected) in FAULTS {
        let Outcome { findings, .. } = whole(change);
        let expected: Vec<_> =
            expected.iter().map(|(check, bad, of)| (*check, *bad, (*of).to_owned())).collect();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(named(&findings), expected, "{fault}: {findings:#?}");
        assert!(findings.iter().all(|it| !it.remedy.is_empty() && it.level == Level::Probe), "{fault}");
    }
}
