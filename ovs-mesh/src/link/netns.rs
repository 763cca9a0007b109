//! Named network namespaces, as ip-netns(8) has them: files in `/run/netns` that nsfs is mounted on.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::NetnsName;

/// Where iproute2 keeps its named namespaces (`NETNS_RUN_DIR`).
const RUN_DIR: &str = "/run/netns";
/// How long a file without a namespace may be one that `ip netns add` is about to mount.
const HALF_MADE: Duration = Duration::from_secs(1);
/// How long to wait for other users of `/run/netns` before giving up.
const DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// Why a network namespace could not be made, entered, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// No namespace has that name.
    #[error("there is no network namespace `{netns}` in {RUN_DIR}")]
    Absent {
        /// The name asked for.
        netns: NetnsName,
    },
    /// The file is there, but no namespace is mounted on it.
    #[error("{RUN_DIR}/{netns} is a plain file, not a network namespace; `ip netns del {netns}` removes it")]
    NotMounted {
        /// The name asked for.
        netns: NetnsName,
    },
    /// The kernel refused a step of making, opening or removing the namespace.
    #[error("cannot {step} network namespace `{netns}`")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// The namespace.
        netns: NetnsName,
        /// The kernel's reason; making and entering namespaces takes `CAP_SYS_ADMIN` (capabilities(7)).
        #[source]
        source: io::Error,
    },
    /// The directory of the namespaces cannot be prepared or read.
    #[error("cannot {step} {RUN_DIR}")]
    RunDir {
        /// What was attempted.
        step: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody else held the directory's lock for too long.
    #[error("{RUN_DIR} stayed locked by another process for {} s", DEADLINE.as_secs())]
    Locked,
}

/// A named network namespace that is held open: it lives at least as long as this value, whatever happens to its name.
///
/// Clones share the one open file.
#[derive(Debug, Clone)]
pub struct Netns {
    name: NetnsName,
    file: Arc<File>,
    id: NetnsId,
}

/// What identifies a namespace whatever its name: the device and inode of its nsfs file (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl NetnsId {
    /// The namespace of the calling thread.
    pub fn own() -> io::Result<Self> {
        Self::of(Path::new("/proc/thread-self/ns/net"))
    }

    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|found| Self { device: found.dev(), inode: found.ino() })
    }
}

