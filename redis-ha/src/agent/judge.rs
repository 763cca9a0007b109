//! Which node a proxy may send clients to: at most one, ever. Pure: events and times in, verdicts out.
//!
//! A node is *up* if and only if
//! 1. a majority of all Sentinels named it within `freshness`, and none of the others has named another in a newer epoch
//!    (that failover was authorised by a majority, so that this master is on its way out even where it does not know),
//! 2. it said itself, within `freshness`, that it is a master, and
//! 3. the replication gate is open.
//!
//! Two majorities share a Sentinel, and a Sentinel names one node: there are never two.
//!
//! # The replication gate
//!
//! It bounds what is lost when a master is cut off from the other Redis hosts alone, while the proxies and, until the failover, a
//! majority of Sentinels still hear it. A master that had a replica and has none that follows any more is down, until one does
//! again or another master is named. A replica *follows* if it is of the master's history of writes and has by now what the master
//! had `freshness` ago, or has received something within `freshness` (a burst makes it late, not lost), or is copying the whole data
//! set. An idle master's replicas have everything: it stays up. So does a new master's until the first replica has come to it.
//!
//! An agent that starts does not know whether the master that it finds has had a replica. The Sentinels do: each remembers what each
//! replica told it last, dead or alive ([`Judge::followed`]). That counts for the first master alone; of a later one the agent has seen
//! everything itself, and it is not held up. What that master had `freshness` ago is not known then: it is what it had when it was
//! first heard.
//!
//! Where the agent does not hear a replica, the master's word counts instead: the replica acknowledges to it each second. A
//! replica that hangs, or whose answers the agent misses, closes nothing before the master misses it too (2 s). If neither hears
//! any replica, the gate is closed: what would be written then exists once.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::wire::report::{Replication, Role};

/// How a cluster is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many Sentinels are a majority of all.
    pub majority: usize,
    /// How long what a Sentinel or a Redis said counts, from when it was asked.
    pub freshness: Duration,
    /// Whether the replication gate works; without it, a partition of the Redis hosts alone loses what is written until the failover.
    pub gate: bool,
}

/// What one Sentinel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The node that it names, by its place in the cluster; none is an address that no node has.
    pub node: Option<usize>,
    /// In which epoch that became the master.
    pub epoch: u64,
}

/// What HAProxy is told of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Clients may write to it.
    Up,
    /// They may not.
    Down(Reason),
}

/// Why a node is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Fewer Sentinels than a majority are heard.
    Unheard {
        /// How many are.
        heard: usize,
    },
    /// They do not agree.
    Undecided,
    /// Another is the master.
    Other {
        /// Which.
        node: usize,
    },
    /// A Sentinel has named another in a newer epoch.
    Superseded,
    /// The Sentinels name it, and it does not answer.
    Silent,
    /// The Sentinels name it, and it says that it is no master.
    Replica,
    /// No replica follows it any more.
    Alone,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unheard { heard } => write!(f, "no majority of Sentinels is heard, only {heard}"),
            Self::Undecided => f.write_str("the Sentinels do not agree on a master"),
            Self::Other { node: _ } => f.write_str("another node is the master"),
            Self::Superseded => f.write_str("a Sentinel has named another master in a newer epoch"),
            Self::Silent => f.write_str("the Sentinels name it but it does not answer"),
            Self::Replica => f.write_str("the Sentinels name it but it is a replica"),
            Self::Alone => f.write_str("no replica follows it"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down(reason) => write!(f, "down: {reason}"),
        }
    }
}

/// What is known of a node.
#[derive(Debug)]
struct Known {
    ip: IpAddr,
    vote: Option<(Instant, Vote)>,
    report: Option<(Instant, Replication)>,
    /// Whether a Sentinel remembers that a replica has followed it.
    followed: bool,
    /// (heard, offset) of the present history within `freshness`, and the last before that.
    offsets: VecDeque<(Instant, u64)>,
    /// A time after which its offset has grown.
    advanced: Option<Instant>,
}

/// How far a replica is with its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    Follows,
    /// It will follow: it copies the data set, or only the master has heard of it lately.
    Expected,
    Lost,
}

/// The time since one node was named after another.
#[derive(Debug)]
struct Tenure {
    node: usize,
    /// Since when it says that it has a replica with all its data.
    listed: Option<Instant>,
    /// Whether a replica has followed it.
    armed: bool,
}

/// A cluster as its Sentinels and nodes describe it.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    nodes: Vec<Known>,
    tenure: Option<Tenure>,
}

impl Judge {
    /// Nothing is known of these nodes; all are down.
    pub fn new(rules: Rules, nodes: impl IntoIterator<Item = IpAddr>) -> Self {
        let unknown = |ip| Known {
            ip,
            vote: None,
            report: None,
            followed: false,
            offsets: VecDeque::new(),
            advanced: None,
        };
        Self { rules, nodes: nodes.into_iter().map(unknown).collect(), tenure: None }
    }

    /// The Sentinel on a node was asked then, and has answered now.
    pub fn vote(&mut self, sentinel: usize, asked: Instant, now: Instant, vote: Vote) {
        if let Some(known) = self.nodes.get_mut(sentinel) {
            known.vote = Some((asked, vote));
        }
        self.advance(now);
    }

