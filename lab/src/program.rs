//! Runs a program of Open vSwitch to its end, in a host's namespace, with a deadline.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ovs_mesh::HostName;
use ovs_mesh::link::{Netns, NetnsError};

/// How long any of them may take; a daemon counts as started once it has detached.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);
/// How much of a log an error shows, in lines.
const TAIL: usize = 12;

/// Why a program of Open vSwitch did not do its part on a host.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The host's namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// It could not be started or waited for.
    #[error("cannot run `{program}` on host `{host}`")]
    Run {
        /// The program.
        program: String,
        /// The host.
        host: HostName,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("`{program}` failed on host `{host}` ({status}){said}")]
    Failed {
        /// The program.
        program: String,
        /// The host.
        host: HostName,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed and logged.
        said: String,
    },
    /// It did not end.
    #[error("`{program}` did not finish on host `{host}` within {} s{said}", DEADLINE.as_secs())]
    Timeout {
        /// The program.
        program: String,
        /// The host.
        host: HostName,
        /// The end of what it printed and logged.
        said: String,
    },
}

/// One host's surroundings for such programs.
pub(crate) struct Surroundings<'a> {
    pub(crate) host: &'a HostName,
    pub(crate) netns: &'a Netns,
    pub(crate) dir: &'a Path,
}

impl Surroundings<'_> {
    /// Runs the program and waits for its end.
    ///
    /// Its output goes to a file, since a daemon that has detached would keep a pipe open.
    pub(crate) fn run(&self, program: &Path, args: &[String]) -> Result<(), ProgramError> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let failed = |source| ProgramError::Run { program: name.clone(), host: self.host.clone(), source };
        let printed = self.dir.join(format!("{name}.out"));
        let out = File::create(&printed).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, self.dir);
        }
        command.stdout(out.try_clone().map_err(failed)?).stderr(out);
        // A terminal's interrupt is ours to take: what was begun ends, and is then taken down.
        command.process_group(0);
        let mut child = self.netns.run(move || command.spawn())?.map_err(failed)?;
        let deadline = Instant::now() + DEADLINE;
        let said = || self.said(&name);
        loop {
            match child.try_wait().map_err(failed)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let (host, said) = (self.host.clone(), said());
                    return Err(ProgramError::Failed { program: name, host, status, said });
                }
                None if Instant::now() > deadline => {
                    // Killing fails only when it has ended meanwhile.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(ProgramError::Timeout {
                        host: self.host.clone(),
                        said: said(),
                        program: name,
                    });
                }
                None => sleep(PAUSE),
            }
        }
    }

    fn said(&self, name: &str) -> String {
        let mut said = String::new();
        for file in [format!("{name}.out"), format!("{name}.log")] {
            let file = self.dir.join(file);
            let text =
                fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            if !text.trim().is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(said, "; the end of {}:\n{}", file.display(), tail(&text));
            }
        }
        said
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines() {
        let text: String = (0..20).fold(String::new(), |text, i| text + &format!("line {i}\n"));
        assert!(tail(&text).starts_with("line 8\n") && tail(&text).ends_with("line 19"));
        assert_eq!(tail("one\n"), "one");
    }
}
