//! Where a daemon's words go: syslog(3), and stderr where somebody reads that.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The VIP is not where it should be.
    Error,
    /// Something is amiss, and seen to.
    Warning,
    /// What was done.
    Info,
}

/// Takes lines.
pub trait Log {
    /// Takes one line.
    fn log(&mut self, level: Level, text: &str);
}

/// The log daemon, by its socket.
#[derive(Debug)]
pub struct SystemLog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Under systemd, stderr leads to the same log.
    is_stderr_ours: bool,
}

impl SystemLog {
    /// The log daemon's socket is there, as a rule at `/dev/log`.
    pub fn new(path: PathBuf) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Self { path, socket: socket.ok(), is_stderr_ours: std::env::var_os("JOURNAL_STREAM").is_none() }
    }
}

impl SystemLog {
    /// One line for the log daemon alone.
    ///
    /// Nothing depends on it and nothing waits for it: a log daemon that does not read must not hold up the VIP.
    pub fn only_daemon(&mut self, level: Level, text: &str) {
        // RFC 3164, facility daemon; the log daemon adds the time.
        let severity = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
        };
        let line = text.replace('\n', " ");
        let message = format!("<{}>redis-ha[{}]: {line}", 3 << 3 | severity, std::process::id());
        if let Some(socket) = &self.socket {
            let _ = socket.send_to(message.as_bytes(), &self.path);
        }
    }
}

impl Log for SystemLog {
    fn log(&mut self, level: Level, text: &str) {
        self.only_daemon(level, text);
        if self.is_stderr_ours {
            anstream::eprintln!("{text}");
        }
    }
}
