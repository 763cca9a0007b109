//! What a Redis and a Sentinel say of themselves, out of their replies. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::resp::Reply;

/// A reply that does not say what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The question was refused.
    #[error("it was refused: {0}")]
    Refused(String),
    /// The reply is of another kind than the question's.
    #[error("the reply to {question} is of another kind")]
    Kind {
        /// The question.
        question: &'static str,
    },
    /// A field is missing, or is not what it should be.
    #[error("the reply to {question} has no good `{field}`")]
    Field {
        /// The question.
        question: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// The identity of a history of writes (`master_replid`): offsets of one history can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History(String);

impl History {
    /// The one of that id.
    pub fn of(id: &str) -> Self {
        Self(id.to_owned())
    }
}

/// What a Redis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It takes writes.
    Master,
    /// It copies another's.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Replica => "replica",
        })
    }
}

/// A replica as its master sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its address.
    pub ip: IpAddr,
    /// Whether it has the master's data set and gets its writes.
    pub online: bool,
    /// The offset that it has last acknowledged; it does so each second.
    pub offset: u64,
    /// How many seconds ago that was.
    pub lag: u64,
}

/// What a Redis says of its replication (`INFO replication`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replication {
    /// What it is.
    pub role: Role,
    /// Which history its data set belongs to.
    pub history: History,
    /// How many bytes of that history it has.
    pub offset: u64,
    /// Whose replica it is; none for a master, and none for a replica of a name that is no address.
    pub master: Option<SocketAddr>,
    /// Whether a replica is connected to its master.
    pub link: bool,
    /// Whether a replica is copying its master's whole data set and that copy moves.
    pub copying: bool,
    /// A master's replicas.
    pub replicas: Vec<Listed>,
}

/// How long a copy may have received nothing and still moves: a master that prepares it sends a byte each second.
const COPY_SILENCE: Duration = Duration::from_secs(2);

impl Replication {
    /// The question.
    pub const QUESTION: [&'static str; 2] = ["INFO", "replication"];

    /// Out of the replies to it.
    pub fn of(replies: &[Reply]) -> Result<Self, ReportError> {
        let info = Info::of("INFO replication", replies)?;
        let role = match info.get("role") {
            Some("master") => Role::Master,
            Some("slave") => Role::Replica,
            _ => return Err(info.missing("role")),
        };
        let offset = match role {
            Role::Master => "master_repl_offset",
            Role::Replica => "slave_repl_offset",
        };
        let master = info.get("master_host").and_then(|host| host.parse().ok());
        let port = info.get("master_port").and_then(|port| port.parse().ok());
        let silence = info.get("master_sync_last_io_seconds_ago").and_then(|seconds| seconds.parse().ok());
        let moves = silence.is_some_and(|seconds| Duration::from_secs(seconds) <= COPY_SILENCE)
            || info.get("master_sync_left_bytes") == Some("0");
        Ok(Self {
            role,
            history: History::of(info.get("master_replid").ok_or_else(|| info.missing("master_replid"))?),
            // One that has never had a master says 1, one that copies -1 or 1.
            offset: info.get(offset).and_then(|offset| offset.parse().ok()).unwrap_or_default(),
            master: master.zip(port).map(|(host, port)| SocketAddr::new(host, port)),
            link: info.get("master_link_status") == Some("up"),
            copying: info.get("master_sync_in_progress") == Some("1") && moves,
            replicas: info.replicas(),
        })
    }
}

/// The `key:value` lines of an `INFO`.
struct Info<'a> {
    question: &'static str,
    text: &'a str,
}

impl<'a> Info<'a> {
    fn of(question: &'static str, replies: &'a [Reply]) -> Result<Self, ReportError> {
        match replies {
            [Reply::Error(why)] => Err(ReportError::Refused(why.clone())),
            [reply] => Ok(Self { question, text: reply.text().ok_or(ReportError::Kind { question })? }),
            _ => Err(ReportError::Kind { question }),
        }
    }

