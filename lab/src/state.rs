//! The labs' state directories: who has which name, and what each lab consists of.
//!
//! A state directory appears with its manifest in it, in one rename, before anything else of the lab exists; one
//! without a manifest is what a removal that was cut short left. Whoever changes a lab holds a lock on its directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use ovs_mesh::link::Netns;
use ovs_mesh::{HostName, MeshName, NetnsName};

use crate::plan::{BASE, HostPlan, LabPlan, state_dir};

const MANIFEST: &str = "lab.json";
/// Beside the manifest: the command that makes the lab and takes it down.
const MAKER: &str = "maker";
/// Beside the manifest from the beginning until the lab is whole, and again when it is taken down.
const UNFINISHED: &str = "unfinished";
/// This crate's own.
pub(crate) const OWN: &str = "ovsmesh lab";
/// How long another process may hold a lab: as long as one takes to come up.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Why the state of a lab could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no such lab.
    #[error("there is no lab `{name}`")]
    Absent {
        /// The lab.
        name: MeshName,
    },
    /// A lab of that name is there.
    #[error("lab `{name}` is up already; `{maker} down --name {name}` takes it down")]
    AlreadyUp {
        /// The lab.
        name: MeshName,
        /// The command that made it.
        maker: String,
    },
    /// A lab of that name is half made or half removed, and nobody is at it.
    #[error(
        "lab `{name}` is half there: the `{maker} up` or `{maker} down` that was at it ended before it was done; `{maker} down \
         --name {name}` removes what is left, and `{maker} up --name {name}` then makes it anew"
    )]
    Unfinished {
        /// The lab.
        name: MeshName,
        /// The command that made it.
        maker: String,
    },
    /// A lab of that name is being made or taken down.
    #[error("lab `{name}` is being made or taken down by another `{maker}`; try again when that has ended")]
    Making {
        /// The lab.
        name: MeshName,
        /// The command that makes it.
        maker: String,
    },
    /// A namespace that the lab would make is somebody else's, and would be lost when the lab goes down.
    #[error(
        "network namespace `{netns}` ({what} of the lab) is there already; remove it or choose another lab name"
    )]
    NetnsTaken {
        /// The namespace.
        netns: NetnsName,
        /// What it would be.
        what: String,
    },
    /// A namespace that the lab would make belongs to another lab.
    #[error(
        "network namespace `{netns}` ({what} of the lab) belongs to lab `{lab}`; choose another lab name"
    )]
    NetnsOfLab {
        /// The namespace.
        netns: NetnsName,
        /// What it would be.
        what: String,
        /// The other lab.
        lab: MeshName,
    },
    /// Another process is bringing the lab up or down, and did not finish.
    #[error("{dir} stayed locked by another process for {} s", DEADLINE.as_secs())]
    Busy {
        /// The locked directory.
        dir: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("cannot {step} {path}")]
    File {
        /// What was attempted.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The manifest is not one of this version's.
    #[error(
        "{path} is not the manifest of a lab; what it names has to be removed by hand, and then {BASE}/{name}"
    )]
    Manifest {
        /// The lab.
        name: MeshName,
        /// The manifest.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
}

fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::File { step, path, source }
}

/// A lab that is up, or that a crash left half way.
#[derive(Debug, Clone)]
pub struct Lab {
    plan: LabPlan,
}

impl Lab {
    /// The lab of that name, from its manifest.
    pub fn open(name: &MeshName) -> Result<Self, StateError> {
        if let Some(plan) = read(name)? {
            return Ok(Self::of(plan));
        }
        finished(name)?;
        Err(StateError::Absent { name: name.clone() })
    }

    pub(crate) fn of(plan: LabPlan) -> Self {
        Self { plan }
    }

    /// Every name in the lab.
    pub fn plan(&self) -> &LabPlan {
        &self.plan
    }

    /// The command that made it, which also takes it down: `ovsmesh lab`, or another program's.
    pub fn maker(&self) -> String {
        maker(&self.plan.name)
    }

    /// The topology that it runs, as a file.
    pub fn topology_path(&self) -> PathBuf {
        self.plan.dir().join("mesh.toml")
    }

    /// The database socket of a host's OVS.
    pub fn db_socket(&self, host: &HostName) -> Option<PathBuf> {
        self.plan.host(host).map(HostPlan::db_socket)
    }
}

impl HostPlan {
    /// The database socket of its OVS (`--db=unix:PATH`).
    pub fn db_socket(&self) -> PathBuf {
        self.dir.join("db.sock")
    }
}

/// The names of all labs on this machine, in order.
pub fn list() -> Result<Vec<MeshName>, StateError> {
    let base = Path::new(BASE);
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(file("read", base)(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file("read", base))?;
        // Those that begin with a dot are being made.
        names.extend(entry.file_name().to_str().and_then(|text| text.parse::<MeshName>().ok()));
    }
    names.sort();
    Ok(names)
}

/// The manifest; none where there is no lab, or the last of one that was being removed.
pub(crate) fn read(name: &MeshName) -> Result<Option<LabPlan>, StateError> {
    let path = state_dir(name).join(MANIFEST);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Manifest {
            name: name.clone(),
            path,
            source,
        }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file("read", &path)(source)),
    }
}

/// The command that made a lab; before there were others, it was ours.
fn maker(name: &MeshName) -> String {
    fs::read_to_string(state_dir(name).join(MAKER)).unwrap_or_else(|_| OWN.to_owned())
}

/// Whether a lab is half made or half removed, whoever is at it: without a manifest, it is being removed.
pub(crate) fn is_unfinished(name: &MeshName) -> bool {
    let dir = state_dir(name);
    dir.join(UNFINISHED).exists() || (dir.exists() && !dir.join(MANIFEST).exists())
}

