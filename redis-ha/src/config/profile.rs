//! How fast faults are found: named sets of times that were measured together.

use std::time::Duration;

/// A set of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A dead master is replaced in about 1.5 s. For hosts that are not short of processor time.
    Fast,
    /// A few seconds, for busy hosts.
    Calm,
    /// The article's way with Sentinel at 5 s. To compare with; it loses what is written to a stale master.
    Seed,
    /// The same with Sentinel's own 30 s.
    Seed30,
}

/// Who tells a proxy which node is the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The agent beside it, which hears all Sentinels.
    Agent {
        /// How often the agent asks every Sentinel and every Redis.
        poll: Duration,
        /// How long what they said counts.
        freshness: Duration,
        /// How often `HAProxy` asks the agent about each node.
        check: Duration,
    },
    /// Each node for itself: it is the master if it says so.
    Role {
        /// How often `HAProxy` asks.
        check: Duration,
        /// After how many failures in a row a node is out.
        fall: u32,
        /// After how many successes in a row it is in.
        rise: u32,
    },
}

/// A profile's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Sentinel's `down-after-milliseconds`.
    pub down_after: Duration,
    /// Sentinel's `failover-timeout`: a failed failover is tried again after twice that.
    pub failover_timeout: Duration,
    /// Sentinel's inner periods, where its own are too slow: (`ping-period`, `ask-period`, `info-period`, `publish-period`). Sentinel
    /// forgets them when it restarts (`SENTINEL DEBUG`); the agent sets them again.
    pub sentinel: Option<[(&'static str, Duration); 4]>,
    /// How proxies know the master.
    pub watch: Watch,
    /// How often the active proxy says that it lives (VRRP's advertisement interval).
    pub advert: Duration,
    /// How long a Redis that ended stays down before it is started again: until it is replaced, but at most so long, which is more than
    /// Sentinels need to see that it is down, to vote for nobody, and to vote again. In the article's way always.
    pub restart: Duration,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Profile {
    /// All, the default first.
    pub const ALL: [Self; 4] = [Self::Fast, Self::Calm, Self::Seed, Self::Seed30];

    /// The word of the service's file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Calm => "calm",
            Self::Seed => "seed",
            Self::Seed30 => "seed-30",
        }
    }

    /// Its times.
    pub fn pace(self) -> Pace {
        let role = Watch::Role { check: ms(1000), fall: 3, rise: 2 };
        match self {
            Self::Fast => Pace {
                down_after: ms(600),
                failover_timeout: ms(2000),
                sentinel: Some([
                    ("ping-period", ms(300)),
                    ("ask-period", ms(100)),
                    ("info-period", ms(1000)),
                    ("publish-period", ms(200)),
                ]),
                watch: Watch::Agent { poll: ms(50), freshness: ms(500), check: ms(100) },
                advert: ms(100),
                restart: ms(10_000),
            },
            Self::Calm => Pace {
                down_after: ms(3000),
                failover_timeout: ms(10_000),
                sentinel: None,
                watch: Watch::Agent { poll: ms(250), freshness: ms(2000), check: ms(500) },
                advert: ms(300),
                restart: ms(30_000),
            },
            Self::Seed => Pace {
                down_after: ms(5000),
                failover_timeout: ms(180_000),
                sentinel: None,
                watch: role,
                advert: ms(1000),
                restart: ms(12_000),
            },
            Self::Seed30 => Pace { down_after: ms(30_000), restart: ms(40_000), ..Self::Seed.pace() },
        }
    }
}
