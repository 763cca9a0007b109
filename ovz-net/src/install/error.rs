//! Why something is not installed, or not uninstalled.

use std::io;
use std::path::{Path, PathBuf};

/// Why something is not installed, or not uninstalled; each names the file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The program cannot be OpenVZ's hook: with one that cannot be run, OpenVZ goes on with its own script, silently.
    #[error("{} is no program that can be run; put it there first, or name another with --program", path.display())]
    Program {
        /// The path.
        path: PathBuf,
    },
    /// A path or a variable cannot be written into a shell script and a unit of systemd's.
    #[error("{what} is `{}`; accepted is UTF-8 without control characters", text.escape_debug())]
    Text {
        /// Which.
        what: String,
        /// The text.
        text: String,
    },
    /// The directory to install under is none.
    #[error("cannot open the directory {}", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another is at it.
    #[error("another `ovsmesh vznet install` or `uninstall` is running; wait for it, then try again")]
    Running,
    /// A path has more symbolic links than the kernel would follow.
    #[error("{} leads through too many symbolic links; the files of OpenVZ are behind at most {max}", path.display())]
    Links {
        /// The path.
        path: PathBuf,
        /// How many are followed.
        max: usize,
    },
    /// Something is there that cannot be kept.
    #[error("{} is neither a file nor a symbolic link; move it away, then try again", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// What is there cannot be kept under the name that it would be kept by.
    #[error(
        "{} cannot be kept as {}, which is there already and which no installation has left; move it away, then try again",
        path.display(),
        kept.display()
    )]
    Taken {
        /// The path.
        path: PathBuf,
        /// The name.
        kept: PathBuf,
    },
    /// Somebody has edited what was installed; nothing is changed.
    #[error(
        "{} was edited after it was installed, and nothing is changed; move it away, then try again",
        path.display()
    )]
    Edited {
        /// The path.
        path: PathBuf,
    },
    /// The record of the installation cannot be understood, or written.
    #[error("{} cannot be the record of an installation", path.display())]
    Manifest {
        /// The record.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The record of the installation is another version's.
    #[error("{} has version {version}; use the ovsmesh that wrote it, or a later one", path.display())]
    Version {
        /// The record.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A file could not be read or written. What was done until then `uninstall` undoes, and another `install` finishes.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was attempted.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A failure of one step on one file.
pub(super) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File { step, path, source }
}
