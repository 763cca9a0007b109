//! A client that writes numbers, one after the other, and remembers which were acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ovs_mesh::link::{Netns, NetnsError};
use redis::{Commands, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult};

use super::DrillOptions;
use crate::config::Secret;

/// How long a client rests after a try that failed.
const REST: Duration = Duration::from_millis(10);
/// How long reading everything back may take.
const READ_BACK: Duration = Duration::from_secs(10);

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The write was acknowledged.
    Acknowledged(u64),
    /// It was not, or there was no connection.
    Failed(String),
}

/// Every try and when its outcome was known, in order.
pub(super) type Outcomes = Vec<(Instant, Outcome)>;

/// Where and as whom a client writes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) password: Secret,
    pub(super) key: String,
}

impl Target {
    fn info(&self) -> RedisResult<ConnectionInfo> {
        let address = ConnectionAddr::Tcp(self.address.ip().to_string(), self.address.port());
        let info = address.into_connection_info()?;
        let settings = info.redis_settings().clone().set_password(self.password.expose());
        Ok(info.set_redis_settings(settings))
    }

    fn connect(&self, connecting: Duration, within: Duration) -> RedisResult<redis::Connection> {
        let connection = redis::Client::open(self.info()?)?.get_connection_with_timeout(connecting)?;
        connection.set_read_timeout(Some(within))?;
        connection.set_write_timeout(Some(within))?;
        Ok(connection)
    }

    /// All numbers that are there, read inside the namespace.
    pub(super) fn read(&self, netns: &Netns) -> Result<RedisResult<Vec<u64>>, NetnsError> {
        netns.run(|| self.connect(READ_BACK, READ_BACK)?.lrange(&self.key, 0, -1))
    }

    /// Removes all of it.
    pub(super) fn clear(&self, netns: &Netns) -> Result<RedisResult<()>, NetnsError> {
        netns.run(|| self.connect(READ_BACK, READ_BACK)?.del(&self.key))
    }
}

/// A client at work.
#[derive(Debug)]
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Outcomes, NetnsError>>>,
}

impl Writer {
    /// Starts one in the namespace.
    pub(super) fn start(netns: Netns, target: Target, options: DrillOptions) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || netns.run(|| write(&target, options, &stopped));
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; what became of every try, in order.
    pub(super) fn stop(mut self) -> Result<Outcomes, NetnsError> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcomes)) => outcomes,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(Vec::new()),
        }
    }
}

impl Drop for Writer {
    /// One that is not asked for its outcomes ends, too, without being waited for.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(target: &Target, options: DrillOptions, stop: &AtomicBool) -> Outcomes {
    let DrillOptions { patience, connect, pause } = options;
    let mut outcomes = Vec::new();
    let mut connection = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let tried = match &mut connection {
            Some(connection) => {
                number += 1;
                push(connection, &target.key, number).map(|()| Outcome::Acknowledged(number))
            }
            None => match target.connect(connect, patience) {
                Ok(made) => {
                    connection = Some(made);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match tried {
            Ok(outcome) => {
                outcomes.push((Instant::now(), outcome));
                thread::sleep(pause);
            }
            Err(error) => {
                outcomes.push((Instant::now(), Outcome::Failed(error.to_string())));
                connection = None;
                thread::sleep(REST);
            }
        }
    }
    outcomes
}

fn push(connection: &mut redis::Connection, key: &str, number: u64) -> Result<(), RedisError> {
    connection.rpush(key, number)
}
