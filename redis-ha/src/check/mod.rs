//! Looks at rendered files as the daemons will: by their own checks, and by ours of what no daemon sees alone.

mod ours;
mod programs;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Certificates, Config, Secrets};
use crate::render::{RenderedFile, directories, render};

pub use ours::consistent;

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// The file, or what else it is about.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, object, problem, remedy } = self;
        writeln!(f, "{object}: {problem} [{check}]")?;
        write!(f, "  remedy: {remedy}")
    }
}

/// What a check did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct CheckReport {
    /// How many files a daemon read without complaint.
    pub accepted: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be checked as it will be used, and how it was checked instead; what was not checked at all.
    pub notes: Vec<String>,
}

/// Why files cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read or written.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was attempted.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The directory is not one that `render` wrote.
    #[error("{} is not what `redis-ha render` wrote: {found}", dir.display())]
    NotRendered {
        /// The directory.
        dir: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// A daemon's program cannot be run.
    #[error("cannot run `{program}`")]
    Program {
        /// The program.
        program: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckError {
    let path = path.to_owned();
    move |source| CheckError::File { step, path, source }
}

/// Checks the files below `dir` as `render` wrote them, and their modes.
///
/// Each configuration is given to its daemon's own check, Redis' and Sentinels' to a daemon that is started on a throw-away copy
/// without the network, units to systemd's, where this machine has it. Nothing of it touches what runs here.
///
/// `beside` are keepalived configurations of other VRRP routers on the underlay.
pub fn check(
    config: &Config,
    secrets: &Secrets,
    certificates: &Certificates,
    dir: &Path,
    beside: &[PathBuf],
) -> Result<CheckReport, CheckError> {
    let (findings, notes) = (consistent(config), ours::unchecked(config, beside));
    let mut report = CheckReport { findings, notes, accepted: 0 };
    for path in beside {
        let text = fs::read_to_string(path).map_err(file("read", path))?;
        report.findings.extend(ours::router_id(config, &text, &path.display().to_string()));
    }
    let files = render(config, secrets, certificates);
    is_rendered(dir, &files)?;
    for file in &files {
        let path = dir.join(file.relative());
        match fs::read(&path) {
            Ok(found) if found == file.text.as_bytes() => {}
            Ok(_) => {
                report.findings.push(finding(&path, "rendered", "it is not what the service's file says"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                report.findings.push(finding(&path, "rendered", "it is not there"));
                continue;
            }
            Err(source) => return Err(CheckError::File { step: "read", path, source }),
        }
        report.findings.extend(mode(&path, file.mode)?);
        programs::check(file, &path, &mut report)?;
    }
    for (below, wanted) in directories(&files) {
        let path = dir.join(below);
        // Of what is not there, its files tell.
        if path.is_dir() {
            report.findings.extend(mode(&path, wanted)?);
        }
    }
    Ok(report)
}

/// A directory that has none of the files is another one, and a finding a file would hide that.
fn is_rendered(dir: &Path, files: &[RenderedFile]) -> Result<(), CheckError> {
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such directory",
        Err(source) => return Err(file("read", dir)(source)),
        Ok(metadata) if !metadata.is_dir() => "it is no directory",
        Ok(_) if files.iter().any(|file| dir.join(file.relative()).exists()) => return Ok(()),
        Ok(_) => "it has none of the service's files below nodes/, proxies/ and hosts/",
    };
    Err(CheckError::NotRendered { dir: dir.to_owned(), found })
}

/// Whether a file or directory has the mode that `render` gave it: what is copied from there has it too.
fn mode(path: &Path, wanted: u32) -> Result<Option<Finding>, CheckError> {
    let found = fs::metadata(path).map_err(file("read", path))?.permissions().mode() & 0o7777;
    if found == wanted {
        return Ok(None);
    }
    let more = found & !wanted;
    let what = match more {
        0 => "who needs it cannot use it",
        _ if more & 0o044 != 0 => "others may read it",
        _ if more & 0o022 != 0 => "others may write it",
        _ => "it allows more than is needed",
    };
    Ok(Some(Finding {
        check: "mode",
        object: path.display().to_string(),
        problem: format!("its mode is {found:04o}, and `render` made it {wanted:04o}: {what}"),
        remedy: format!(
            "chmod {wanted:04o} {}; copy what is rendered with its modes, by `cp -r --preserve=mode` or `rsync -a`",
            path.display()
        ),
    }))
}

fn finding(path: &Path, check: &'static str, problem: &str) -> Finding {
    Finding {
        check,
        object: path.display().to_string(),
        problem: problem.to_owned(),
        remedy: "render again (redis-ha render --out DIR)".to_owned(),
    }
}
