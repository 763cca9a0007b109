use proptest::prelude::*;

use super::*;
use crate::wire::report::{History, Listed};

const FRESHNESS: Duration = Duration::from_millis(500);
const MS: Duration = Duration::from_millis(1);

fn ip(node: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(node).unwrap()])
}

fn judge(gate: bool) -> Judge {
    Judge::new(Rules { majority: 2, freshness: FRESHNESS, gate }, (0..3).map(ip))
}

fn master(offset: u64) -> Replication {
    Replication {
        role: Role::Master,
        history: History::of("h"),
        offset,
        master: None,
        link: false,
        copying: false,
        replicas: Vec::new(),
    }
}

fn replica(offset: u64) -> Replication {
    Replication { role: Role::Replica, link: true, ..master(offset) }
}

/// All that is heard at one moment.
fn hear(
    judge: &mut Judge,
    now: Instant,
    votes: [Option<(usize, u64)>; 3],
    reports: [Option<Replication>; 3],
) {
    for (node, vote) in votes.into_iter().enumerate() {
        if let Some((named, epoch)) = vote {
            judge.vote(node, now, now, Vote { node: Some(named), epoch });
        }
    }
    for (node, report) in reports.into_iter().enumerate() {
        if let Some(report) = report {
            judge.report(node, now, now, report);
        }
    }
}

const AGREED: [Option<(usize, u64)>; 3] = [Some((0, 1)); 3];

fn whole(offset: u64) -> [Option<Replication>; 3] {
    [Some(master(offset)), Some(replica(offset)), Some(replica(offset))]
}

fn down(reason: Reason) -> Verdict {
    Verdict::Down(reason)
}

#[test]
fn a_verdict_needs_a_majority_and_the_masters_own_word() {
    let other = |node| down(Reason::Other { node });
    let unheard = |heard| [down(Reason::Unheard { heard }); 3];
    let table = [
        ("nothing", [None; 3], [None, None, None], unheard(0)),
        ("a minority", [Some((0, 1)), None, None], whole(1), unheard(1)),
        ("all agree", AGREED, whole(1), [Verdict::Up, other(0), other(0)]),
        ("two agree", [Some((0, 1)), Some((0, 1)), None], whole(1), [Verdict::Up, other(0), other(0)]),
        ("all disagree", [Some((0, 1)), Some((1, 1)), Some((2, 1))], whole(1), [down(Reason::Undecided); 3]),
        (
            "two agree and one has heard of a newer failover",
            [Some((0, 1)), Some((0, 1)), Some((1, 2))],
            whole(1),
            [down(Reason::Superseded); 3],
        ),
        (
            "two agree and one has not heard of the failover",
            [Some((1, 1)), Some((0, 2)), Some((0, 2))],
            whole(1),
            [Verdict::Up, other(0), other(0)],
        ),
        ("the master is silent", AGREED, [None, None, None], [down(Reason::Silent), other(0), other(0)]),
        (
            "the master is a replica",
            AGREED,
            [Some(replica(1)), Some(master(1)), None],
            [down(Reason::Replica), other(0), other(0)],
        ),
    ];
    for (what, votes, reports, expected) in table {
        let now = Instant::now();
        let mut judge = judge(true);
        hear(&mut judge, now, votes, reports);
        assert_eq!(judge.verdicts(now), expected, "{what}");
        assert_eq!(judge.verdicts(now + FRESHNESS), unheard(0), "{what}, later");
    }
}

#[test]
fn a_vote_counts_from_when_it_was_asked_for() {
    let asked = Instant::now();
    let now = asked + 499 * MS;
    let mut judge = judge(true);
    hear(&mut judge, now, [None, None, Some((0, 1))], whole(1));
    judge.vote(0, asked, now, Vote { node: Some(0), epoch: 1 });
    assert_eq!(judge.verdict(0, now), Verdict::Up);
    assert_eq!(judge.verdict(0, now + MS), down(Reason::Unheard { heard: 1 }));
}

#[test]
fn a_named_stranger_is_no_node() {
    let now = Instant::now();
    let mut judge = judge(true);
    hear(&mut judge, now, AGREED, whole(1));
    judge.vote(2, now, now, Vote { node: None, epoch: 2 });
    assert_eq!(judge.verdict(0, now), down(Reason::Superseded));
    judge.vote(1, now, now, Vote { node: None, epoch: 2 });
    assert_eq!(judge.verdicts(now), [down(Reason::Undecided); 3]);
}

/// Runs a cluster with the first node as master, a report of each a step; when it was first down for want of replicas.
fn alone_after(gate: bool, steps: impl IntoIterator<Item = [Option<Replication>; 3]>) -> Option<Duration> {
    let start = Instant::now();
    let mut judge = judge(gate);
    let mut now = start;
    for reports in steps {
        hear(&mut judge, now, AGREED, reports);
        match judge.verdict(0, now) {
            Verdict::Up => {}
            Verdict::Down(reason) => {
                assert_eq!(reason, Reason::Alone);
                return Some(now.duration_since(start));
            }
        }
        now += 50 * MS;
    }
    None
}

