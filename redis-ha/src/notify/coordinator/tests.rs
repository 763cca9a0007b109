use proptest::prelude::*;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
const RECONCILE: Duration = Duration::from_secs(10);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A coordinator of one subject, and what time it is.
struct One {
    coordinator: Coordinator<()>,
    now: Instant,
}

impl One {
    fn new() -> Self {
        let coordinator = Coordinator::new(1, Pace::new(DEADLINE, RECONCILE));
        Self { coordinator, now: Instant::now() }
    }

    fn hear(&mut self, change: Change) {
        self.coordinator.hear(0, change, self.now);
    }

    fn observe(&mut self, is_present: bool) -> Sight {
        self.coordinator.observe(0, is_present, self.now)
    }

    fn step(&mut self) -> Option<Step<()>> {
        self.coordinator.poll(self.now).map(|order| order.step)
    }

    /// The pause until the next step, which is passed.
    fn pause(&mut self) -> Duration {
        let at = self.coordinator.wake_at().unwrap();
        let pause = at.saturating_duration_since(self.now);
        self.now += pause;
        pause
    }

    fn finish(&mut self, outcome: Outcome<()>) -> Verdict {
        self.coordinator.finish(outcome, self.now, 1.0)
    }

    /// Becomes master, takes the VIP and holds it.
    fn claim(&mut self) {
        self.hear(Change::Master);
        assert_eq!(self.step(), Some(Step::Look));
        self.finish(Outcome::Elsewhere(()));
        assert_eq!(self.step(), Some(Step::Take(())));
        self.finish(Outcome::Taken);
        assert_eq!(self.step(), Some(Step::Look));
        let held = Verdict::Held { is_moved: true, reason: Reason::Master, took: Duration::ZERO };
        assert_eq!(self.finish(Outcome::Held), held);
    }
}

#[test]
fn a_new_master_looks_takes_and_confirms_then_reconciles() {
    let mut one = One::new();
    assert_eq!((one.step(), one.coordinator.wake_at()), (None, None));
    one.claim();
    assert_eq!((one.step(), one.pause()), (None, ms(3000)));
    for _ in 0..3 {
        assert_eq!(one.step(), Some(Step::Look));
        let held = Verdict::Held { is_moved: false, reason: Reason::Reconcile, took: Duration::ZERO };
        assert_eq!(one.finish(Outcome::Held), held);
        assert_eq!(one.pause(), RECONCILE);
    }
    // Somebody took it.
    assert_eq!(one.step(), Some(Step::Look));
    one.finish(Outcome::Elsewhere(()));
    assert_eq!(one.step(), Some(Step::Take(())));
}

#[test]
fn a_backup_does_nothing_and_what_was_under_way_is_void() {
    let mut one = One::new();
    one.hear(Change::NotMaster);
    assert_eq!(one.step(), None);
    one.hear(Change::Master);
    assert_eq!(one.step(), Some(Step::Look));
    one.hear(Change::NotMaster);
    // It leads elsewhere, and is not taken.
    assert_eq!(one.finish(Outcome::Elsewhere(())), Verdict::Superseded);
    assert_eq!((one.step(), one.coordinator.wake_at()), (None, None));
    // Master, backup, master within one look: what the look saw may be of before.
    one.hear(Change::Master);
    assert_eq!(one.step(), Some(Step::Look));
    one.hear(Change::NotMaster);
    one.hear(Change::Master);
    assert_eq!(one.step(), None, "one step at a time");
    assert_eq!(one.finish(Outcome::Held), Verdict::Superseded);
    assert_eq!(one.step(), Some(Step::Look));
}

