//! `ovsmesh vznet install` and `ovsmesh vznet uninstall`

use std::fmt;
use std::path::{Path, PathBuf};

use ovs_mesh::ovsdb::Endpoint;
use ovz_net::{
    Content, InstallAction, InstallError, InstallOptions, InstallReport, InstalledFile, UninstallAction,
    UninstallReport, UninstalledFile,
};

use crate::Exit;
use crate::args::{Global, VznetInstall, VznetUninstall};
use crate::failure::Failure;
use crate::output;

pub(crate) fn install(global: &Global, options: VznetInstall) -> Result<Exit, Failure> {
    let VznetInstall { root, program, dry_run } = options;
    let own = || std::env::current_exe().map_err(|source| Failure::Program { source });
    let options = InstallOptions {
        root,
        program: absolute(&program.map_or_else(own, Ok)?)?,
        variables: global.variables()?,
        timeout: global.timeout(),
        config: absolute(&global.config_path())?,
        dry_run,
    };
    let report = ovz_net::install(&options)?;
    for warning in &report.warnings {
        anstream::eprintln!("warning: {warning}");
    }
    output::print(global.format, &InstallText(&report), &report)?;
    Ok(if dry_run && !report.is_unchanged() { Exit::Drift } else { Exit::Done })
}

pub(crate) fn uninstall(global: &Global, options: &VznetUninstall) -> Result<Exit, Failure> {
    let VznetUninstall { root, dry_run } = options;
    let report = ovz_net::uninstall(root, *dry_run)?;
    output::print(global.format, &UninstallText(&report), &report)?;
    Ok(if !report.is_complete() {
        anstream::eprintln!(
            "warning: not everything is as it was: move away what is named above and uninstall again, or keep it and \
             remove /var/lib/ovsmesh/vznet.json"
        );
        Exit::Failed
    } else if *dry_run && !report.is_unchanged() {
        Exit::Drift
    } else {
        Exit::Done
    })
}

/// OpenVZ runs the hook wherever it is itself.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|source| Failure::Program { source })
}

impl Global {
    /// What was given, on the command line or in the environment, as the variables by which another run gets the same. How
    /// this run prints is its own affair.
    fn variables(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let Self { config, host, db, timeout, format: _, private_key, certificate, ca_cert } = self;
        let mut variables = Vec::new();
        let mut path = |name: &'static str, path: &Option<PathBuf>| {
            let Some(path) = path else { return Ok(()) };
            let unfit = |path: PathBuf| InstallError::Text {
                what: name.to_owned(),
                text: path.to_string_lossy().into_owned(),
            };
            let value = absolute(path)?.into_os_string().into_string();
            variables.push((name, value.map_err(|path| unfit(path.into()))?));
            Ok::<_, Failure>(())
        };
        path("OVSMESH_CONFIG", config)?;
        path("OVSMESH_PRIVATE_KEY", private_key)?;
        path("OVSMESH_CERTIFICATE", certificate)?;
        path("OVSMESH_CA_CERT", ca_cert)?;
        // Not more than one: that is seen to for every command but `verify`.
        let db = match db.last().map(|database| &database.endpoint) {
            Some(Endpoint::Unix(socket)) => Some(Endpoint::Unix(absolute(socket)?)),
            other => other.cloned(),
        };
        variables.extend(host.iter().map(|host| ("OVSMESH_HOST", host.to_string())));
        variables.extend(db.iter().map(|db| ("OVSMESH_DB", db.to_string())));
        let timeout = timeout.map(|timeout| humantime::format_duration(timeout).to_string());
        variables.extend(timeout.map(|timeout| ("OVSMESH_TIMEOUT", timeout)));
        Ok(variables)
    }
}

struct InstallText<'a>(&'a InstallReport);

impl fmt::Display for InstallText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InstallReport { root, dry_run, files, next, warnings: _ } = self.0;
        for file in files {
            let InstalledFile { path, action, kept, no_longer_runs, content, .. } = file;
            let sign = match action {
                InstallAction::Created => '+',
                InstallAction::Replaced => '~',
                InstallAction::Unchanged => continue,
            };
            write!(f, "{sign} {}", path.display())?;
            match content {
                Content::File { mode, text: _ } => write!(f, " (mode {mode})")?,
                Content::Symlink { target } => write!(f, " -> {}", target.display())?,
            }
            if let Some(kept) = kept {
                write!(f, "; what was there before is kept as {}", kept.display())?;
            }
            if let Some(script) = no_longer_runs {
                write!(f, "; {script} no longer runs")?;
            }
            writeln!(f)?;
            if *dry_run && matches!(content, Content::File { .. }) {
                file.line_changes().iter().try_for_each(|line| writeln!(f, "    {line}"))?;
            }
        }
        if self.0.is_unchanged() {
            writeln!(f, "nothing to change")?;
        }
        let verb = if *dry_run { "would be next" } else { "next" };
        next.iter().try_for_each(|next| writeln!(f, "{verb}: {next}"))?;
        under(f, root)
    }
}

struct UninstallText<'a>(&'a UninstallReport);

impl fmt::Display for UninstallText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UninstallReport { root, dry_run, files, next } = self.0;
        for UninstalledFile { path, action, kept } in files {
            let path = path.display();
            match action {
                UninstallAction::Removed => writeln!(f, "- {path}")?,
                UninstallAction::Restored => writeln!(f, "~ {path}: as it was before")?,
                UninstallAction::AsBefore => writeln!(f, "= {path}: is as it was before already")?,
                UninstallAction::Edited => {
                    write!(f, "! {path}: was edited since, left as it is")?;
                    if let Some(kept) = kept {
                        write!(f, "; what was there before is {}", kept.display())?;
                    }
                    writeln!(f)?;
                }
                UninstallAction::BackupGone => {
                    let kept = kept.as_deref().unwrap_or(Path::new("the backup"));
                    writeln!(f, "! {path}: {} is gone, left as it is", kept.display())?;
                }
            }
        }
        if files.is_empty() {
            writeln!(f, "nothing is installed")?;
        }
        let verb = if *dry_run { "would be next" } else { "next" };
        next.iter().try_for_each(|next| writeln!(f, "{verb}: {next}"))?;
        under(f, root)
    }
}

/// Where all the paths are, unless it is here.
fn under(f: &mut fmt::Formatter<'_>, root: &Path) -> fmt::Result {
    if root == Path::new("/") { Ok(()) } else { writeln!(f, "all of it under {}", root.display()) }
}
