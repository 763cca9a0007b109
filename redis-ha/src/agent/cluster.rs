//! One cluster's part of the agent: its questions, its judge, its answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ovs_mesh::{Ctid, NetnsName, TenantName};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::{self, Question, serve};
use super::haproxy::verdict_commands;
use super::judge::{Judge, Reason, Rules, Verdict, Vote};
use super::notice::{Notice, Part, Quota};
use super::poll::{Heard, Poll, poll};
use super::{Hears, Push, Tell};
use crate::config::{Credentials, REDIS_PORT, SENTINEL_PORT};
use crate::survey::{redis_login, sentinel_login, sentinel_question};
use crate::wire::report::{Named, Replication, followed, replicas_question};
use crate::wire::resp::{Reply, Request};

/// What there is to watch.
#[derive(Debug, Clone)]
pub(super) struct ClusterWatch {
    pub(super) tenant: TenantName,
    /// The tenant's gateway on this proxy.
    pub(super) netns: NetnsName,
    pub(super) nodes: Vec<(Ctid, IpAddr)>,
    pub(super) rules: Rules,
    /// How often each is asked.
    pub(super) poll: Duration,
    /// Sentinel's inner periods.
    pub(super) sentinel: Option<[(&'static str, Duration); 4]>,
}

/// What a poll has heard, and of whom.
struct Event {
    node: usize,
    part: Part,
    heard: Heard,
}

/// What is remembered of a part of a node, so that only changes are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Heard,
    Lost,
    Odd,
}

impl ClusterWatch {
    /// Runs until it is dropped.
    pub(super) async fn run(self, credentials: Credentials, push: Push, majority: Hears, tell: Tell) {
        let judge = Judge::new(self.rules, self.nodes.iter().map(|(_, ip)| *ip));
        let judge = Arc::new(Mutex::new(judge));
        let (events, mut heard) = mpsc::unbounded_channel();
        // They end with this.
        let mut tasks = JoinSet::new();
        for (node, (_, ip)) in self.nodes.iter().enumerate() {
            for part in [Part::Redis, Part::Sentinel] {
                let events = events.clone();
                tasks.spawn(poll(self.poll(part, *ip, &credentials), move |heard| {
                    drop(events.send(Event { node, part, heard }));
                }));
            }
        }
        let mut teller = Teller::new(&self, push, Arc::clone(&tell));
        // HAProxy takes an agent that it cannot reach for no news: one that starts says nothing before it knows something, so that a
        // restart ends no session.
        let start = Instant::now();
        let mut knows = false;
        let mut is_deaf = false;
        let mut ticks = interval(self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = heard.recv() => self.note(event, &mut lock(&judge), &mut teller),
                // What is not said any more must be noticed, too.
                _ = ticks.tick() => {}
                Some(Err(error)) = tasks.join_next() => {
                    if error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
            let now = Instant::now();
            let verdicts = lock(&judge).verdicts(now);
            if !knows
                && (verdicts.contains(&Verdict::Up) || now.duration_since(start) >= self.rules.freshness)
            {
                knows = true;
                tasks.spawn(self.clone().answers(Arc::clone(&judge), Arc::clone(&tell)));
            }
            if knows {
                teller.verdicts(&verdicts, now);
                let deaf =
                    verdicts.iter().all(|verdict| matches!(verdict, Verdict::Down(Reason::Unheard { .. })));
                if deaf != is_deaf {
                    is_deaf = deaf;
                    drop(majority.send((self.tenant.clone(), !deaf)));
                }
            }
        }
    }

    fn poll(&self, part: Part, ip: IpAddr, credentials: &Credentials) -> Poll {
        let (service, login, question) = match part {
            Part::Redis => (REDIS_PORT, redis_login(credentials), Request::of(&Replication::QUESTION)),
            Part::Sentinel => (SENTINEL_PORT, sentinel_login(credentials), sentinel_question(&self.tenant)),
        };
        let greeting = (part == Part::Sentinel).then(|| self.greeting());
        Poll {
            netns: self.netns.clone(),
            to: SocketAddr::new(ip, service),
            login,
            greeting,
            question,
            period: self.poll,
            patience: self.rules.freshness,
        }
    }

    /// The periods, where there are some to be set, and then what the Sentinel remembers.
    fn greeting(&self) -> Request {
        let memory = replicas_question(self.tenant.as_str());
        match &self.sentinel {
            Some(periods) => periods_command(periods).and(&memory),
            None => Request::of(&memory),
        }
    }

    async fn answers(self, judge: Arc<Mutex<Judge>>, tell: Tell) {
        let Self { tenant, netns, nodes, .. } = self;
        let answer = move |question: Option<&Question>| {
            answer::answer(question, |ctid| {
                let node = nodes.iter().position(|(node, _)| node == ctid)?;
                Some(lock(&judge).verdict(node, Instant::now()))
            })
        };
        let mut trouble = false;
        serve(&netns, answer, |why| {
            if why.is_none() || !trouble {
                trouble = why.is_some();
                tell(Notice::Listen { tenant: tenant.clone(), why });
            }
        })
        .await;
    }

    fn note(&self, event: Event, judge: &mut Judge, teller: &mut Teller<'_>) {
        let Event { node, part, heard } = event;
        match heard {
            Heard::Answer { asked, replies } => {
                let now = Instant::now();
                let read = match part {
                    Part::Redis => {
                        Replication::of(&replies).map(|report| judge.report(node, asked, now, report))
                    }
                    Part::Sentinel => {
                        Named::of(&replies).map(|named| judge.vote(node, asked, now, self.vote(&named)))
                    }
                };
                match read {
                    Ok(()) => teller.change(node, part, Told::Heard, |tenant, node| Notice::Heard {
                        tenant,
                        node,
                        part,
                    }),
                    Err(why) => {
                        teller.change(node, part, Told::Odd, |tenant, node| Notice::Odd {
                            tenant,
                            node,
                            part,
                            why,
                        });
                    }
                }
            }
            Heard::Greeted(replies) => {
                let [periods @ .., memory] = &replies[..] else { return };
                if let [Reply::Error(why)] = periods {
                    teller.periods(node, why.clone());
                }
                // A Sentinel that refuses it will refuse the question as well.
                for master in followed(memory).unwrap_or_default() {
                    if let Some(node) = self.node(master) {
                        judge.followed(node);
                    }
                }
            }
            Heard::Lost(why) => {
                teller.change(node, part, Told::Lost, |tenant, node| Notice::Lost {
                    tenant,
                    node,
                    part,
                    why,
                });
            }
        }
    }

    fn vote(&self, named: &Named) -> Vote {
        Vote { node: self.node(named.master), epoch: named.epoch }
    }

    fn node(&self, redis: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|(_, ip)| SocketAddr::new(*ip, REDIS_PORT) == redis)
    }
}

fn lock(judge: &Mutex<Judge>) -> MutexGuard<'_, Judge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `SENTINEL DEBUG ping-period 300 …`, in milliseconds.
fn periods_command(periods: &[(&str, Duration)]) -> Request {
    let values: Vec<(&str, String)> =
        periods.iter().map(|(name, period)| (*name, period.as_millis().to_string())).collect();
    let words: Vec<&str> = values.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    Request::of(&[&["SENTINEL", "DEBUG"], words.as_slice()].concat())
}

/// Tells changes, to HAProxy and to the operator.
struct Teller<'a> {
    watch: &'a ClusterWatch,
    push: Push,
    tell: Tell,
    verdicts: Vec<Option<Verdict>>,
    told: Vec<[Told; 2]>,
    periods: Vec<bool>,
    quota: Quota,
    /// Of verdicts, which must not go under among the rest.
    verdict_quota: Quota,
}

