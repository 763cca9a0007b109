//! Processes of a lab: found by what they are, never by a name alone, and ended with a deadline.

use std::fs;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

const PAUSE: Duration = Duration::from_millis(5);

/// The two daemons of an Open vSwitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// The database.
    OvsdbServer,
    /// The switch.
    OvsVswitchd,
}

impl Daemon {
    /// Both, in the order in which they are started.
    pub const ALL: [Self; 2] = [Self::OvsdbServer, Self::OvsVswitchd];

    /// The name of its program, and of its files in the run directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::OvsdbServer => "ovsdb-server",
            Self::OvsVswitchd => "ovs-vswitchd",
        }
    }

    /// The argument that tells one host's daemon from every other on this machine.
    pub(crate) fn pidfile_argument(self, dir: &Path) -> String {
        format!("--pidfile={}", dir.join(self.name()).with_extension("pid").display())
    }

    /// The running daemons of that run directory: one, or none, or more where a start was cut short.
    pub(crate) fn pids(self, dir: &Path) -> io::Result<Vec<u32>> {
        with_argument(&[self.pidfile_argument(dir)])
    }
}

/// The processes that have one of the arguments, found in one look at `/proc`.
pub(crate) fn with_argument(arguments: &[String]) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|text| text.parse::<u32>().ok());
        pids.extend(pid.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|found| arguments.iter().any(|one| one.as_bytes() == found))
        }));
    }
    Ok(pids)
}

/// The state letter of a process (proc(5)), if there is one.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and parentheses; the last one ends it.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// How ending some processes went.
pub(crate) struct Ended {
    /// How many there were.
    pub(crate) found: usize,
    /// How many had to be killed.
    pub(crate) killed: usize,
    /// Those that are still there.
    pub(crate) left: Vec<u32>,
}

/// Ends every process that the search finds, now or while it is at it: `SIGTERM`, and `SIGKILL` for those that are
/// still there after the patience. Never the calling process.
pub(crate) fn end(
    mut search: impl FnMut() -> io::Result<Vec<u32>>,
    patience: Duration,
    deadline: Duration,
) -> io::Result<Ended> {
    let started = Instant::now();
    let mut asked: Vec<u32> = Vec::new();
    let mut killed: Vec<u32> = Vec::new();
    loop {
        let mut left = search()?;
        left.retain(|pid| *pid != std::process::id() && !matches!(state(*pid), None | Some('Z' | 'X')));
        if left.is_empty() || started.elapsed() > deadline {
            return Ok(Ended { found: asked.len(), killed: killed.len(), left });
        }
        for pid in &left {
            if !asked.contains(pid) {
                asked.push(*pid);
                send(*pid, Signal::SIGTERM)?;
            } else if started.elapsed() > patience && !killed.contains(pid) {
                killed.push(*pid);
                send(*pid, Signal::SIGKILL)?;
            }
        }
        sleep(PAUSE);
    }
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn one_that_ignores_the_request_is_killed() {
        let mut deaf =
            Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]).spawn().unwrap();
        sleep(Duration::from_millis(100));
        let pid = deaf.id();
        let ended = end(|| Ok(vec![pid]), Duration::from_millis(100), Duration::from_secs(5)).unwrap();
        deaf.wait().unwrap();
        assert_eq!((ended.found, ended.killed, ended.left), (1, 1, vec![]));
    }

    #[test]
    fn a_daemon_is_known_by_its_run_directory() {
        let mut other =
            Command::new("sh").args(["-c", "sleep 5", "--pidfile=/x/ovsdb-server.pid"]).spawn().unwrap();
        sleep(Duration::from_millis(50));
        let found = (Daemon::OvsdbServer.pids(Path::new("/x")), Daemon::OvsdbServer.pids(Path::new("/xy")));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(found.0.unwrap(), [other.id()]);
        assert!(found.1.unwrap().is_empty());
    }
}