    fn lines(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.text.lines().filter_map(|line| line.split_once(':'))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.lines().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn missing(&self, field: &'static str) -> ReportError {
        ReportError::Field { question: self.question, field }
    }

    /// `slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0`
    fn replicas(&self) -> Vec<Listed> {
        let numbered = self
            .lines()
            .filter(|(key, _)| key.strip_prefix("slave").is_some_and(|number| number.parse::<u32>().is_ok()));
        numbered
            .filter_map(|(_, value)| {
                let get = |key: &str| {
                    value
                        .split(',')
                        .filter_map(|pair| pair.split_once('='))
                        .find(|pair| pair.0 == key)
                        .map(|pair| pair.1)
                };
                Some(Listed {
                    ip: get("ip")?.parse().ok()?,
                    online: get("state") == Some("online"),
                    offset: get("offset")?.parse().ok()?,
                    lag: get("lag")?.parse().ok()?,
                })
            })
            .collect()
    }
}

/// How many keys a Redis has, in all databases (`INFO keyspace`).
pub(crate) fn keys(replies: &[Reply]) -> Result<u64, ReportError> {
    let info = Info::of("INFO keyspace", replies)?;
    let count =
        |(_, value): (&str, &str)| value.strip_prefix("keys=")?.split(',').next()?.parse::<u64>().ok();
    info.lines()
        .filter(|(key, _)| key.starts_with("db"))
        .map(|line| count(line).ok_or_else(|| info.missing("keys")))
        // What a container says may be any number.
        .try_fold(0_u64, |sum, keys| Ok(sum.saturating_add(keys?)))
}

/// What a Sentinel says of its master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The master's address. A Sentinel that leads a failover names the new one as soon as that is promoted.
    pub master: SocketAddr,
    /// The epoch of the failover that made it so; 0 before the first. Each is authorised by a majority, so that the higher is newer.
    pub epoch: u64,
    /// How many replicas the Sentinel knows.
    pub replicas: u64,
    /// How many other Sentinels it knows.
    pub sentinels: u64,
    /// The words of its state, as `master,s_down,failover_in_progress`.
    pub flags: String,
}

impl Named {
    /// The questions, which a Sentinel answers at one moment when they come together.
    pub fn questions(name: &str) -> [[&str; 3]; 2] {
        [["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name], ["SENTINEL", "MASTER", name]]
    }

    /// Out of the replies to them.
    pub fn of(replies: &[Reply]) -> Result<Self, ReportError> {
        let [address, state] = replies else { return Err(ReportError::Kind { question: "SENTINEL" }) };
        if let Some(Reply::Error(why)) =
            [address, state].into_iter().find(|reply| matches!(reply, Reply::Error(_)))
        {
            return Err(ReportError::Refused(why.clone()));
        }
        let question = "SENTINEL GET-MASTER-ADDR-BY-NAME";
        let Some([host, port]) = address.array() else { return Err(ReportError::Kind { question }) };
        let host = host.text().and_then(|host| host.parse().ok());
        let port = port.text().and_then(|port| port.parse().ok());
        let address = host.zip(port).ok_or(ReportError::Field { question, field: "address" })?;

        let question = "SENTINEL MASTER";
        let fields = state.array().ok_or(ReportError::Kind { question })?;
        let get = |field: &'static str| {
            let pair = fields.chunks_exact(2).find(|pair| pair[0].text() == Some(field));
            pair.and_then(|pair| pair[1].text()).ok_or(ReportError::Field { question, field })
        };
        let number = |field| get(field)?.parse::<u64>().map_err(|_| ReportError::Field { question, field });
        Ok(Self {
            master: SocketAddr::new(address.0, address.1),
            epoch: number("config-epoch")?,
            replicas: number("num-slaves")?,
            sentinels: number("num-other-sentinels")?,
            flags: get("flags")?.to_owned(),
        })
    }
}

/// The question whose reply [`followed`] reads.
pub(crate) fn replicas_question(name: &str) -> [&str; 3] {
    ["SENTINEL", "REPLICAS", name]
}

/// The masters that a Sentinel's replicas follow or have followed, by what each has told it last.
///
/// A replica that has only been told whom to follow, and was never connected to it, says that its link is down since −1 s. One that
/// the Sentinel has not heard since the last failover names nobody.
pub(crate) fn followed(reply: &Reply) -> Result<BTreeSet<SocketAddr>, ReportError> {
    let question = "SENTINEL REPLICAS";
    let replicas = match reply {
        Reply::Error(why) => return Err(ReportError::Refused(why.clone())),
        reply => reply.array().ok_or(ReportError::Kind { question })?,
    };
    let mut masters = BTreeSet::new();
    for fields in replicas {
        let fields = fields.array().ok_or(ReportError::Kind { question })?;
        let get = |field| {
            let pair = fields.chunks_exact(2).find(|pair| pair[0].text() == Some(field));
            pair.and_then(|pair| pair[1].text())
        };
        let host = get("master-host").and_then(|host| host.parse().ok());
        let port = get("master-port").and_then(|port| port.parse().ok());
        let came = get("master-link-status") == Some("ok")
            || get("master-link-down-time").is_some_and(|since| since.parse::<u64>().is_ok());
        if let Some((host, port)) = host.zip(port).filter(|_| came) {
            masters.insert(SocketAddr::new(host, port));
        }
    }
    Ok(masters)
}
