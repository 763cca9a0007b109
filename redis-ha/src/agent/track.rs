//! The file that keepalived watches (`track_file`, weight 0): `0` while HAProxy lives, `1` while it does not.
//!
//! keepalived takes a file that is missing or empty for `0`, and reads it when it is moved into place (`IN_MOVED_TO`): it is written
//! whole under another name first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}, from which keepalived knows whether HAProxy lives", path.display())]
pub struct TrackError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The file, and what it was last given.
#[derive(Debug)]
pub(super) struct Track {
    path: PathBuf,
    told: Option<bool>,
}

impl Track {
    /// A file that nobody has written yet says that HAProxy does not live; what an earlier agent has written stays until HAProxy was
    /// asked, so that an agent that is restarted costs no switch of the proxies.
    pub(super) fn open(path: &Path) -> Result<Self, TrackError> {
        let mut track = Self { path: path.to_owned(), told: None };
        if !fs::read(path).is_ok_and(|text| !text.is_empty()) {
            track.tell(false)?;
        }
        Ok(track)
    }

    /// Writes whether HAProxy lives, where that has changed; whether it has.
    pub(super) fn tell(&mut self, lives: bool) -> Result<bool, TrackError> {
        if self.told == Some(lives) {
            return Ok(false);
        }
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        fs::write(&new, if lives { "0\n" } else { "1\n" })
            .and_then(|()| fs::rename(&new, &self.path))
            .map_err(|source| TrackError { path: self.path.clone(), source })?;
        self.told = Some(lives);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_whether_haproxy_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alive");
        let text = || fs::read_to_string(&path).unwrap();
        let mut track = Track::open(&path).unwrap();
        assert_eq!(text(), "1\n");
        assert!(track.tell(true).unwrap());
        assert_eq!(text(), "0\n");
        assert!(!track.tell(true).unwrap());
        let mut track = Track::open(&path).unwrap();
        assert_eq!(text(), "0\n", "what an earlier agent has written stays");
        assert!(track.tell(false).unwrap());
        assert_eq!(text(), "1\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_missing_is_told() {
        let error = Track::open(Path::new("/nonexistent/alive")).unwrap_err();
        assert!(error.to_string().starts_with("cannot write /nonexistent/alive"), "{error}");
    }
}
