//! Makes the program OpenVZ's hook on a host, and takes that back.
//!
//! Every file that is there already is kept, as the same file under another name, so that what comes back is what was
//! there, with its owner, its mode and its times. A manifest is written before anything else. Planning tells the steps from
//! what is seen; each step is one change of the file system, and after each of them, and in the middle of each, everything
//! can be undone.

mod content;
mod error;
mod files;
mod look;
mod manifest;
mod plan;
mod report;
mod step;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

pub use content::{Content, Mode};
pub use error::InstallError;
pub use report::{
    InstallAction, InstallReport, InstalledFile, UninstallAction, UninstallReport, UninstalledFile,
};

use content::Found;
use files::{SYSTEMD, Texts, UMOUNT};
use look::{Host, place};
use step::Step;

/// What is installed, and where.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The directory that stands for the host's `/`: itself, or an image's.
    pub root: PathBuf,
    /// The program's path on the host.
    pub program: PathBuf,
    /// What the program is to find in its environment, which OpenVZ clears: names of variables and their values.
    pub variables: Vec<(&'static str, String)>,
    /// How long the end of a container may wait for its detachment; whole seconds, rounded up.
    pub timeout: Duration,
    /// Where the program finds its topology on the host.
    pub config: PathBuf,
    /// Whether only to tell what would be done.
    pub dry_run: bool,
}

/// Installs, or finishes an installation that was cut short; where all is as it should be, changes nothing.
pub fn install(options: &InstallOptions) -> Result<InstallReport, InstallError> {
    let root = opened(&options.root)?;
    let _lock = if options.dry_run { None } else { Some(lock(&root)?) };
    let (report, steps) = planned(options, &root)?;
    if !options.dry_run {
        steps.iter().try_for_each(Step::run)?;
    }
    Ok(report)
}

/// Undoes an installation, whole or cut short; where there is none, changes nothing. What somebody has edited since stays.
pub fn uninstall(root: &Path, dry_run: bool) -> Result<UninstallReport, InstallError> {
    let root = opened(root)?;
    let _lock = if dry_run { None } else { Some(lock(&root)?) };
    let (files, steps) = plan::uninstall(&Host::look(&root, &[])?)?;
    if !dry_run {
        steps.iter().try_for_each(Step::run)?;
    }
    let mut report = UninstallReport { root, dry_run, files, next: Vec::new() };
    let changes =
        |file: &&UninstalledFile| matches!(file.action, UninstallAction::Removed | UninstallAction::Restored);
    if report.files.iter().filter(changes).any(|file| file.path.starts_with(SYSTEMD)) {
        report.next.push(DAEMON_RELOAD.to_owned());
    }
    Ok(report)
}

const DAEMON_RELOAD: &str = "`systemctl daemon-reload`, so that systemd takes notice";
const SYSV: &str = "there is no systemd (/etc/systemd/system): see that Open vSwitch starts before vz (in /etc/rc?.d, and by \
    `chkconfig --list`), and have `ovsmesh sync` run between them, with a start number between theirs";

fn planned(options: &InstallOptions, root: &Path) -> Result<(InstallReport, Vec<Step>), InstallError> {
    let InstallOptions { root: _, program, variables, timeout, config, dry_run } = options;
    let name = text("the program's path", program.to_str().ok_or(program))?;
    for (name, value) in variables {
        text(name, Ok(value))?;
    }
    if !is_program(&place(root, program)?) && !is_program(program) {
        return Err(InstallError::Program { path: program.clone() });
    }
    let texts = Texts { program: name, variables, timeout: *timeout };
    let has_systemd = place(root, Path::new(SYSTEMD))?.is_dir();
    let paths: Vec<PathBuf> = texts.files(None, has_systemd).into_iter().map(|(path, _)| path).collect();
    let host = Host::look(root, &paths)?;
    let (files, steps) = plan::install(&host, &texts, has_systemd)?;
    let changes = |file: &&InstalledFile| file.action != InstallAction::Unchanged;
    let mut next = Vec::new();
    if files.iter().filter(changes).any(|file| file.path.starts_with(SYSTEMD)) {
        next.push(DAEMON_RELOAD.to_owned());
    } else if !has_systemd && files.iter().any(|file| changes(&file)) {
        next.push(SYSV.to_owned());
    }
    let warnings = warnings(&host, config)?;
    Ok((InstallReport { root: root.to_owned(), dry_run: *dry_run, files, next, warnings }, steps))
}

fn warnings(host: &Host, config: &Path) -> Result<Vec<String>, InstallError> {
    let is_there = |path: &Path| Ok::<_, InstallError>(place(&host.root, path)?.exists());
    let mut warnings = Vec::new();
    if !is_there(Path::new("/etc/vz"))? {
        warnings.push("there is no /etc/vz: is this a host of OpenVZ's?".to_owned());
    }
    if !is_there(config)? {
        let config = config.display();
        warnings.push(format!("there is no {config} yet: until there is, no container with a veth starts"));
    }
    let umount = &host.seen[Path::new(UMOUNT)];
    let was = if umount.kept.is_nothing() { &umount.found } else { &umount.kept };
    let is_run = |mode: Mode| mode.permissions().mode() & 0o111 != 0;
    if matches!(was, Found::File { mode, .. } if !is_run(*mode)) {
        warnings.push(format!("{UMOUNT} was no program that can be run, so it is kept and not run"));
    }
    Ok(warnings)
}

/// A text that a shell and systemd can read back.
fn text<'a>(what: &str, text: Result<&'a str, &PathBuf>) -> Result<&'a str, InstallError> {
    let unfit = |text: String| InstallError::Text { what: what.to_owned(), text };
    let text = text.map_err(|path| unfit(path.to_string_lossy().into_owned()))?;
    if text.contains(char::is_control) { Err(unfit(text.to_owned())) } else { Ok(text) }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn opened(root: &Path) -> Result<PathBuf, InstallError> {
    root.canonicalize().map_err(|source| InstallError::Root { path: root.to_owned(), source })
}

/// Nobody else installs meanwhile. The lock is on the directory itself: it leaves nothing behind.
fn lock(root: &Path) -> Result<Flock<File>, InstallError> {
    let failed = |source| InstallError::Root { path: root.to_owned(), source };
    let directory = File::open(root).map_err(failed)?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => InstallError::Running,
        errno => failed(errno.into()),
    })
}