#[test]
fn a_master_that_is_cut_off_from_its_replicas_goes_down_within_freshness() {
    // A second together, then the replicas stand still.
    let cut = |gate| {
        alone_after(
            gate,
            (0..100).map(|step| {
                let theirs = step.min(20);
                [Some(master(step * 100)), Some(replica(theirs * 100)), Some(replica(theirs * 100))]
            }),
        )
    };
    assert_eq!(cut(true), Some(20 * 50 * MS + FRESHNESS + 50 * MS));
    assert_eq!(cut(false), None);
}

#[test]
fn what_keeps_the_gate_open() {
    type Step = fn(u64) -> [Option<Replication>; 3];
    let table: [(&str, Step); 7] = [
        ("nobody writes", |_| whole(7)),
        ("one replica follows", |step| [Some(master(step)), Some(replica(step)), Some(replica(1))]),
        ("one follows and one is gone", |step| [Some(master(step)), Some(replica(step)), None]),
        ("replicas are late but move", |step| {
            [Some(master(step * 1000)), Some(replica(step * 10)), Some(replica(step * 10))]
        }),
        ("no replica has come yet", |step| [Some(master(step)), None, None]),
        ("replicas are of another history", |step| {
            let other = Replication { history: History::of("other"), ..replica(step) };
            [Some(master(step)), Some(other.clone()), Some(other)]
        }),
        ("a replica copies everything again", |step| {
            let copies = Replication { copying: true, link: false, ..replica(0) };
            if step < 20 { whole(step) } else { [Some(master(step)), Some(copies), None] }
        }),
    ];
    for (what, step) in table {
        assert_eq!(alone_after(true, (0..100).map(step)), None, "{what}");
    }
}

#[test]
fn where_a_replica_is_not_heard_the_masters_word_counts() {
    let steps = |lag: u64| {
        (0..100).map(move |step| {
            if step < 20 {
                return whole(step);
            }
            let listed = Listed { ip: ip(1), online: true, offset: step, lag };
            [Some(Replication { replicas: vec![listed], ..master(step) }), None, None]
        })
    };
    assert_eq!(alone_after(true, steps(1)), None);
    let silent = alone_after(true, steps(2)).expect("neither hears a replica");
    assert_eq!(silent, 19 * 50 * MS + FRESHNESS);
}

#[test]
fn a_judge_that_starts_late_believes_the_master_that_it_had_a_replica() {
    let listed = Listed { ip: ip(1), online: true, offset: 0, lag: 9 };
    let steps = (1..100).map(|step| {
        let alone = Replication { replicas: vec![listed.clone()], ..master(step) };
        [Some(alone), Some(replica(0)), Some(replica(0))]
    });
    assert_eq!(alone_after(true, steps), Some(FRESHNESS));
}

#[test]
fn a_judge_that_starts_late_believes_the_sentinels_that_the_master_had_a_replica() {
    let start = Instant::now();
    let first = |remembered: bool, reports| {
        let mut judge = judge(true);
        if remembered {
            judge.followed(0);
        }
        hear(&mut judge, start, AGREED, reports);
        judge
    };
    let alone = || [Some(master(5)), None, None];
    let cut = || {
        [Some(master(5)), Some(Replication { link: false, history: History::of("old"), ..replica(4) }), None]
    };
    let unheard = [
        Some(Replication {
            replicas: vec![Listed { ip: ip(1), online: true, offset: 5, lag: 1 }],
            ..master(5)
        }),
        None,
        None,
    ];
    let table = [
        ("nobody knows of one", false, alone(), Verdict::Up),
        ("it is dead", true, alone(), down(Reason::Alone)),
        ("it is cut off", true, [Some(master(5)), Some(replica(4)), None], down(Reason::Alone)),
        ("it is of another history", true, cut(), down(Reason::Alone)),
        ("all is well", true, whole(5), Verdict::Up),
        ("all is well, and the replicas have not been heard yet", true, unheard, Verdict::Up),
    ];
    for (what, remembered, reports, expected) in table {
        assert_eq!(first(remembered, reports).verdict(0, start), expected, "{what}");
    }
    // It lasts, until one is back.
    let mut judge = first(true, alone());
    for step in 1..100 {
        let now = start + step * 50 * MS;
        hear(&mut judge, now, AGREED, alone());
        assert_eq!(judge.verdict(0, now), down(Reason::Alone));
    }
    hear(&mut judge, start + 5000 * MS, AGREED, whole(5));
    assert_eq!(judge.verdict(0, start + 5000 * MS), Verdict::Up);
    // One that is only late has it the next time.
    let mut judge = first(true, [Some(master(5)), Some(replica(4)), None]);
    let now = start + 50 * MS;
    hear(&mut judge, now, AGREED, [Some(master(9)), Some(replica(5)), None]);
    assert_eq!(judge.verdict(0, now), Verdict::Up);
}