/// That a lab is not half made or half removed.
pub(crate) fn finished(name: &MeshName) -> Result<(), StateError> {
    if !is_unfinished(name) {
        return Ok(());
    }
    let dir = state_dir(name);
    let opened = match File::open(&dir) {
        Ok(opened) => opened,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(file("open", &dir)(source)),
    };
    let (name, maker) = (name.clone(), maker(name));
    // Shared: who only looks is not in the way of another who does.
    match Flock::lock(opened, FlockArg::LockSharedNonblock) {
        // Done meanwhile, or not.
        Ok(_lock) if !is_unfinished(&name) => Ok(()),
        Ok(_lock) => Err(StateError::Unfinished { name, maker }),
        Err((_, Errno::EWOULDBLOCK)) => Err(StateError::Making { name, maker }),
        Err((_, errno)) => Err(file("lock", &dir)(errno.into())),
    }
}

/// Notes that a lab is whole.
pub(crate) fn finish(name: &MeshName) -> Result<(), StateError> {
    let mark = state_dir(name).join(UNFINISHED);
    fs::remove_file(&mark).map_err(file("remove", &mark))
}

/// Notes that a lab is no longer whole.
pub(crate) fn unfinish(name: &MeshName) -> Result<(), StateError> {
    let mark = state_dir(name).join(UNFINISHED);
    fs::write(&mark, "").map_err(file("write", &mark))
}

/// The right to change a lab, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: Flock<File>,
}

/// Takes the lab's name and writes its manifest, if nothing of the lab is there yet. Where all labs are locked, it waits for as long as
/// it is wanted.
pub(crate) fn claim(plan: &LabPlan, maker: &str, wanted: &AtomicBool) -> Result<Claim, StateError> {
    let base = Path::new(BASE);
    fs::create_dir_all(base).map_err(file("create", base))?;
    let _all = lock_while(base, || wanted.load(Ordering::Relaxed))?;
    let dir = plan.dir();
    if dir.exists() {
        finished(&plan.name)?;
        return Err(StateError::AlreadyUp { name: plan.name.clone(), maker: self::maker(&plan.name) });
    }
    free(plan)?;
    let new = unborn(&plan.name);
    remove_all(&new)?;
    fs::create_dir(&new).map_err(file("create", &new))?;
    let manifest = new.join(MANIFEST);
    let text = serde_json::to_vec_pretty(plan).map_err(|why| file("write", &manifest)(why.into()))?;
    for (name, text) in [(MANIFEST, text), (MAKER, maker.into()), (UNFINISHED, Vec::new())] {
        let path = new.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
    }
    let claim = Claim { _lock: lock(&new)? };
    fs::rename(&new, &dir).map_err(file("create", &dir))?;
    Ok(claim)
}

/// That no namespace of the lab is anybody else's.
fn free(plan: &LabPlan) -> Result<(), StateError> {
    let mut others = Vec::new();
    for name in list()? {
        match read(&name) {
            Ok(other) => others.extend(other),
            // Of another version: what stands of it is seen by its namespaces.
            Err(StateError::Manifest { .. }) => {}
            Err(why) => return Err(why),
        }
    }
    for (netns, what) in plan.netns() {
        if let Some(other) = others.iter().find(|other| other.netns().any(|(taken, _)| taken == netns)) {
            return Err(StateError::NetnsOfLab { netns: netns.clone(), what, lab: other.name.clone() });
        }
        if Netns::exists(netns) {
            return Err(StateError::NetnsTaken { netns: netns.clone(), what });
        }
    }
    Ok(())
}

/// Takes hold of a lab that is there; none when there is no such lab (any more).
pub(crate) fn hold(name: &MeshName) -> Result<Option<Claim>, StateError> {
    let dir = state_dir(name);
    loop {
        let lock = match lock(&dir) {
            Ok(lock) => lock,
            Err(StateError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(why) => return Err(why),
        };
        let held = lock.metadata().map_err(file("read", &dir))?;
        match fs::metadata(&dir) {
            Ok(found) if found.ino() == held.ino() => return Ok(Some(Claim { _lock: lock })),
            // Removed, and perhaps made anew, while the lock was waited for.
            Ok(_) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file("read", &dir)(source)),
        }
    }
}

/// Removes the state directory, last of all: the manifest first, by which it is a lab.
pub(crate) fn remove(name: &MeshName) -> Result<(), StateError> {
    let manifest = state_dir(name).join(MANIFEST);
    match fs::remove_file(&manifest) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(file("remove", &manifest)(source));
        }
        _ => {}
    }
    remove_all(&state_dir(name))
}

/// Removes what a crash left before the lab had its name: a directory, and nothing else of the lab.
pub(crate) fn remove_unborn(name: &MeshName) -> Result<(), StateError> {
    let new = unborn(name);
    if !new.exists() {
        return Ok(());
    }
    let _all = lock(Path::new(BASE))?;
    remove_all(&new)
}

fn unborn(name: &MeshName) -> PathBuf {
    Path::new(BASE).join(format!(".{name}.new"))
}

fn remove_all(dir: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(file("remove", dir)(source)),
        _ => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<Flock<File>, StateError> {
    lock_while(dir, || true)
}

fn lock_while(dir: &Path, wanted: impl Fn() -> bool) -> Result<Flock<File>, StateError> {
    let started = Instant::now();
    let mut opened = File::open(dir).map_err(file("open", dir))?;
    loop {
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) if wanted() && started.elapsed() < DEADLINE => {
                opened = again;
            }
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                return Err(StateError::Busy { dir: dir.to_owned() });
            }
            Err((_, errno)) => return Err(file("lock", dir)(errno.into())),
        }
        sleep(PAUSE);
    }
}