impl<'a> Teller<'a> {
    fn new(watch: &'a ClusterWatch, push: Push, tell: Tell) -> Self {
        let nodes = watch.nodes.len();
        Self {
            watch,
            push,
            tell,
            verdicts: vec![None; nodes],
            told: vec![[Told::Nothing; 2]; nodes],
            periods: vec![false; nodes],
            quota: Quota::new(Instant::now()),
            verdict_quota: Quota::new(Instant::now()),
        }
    }

    fn verdicts(&mut self, verdicts: &[Verdict], now: Instant) {
        let tenant = &self.watch.tenant;
        let changed = || self.watch.nodes.iter().zip(verdicts).zip(&self.verdicts);
        let is_up = |verdict: &Verdict| *verdict == Verdict::Up;
        let moved = changed()
            .filter(|((_, verdict), before)| before.as_ref().map(is_up) != Some(is_up(verdict)))
            .map(|(((node, _), verdict), _)| (tenant, node, is_up(verdict)));
        let commands = verdict_commands(moved);
        if !commands.is_empty() {
            // HAProxy asks in any case.
            drop(self.push.send(commands));
        }
        let mut notices = Vec::new();
        for (((node, _), verdict), before) in changed() {
            let same = before.as_ref().is_some_and(|before| is_same(before, verdict));
            if !same && let Some(untold) = self.verdict_quota.take(now) {
                notices.push(Notice::Verdict {
                    tenant: tenant.clone(),
                    node: node.clone(),
                    verdict: *verdict,
                    untold,
                });
            }
        }
        for notice in notices {
            (self.tell)(notice);
        }
        self.verdicts = verdicts.iter().copied().map(Some).collect();
    }

    fn change(&mut self, node: usize, part: Part, to: Told, notice: impl FnOnce(TenantName, Ctid) -> Notice) {
        let told = &mut self.told[node][usize::from(part == Part::Sentinel)];
        if std::mem::replace(told, to) != to && self.quota.take(Instant::now()).is_some() {
            (self.tell)(notice(self.watch.tenant.clone(), self.watch.nodes[node].0.clone()));
        }
    }

    /// Each connection asks for them again: one refusal is enough to know.
    fn periods(&mut self, node: usize, why: String) {
        if !std::mem::replace(&mut self.periods[node], true) {
            let (tenant, node) = (self.watch.tenant.clone(), self.watch.nodes[node].0.clone());
            (self.tell)(Notice::Periods { tenant, node, why });
        }
    }
}

/// Whether a change is not worth a line: which other node is the master is told by that one, and a minority is one.
fn is_same(before: &Verdict, after: &Verdict) -> bool {
    use Reason::{Other, Unheard};
    use Verdict::Down;
    before == after
        || matches!(
            (before, after),
            (Down(Other { .. }), Down(Other { .. })) | (Down(Unheard { .. }), Down(Unheard { .. }))
        )
}
