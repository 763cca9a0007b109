//! What is done next: without I/O, clock or randomness.
//!
//! Per subject there is at most one claim: look where the VIP leads, take it if it leads elsewhere, look again until it is
//! seen to lead here. Over all subjects one step is carried out at a time. What keepalived says is only ever the latest
//! word: it starts a claim anew or ends it, whatever step is under way, and no step begins unless the subject is master.

use std::time::{Duration, Instant};

use super::{Change, Word};
use crate::aws::Severity;

/// How often, how soon and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a claim is tried.
    pub deadline: Duration,
    /// How long after a claim's end a master looks again.
    pub reconcile: Duration,
    /// How long after something was taken a master looks again: EC2's views of it lag behind each other.
    pub settle: Duration,
    /// How long after a step that has not shown yet is looked again.
    pub confirm: Duration,
    /// How long after a claim's end a master that was contested looks again; it is told so on every advert.
    pub contested: Duration,
    /// How long after a word of keepalived the addresses may differ from it: it is said just before or after they change.
    pub grace: Duration,
    /// The pause after the first failure. It doubles with each.
    pub pause: Duration,
    /// The same after EC2 has asked for fewer requests.
    pub throttled: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Pace {
    /// Looks after taking something, before it is taken again.
    const LOOKS: u32 = 5;

    /// With what can be configured.
    pub fn new(deadline: Duration, reconcile: Duration) -> Self {
        Self {
            deadline,
            reconcile,
            settle: Duration::from_secs(3).min(reconcile),
            confirm: Duration::from_millis(100),
            contested: Duration::from_secs(1).min(reconcile),
            grace: Duration::from_secs(2),
            pause: Duration::from_millis(100),
            throttled: Duration::from_millis(400),
            longest: Duration::from_secs(5),
        }
    }

    /// The pause after the `failures`th failure; `jitter` is in 0..1. Half of it is random, so that two machines that
    /// failed together do not go on together.
    fn pause(&self, severity: Severity, failures: u32, jitter: f64) -> Duration {
        let first = if severity == Severity::Throttled { self.throttled } else { self.pause };
        let pause = first.saturating_mul(1 << failures.min(16)).min(self.longest);
        pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// One step, for one subject. `T` says what is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// See where the VIP leads.
    Look,
    /// Make it lead here.
    Take(T),
}

/// A step that is to be carried out now; no other is until its outcome is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order<T> {
    /// The subject's position.
    pub subject: usize,
    /// The step.
    pub step: Step<T>,
    /// The word that it is under: what it has not done when another is said, it must not do.
    pub word: Word,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The VIP leads here, by all that can be asked.
    Held,
    /// EC2 has taken it on that it leads here, but not carried it out yet.
    Unsettled,
    /// It leads elsewhere, or nowhere; this is to be taken.
    Elsewhere(T),
    /// EC2 has taken on what was asked.
    Taken,
    /// Nothing, and whether it is of use to try again.
    Failed(Severity),
}

/// What an outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: meanwhile keepalived has said something else.
    Superseded,
    /// The claim goes on.
    Continues,
    /// The VIP leads here.
    Held {
        /// Whether it had to be taken.
        is_moved: bool,
        /// Why it was looked at.
        reason: Reason,
        /// How long the claim took.
        took: Duration,
    },
    /// The step is tried again, from a look on.
    Retries {
        /// After how long.
        after: Duration,
    },
    /// The claim ends without success; the next reconciliation tries again.
    GivenUp {
        /// Whether for want of time, and not because it is of no use.
        is_late: bool,
    },
}

/// What the addresses of this machine mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// What keepalived's last word was, or may yet be seen to have been.
    Expected,
    /// No line has come, or one was lost: this machine has become master, or is no longer.
    News,
    /// keepalived has said that this machine is not master, and the address was here before: something else has put it here.
    Foreign,
}

/// Why there is a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// keepalived has become master.
    Master,
    /// Another machine may have taken the VIP.
    Contested,
    /// Nothing has happened.
    Reconcile,
}

