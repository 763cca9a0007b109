//! Traces and lists of ports never panic their parsers, and no action that is not understood, or not followed, is left
//! out of where copies of the packet end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_mesh::isolation::{Action, DatapathPorts, End, Trace, parse_learned};

/// How many ends nobody can say of these actions.
fn unsaid(actions: &[Action], followed: &[u32]) -> usize {
    let one = |action: &Action| match action {
        Action::Unknown(_) | Action::Pop(_) => 1,
        Action::Recirculate(id) => usize::from(!followed.contains(id)),
        Action::Clone(inside) | Action::Sample(inside) => unsaid(inside, followed),
        Action::Branch(ways) => ways.iter().map(|way| unsaid(way, followed)).sum(),
        Action::Output(_)
        | Action::Push(_)
        | Action::SetTunnel(_)
        | Action::Change(_)
        | Action::Truncate(_)
        | Action::Userspace(_)
        | Action::Neutral(_)
        | Action::Drop => 0,
    };
    actions.iter().map(one).sum()
}

fuzz_target!(|text: &str| {
    if let Ok(trace) = text.parse::<Trace>() {
        let followed: Vec<u32> = trace.rounds.iter().filter_map(|round| round.recirculated).collect();
        let wanted: usize = trace.rounds.iter().map(|round| unsaid(&round.actions, &followed)).sum();
        let ends = trace.ends(|port| port.0 % 2 == 0);
        assert_eq!(ends.iter().filter(|end| matches!(end, End::Unknown { .. })).count(), wanted);
    }
    if let Ok(ports) = DatapathPorts::parse(text) {
        for port in ports.ports() {
            let found =
                port.number.is_none_or(|number| ports.numbered(&port.datapath, number).any(|it| it == port));
            assert!(found && ports.on(&port.bridge).any(|it| it == port));
            for learned in parse_learned(text, &port.bridge, &ports) {
                assert!(learned.port.is_none_or(|name| ports.on(&port.bridge).any(|it| it.name == name)));
            }
        }
    }
});
