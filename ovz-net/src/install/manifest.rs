//! What was installed and what was there before: written before anything else is, so that whatever is cut short can be
//! undone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::{Content, Mode};
use super::error::InstallError;

/// The directory of what ovsmesh has to remember.
pub(super) const STATE_DIR: &str = "/var/lib/ovsmesh";
/// The manifest.
pub(super) const MANIFEST: &str = "/var/lib/ovsmesh/vznet.json";
/// What [`STATE_DIR`] is called until the manifest is in it: then it comes, and at the end goes, in one piece.
pub(super) const HALF_STATE_DIR: &str = "/var/lib/.ovsmesh.new";
/// The form that this program writes and reads.
const VERSION: u32 = 1;

/// The record of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    /// The directories that were not there before, outermost first.
    pub(super) directories: Vec<PathBuf>,
    /// In the order in which they are written.
    pub(super) files: Vec<Entry>,
}

/// One file, by its path on the host that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// What it is called now that was there before; none if there was nothing.
    pub(super) kept: Option<PathBuf>,
    /// What may be there that nobody else has written: while one content takes another's place, both.
    pub(super) ours: Vec<Content>,
}

impl Manifest {
    pub(super) fn new(directories: Vec<PathBuf>, files: Vec<Entry>) -> Self {
        Self { version: VERSION, directories, files }
    }

    pub(super) fn entry(&self, path: &Path) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.path == path)
    }

    /// Reads what [`Manifest::text`] wrote.
    pub(super) fn read(text: &[u8], place: &Path) -> Result<Self, InstallError> {
        let unread = |source| InstallError::Manifest { path: place.to_owned(), source };
        let manifest: Self = serde_json::from_slice(text).map_err(unread)?;
        if manifest.version != VERSION {
            let Self { version, .. } = manifest;
            return Err(InstallError::Version { path: place.to_owned(), version });
        }
        Ok(manifest)
    }

    /// The file that it is on the host; not to be had if a path is no UTF-8.
    pub(super) fn content(&self) -> Result<Content, InstallError> {
        let unwritten = |source| InstallError::Manifest { path: MANIFEST.into(), source };
        let json = serde_json::to_string_pretty(self).map_err(unwritten)?;
        Ok(Content::File { text: format!("{json}\n"), mode: Mode::PLAIN })
    }
}

/// What the file is called that was at `path` before.
pub(super) fn kept_path(path: &Path) -> PathBuf {
    beside(path, "", ".before-ovsmesh")
}

/// Where a file is written before it takes its place.
pub(super) fn new_path(path: &Path) -> PathBuf {
    beside(path, ".", ".ovsmesh-new")
}

fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}