#[derive(Debug)]
struct Claim {
    reason: Reason,
    begun: Instant,
    failures: u32,
    is_moved: bool,
    /// Looks since something was taken.
    looks: u32,
}

impl Claim {
    fn new(reason: Reason, begun: Instant) -> Self {
        Self { reason, begun, failures: 0, is_moved: false, looks: 0 }
    }
}

#[derive(Debug)]
struct Slot<T> {
    is_master: bool,
    /// Which word of keepalived is in force; the outcome of a step under an older one is void.
    word: Word,
    claim: Option<Claim>,
    /// When the last claim came to its end.
    ended: Option<Instant>,
    /// Another machine was heard, and no claim has begun since.
    is_contested: bool,
    /// When keepalived said something last.
    said: Option<Instant>,
    /// Whether this machine had the addresses when they were last looked for, and when that changed last.
    seen: Option<bool>,
    turned: Option<Instant>,
    due: Option<(Instant, Step<T>)>,
}

/// The state of all subjects.
#[derive(Debug)]
pub struct Coordinator<T> {
    pace: Pace,
    slots: Vec<Slot<T>>,
    /// The subject of the step under way, and the word that was in force when it began.
    busy: Option<(usize, Word)>,
}

impl<T> Coordinator<T> {
    /// For so many subjects, none of which is master as far as is known.
    pub fn new(subjects: usize, pace: Pace) -> Self {
        let slot = || Slot {
            is_master: false,
            word: Word::none(),
            claim: None,
            ended: None,
            is_contested: false,
            said: None,
            seen: None,
            turned: None,
            due: None,
        };
        Self { pace, slots: std::iter::repeat_with(slot).take(subjects).collect(), busy: None }
    }

    /// Whether this machine is a subject's master.
    pub fn is_master(&self, subject: usize) -> bool {
        self.slots.get(subject).is_some_and(|slot| slot.is_master)
    }

    /// keepalived has said something.
    pub fn hear(&mut self, subject: usize, change: Change, now: Instant) {
        let pace = self.pace;
        let Some(slot) = self.slots.get_mut(subject) else { return };
        slot.said = Some(now);
        match change {
            Change::Master => slot.begin(now),
            Change::StillMaster | Change::Contested if !slot.is_master => slot.begin(now),
            Change::StillMaster => {}
            Change::Contested => {
                slot.is_contested = true;
                slot.contest(now, &pace);
            }
            Change::NotMaster => slot.end(),
        }
    }

    /// The subject's addresses were looked for on this machine's devices, where keepalived puts them before it says that
    /// it is master, and whence it takes them before it says that it is not.
    ///
    /// Before its first word they are all that is known. After one, that they are gone means that it is no longer master;
    /// that they are here means that it is only if they came after the word: others can put them here too.
    pub fn observe(&mut self, subject: usize, is_present: bool, now: Instant) -> Sight {
        let grace = self.pace.grace;
        let Some(slot) = self.slots.get_mut(subject) else { return Sight::Expected };
        if slot.seen.replace(is_present).is_some_and(|before| before != is_present) {
            slot.turned = Some(now);
        }
        if slot.is_master == is_present || slot.said.is_some_and(|said| now < said + grace) {
            return Sight::Expected;
        }
        let came = slot.said.is_none_or(|said| slot.turned.is_some_and(|turned| turned >= said));
        match is_present {
            false => slot.end(),
            true if came => slot.begin(now),
            true => return Sight::Foreign,
        }
        Sight::News
    }

    /// When there is something to do next, unless keepalived says something before; while a step is under way, never.
    pub fn wake_at(&self) -> Option<Instant> {
        let due = || self.slots.iter().filter_map(|slot| slot.due.as_ref()).map(|(at, _)| *at).min();
        if self.busy.is_some() { None } else { due() }
    }