impl Netns {
    /// The namespace of that name, made if there is none yet: `ip netns add`, but idempotent.
    ///
    /// Any number of processes may do this at once. A file that nothing is mounted on is given a second, since
    /// `ip netns add` might be between its two steps, and is then taken for the remains of a crash and mounted on.
    /// A new namespace has only `lo`, and that down.
    pub fn ensure(name: &NetnsName) -> Result<Self, NetnsError> {
        if mounted(&path_of(name)) {
            return Self::open(name);
        }
        let deadline = Instant::now() + DEADLINE;
        let _lock = prepare_run_dir(deadline)?;
        while !mounted(&path_of(name)) {
            let file = path_of(name);
            match File::options().write(true).create_new(true).open(&file) {
                Ok(_) => bind_new(name)?,
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                    let changed = fs::metadata(&file).and_then(|found| found.modified());
                    let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
                    if age.is_none_or(|age| age > HALF_MADE) {
                        bind_new(name)?;
                    } else {
                        thread::sleep(PAUSE);
                    }
                }
                Err(source) => {
                    return Err(NetnsError::Step { step: "create the file of", netns: name.clone(), source });
                }
            }
        }
        Self::open(name)
    }

    /// The namespace of that name.
    pub fn open(name: &NetnsName) -> Result<Self, NetnsError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => NetnsError::Absent { netns: name.clone() },
            _ => NetnsError::Step { step: "open", netns: name.clone(), source },
        };
        let path = path_of(name);
        let file = File::open(&path).map_err(failed)?;
        if !nix::sys::statfs::fstatfs(&file).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC) {
            return Err(NetnsError::NotMounted { netns: name.clone() });
        }
        let found = file.metadata().map_err(failed)?;
        Ok(Self {
            name: name.clone(),
            file: Arc::new(file),
            id: NetnsId { device: found.dev(), inode: found.ino() },
        })
    }

    /// Whether a namespace has that name now.
    pub fn exists(name: &NetnsName) -> bool {
        mounted(&path_of(name))
    }

    /// Takes the name away (`ip netns del`), and whether there was one.
    ///
    /// The namespace itself goes with its last process, open file and mount; its devices follow a moment later. Stop
    /// the processes of [`Netns::pids`] first where that matters.
    pub fn delete(name: &NetnsName) -> Result<bool, NetnsError> {
        let path = path_of(name);
        if fs::symlink_metadata(&path).is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
            return Ok(false);
        }
        let failed = |step, source| NetnsError::Step { step, netns: name.clone(), source };
        let _lock = prepare_run_dir(Instant::now() + DEADLINE)?;
        // More than one mount can be stacked there when two makers raced.
        loop {
            match umount2(&path, MntFlags::MNT_DETACH) {
                Ok(()) => {}
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(errno) => return Err(failed("unmount", errno.into())),
            }
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(failed("remove the file of", source)),
        }
    }

    /// The names of all namespaces there are, in order.
    ///
    /// Names that are no [`NetnsName`] (`ip netns` accepts nearly any) are left out.
    pub fn list() -> Result<Vec<NetnsName>, NetnsError> {
        let unreadable = |source| NetnsError::RunDir { step: "read", source };
        let entries = match fs::read_dir(RUN_DIR) {
            Ok(entries) => entries,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(unreadable(source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_str().and_then(|text| text.parse::<NetnsName>().ok());
            names.extend(name.filter(|_| mounted(&entry.path())));
        }
        names.sort();
        Ok(names)
    }

    /// The name it was opened by.
    pub fn name(&self) -> &NetnsName {
        &self.name
    }

    /// The identity of the namespace itself.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Whether the name still stands for this namespace, and not for none or for a successor.
    pub fn is_current(&self) -> bool {
        NetnsId::of(&path_of(&self.name)).is_ok_and(|id| id == self.id)
    }

    /// The file of the namespace, as an argument for the kernel (`IFLA_NET_NS_FD`).
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs the closure on a thread of its own inside the namespace, and waits for it.
    ///
    /// Sockets that it opens and processes that it spawns belong to the namespace for good; the calling thread never
    /// leaves its own (setns(2) moves one thread). `/proc/sys/net` is the namespace's there, `/sys` is not.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let failed = |step, source| NetnsError::Step { step, netns: self.name.clone(), source };
        let file = &self.file;
        thread::scope(|scope| {
            let started = thread::Builder::new()
                .name(format!("netns {}", self.name))
                .spawn_scoped(scope, move || setns(file, CloneFlags::CLONE_NEWNET).map(|()| inside()));
            match started.map_err(|source| failed("start a thread for", source))?.join() {
                Ok(done) => done.map_err(|errno| failed("enter", errno.into())),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The processes whose network namespace this is, in order of their ids (`ip netns pids`).
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        Self::pids_of(&[self.id])
    }

    /// The processes of several namespaces, found in one look at `/proc`.
    pub fn pids_of(ids: &[NetnsId]) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end, or be one that we may not look into, between the listing and here.
            if NetnsId::of(&entry.path().join("ns/net")).is_ok_and(|id| ids.contains(&id)) {
                pids.push(pid);
            }
        }
        pids.sort_unstable();
        Ok(pids)
    }
}

fn path_of(name: &NetnsName) -> PathBuf {
    Path::new(RUN_DIR).join(name.as_str())
}

fn mounted(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Makes `/run/netns` what iproute2 makes it, a shared mount, so that namespaces made here are seen in every mount
/// namespace, and keeps others that do the same out while it is changed. iproute2 takes the same lock.
fn prepare_run_dir(deadline: Instant) -> Result<Flock<File>, NetnsError> {
    let failed = |step, source| NetnsError::RunDir { step, source };
    fs::create_dir_all(RUN_DIR).map_err(|source| failed("create", source))?;
    let mut dir = File::open(RUN_DIR).map_err(|source| failed("open", source))?;
    let lock = loop {
        match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => break lock,
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => dir = again,
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => return Err(NetnsError::Locked),
            Err((_, errno)) => return Err(failed("lock", errno.into())),
        }
        thread::sleep(PAUSE);
    };
    let share =
        || mount(None::<&str>, RUN_DIR, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Ok(()) => Ok(()),
        // Not a mount point yet (mount(2)).
        Err(Errno::EINVAL) => {
            mount(Some(RUN_DIR), RUN_DIR, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
                .and_then(|()| share())
        }
        Err(errno) => Err(errno),
    }
    .map_err(|errno| failed("share the mount of", errno.into()))?;
    Ok(lock)
}

/// Mounts a new namespace on the name's file. Only a thread that ends at once ever is inside it.
fn bind_new(name: &NetnsName) -> Result<(), NetnsError> {
    let failed = |step, source| NetnsError::Step { step, netns: name.clone(), source };
    let path = path_of(name);
    let maker = thread::Builder::new().name(format!("netns {name}")).spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| ("unshare", errno))?;
        let own = Some("/proc/thread-self/ns/net");
        mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(|errno| ("mount", errno))
    });
    match maker.map_err(|source| failed("start a thread for", source))?.join() {
        Ok(made) => made.map_err(|(step, errno)| {
            // Best effort: without its mount the file would only puzzle the next one.
            let _ = fs::remove_file(path_of(name));
            failed(step, errno.into())
        }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