#[test]
fn a_contested_master_looks_again_but_not_on_every_advert() {
    let mut one = One::new();
    one.claim();
    // Within a second of the claim, twice.
    one.now += ms(200);
    one.hear(Change::Contested);
    one.hear(Change::Contested);
    assert_eq!((one.step(), one.pause()), (None, ms(800)));
    assert_eq!(one.step(), Some(Step::Look));
    // Under way: once more afterwards.
    one.hear(Change::Contested);
    let held = Verdict::Held { is_moved: false, reason: Reason::Contested, took: Duration::ZERO };
    assert_eq!(one.finish(Outcome::Held), held);
    assert_eq!(one.pause(), ms(1000));
    assert_eq!(one.step(), Some(Step::Look));
    one.finish(Outcome::Held);
    // Long after: at once.
    one.now += ms(5000);
    one.hear(Change::StillMaster);
    assert_eq!(one.step(), None);
    one.hear(Change::Contested);
    assert_eq!(one.step(), Some(Step::Look));
    // Who was not known to be master is, now.
    let mut one = One::new();
    one.hear(Change::Contested);
    assert_eq!(one.step(), Some(Step::Look));
}

#[test]
fn failures_pause_longer_and_end_at_the_deadline() {
    let mut one = One::new();
    one.hear(Change::Master);
    let mut pauses = Vec::new();
    let verdict = loop {
        assert_eq!(one.step(), Some(Step::Look));
        match one.finish(Outcome::Failed(Severity::Throttled)) {
            Verdict::Retries { after } => pauses.push(after.as_millis()),
            verdict => break verdict,
        }
        one.pause();
    };
    assert_eq!(pauses, [400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(verdict, Verdict::GivenUp { is_late: true });
    assert_eq!(one.pause(), RECONCILE);
    assert_eq!(one.step(), Some(Step::Look));
    assert_eq!(one.finish(Outcome::Failed(Severity::Permanent)), Verdict::GivenUp { is_late: false });
    assert_eq!(one.pause(), RECONCILE);
    assert_eq!(one.step(), Some(Step::Look));
    assert_eq!(
        one.coordinator.finish(Outcome::Failed(Severity::Transient), one.now, 0.0),
        Verdict::Retries { after: ms(50) }
    );
}

#[test]
fn what_was_taken_is_waited_for_before_it_is_taken_again() {
    let mut one = One::new();
    one.hear(Change::Master);
    assert_eq!(one.step(), Some(Step::Look));
    one.finish(Outcome::Elsewhere(()));
    for _ in 0..2 {
        assert_eq!(one.step(), Some(Step::Take(())));
        one.finish(Outcome::Taken);
        for _ in 0..Pace::LOOKS {
            assert_eq!(one.step(), Some(Step::Look));
            assert_eq!(one.finish(Outcome::Elsewhere(())), Verdict::Continues);
            assert_eq!(one.pause(), ms(150));
        }
        assert_eq!(one.step(), Some(Step::Look));
        one.finish(Outcome::Elsewhere(()));
    }
    assert_eq!(one.step(), Some(Step::Take(())));
    one.finish(Outcome::Taken);
    let begun = one.now;
    while one.step().is_some() {
        if one.finish(Outcome::Unsettled) == (Verdict::GivenUp { is_late: true }) {
            break;
        }
        one.pause();
    }
    assert!(one.now - begun > DEADLINE / 2);
}

/// notify was started when keepalived was running: there is nothing but the addresses.
#[test]
fn before_the_first_word_the_addresses_count() {
    let mut one = One::new();
    assert_eq!(one.observe(false), Sight::Expected);
    assert_eq!(one.observe(true), Sight::News);
    assert_eq!(one.step(), Some(Step::Look));
    one.finish(Outcome::Held);
    assert_eq!(one.observe(true), Sight::Expected);
    assert_eq!(one.observe(false), Sight::News);
    assert_eq!(one.coordinator.wake_at(), None);
    assert_eq!(One::new().observe(true), Sight::News);
}

#[test]
fn a_lost_line_is_made_good_by_the_addresses() {
    // MASTER was lost: the address came after the word.
    let mut one = One::new();
    one.hear(Change::NotMaster);
    one.now += ms(500);
    assert_eq!(one.observe(false), Sight::Expected);
    one.now += ms(1000);
    assert_eq!(one.observe(true), Sight::Expected, "within the grace");
    one.now += ms(1000);
    assert_eq!(one.observe(true), Sight::News);
    assert_eq!(one.step(), Some(Step::Look));
    // And BACKUP, and MASTER again.
    one.now += ms(1000);
    assert_eq!(one.observe(false), Sight::News);
    assert!(!one.coordinator.is_master(0));
    assert_eq!(one.observe(true), Sight::News);
    // BACKUP was lost, before the address was seen once.
    let mut one = One::new();
    assert_eq!(one.observe(false), Sight::Expected);
    one.hear(Change::Master);
    assert_eq!(one.observe(false), Sight::Expected);
    assert!(one.coordinator.is_master(0), "within the grace");
    one.now += ms(2000);
    assert_eq!(one.observe(false), Sight::News);
    assert!(!one.coordinator.is_master(0));
}

/// cloud-init put it there, say.
#[test]
fn an_address_that_was_here_before_a_word_does_not_overrule_it() {
    for observed_before in [true, false] {
        let mut one = One::new();
        if observed_before {
            assert_eq!(one.observe(true), Sight::News);
            one.now += ms(1000);
        }
        one.hear(Change::NotMaster);
        assert_eq!(one.observe(true), Sight::Expected);
        for _ in 0..5 {
            one.now += ms(1000);
            let sight = one.observe(true);
            assert!(sight == Sight::Expected || sight == Sight::Foreign, "{sight:?}");
            assert!(!one.coordinator.is_master(0));
        }
        assert_eq!(one.observe(true), Sight::Foreign);
        // A word counts at once, whatever is here.
        one.hear(Change::Master);
        assert!(one.coordinator.is_master(0));
        one.hear(Change::NotMaster);
        one.now += ms(3000);
        assert_eq!(one.observe(true), Sight::Foreign);
        assert_eq!(one.coordinator.wake_at(), None);
    }
}

#[derive(Debug, Clone)]
enum Op {
    Hear(usize, Change),
    Observe(usize, bool),
    /// Somebody else takes a subject's VIP.
    Lose(usize),
    /// Time passes.
    Wait(u64),
    /// The step under way ends: well, or with a failure, or so that it does not show yet.
    Finish(Option<Severity>, bool),
}

fn op(subjects: usize) -> impl Strategy<Value = Op> {
    use Change::{Contested, Master, NotMaster, StillMaster};
    let change = prop::sample::select(vec![Master, StillMaster, Contested, NotMaster]);
    let severity = prop::sample::select(vec![
        None,
        None,
        Some(Severity::Throttled),
        Some(Severity::Transient),
        Some(Severity::Permanent),
    ]);
    prop_oneof![
        (0..subjects, change).prop_map(|(subject, change)| Op::Hear(subject, change)),
        (0..subjects, any::<bool>()).prop_map(|(subject, is_present)| Op::Observe(subject, is_present)),
        (0..subjects).prop_map(Op::Lose),
        (0_u64..4000).prop_map(Op::Wait),
        (severity, any::<bool>()).prop_map(|(severity, lags)| Op::Finish(severity, lags)),
    ]
}

/// Beside the coordinator: who is master by the last word, and where each VIP leads.
struct Model {
    coordinator: Coordinator<()>,
    now: Instant,
    is_master: Vec<bool>,
    leads_here: Vec<bool>,
    /// Whether keepalived has said anything of each.
    has_spoken: Vec<bool>,
    /// The step under way, and whether its subject has stayed master since it began.
    under_way: Option<(Order<()>, bool)>,
    orders: usize,
}

impl Model {
    fn new(subjects: usize) -> Self {
        Self {
            coordinator: Coordinator::new(subjects, Pace::new(DEADLINE, RECONCILE)),
            now: Instant::now(),
            is_master: vec![false; subjects],
            leads_here: vec![false; subjects],
            has_spoken: vec![false; subjects],
            under_way: None,
            orders: 0,
        }
    }

    fn poll(&mut self) {
        let order = self.coordinator.poll(self.now);
        if let Some(order) = order {
            assert!(self.under_way.is_none(), "one step at a time");
            assert!(self.is_master[order.subject], "only a master's");
            self.orders += 1;
            self.under_way = Some((order, true));
            assert_eq!(self.coordinator.poll(self.now), None);
        }
        let any = self.is_master.iter().any(|is_master| *is_master);
        let wakes = self.coordinator.wake_at().is_some();
        assert_eq!(
            wakes,
            any && self.under_way.is_none(),
            "a master is never forgotten, a backup never looked after"
        );
        assert!(self.coordinator.wake_at().is_none_or(|at| at <= self.now + RECONCILE));
    }

    fn word(&mut self, subject: usize, is_master: bool) {
        self.is_master[subject] = is_master;
        if let Some((_, stays)) = self.under_way.as_mut().filter(|(order, _)| order.subject == subject) {
            *stays &= is_master;
        }
    }

    fn finish(&mut self, failure: Option<Severity>, lags: bool) {
        let Some((Order { subject, step, word }, stays)) = self.under_way.take() else { return };
        let leads_here = &mut self.leads_here[subject];
        let outcome = match (failure, step) {
            (Some(severity), _) => Outcome::Failed(severity),
            (None, Step::Look) if !*leads_here => Outcome::Elsewhere(()),
            (None, Step::Look) if lags => Outcome::Unsettled,
            (None, Step::Look) => Outcome::Held,
            (None, Step::Take(())) => {
                *leads_here = true;
                Outcome::Taken
            }
        };
        assert!(stays || !word.is_in_force(), "who carries it out sees that it is void");
        let verdict = self.coordinator.finish(outcome, self.now, 0.5);
        assert!(
            stays || verdict == Verdict::Superseded,
            "{verdict:?} for a step that keepalived has made void"
        );
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Hear(subject, change) => {
                self.coordinator.hear(subject, change, self.now);
                self.has_spoken[subject] = true;
                self.word(subject, change != Change::NotMaster);
            }
            Op::Observe(subject, is_present) => {
                let differs = self.is_master[subject] != is_present;
                match self.coordinator.observe(subject, is_present, self.now) {
                    Sight::News => {
                        assert!(differs, "what is known is no news");
                        self.word(subject, is_present);
                    }
                    Sight::Foreign => assert!(differs && is_present && self.has_spoken[subject]),
                    Sight::Expected => assert!(!differs || self.has_spoken[subject]),
                }
            }
            Op::Lose(subject) => self.leads_here[subject] = false,
            Op::Wait(time) => self.now += ms(time),
            Op::Finish(severity, lags) => self.finish(severity, lags),
        }
        self.poll();
    }
}

proptest! {
    /// Whatever is said and whatever fails: once nothing more is said and nothing more fails, each master has its VIP, and
    /// nobody takes another's.
    #[test]
    fn the_latest_word_wins(ops in prop::collection::vec(op(3), 0..120)) {
        let mut model = Model::new(3);
        for op in &ops {
            model.apply(op);
        }
        // A step under way cannot be called back: who became master meanwhile finds out when it looks again.
        model.finish(None, false);
        for (subject, is_master) in model.is_master.iter().enumerate() {
            prop_assert_eq!(model.coordinator.is_master(subject), *is_master);
            model.leads_here[subject] &= is_master;
        }
        let (end, before) = (model.now + DEADLINE + RECONCILE * 2, model.orders);
        loop {
            model.finish(None, false);
            model.poll();
            if model.under_way.is_none() {
                match model.coordinator.wake_at() {
                    Some(at) if at < end => model.now = at.max(model.now),
                    _ => break,
                }
                model.poll();
            }
        }
        prop_assert_eq!(&model.leads_here, &model.is_master);
        prop_assert!(model.orders - before < 60, "{} steps in {:?}", model.orders - before, DEADLINE + RECONCILE * 2);
    }
}
