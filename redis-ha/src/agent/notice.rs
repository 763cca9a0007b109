//! What the agent tells its operator.

use std::fmt;
use std::time::{Duration, Instant};

use ovs_mesh::{Chain, Ctid, TenantName};

use super::answer::ListenError;
use super::haproxy::HaproxyError;
use super::judge::Verdict;
use crate::wire::dial::AskError;
use crate::wire::report::ReportError;

/// A part of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its Redis.
    Redis,
    /// Its Sentinel.
    Sentinel,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Sentinel => "Sentinel",
        })
    }
}

/// What has changed.
#[derive(Debug)]
pub enum Notice {
    /// What HAProxy is told of a node.
    Verdict {
        /// The cluster.
        tenant: TenantName,
        /// The node.
        node: Ctid,
        /// What.
        verdict: Verdict,
        /// How many changes before it were not told, since there were too many.
        untold: u32,
    },
    /// A part of a node is heard again.
    Heard {
        /// The cluster.
        tenant: TenantName,
        /// The node.
        node: Ctid,
        /// The part.
        part: Part,
    },
    /// A part of a node is not heard.
    Lost {
        /// The cluster.
        tenant: TenantName,
        /// The node.
        node: Ctid,
        /// The part.
        part: Part,
        /// Why.
        why: AskError,
    },
    /// A part of a node answers something else.
    Odd {
        /// The cluster.
        tenant: TenantName,
        /// The node.
        node: Ctid,
        /// The part.
        part: Part,
        /// What.
        why: ReportError,
    },
    /// A Sentinel does not take its periods, so that a failover takes longer.
    Periods {
        /// The cluster.
        tenant: TenantName,
        /// The node.
        node: Ctid,
        /// What it says.
        why: String,
    },
    /// HAProxy cannot ask for this cluster; none is that it can again.
    Listen {
        /// The cluster.
        tenant: TenantName,
        /// Why.
        why: Option<ListenError>,
    },
    /// Whether HAProxy lives.
    Haproxy(Result<(), HaproxyError>),
    /// Whether no tenant's Sentinels are heard, so that this proxy serves nobody.
    Deaf(bool),
    /// HAProxy was not told a verdict before it asked.
    Push(HaproxyError),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict { tenant, node, verdict, untold } => {
                write!(f, "{tenant}/{node} is {verdict}")?;
                if *untold > 0 {
                    write!(f, " ({untold} changes before were not told)")?;
                }
                Ok(())
            }
            Self::Heard { tenant, node, part } => write!(f, "{tenant}/{node}: {part} is heard"),
            Self::Lost { tenant, node, part, why } => {
                write!(f, "{tenant}/{node}: {part} is not heard: {}", Chain(why))
            }
            Self::Odd { tenant, node, part, why } => {
                write!(f, "{tenant}/{node}: {part} does not say what it is asked: {why}")
            }
            Self::Periods { tenant, node, why } => {
                write!(f, "{tenant}/{node}: Sentinel refuses its periods, a failover will take longer: {why}")
            }
            Self::Listen { tenant, why: None } => write!(f, "{tenant}: HAProxy can ask"),
            Self::Listen { tenant, why: Some(why) } => {
                write!(f, "{tenant}: HAProxy cannot ask: {}", Chain(why))
            }
            Self::Haproxy(Ok(())) => f.write_str("HAProxy lives"),
            Self::Haproxy(Err(why)) => write!(f, "HAProxy does not live: {}", Chain(why)),
            Self::Deaf(true) => f.write_str("no tenant's Sentinels are heard: this proxy serves nobody"),
            Self::Deaf(false) => f.write_str("Sentinels are heard again"),
            Self::Push(why) => {
                write!(f, "HAProxy will learn a verdict when it asks next: {}", Chain(why))
            }
        }
    }
}

/// How many lines may come at once.
const BURST: u32 = 32;
/// After how long one more may come.
const REFILL: Duration = Duration::from_secs(1);

/// Keeps something that flaps from filling a log.
#[derive(Debug)]
pub(super) struct Quota {
    left: u32,
    filled: Instant,
    untold: u32,
}

impl Quota {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, filled: now, untold: 0 }
    }

    /// Whether one more may be told, with how many before it were not.
    pub(super) fn take(&mut self, now: Instant) -> Option<u32> {
        while self.left < BURST && now.duration_since(self.filled) >= REFILL {
            self.left += 1;
            self.filled += REFILL;
        }
        if self.left == BURST {
            self.filled = now;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.untold += 1;
            return None;
        };
        self.left = left;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_not_filled() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        for _ in 0..BURST {
            assert_eq!(quota.take(start), Some(0));
        }
        assert_eq!(quota.take(start), None);
        assert_eq!(quota.take(start + REFILL / 2), None);
        assert_eq!(quota.take(start + REFILL), Some(2));
        assert_eq!(quota.take(start + REFILL), None);
        assert_eq!(quota.take(start + REFILL * 100), Some(1));
    }
}