    /// A Sentinel remembers that a replica has followed this node; to be told before that Sentinel's first vote.
    pub fn followed(&mut self, node: usize) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.followed = true;
        }
    }

    /// The Redis on a node was asked then, and has answered now.
    pub fn report(&mut self, node: usize, asked: Instant, now: Instant, report: Replication) {
        let Some(known) = self.nodes.get_mut(node) else { return };
        match &known.report {
            Some((before, last)) if last.history == report.history => {
                if report.offset > last.offset {
                    // It was still smaller when it was asked the last time, or later.
                    known.advanced = Some(*before);
                }
            }
            _ => {
                known.offsets.clear();
                known.advanced = None;
            }
        }
        known.offsets.push_back((now, report.offset));
        while known
            .offsets
            .get(1)
            .is_some_and(|(heard, _)| now.duration_since(*heard) >= self.rules.freshness)
        {
            known.offsets.pop_front();
        }
        known.report = Some((asked, report));
        self.advance(now);
    }

    /// What is to be said of a node at a time that is not before the last event.
    pub fn verdict(&self, node: usize, now: Instant) -> Verdict {
        let down = Verdict::Down;
        let master = match self.named(now) {
            Ok(master) => master,
            Err(reason) => return down(reason),
        };
        if master != node {
            return down(Reason::Other { node: master });
        }
        match self.fresh(node, now) {
            None => down(Reason::Silent),
            Some(Replication { role: Role::Replica, .. }) => down(Reason::Replica),
            Some(report) if !self.is_open(node, report, now) => down(Reason::Alone),
            Some(_) => Verdict::Up,
        }
    }

    /// What is to be said of all nodes, in order.
    pub fn verdicts(&self, now: Instant) -> Vec<Verdict> {
        (0..self.nodes.len()).map(|node| self.verdict(node, now)).collect()
    }

    /// The node that a fresh majority names.
    fn named(&self, now: Instant) -> Result<usize, Reason> {
        let fresh = |(asked, vote): &(Instant, Vote)| self.is_fresh(*asked, now).then_some(*vote);
        let votes: Vec<Vote> =
            self.nodes.iter().filter_map(|known| known.vote.as_ref().and_then(fresh)).collect();
        if votes.len() < self.rules.majority {
            return Err(Reason::Unheard { heard: votes.len() });
        }
        let of = |node: usize| votes.iter().filter(move |vote| vote.node == Some(node));
        let master = (0..self.nodes.len())
            .find(|node| of(*node).count() >= self.rules.majority)
            .ok_or(Reason::Undecided)?;
        let newest = of(master).map(|vote| vote.epoch).max().unwrap_or_default();
        if votes.iter().any(|vote| vote.node != Some(master) && vote.epoch > newest) {
            return Err(Reason::Superseded);
        }
        Ok(master)
    }

    fn is_fresh(&self, asked: Instant, now: Instant) -> bool {
        now.duration_since(asked) < self.rules.freshness
    }

    fn fresh(&self, node: usize, now: Instant) -> Option<&Replication> {
        let (asked, report) = self.nodes.get(node)?.report.as_ref()?;
        self.is_fresh(*asked, now).then_some(report)
    }

    /// Notes what the gate must remember: who is the master, and whether it has had a replica.
    fn advance(&mut self, now: Instant) {
        let Ok(master) = self.named(now) else { return };
        let Some(report) = self.fresh(master, now) else { return };
        let follows = self.replicas(master, report, now).any(|follow| follow == Follow::Follows);
        let lists = report.role == Role::Master && report.replicas.iter().any(|listed| listed.online);
        let freshness = self.rules.freshness;
        let tenure = match &mut self.tenure {
            Some(tenure) if tenure.node == master => tenure,
            other => {
                let armed = other.is_none() && self.nodes[master].followed;
                other.insert(Tenure { node: master, listed: None, armed })
            }
        };
        if lists {
            // A replica that came this moment needs a moment to say so.
            let since = *tenure.listed.get_or_insert(now);
            tenure.armed |= now.duration_since(since) >= freshness;
        } else {
            tenure.listed = None;
        }
        tenure.armed |= follows;
    }

    fn is_open(&self, master: usize, report: &Replication, now: Instant) -> bool {
        let armed = self.tenure.as_ref().is_some_and(|tenure| tenure.node == master && tenure.armed);
        !self.rules.gate || !armed || self.replicas(master, report, now).any(|follow| follow != Follow::Lost)
    }

    fn replicas(&self, master: usize, report: &Replication, now: Instant) -> impl Iterator<Item = Follow> {
        let others = (0..self.nodes.len()).filter(move |node| *node != master);
        others.map(move |node| self.follows(node, master, report, now))
    }

    fn follows(&self, node: usize, master: usize, report: &Replication, now: Instant) -> Follow {
        let Some(own) = self.fresh(node, now) else {
            let ip = self.nodes[node].ip;
            let heard =
                report.replicas.iter().any(|listed| listed.ip == ip && listed.online && listed.lag <= 1);
            return if heard { Follow::Expected } else { Follow::Lost };
        };
        if own.role == Role::Master {
            return Follow::Lost;
        }
        if own.copying {
            return Follow::Expected;
        }
        let advanced = self.nodes[node].advanced.is_some_and(|since| self.is_fresh(since, now));
        let has = |offset: &u64| own.offset >= *offset;
        if own.history == report.history
            && (advanced || self.offset_before(master, now).is_none_or(|offset| has(&offset)))
        {
            Follow::Follows
        } else {
            Follow::Lost
        }
    }

    /// The offset that a node is known to have had `freshness` ago, or when it was first heard after that.
    fn offset_before(&self, node: usize, now: Instant) -> Option<u64> {
        let old = |(heard, _): &&(Instant, u64)| !self.is_fresh(*heard, now);
        let offsets = &self.nodes[node].offsets;
        offsets.iter().rev().find(old).or(offsets.front()).map(|(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests;
