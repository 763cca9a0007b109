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
    /// Nothing else is to be said just now: time to say what could not be said.
    fn settle(&mut self) {}
}

/// The log daemon, by its socket.
#[derive(Debug)]
pub struct SystemLog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Under systemd, stderr leads to the same log.
    is_stderr_ours: bool,
    /// How many lines the daemon did not take, and was not told of yet.
    lost: u64,
}

impl SystemLog {
    /// The log daemon's socket is there, as a rule at `/dev/log`.
    pub fn new(path: PathBuf) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let is_stderr_ours = std::env::var_os("JOURNAL_STREAM").is_none();
        Self { path, socket: socket.ok(), is_stderr_ours, lost: 0 }
    }
}

impl SystemLog {
    /// One line for the log daemon alone.
    ///
    /// Nothing depends on it and nothing waits for it: a log daemon that does not read must not hold up the VIP. Its queue is short
    /// (`net.unix.max_dgram_qlen`, 10 as a rule); how many lines did not fit is told before the next that does.
    pub fn only_daemon(&mut self, level: Level, text: &str) {
        self.tell_lost();
        if self.lost > 0 || !self.send(level, text) {
            self.lost += 1;
        }
    }

    fn tell_lost(&mut self) {
        let lines = if self.lost == 1 { "1 line is" } else { &format!("{} lines are", self.lost) };
        let text = format!("{lines} missing here: the log daemon did not take them in time");
        if self.lost > 0 && self.send(Level::Warning, &text) {
            self.lost = 0;
        }
    }

    /// Whether the daemon has it.
    fn send(&self, level: Level, text: &str) -> bool {
        // RFC 3164, facility daemon; the log daemon adds the time.
        let severity = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
        };
        let line = text.replace('\n', " ");
        let message = format!("<{}>redis-ha[{}]: {line}", 3 << 3 | severity, std::process::id());
        self.socket.as_ref().is_some_and(|socket| socket.send_to(message.as_bytes(), &self.path).is_ok())
    }
}

impl Log for SystemLog {
    fn log(&mut self, level: Level, text: &str) {
        self.only_daemon(level, text);
        if self.is_stderr_ours {
            anstream::eprintln!("{text}");
        }
    }

    fn settle(&mut self) {
        self.tell_lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_log_daemon_did_not_take_is_counted_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = SystemLog::new(path.clone());
        // Before the daemon is there, too.
        log.only_daemon(Level::Error, "too early");
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_nonblocking(true).unwrap();
        let all = || {
            let mut buffer = [0; 256];
            std::iter::from_fn(|| daemon.recv(&mut buffer).ok().map(|size| buffer[..size].to_vec()))
                .map(|line| String::from_utf8(line).unwrap().split_once(": ").unwrap().1.to_owned())
                .collect::<Vec<_>>()
        };
        log.settle();
        assert_eq!(all(), ["1 line is missing here: the log daemon did not take them in time"]);
        log.settle();
        assert_eq!(all(), [""; 0]);
        let sent = 5000;
        for number in 0..sent {
            log.only_daemon(Level::Info, &number.to_string());
        }
        let taken = all();
        let missing = sent - taken.len();
        assert!(
            missing > 0 && taken.iter().enumerate().all(|(at, line)| *line == at.to_string()),
            "{taken:?}"
        );
        log.only_daemon(Level::Info, "after");
        let told = format!("{missing} lines are missing here: the log daemon did not take them in time");
        assert_eq!(all(), [told.as_str(), "after"]);
    }
}