    /// The step to be carried out now, if there is one and none is under way.
    pub fn poll(&mut self, now: Instant) -> Option<Order<T>> {
        if self.busy.is_some() {
            return None;
        }
        let due = |slot: &Slot<T>| slot.due.as_ref().map(|(at, _)| *at).filter(|at| *at <= now);
        let soonest = self.slots.iter().enumerate().filter_map(|(at, slot)| Some((due(slot)?, at))).min();
        let (_, subject) = soonest?;
        let slot = &mut self.slots[subject];
        let (_, step) = slot.due.take()?;
        if slot.claim.is_none() {
            let is_contested = std::mem::take(&mut slot.is_contested);
            let reason = if is_contested { Reason::Contested } else { Reason::Reconcile };
            slot.claim = Some(Claim::new(reason, now));
        }
        self.busy = Some((subject, slot.word.clone()));
        Some(Order { subject, step, word: slot.word.clone() })
    }

    /// The step under way has come to its end; `jitter` is in 0..1.
    pub fn finish(&mut self, outcome: Outcome<T>, now: Instant, jitter: f64) -> Verdict {
        let Some((subject, word)) = self.busy.take() else { return Verdict::Superseded };
        let pace = self.pace;
        let slot = &mut self.slots[subject];
        if !word.is_in_force() {
            return Verdict::Superseded;
        }
        let Some(claim) = slot.claim.as_mut() else { return Verdict::Superseded };
        match outcome {
            Outcome::Held => {
                let Claim { reason, begun, is_moved, .. } = *claim;
                slot.rest(now, if is_moved { pace.settle } else { pace.reconcile }, &pace);
                Verdict::Held { is_moved, reason, took: now.saturating_duration_since(begun) }
            }
            Outcome::Taken => {
                (claim.is_moved, claim.looks) = (true, 0);
                slot.due = Some((now, Step::Look));
                Verdict::Continues
            }
            Outcome::Elsewhere(what) if !claim.is_moved || claim.looks >= Pace::LOOKS => {
                slot.due = Some((now, Step::Take(what)));
                Verdict::Continues
            }
            Outcome::Unsettled | Outcome::Elsewhere(_) => {
                claim.looks += 1;
                slot.again(now, pace.confirm.mul_f64(0.5 + jitter.clamp(0.0, 1.0)), &pace)
            }
            Outcome::Failed(Severity::Permanent) => slot.give_up(now, &pace, false),
            Outcome::Failed(severity) => {
                let pause = pace.pause(severity, claim.failures, jitter);
                claim.failures += 1;
                match slot.again(now, pause, &pace) {
                    Verdict::Continues => Verdict::Retries { after: pause },
                    verdict => verdict,
                }
            }
        }
    }
}

impl<T> Slot<T> {
    fn begin(&mut self, now: Instant) {
        self.is_master = true;
        self.word.pass();
        self.claim = Some(Claim::new(Reason::Master, now));
        self.is_contested = false;
        self.due = Some((now, Step::Look));
    }

    fn end(&mut self) {
        self.is_master = false;
        self.word.pass();
        (self.claim, self.due, self.is_contested) = (None, None, false);
    }

    /// No claim is under way any more; the next look is after a pause, or sooner if another machine was heard meanwhile.
    fn rest(&mut self, now: Instant, pause: Duration, pace: &Pace) {
        (self.claim, self.ended) = (None, Some(now));
        self.due = Some((now + pause, Step::Look));
        self.contest(now, pace);
    }

    /// Where another machine was heard, and no claim is under way: looks before the next reconciliation would.
    fn contest(&mut self, now: Instant, pace: &Pace) {
        if self.is_contested && self.claim.is_none() {
            let free = self.ended.map_or(now, |ended| now.max(ended + pace.contested));
            self.due = Some((self.due.take().map_or(free, |(due, _)| due.min(free)), Step::Look));
        }
    }

    fn again(&mut self, now: Instant, pause: Duration, pace: &Pace) -> Verdict {
        let begun = self.claim.as_ref().map_or(now, |claim| claim.begun);
        if now + pause > begun + pace.deadline {
            return self.give_up(now, pace, true);
        }
        self.due = Some((now + pause, Step::Look));
        Verdict::Continues
    }

    fn give_up(&mut self, now: Instant, pace: &Pace, is_late: bool) -> Verdict {
        self.rest(now, pace.reconcile, pace);
        Verdict::GivenUp { is_late }
    }
}

#[cfg(test)]
mod tests;
