//! What is at a path: as it should be ([`Content`]), and as it is ([`Found`]).

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The permission bits of a file (chmod(2)), as `0755` in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

impl Mode {
    /// Read by all, run by nobody.
    pub(super) const PLAIN: Self = Self(0o644);
    /// Run by all.
    pub(super) const PROGRAM: Self = Self(0o755);

    pub(super) fn permissions(self) -> fs::Permissions {
        fs::Permissions::from_mode(self.0)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o7777);
        bits.map(Self)
            .ok_or_else(|| format!("`{text}` is not a file's mode; accepted are 0000 to 7777, in octal"))
    }
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// A file.
    File {
        /// All of it.
        text: String,
        /// Its permission bits.
        mode: Mode,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: PathBuf,
    },
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    File {
        bytes: Vec<u8>,
        mode: Mode,
        inode: Inode,
    },
    Symlink {
        target: PathBuf,
        inode: Inode,
    },
    /// A directory, a socket, a device.
    Other,
}

/// What a file is by, whatever it is called: its file system and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

impl Found {
    /// Looks, and follows no link.
    pub(super) fn at(place: &Path) -> io::Result<Self> {
        let meta = match fs::symlink_metadata(place) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        let inode = Inode(meta.dev(), meta.ino());
        if meta.is_symlink() {
            return Ok(Self::Symlink { target: fs::read_link(place)?, inode });
        }
        if !meta.is_file() {
            return Ok(Self::Other);
        }
        Ok(Self::File { bytes: fs::read(place)?, mode: Mode(meta.mode() & 0o7777), inode })
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// Whether it is what was written, and nobody has changed it.
    pub(super) fn is(&self, content: &Content) -> bool {
        match (self, content) {
            (Self::File { bytes, mode, inode: _ }, Content::File { text, mode: written }) => {
                bytes == text.as_bytes() && mode == written
            }
            (Self::Symlink { target, inode: _ }, Content::Symlink { target: written }) => target == written,
            _ => false,
        }
    }

    /// Whether both are one file, or as good as.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::File { bytes, mode, inode },
                Self::File { bytes: other_bytes, mode: other_mode, inode: other_inode },
            ) => inode == other_inode || (bytes == other_bytes && mode == other_mode),
            (Self::Symlink { target, inode }, Self::Symlink { target: other_target, inode: other_inode }) => {
                inode == other_inode || target == other_target
            }
            _ => false,
        }
    }

    /// Its lines, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::File { bytes, .. } => String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect(),
            Self::Symlink { target, inode: _ } => {
                vec![format!("-> {}", String::from_utf8_lossy(target.as_os_str().as_bytes()))]
            }
            Self::Nothing | Self::Other => Vec::new(),
        }
    }
}

impl Content {
    /// Its lines, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::File { text, mode: _ } => text.lines().map(str::to_owned).collect(),
            Self::Symlink { target } => vec![format!("-> {}", target.display())],
        }
    }
}