#[test]
fn what_the_sentinels_remember_holds_up_no_later_master() {
    let start = Instant::now();
    let mut judge = judge(true);
    // A judge that starts before there is a master at all, or in the middle of a failover.
    hear(&mut judge, start, AGREED, [Some(replica(1)), None, None]);
    judge.followed(0);
    judge.followed(1);
    let now = start + 1000 * MS;
    hear(&mut judge, now, AGREED, [Some(master(1)), None, None]);
    assert_eq!(judge.verdict(0, now), Verdict::Up, "the first master");
    let now = start + 2000 * MS;
    hear(&mut judge, now, [Some((1, 2)); 3], [None, Some(master(1)), None]);
    assert_eq!(judge.verdict(1, now), Verdict::Up, "the next");
}

#[test]
fn a_new_master_waits_for_no_replica() {
    let start = Instant::now();
    let mut judge = judge(true);
    hear(&mut judge, start, AGREED, whole(5));
    let now = start + 2000 * MS;
    let promoted = Replication { history: History::of("new"), ..master(5) };
    hear(&mut judge, now, [Some((1, 2)); 3], [None, Some(promoted), Some(replica(5))]);
    assert_eq!(judge.verdict(1, now), Verdict::Up);
}

/// What can happen to a judge, and when.
#[derive(Debug, Clone)]
enum Event {
    Vote { sentinel: usize, node: Option<usize>, epoch: u64 },
    Report { node: usize, master: bool, offset: u64, history: bool },
    Nothing,
}

fn events() -> impl Strategy<Value = Vec<(u64, u64, Event)>> {
    let event = prop_oneof![
        (0..3_usize, prop::option::weighted(0.9, 0..3_usize), 0..3_u64)
            .prop_map(|(sentinel, node, epoch)| Event::Vote { sentinel, node, epoch }),
        (0..3_usize, any::<bool>(), 0..9_u64, any::<bool>())
            .prop_map(|(node, master, offset, history)| Event::Report { node, master, offset, history }),
        Just(Event::Nothing),
    ];
    // How long after the last event, and how long its answer has taken.
    prop::collection::vec((0..300_u64, 0..200_u64, event), 1..60)
}

proptest! {
    /// Against the plainest model: all votes and roles ever said, looked through anew each time.
    #[test]
    fn never_two_never_without_a_majority_never_stale(events in events(), gate: bool) {
        let start = Instant::now() + Duration::from_secs(1);
        let mut now = start;
        let mut judge = judge(gate);
        let mut votes: [Option<(Instant, Option<usize>, u64)>; 3] = [None; 3];
        let mut roles: [Option<(Instant, bool)>; 3] = [None; 3];
        for (pause, took, event) in events {
            now += Duration::from_millis(pause);
            let asked = now.checked_sub(Duration::from_millis(took)).unwrap();
            match event {
                Event::Vote { sentinel, node, epoch } => {
                    votes[sentinel] = Some((asked, node, epoch));
                    judge.vote(sentinel, asked, now, Vote { node, epoch });
                }
                Event::Report { node, master: is_master, offset, history } => {
                    roles[node] = Some((asked, is_master));
                    let history = History::of(if history { "h" } else { "other" });
                    let report = Replication { history, ..if is_master { master(offset) } else { replica(offset) } };
                    judge.report(node, asked, now, report);
                }
                Event::Nothing => {}
            }
            for look in [now, now + FRESHNESS / 2] {
                let fresh = |asked: Instant| look.duration_since(asked) < FRESHNESS;
                let naming = |node: usize| {
                    votes.iter().flatten().filter(move |(asked, named, _)| fresh(*asked) && *named == Some(node)).count()
                };
                let verdicts = judge.verdicts(look);
                let up: Vec<usize> = (0..3).filter(|node| verdicts[*node] == Verdict::Up).collect();
                prop_assert!(up.len() <= 1, "{verdicts:?}");
                for node in &up {
                    prop_assert!(naming(*node) >= 2);
                    prop_assert!(roles[*node].is_some_and(|(asked, master)| master && fresh(asked)));
                }
                if !gate && up.is_empty() {
                    for node in (0..3).filter(|node| naming(*node) >= 2) {
                        let newest = |of: bool| votes.iter().flatten().filter(|(asked, named, _)| {
                            fresh(*asked) && (*named == Some(node)) == of
                        }).map(|(_, _, epoch)| *epoch).max();
                        let superseded = newest(false) > newest(true);
                        let silent = roles[node].is_none_or(|(asked, master)| !master || !fresh(asked));
                        prop_assert!(superseded || silent, "{verdicts:?}");
                    }
                }
            }
            let stale = judge.verdicts(now + FRESHNESS);
            prop_assert!(stale.iter().all(|verdict| *verdict != Verdict::Up), "{stale:?}");
        }
    }
}
