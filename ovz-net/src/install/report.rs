//! What was done, or would be.

use std::path::PathBuf;

use serde::Serialize;

use super::content::Content;

/// What an installation did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstallReport {
    /// The directory that stands for the host's `/`.
    pub root: PathBuf,
    /// Whether nothing was changed, and this is what would be.
    pub dry_run: bool,
    /// Every file, in the order in which they are written.
    pub files: Vec<InstalledFile>,
    /// What is left to do, in words.
    pub next: Vec<String>,
    /// What may not be as it should.
    pub warnings: Vec<String>,
}

/// One file of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledFile {
    /// Its path on the host.
    pub path: PathBuf,
    /// What became of it.
    pub action: InstallAction,
    /// What it is called now that was there before the first installation.
    pub kept: Option<PathBuf>,
    /// The program that OpenVZ handed its calls to until now, and no longer does.
    pub no_longer_runs: Option<String>,
    /// What is there now.
    pub content: Content,
    /// The lines that go, as [`line_changes`](InstalledFile::line_changes) shows them.
    #[serde(skip)]
    pub(super) old_lines: Vec<String>,
}

/// What an installation does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallAction {
    /// It was not there.
    Created,
    /// It was there, and was another.
    Replaced,
    /// It was there already.
    Unchanged,
}

impl InstallReport {
    /// Whether nothing is different from before.
    pub fn is_unchanged(&self) -> bool {
        self.files.iter().all(|file| file.action == InstallAction::Unchanged)
    }
}

impl InstalledFile {
    /// What changes in it: `-` before a line that goes, `+` before one that comes. What both begin and end with is left out.
    pub fn line_changes(&self) -> Vec<String> {
        let (old, new) = (&self.old_lines, self.content.lines());
        let from_start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[from_start..], &new[from_start..]);
        let from_end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        let gone = old[..old.len() - from_end].iter().map(|line| format!("- {line}"));
        gone.chain(new[..new.len() - from_end].iter().map(|line| format!("+ {line}"))).collect()
    }
}

/// What an uninstallation did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UninstallReport {
    /// The directory that stands for the host's `/`.
    pub root: PathBuf,
    /// Whether nothing was changed, and this is what would be.
    pub dry_run: bool,
    /// Every file that was installed, the last that was written first; none if nothing is installed.
    pub files: Vec<UninstalledFile>,
    /// What is left to do, in words.
    pub next: Vec<String>,
}

/// One file of an uninstallation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UninstalledFile {
    /// Its path on the host.
    pub path: PathBuf,
    /// What became of it.
    pub action: UninstallAction,
    /// Where what was there before still is, if it could not be put back.
    pub kept: Option<PathBuf>,
}

/// What an uninstallation does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UninstallAction {
    /// There was nothing before, and there is nothing now.
    Removed,
    /// What was there before is back.
    Restored,
    /// It is as it was before already: the installation was cut short, or somebody has put it back.
    AsBefore,
    /// Somebody has edited it since; it is left as it is.
    Edited,
    /// What was there before is no longer where it was kept; it is left as it is.
    BackupGone,
}

impl UninstallAction {
    /// Whether what was there before is there again.
    pub fn is_undone(self) -> bool {
        match self {
            Self::Removed | Self::Restored | Self::AsBefore => true,
            Self::Edited | Self::BackupGone => false,
        }
    }
}

impl UninstallReport {
    /// Whether everything is as it was before.
    pub fn is_complete(&self) -> bool {
        self.files.iter().all(|file| file.action.is_undone())
    }

    /// Whether nothing is different from before this.
    pub fn is_unchanged(&self) -> bool {
        let changes = |action| matches!(action, UninstallAction::Removed | UninstallAction::Restored);
        !self.files.iter().any(|file| changes(file.action))
    }
}
