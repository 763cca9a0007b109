//! A run: which frame to send when, and what has been met so far. Pure: the clock is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::ProbeOptions;
use super::asks::{Ask, Wanted, Way, asks};
use super::cookie::{Cookie, Mark, Stage};
use super::facts::Facts;
use super::frames::{Asking, echo, question};
use super::layout::Layout;
use super::met::Stray;
use super::others::Overheard;
use super::owners::Owners;
use crate::link::Mac;

/// By what a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// The tenant's bridge, as its own device.
    Bridge,
    /// The tenant's gateway.
    Gateway,
}

/// A frame to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) tenant: usize,
    pub(super) ask: usize,
    pub(super) via: Via,
    pub(super) frame: Vec<u8>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Send(Sending),
    /// Nothing until then, unless something is met.
    Wait(Instant),
    Done,
}

/// How far a question has come.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) state: State,
    pub(super) sent: [u8; 4],
    /// Which frames have been answered by their own mark.
    pub(super) passed: [bool; 4],
    due: Option<Instant>,
    /// Who answered, by what, and how often at which device.
    pub(super) answers: BTreeMap<(Mac, Way), HashMap<u32, u32>>,
    /// The copies of a question on the wire, by attempt, peer and device.
    pub(super) copies: HashMap<(u8, IpAddr, u32), u32>,
    /// The peers that there was a copy for.
    pub(super) left: HashSet<IpAddr>,
    /// Whether it got to the port where it should be answered.
    pub(super) arrived: bool,
    /// Why it could not be sent.
    pub(super) refused: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    At(Stage),
    Done,
}

/// What is known of a tenant as a whole.
#[derive(Debug, Default)]
pub(super) struct Tenancy {
    /// Why its bridge takes no frames.
    pub(super) closed: Option<String>,
    /// Frames come back: more of them would only feed a loop.
    pub(super) looped: bool,
    pub(super) strays: BTreeSet<Stray>,
    pub(super) overheard: BTreeSet<(Overheard, Way)>,
}

