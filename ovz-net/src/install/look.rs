//! What is on the host now: read, never changed.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::content::Found;
use super::error::{InstallError, file};
use super::manifest::{HALF_STATE_DIR, MANIFEST, Manifest, STATE_DIR, kept_path, new_path};

/// How many symbolic links the kernel follows in one path (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A file's place, and what is in it and beside it.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where the file is on this machine.
    pub(super) place: PathBuf,
    pub(super) found: Found,
    /// What is under the name by which an installation keeps what was there.
    pub(super) kept: Found,
    /// Whether something that was cut short has left its new file.
    pub(super) is_new_there: bool,
}

/// What is on the host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) root: PathBuf,
    pub(super) manifest: Option<Manifest>,
    /// Of every path that was asked for, and every one in the manifest.
    pub(super) seen: BTreeMap<PathBuf, Seen>,
    /// The directories that these paths need and that are not there, on this machine, outermost first.
    pub(super) missing: Vec<PathBuf>,
    pub(super) state: StateDir,
}

/// Where the manifest is.
#[derive(Debug)]
pub(super) struct StateDir {
    pub(super) place: PathBuf,
    pub(super) manifest: PathBuf,
    pub(super) is_there: bool,
    /// The directories that it needs and that are not there, outermost first.
    pub(super) missing_parents: Vec<PathBuf>,
    /// Whether the manifest is all that is in it.
    pub(super) is_alone: bool,
    /// Where it is made and unmade.
    pub(super) half: PathBuf,
    /// Whether something that was cut short has left it.
    pub(super) half_is_there: bool,
    /// The manifests that something that was cut short has left, in it and beside their place.
    pub(super) left: Vec<PathBuf>,
}

impl Host {
    /// Looks at what is under `root`.
    pub(super) fn look(root: &Path, paths: &[PathBuf]) -> Result<Self, InstallError> {
        let state = StateDir::look(root)?;
        let manifest = match fs::read(&state.manifest) {
            Ok(text) => Some(Manifest::read(&text, &state.manifest)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file("read", &state.manifest)(error)),
        };
        let mut host =
            Self { root: root.to_owned(), manifest, seen: BTreeMap::new(), missing: Vec::new(), state };
        let known = host.manifest.iter().flat_map(|manifest| &manifest.files);
        let all: Vec<PathBuf> = known.map(|entry| entry.path.clone()).chain(paths.iter().cloned()).collect();
        for path in all {
            let place = place(root, &path)?;
            let at = |place: &Path| Found::at(place).map_err(file("read", place));
            let seen = Seen {
                found: at(&place)?,
                kept: at(&kept_path(&place))?,
                is_new_there: !at(&new_path(&place))?.is_nothing(),
                place,
            };
            let mut directories: Vec<PathBuf> = seen.place.ancestors().skip(1).map(Path::to_owned).collect();
            directories.retain(|directory| !directory.exists() && !host.missing.contains(directory));
            host.missing.extend(directories.into_iter().rev());
            host.seen.insert(path, seen);
        }
        Ok(host)
    }

    /// A path of this machine as the host knows it.
    pub(super) fn path_of(&self, place: &Path) -> PathBuf {
        Path::new("/").join(place.strip_prefix(&self.root).unwrap_or(place))
    }
}

impl StateDir {
    fn look(root: &Path) -> Result<Self, InstallError> {
        let [state, manifest, half] =
            [STATE_DIR, MANIFEST, HALF_STATE_DIR].map(|path| place(root, Path::new(path)));
        let (state, manifest, half) = (state?, manifest?, half?);
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let in_it = |directory: &Path| {
            fs::read_dir(directory).map(|entries| entries.flatten().count()).unwrap_or_default()
        };
        let new = new_path(&manifest);
        let mut parents: Vec<PathBuf> = state.ancestors().skip(1).map(Path::to_owned).collect();
        parents.retain(|parent| !parent.exists());
        parents.reverse();
        Ok(Self {
            is_there: state.is_dir(),
            missing_parents: parents,
            is_alone: is_there(&manifest) && in_it(&state) == 1 + usize::from(is_there(&new)),
            half_is_there: is_there(&half),
            left: [half_manifest(&half), new].into_iter().filter(|path| is_there(path)).collect(),
            place: state,
            manifest,
            half,
        })
    }
}

/// The manifest in the directory that is not yet, or no longer, in its place.
pub(super) fn half_manifest(half: &Path) -> PathBuf {
    half.join(Path::new(MANIFEST).file_name().unwrap_or_default())
}

/// Where a path of the host's is on this machine: under `root`, with every symbolic link on the way leading to where it
/// leads on that host. OpenVZ's own `/etc/vz/conf` is such a link on some. The last name is not followed.
pub(super) fn place(root: &Path, path: &Path) -> Result<PathBuf, InstallError> {
    let mut ahead: VecDeque<OsString> = names(path);
    let last = ahead.pop_back().unwrap_or_default();
    let mut behind = PathBuf::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            behind.pop();
            continue;
        }
        // What is no link, or not there, is taken as it is: who writes there is told what is wrong.
        let Ok(target) = fs::read_link(root.join(&behind).join(&name)) else {
            behind.push(name);
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(InstallError::Links { path: path.to_owned(), max: MAX_LINKS });
        }
        if target.is_absolute() {
            behind.clear();
        }
        for name in names(&target).into_iter().rev() {
            ahead.push_front(name);
        }
    }
    Ok(root.join(behind).join(last))
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(name).collect()
}
