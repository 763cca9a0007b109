//! HAProxy's stats socket: whether HAProxy lives, and verdicts that do not wait for its next question.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ovs_mesh::{Ctid, TenantName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// How often HAProxy is asked something; that its process ended shows at once.
const PERIOD: Duration = Duration::from_millis(100);
/// How often a dead HAProxy is looked for.
const RETRY: Duration = Duration::from_millis(25);
/// The longest answer in bytes.
const LONGEST: u64 = 64 << 10;

/// The most of a refusal that is told, in characters; an unknown command is refused with all that there are.
const LONGEST_WHY: usize = 200;

/// Why HAProxy did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// Its socket cannot be used.
    #[error("cannot talk to HAProxy at {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It does not answer.
    #[error("HAProxy did not answer at {} in {waited:?}", path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// It refuses.
    #[error("HAProxy refused a verdict: {why}")]
    Refused {
        /// What it says.
        why: String,
    },
}

/// The command line that tells HAProxy of verdicts: each server as (backend's tenant, server's container, up), all downs first, so that
/// there are not two masters in between.
pub fn verdict_commands<'a>(verdicts: impl IntoIterator<Item = (&'a TenantName, &'a Ctid, bool)>) -> String {
    let mut verdicts: Vec<_> = verdicts.into_iter().collect();
    verdicts.sort_by_key(|(_, _, up)| *up);
    let command = |(tenant, node, up): (&TenantName, &Ctid, bool)| {
        format!("set server {tenant}/{node} agent {}", if up { "up" } else { "down" })
    };
    verdicts.into_iter().map(command).collect::<Vec<_>>().join(";")
}

/// Tells HAProxy; what it does well, it is silent about.
pub(super) async fn tell(path: &Path, commands: &str, patience: Duration) -> Result<(), HaproxyError> {
    let answer = ask(path, commands, patience).await?;
    let why: Vec<&str> = answer.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if why.is_empty() {
        Ok(())
    } else {
        Err(HaproxyError::Refused { why: why.join(" ").chars().take(LONGEST_WHY).collect() })
    }
}

async fn ask(path: &Path, commands: &str, patience: Duration) -> Result<String, HaproxyError> {
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{commands}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(patience, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(HaproxyError::Socket { path: path.to_owned(), source }),
        Err(_) => Err(HaproxyError::Timeout { path: path.to_owned(), waited: patience }),
    }
}

/// Tells whether HAProxy lives, after each look, until it is dropped.
///
/// One connection is only held: it ends with the process. HAProxy itself ends it after a while, and so does an old process after a
/// reload; whether one still answers is asked on a new connection each time, which the newest process gets.
pub(super) async fn watch(path: &Path, patience: Duration, mut tell: impl FnMut(Result<(), HaproxyError>)) {
    let mut held = None;
    loop {
        let looked = ask(path, "show version", patience).await.and_then(|answer| {
            if answer.trim().is_empty() {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(HaproxyError::Socket { path: path.to_owned(), source });
            }
            Ok(())
        });
        let lives = looked.is_ok();
        tell(looked);
        if !lives {
            held = None;
            sleep(RETRY).await;
            continue;
        }
        if held.is_none() {
            held = UnixStream::connect(path).await.ok();
        }
        match &mut held {
            // Nothing is asked on it: all that can come is its end.
            Some(line) => {
                if timeout(PERIOD, line.read(&mut [0; 64])).await.is_ok() {
                    held = None;
                }
            }
            None => sleep(PERIOD).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downs_come_before_ups() {
        let (acme, one, two) = ("acme".parse().unwrap(), "101".parse().unwrap(), "102".parse().unwrap());
        assert_eq!(
            verdict_commands([(&acme, &one, true), (&acme, &two, false)]),
            "set server acme/102 agent down;set server acme/101 agent up"
        );
    }
}