#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) layout: &'a Layout<'a>,
    pub(super) facts: &'a Facts,
    pub(super) owners: &'a Owners<'a>,
    pub(super) options: &'a ProbeOptions,
    pub(super) cookie: Cookie,
    pub(super) asked: Vec<Asked>,
    pub(super) tenants: Vec<Tenancy>,
    /// The questions to all.
    pub(super) by_address: HashMap<(usize, IpAddr), usize>,
    /// The questions to one of another tenant's.
    pub(super) by_mac: HashMap<(usize, Mac), usize>,
    /// The tenants whose bridges have a MAC address.
    pub(super) by_bridge: HashMap<Mac, BTreeSet<usize>>,
    active: Vec<usize>,
    waiting: usize,
    last: Option<Instant>,
    until: Instant,
    /// How long it may take.
    pub(super) time: Duration,
    /// Why it ended before.
    pub(super) stopped: Option<String>,
    /// How many frames were not heard.
    pub(super) missed: u32,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        layout: &'a Layout<'a>,
        facts: &'a Facts,
        owners: &'a Owners<'a>,
        options: &'a ProbeOptions,
        now: Instant,
    ) -> Self {
        let fresh = |ask| Asked {
            ask,
            state: State::Waiting,
            sent: [0; 4],
            passed: [false; 4],
            due: None,
            answers: BTreeMap::new(),
            copies: HashMap::new(),
            left: HashSet::new(),
            arrived: false,
            refused: None,
        };
        let asked: Vec<Asked> = asks(layout, facts, owners, options).into_iter().map(fresh).collect();
        let topology = layout.topology;
        let host = topology.position(&layout.plan.host).and_then(|at| u16::try_from(at).ok());
        let (mut by_address, mut by_mac) = (HashMap::new(), HashMap::new());
        for (at, Asked { ask, .. }) in asked.iter().enumerate() {
            match ask.to {
                Some(mac) => by_mac.insert((ask.tenant, mac), at),
                None => by_address.insert((ask.tenant, ask.address), at),
            };
        }
        let mut by_bridge: HashMap<Mac, BTreeSet<usize>> = HashMap::new();
        for at in 0..topology.tenants().len() {
            if let Some(mac) = layout.bridge(at).and_then(|bridge| facts.bridges.get(&bridge.name)) {
                by_bridge.entry(*mac).or_default().insert(at);
            }
        }
        let time = options.deadline.saturating_add(silence(options, asked.len()));
        let time = options.most.map_or(time, |most| most.min(time));
        Self {
            layout,
            facts,
            owners,
            options,
            cookie: Cookie::new(options.cookie, host.unwrap_or(u16::MAX)),
            asked,
            tenants: topology.tenants().iter().map(|_| Tenancy::default()).collect(),
            by_address,
            by_mac,
            by_bridge,
            active: Vec::new(),
            waiting: 0,
            last: None,
            until: now + time,
            time,
            stopped: None,
            missed: 0,
        }
    }

    /// What is to be done now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if now >= self.until || self.stopped.is_some() {
            return Next::Done;
        }
        let paced = self.last.map(|last| last + self.options.gap).filter(|next| *next > now);
        let mut wake = self.until;
        let mut at = 0;
        loop {
            let Some(&number) = self.active.get(at) else {
                if self.active.len() >= self.options.at_once || self.waiting >= self.asked.len() {
                    break;
                }
                if let Some(next) = paced {
                    wake = wake.min(next);
                    break;
                }
                self.active.push(self.waiting);
                self.waiting += 1;
                continue;
            };
            let until = match (self.step(number, now), paced) {
                (Step::Wait(until), _) | (Step::Send(_), Some(until)) => Some(until),
                (Step::Send(stage), None) => match self.send(number, stage, now) {
                    Some(sending) => return Next::Send(sending),
                    None => None,
                },
                (Step::Done, _) => None,
            };
            if let Some(until) = until {
                wake = wake.min(until);
                at += 1;
            } else {
                self.asked[number].state = State::Done;
                self.active.swap_remove(at);
            }
        }
        if self.active.is_empty() && self.waiting == self.asked.len() {
            // Somebody else may answer yet.
            let heard = self.last.map_or(now, |last| last + self.options.wait);
            return if now >= heard { Next::Done } else { Next::Wait(heard) };
        }
        Next::Wait(wake)
    }

    /// A gateway could not send a frame.
    pub(super) fn refused(&mut self, sending: &Sending, why: String) {
        self.asked[sending.ask].refused = Some(why);
    }

    /// A frame has been sent by now. That may have taken its time, in which a busy switch forwarded nobody's answer either.
    pub(super) fn taken(&mut self, sending: &Sending, now: Instant) {
        let spent = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        for number in &self.active {
            let asked = &mut self.asked[*number];
            asked.due = asked.due.map(|due| due + spent);
        }
        self.asked[sending.ask].due = Some(now + self.options.wait);
        self.last = Some(now);
    }

    /// How long ovs-vswitchd is waited for.
    pub(super) fn patience(&self, now: Instant) -> Instant {
        self.until.min(now + self.options.take)
    }

    /// The switch takes no frames in time: what has not been asked yet will not be.
    pub(super) fn stop(&mut self, why: String) {
        self.stopped.get_or_insert(why);
    }

    /// So many frames were lost before they could be looked at.
    pub(super) fn missed(&mut self, frames: u32) {
        self.missed = self.missed.saturating_add(frames);
    }

    /// A tenant's bridge takes no frames.
    pub(super) fn close(&mut self, tenant: usize, why: String) {
        self.tenants[tenant].closed = Some(why);
    }

    fn send(&mut self, number: usize, stage: Stage, now: Instant) -> Option<Sending> {
        let (via, frame) = self.frame(number, stage)?;
        let asked = &mut self.asked[number];
        asked.state = State::At(stage);
        asked.sent[stage as usize] += 1;
        asked.due = Some(now + self.options.wait);
        self.last = Some(now);
        Some(Sending { tenant: asked.ask.tenant, ask: number, via, frame })
    }

    fn frame(&self, number: usize, stage: Stage) -> Option<(Via, Vec<u8>)> {
        let asked = &self.asked[number];
        let Ask { tenant, address, to, wanted: _ } = asked.ask;
        let bridge = self.layout.bridge(tenant)?;
        let ask = u16::try_from(number).ok()?;
        let attempt = asked.sent[stage as usize];
        let mark = Mark { tenant: u16::try_from(tenant).ok()?, ask, stage, attempt };
        let mark = self.cookie.write(mark);
        let from = *self.facts.bridges.get(&bridge.name)?;
        let mtu = self.layout.topology.tenant_mtu();
        let length = if matches!(stage, Stage::Full | Stage::Echo) { mtu } else { 0 };
        match stage {
            Stage::Question => Some((Via::Bridge, question(Asking { from, to, address }, mark, length))),
            Stage::Full => {
                let to = Some(asked.answerer()?);
                Some((Via::Bridge, question(Asking { from, to, address }, mark, length)))
            }
            Stage::Echo | Stage::Short => {
                let own = (*self.facts.gateways.get(&bridge.tenant)?, bridge.gateway.as_ref()?.address.ip());
                let to = (asked.answerer()?, address);
                let frame = echo(own, to, self.cookie.short(), ask, mark, length)?;
                Some((Via::Gateway, frame))
            }
        }
    }

    /// Whether a question left for every peer.
    fn has_left(&self, asked: &Asked) -> bool {
        asked.left.len() == self.layout.peers(asked.ask.tenant).len()
    }

    fn step(&self, number: usize, now: Instant) -> Step {
        let asked = &self.asked[number];
        let tenancy = &self.tenants[asked.ask.tenant];
        if tenancy.closed.is_some() || tenancy.looped {
            return Step::Done;
        }
        let State::At(stage) = asked.state else { return Step::Send(Stage::Question) };
        let sent = asked.sent[stage as usize];
        let passed = match stage {
            Stage::Question => {
                self.has_left(asked)
                    && matches!(asked.ask.wanted, Wanted::Known { .. })
                    && !asked.answers.is_empty()
            }
            Stage::Full => asked.answered_in_full(),
            Stage::Echo | Stage::Short => asked.passed[stage as usize],
        };
        let due = asked.due.unwrap_or(now);
        if !passed && now < due {
            return Step::Wait(due);
        }
        let silence_is_well = matches!(asked.ask.wanted, Wanted::Nobody(_)) && self.has_left(asked);
        if !passed && !silence_is_well && sent < self.options.tries {
            return Step::Send(stage);
        }
        let Wanted::Known { echo, .. } = asked.ask.wanted else { return Step::Done };
        match stage {
            Stage::Question if !asked.answers.is_empty() => Step::Send(Stage::Full),
            Stage::Full if passed && echo => Step::Send(Stage::Echo),
            Stage::Echo if !passed => Step::Send(Stage::Short),
            _ => Step::Done,
        }
    }
}

