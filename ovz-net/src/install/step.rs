//! The steps that an installation is made of. Each is one change of the file system, and after each one everything can
//! be undone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::content::{Content, Mode};
use super::error::{InstallError, file};

/// One change; the paths are those of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes a directory.
    MakeDirectory(PathBuf),
    /// Writes a file under a name at which nobody looks.
    Write { path: PathBuf, content: Content },
    /// Gives a file a second name: the same file, with its owner, its times and all that is on it.
    Link { from: PathBuf, to: PathBuf },
    /// Takes the place of what is at `to`, at once.
    Rename { from: PathBuf, to: PathBuf },
    /// Removes a file.
    Remove(PathBuf),
    /// Removes a directory, if nothing is in it.
    RemoveDirectory(PathBuf),
}

impl Step {
    /// Carries it out, down to the disk.
    pub(super) fn run(&self) -> Result<(), InstallError> {
        let path = match self {
            Self::MakeDirectory(path) => {
                make_directory(path).map_err(file("make the directory", path))?;
                path
            }
            Self::Write { path, content } => {
                write(path, content).map_err(file("write", path))?;
                path
            }
            Self::Link { from, to } => {
                fs::hard_link(from, to).map_err(file("keep what is there as", to))?;
                to
            }
            Self::Rename { from, to } => {
                fs::rename(from, to).map_err(file("replace", to))?;
                to
            }
            Self::Remove(path) => {
                fs::remove_file(path).map_err(file("remove", path))?;
                path
            }
            Self::RemoveDirectory(path) => {
                match fs::remove_dir(path) {
                    Err(error) if is_in_use(&error) => {}
                    result => result.map_err(file("remove the directory", path))?,
                }
                path
            }
        };
        let parent = path.parent().unwrap_or(path);
        sync(parent).map_err(file("write to the disk", parent))
    }
}

/// Something is in it, or it is gone.
fn is_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound)
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    // Whatever the umask is.
    fs::set_permissions(path, Mode::PROGRAM.permissions())
}

fn write(path: &Path, content: &Content) -> io::Result<()> {
    match content {
        Content::Symlink { target } => symlink(target, path),
        Content::File { text, mode } => {
            let mut file = File::options().write(true).create_new(true).open(path)?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(mode.permissions())?;
            file.sync_all()
        }
    }
}

/// A name is on the disk once its directory is; a directory that went with this step needs no more.
fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
