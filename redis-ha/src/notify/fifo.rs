//! keepalived's notify FIFO, over its restarts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Lines;

/// The FIFO cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FifoError {
    /// It is not there, and cannot be made.
    #[error("cannot make the FIFO {}", path.display())]
    Make {
        /// The FIFO.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be opened or read.
    #[error("cannot read the FIFO {}", path.display())]
    Read {
        /// The FIFO.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is there.
    #[error("{} is no FIFO", path.display())]
    NotFifo {
        /// The file.
        path: PathBuf,
    },
}

/// The FIFO, open.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    file: File,
    /// The file's identity: keepalived removes a FIFO that it made, and makes another.
    id: (u64, u64),
    lines: Lines,
}

impl Fifo {
    /// Opens the FIFO there, or makes it first. keepalived takes one that is there for its own.
    pub fn open(path: &Path) -> Result<Self, FifoError> {
        // Whoever can write to it says who is master.
        match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(FifoError::Make { path: path.to_owned(), source: error.into() }),
        }
        let failed = |source| FifoError::Read { path: path.to_owned(), source };
        // With a writing end of our own there is no end of file when keepalived goes.
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_fifo() {
            return Err(FifoError::NotFifo { path: path.to_owned() });
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path);
        let file = file.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            id: (metadata.dev(), metadata.ino()),
            lines: Lines::default(),
        })
    }

    /// Waits for lines, until there are some or for so long. Each goes to `line`.
    pub fn read(&mut self, wait: Duration, line: impl FnMut(&str)) -> Result<(), FifoError> {
        let failed = |source| FifoError::Read { path: self.path.clone(), source };
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::Error::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut buffer = [0; 4096];
        match self.file.read(&mut buffer) {
            Ok(read) => self.lines.push(&buffer[..read], line),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(source) => return Err(failed(source)),
        }
        Ok(())
    }

    /// Whether what is at the path now is another file than the one that is open, or nothing.
    pub fn is_replaced(&self) -> bool {
        std::fs::metadata(&self.path).map(|found| (found.dev(), found.ino())).ok() != Some(self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(fifo: &mut Fifo) -> Vec<String> {
        let mut found = Vec::new();
        fifo.read(Duration::from_millis(50), |line| found.push(line.to_owned())).unwrap();
        found
    }

    fn write(path: &Path, text: &str) {
        OpenOptions::new().write(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn writers_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let mut fifo = Fifo::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(lines(&mut fifo).is_empty());
        for word in ["one", "two"] {
            write(&path, &format!("{word}\n"));
            assert_eq!(lines(&mut fifo), [word]);
            assert!(lines(&mut fifo).is_empty(), "no end of file");
        }
        assert!(!fifo.is_replaced());
        std::fs::remove_file(&path).unwrap();
        assert!(fifo.is_replaced());
        let old = fifo;
        let mut fifo = Fifo::open(&path).unwrap();
        assert!(old.is_replaced() && !fifo.is_replaced());
        write(&path, "three\nfour\n");
        assert_eq!(lines(&mut fifo), ["three", "four"]);
    }

    #[test]
    fn what_is_no_fifo_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(Fifo::open(&path), Err(FifoError::NotFifo { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        assert!(matches!(Fifo::open(&directory.path().join("a/b")), Err(FifoError::Make { .. })));
    }
}