/// How long it takes to ask so many times without an answer.
fn silence(options: &ProbeOptions, questions: usize) -> Duration {
    let at_once = u32::try_from(options.at_once.max(1)).unwrap_or(u32::MAX);
    let one = options.gap.max(options.wait / at_once);
    let times = u32::try_from(questions).unwrap_or(u32::MAX).saturating_mul(u32::from(options.tries));
    one.saturating_mul(times)
}

enum Step {
    Send(Stage),
    Wait(Instant),
    Done,
}

impl Asked {
    /// The MAC address to ask alone: the one that should answer, if it did.
    fn answerer(&self) -> Option<Mac> {
        let Wanted::Known { way, mac, .. } = &self.ask.wanted else { return None };
        let mut all = self.answers.keys();
        let right = all.clone().find(|(found, by)| {
            mac.is_none_or(|mac| mac == *found) && way.as_ref().is_none_or(|way| way == by)
        });
        right.or_else(|| all.next()).map(|(mac, _)| *mac)
    }

    /// An answer does not say which question it answers. But there is one at most for each: if there are more than short
    /// questions were sent, a long one has been answered.
    fn answered_in_full(&self) -> bool {
        let Some(mac) = self.answerer() else { return false };
        let by_way = self.answers.iter().filter(|((found, _), _)| *found == mac);
        // Devices on top of each other show one answer several times.
        let most = by_way.flat_map(|(_, at)| at.values()).max();
        most.is_some_and(|most| *most > u32::from(self.sent[Stage::Question as usize]))
    }

    /// Whether it was asked with the tenant's MTU and answered, as far as it came to that.
    pub(super) fn passed_full(&self) -> bool {
        self.sent[Stage::Full as usize] == 0 || self.answered_in_full()
    }

    pub(super) fn has_left_for(&self, peer: IpAddr) -> bool {
        self.left.contains(&peer)
    }
}
