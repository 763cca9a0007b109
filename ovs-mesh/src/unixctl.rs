//! The control socket of an OVS daemon: what ovs-appctl(8) talks to. JSON-RPC 1.0 with text for results.

mod tunnels;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::ovsdb::frame::{FrameError, Scanner};
use crate::ovsdb::message::{self, Incoming};

pub use tunnels::{ListedKey, ListedRemote, ListedTunnel, ListedTunnelError, parse_tunnels};

/// Why a daemon's control socket was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The daemon wrote no pid file.
    #[error("there is no {}; is {daemon} running, and is this its run directory (OVS_RUNDIR)?", path.display())]
    NoPidFile {
        /// The daemon.
        daemon: String,
        /// The pid file looked for.
        path: PathBuf,
    },
    /// The pid file cannot be read.
    #[error("cannot read {}, the pid file of {daemon}", path.display())]
    Read {
        /// The daemon.
        daemon: String,
        /// The pid file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pid file has no pid in it, as while the daemon starts.
    #[error("{} has no process id in it; restart {daemon} if this does not pass", path.display())]
    NoPid {
        /// The daemon.
        daemon: String,
        /// The pid file.
        path: PathBuf,
    },
    /// The daemon of the pid file has no socket.
    #[error("{daemon} left no {}; restart it, or give the socket of its --unixctl option", path.display())]
    NoSocket {
        /// The daemon.
        daemon: String,
        /// The socket looked for.
        path: PathBuf,
    },
}

/// The control socket of a daemon, as ovs-appctl(8) finds it: `<rundir>/<daemon>.<pid>.ctl`, with the process id out of
/// `<rundir>/<daemon>.pid`.
pub fn find(rundir: &Path, daemon: &str) -> Result<PathBuf, FindError> {
    let owned = || daemon.to_owned();
    let path = rundir.join(format!("{daemon}.pid"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FindError::NoPidFile { daemon: owned(), path });
        }
        Err(source) => return Err(FindError::Read { daemon: owned(), path, source }),
    };
    let Some(pid) = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0) else {
        return Err(FindError::NoPid { daemon: owned(), path });
    };
    let socket = rundir.join(format!("{daemon}.{pid}.ctl"));
    if socket.exists() { Ok(socket) } else { Err(FindError::NoSocket { daemon: owned(), path: socket }) }
}

/// Why a daemon did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum UnixctlError {
    /// No connection to the socket came about; the daemon may have stopped or restarted.
    #[error("cannot connect to the control socket {}; is the daemon still running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No connection within the time given.
    #[error("no connection to the control socket {} within {waited:?}", path.display())]
    ConnectDeadline {
        /// The socket.
        path: PathBuf,
        /// The time given.
        waited: Duration,
    },
    /// The daemon closed the connection, or a call before this one was given up, which ends it too: connect again.
    #[error("the connection to the control socket {} is closed; `{command}` was not answered", path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
        /// The command.
        command: String,
    },
    /// Reading or writing failed.
    #[error("reading from or writing to the control socket {} failed", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The daemon did not answer in time; it may be busy, stopped, or have done it all the same.
    #[error("`{command}` was not answered within {waited:?}")]
    Deadline {
        /// The command.
        command: String,
        /// The time given.
        waited: Duration,
    },
    /// The daemon refuses: a command that it does not have, or arguments that it does not take.
    #[error("the daemon refuses `{command}`: {}", reply.trim_end())]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        reply: String,
    },
    /// What came is not a sequence of messages.
    #[error("the control socket {} sent something else than messages", path.display())]
    Frame {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FrameError,
    },
    /// The reply has the wrong shape.
    #[error("the reply to `{command}` has the wrong shape")]
    Protocol {
        /// The command.
        command: String,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
}

/// A connection to a daemon's control socket, for one command at a time.
#[derive(Debug)]
pub struct Unixctl {
    path: PathBuf,
    /// None once a call was given up: its reply could be taken for that of the next.
    stream: Option<UnixStream>,
    id: u64,
}

impl Unixctl {
    /// Connects to the socket at `path`, see [`find`].
    pub async fn connect(path: impl Into<PathBuf>, deadline: Instant) -> Result<Self, UnixctlError> {
        let path = path.into();
        let started = Instant::now();
        match timeout_at(deadline, UnixStream::connect(&path)).await {
            Ok(Ok(stream)) => Ok(Self { path, stream: Some(stream), id: 0 }),
            Ok(Err(source)) => Err(UnixctlError::Connect { path, source }),
            Err(_) => {
                let waited = deadline.saturating_duration_since(started);
                Err(UnixctlError::ConnectDeadline { path, waited })
            }
        }
    }

    /// Runs a command and returns its text, which for many ends in a newline.
    ///
    /// A call that fails in another way than by the daemon's refusal, and one whose future is dropped, closes the
    /// connection.
    pub async fn call(
        &mut self,
        command: &str,
        arguments: &[&str],
        deadline: Instant,
    ) -> Result<String, UnixctlError> {
        let started = Instant::now();
        // Put back once the reply is whole, and so not after an error or when this future is dropped.
        let Some(mut stream) = self.stream.take() else {
            return Err(UnixctlError::Closed { path: self.path.clone(), command: command.to_owned() });
        };
        self.id += 1;
        let request = message::request(command, arguments, Some(self.id));
        let answer = timeout_at(deadline, exchange(&self.path, &mut stream, command, &request)).await;
        let answer = answer.map_err(|_| UnixctlError::Deadline {
            command: command.to_owned(),
            waited: deadline.saturating_duration_since(started),
        })??;
        self.stream = Some(stream);
        answer.map_err(|reply| UnixctlError::Refused { command: command.to_owned(), reply })
    }
}

/// Sends one request and reads one reply: the daemon's text, or its refusal.
async fn exchange(
    path: &Path,
    stream: &mut UnixStream,
    command: &str,
    request: &[u8],
) -> Result<Result<String, String>, UnixctlError> {
    let closed = || UnixctlError::Closed { path: path.to_owned(), command: command.to_owned() };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => closed(),
        _ => UnixctlError::Io { path: path.to_owned(), source },
    };
    stream.write_all(request).await.map_err(failed)?;
    let mut scanner = Scanner::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut chunk).await.map_err(failed)?;
        if length == 0 {
            return Err(closed());
        }
        scanner.push(&chunk[..length]);
        let frame = |source| UnixctlError::Frame { path: path.to_owned(), source };
        if let Some(reply) = scanner.next().map_err(frame)? {
            let shape =
                |source| UnixctlError::Protocol { command: command.to_owned(), source: Arc::new(source) };
            let incoming: Incoming<'_> = serde_json::from_slice(reply).map_err(shape)?;
            return match (incoming.error, incoming.result) {
                (Some(error), _) => serde_json::from_str(error.get()).map(Err).map_err(shape),
                (None, Some(result)) => serde_json::from_str(result.get()).map(Ok).map_err(shape),
                // A command that has nothing to say.
                (None, None) => Ok(Ok(String::new())),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let rundir = tempfile::tempdir().unwrap();
        let find = || find(rundir.path(), "ovs-vswitchd");
        let pid_file = rundir.path().join("ovs-vswitchd.pid");
        assert!(find().unwrap_err().to_string().contains("is ovs-vswitchd running"));
        std::fs::write(&pid_file, "\n").unwrap();
        assert!(find().unwrap_err().to_string().contains("has no process id"));
        std::fs::write(&pid_file, "123\n").unwrap();
        assert!(find().unwrap_err().to_string().contains("ovs-vswitchd.123.ctl; restart it"));
        std::fs::write(rundir.path().join("ovs-vswitchd.123.ctl"), "").unwrap();
        assert!(find().unwrap().ends_with("ovs-vswitchd.123.ctl"));
        std::fs::remove_file(&pid_file).unwrap();
        std::fs::create_dir(&pid_file).unwrap();
        assert!(find().unwrap_err().to_string().starts_with("cannot read"));
    }
}
