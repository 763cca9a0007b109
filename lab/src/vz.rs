//! OpenVZ's part of a lab: its configuration files, and the call that vzctl makes for a container's interface.
//!
//! There is no OpenVZ here. What vzctl does around its network hook is done instead, to the letter: the same files, the
//! same arguments, and an environment of the same four variables.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use ovs_mesh::link::{Mac, Netns, NetnsError};
use ovs_mesh::{BridgeName, Ctid};
use ovz_net::vznet_conf;

use crate::plan::{ContainerPlan, HostPlan};
use crate::state::Lab;

/// How long a hook may take; ours gives up before.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);
/// vzctl's own, for what it starts.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Why a container's interface was not given to the hook, or not taken by it.
#[derive(Debug, thiserror::Error)]
pub enum VzError {
    /// A file of OpenVZ's could not be written.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was attempted.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The host's namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The hook could not be run.
    #[error("cannot run {}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The hook failed, so that vzctl would not start the container.
    #[error("the hook of container {ctid} exited with {}: {}", status.map_or_else(|| "a signal".to_owned(), |code| code.to_string()), said.trim_end())]
    Failed {
        /// The container.
        ctid: Ctid,
        /// The exit code.
        status: Option<i32>,
        /// What it said.
        said: String,
    },
    /// The hook did not end, and was killed.
    #[error("the hook of container {ctid} did not end within {} s: {}", DEADLINE.as_secs(), said.trim_end())]
    Hangs {
        /// The container.
        ctid: Ctid,
        /// What it said.
        said: String,
    },
}

fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VzError {
    let path = path.to_owned();
    move |source| VzError::File { step, path, source }
}

impl Lab {
    /// The directory of the containers' configurations (`/etc/vz/conf`), one for all hosts.
    pub fn vz_conf_dir(&self) -> PathBuf {
        self.plan().vz_conf_dir()
    }

    /// Makes `program` the hook of every host, as `ovsmesh vznet install` does.
    pub(crate) fn install_hook(&self, program: &Path) -> Result<(), VzError> {
        let conf_dir = self.vz_conf_dir();
        fs::create_dir_all(&conf_dir).map_err(file("create", &conf_dir))?;
        for host in &self.plan().hosts {
            let hook = host.dir.join("vznetaddbr");
            symlink(program, &hook).map_err(file("create", &hook))?;
            let db = format!("unix:{}", host.db_socket().display());
            let config = self.topology_path().display().to_string();
            let variables = [
                ("OVSMESH_CONFIG", config.as_str()),
                ("OVSMESH_HOST", host.name.as_str()),
                ("OVSMESH_DB", db.as_str()),
            ];
            let conf = host.dir.join("vznet.conf");
            fs::write(&conf, vznet_conf(&hook, &variables)).map_err(file("write", &conf))?;
            let text = format!(
                "#!/bin/sh\n# In place of OpenVZ's own: reads who the hook is, and becomes it.\n. '{}'\nexec \
                 \"$EXTERNAL_SCRIPT\" \"$@\"\n",
                conf.display()
            );
            let vznetcfg = host.vznetcfg();
            fs::write(&vznetcfg, text).map_err(file("write", &vznetcfg))?;
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&vznetcfg, executable).map_err(file("make executable", &vznetcfg))?;
        }
        Ok(())
    }

    /// Writes a container's configuration as vzctl saves it.
    pub(crate) fn configure(
        &self,
        container: &ContainerPlan,
        bridge: &BridgeName,
        mac: Option<Mac>,
    ) -> Result<(), VzError> {
        let path = self.vz_conf_dir().join(format!("{}.conf", container.ctid));
        let mac = mac.map(|mac| format!("mac={},", mac.to_string().to_uppercase())).unwrap_or_default();
        let text = format!(
            "ONBOOT=\"yes\"\nOSTEMPLATE=\"none\"\nNETIF=\"ifname=eth0,bridge={bridge},{mac}host_ifname={},\
             host_mac=FE:FF:FF:FF:FF:FF\"\n",
            container.device
        );
        fs::write(&path, text).map_err(file("write", &path))
    }

    /// Calls the hook for a container's interface as vzctl does when it starts one; blocks until it is done.
    pub(crate) fn call_hook(container: &ContainerPlan, host: &HostPlan) -> Result<(), VzError> {
        let printed = host.dir.join(format!("vznetcfg-{}.out", container.ctid));
        let status = host.vznetcfg_call(container, &printed)?;
        let said = || String::from_utf8_lossy(&fs::read(&printed).unwrap_or_default()).into_owned();
        let ctid = || container.ctid.clone();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(VzError::Failed { ctid: ctid(), status: status.code(), said: said() }),
            None => Err(VzError::Hangs { ctid: ctid(), said: said() }),
        }
    }
}

impl HostPlan {
    /// The program that vzctl runs for every interface (`/usr/sbin/vznetcfg`).
    pub fn vznetcfg(&self) -> PathBuf {
        self.dir.join("vznetcfg")
    }

    /// How it ended; none where it had to be killed.
    fn vznetcfg_call(
        &self,
        container: &ContainerPlan,
        printed: &Path,
    ) -> Result<Option<ExitStatus>, VzError> {
        let path = self.vznetcfg();
        let failed = |source| VzError::Run { path: path.clone(), source };
        // vzctl opens it so: the hook cannot read from it.
        let null = File::options().write(true).open("/dev/null").map_err(failed)?;
        let mut call = Command::new(&path);
        call.args(["init", "veth", container.device.as_str()]).env_clear().stdin(null);
        call.envs([("HOME", "/"), ("TERM", "linux"), ("PATH", PATH), ("VEID", container.ctid.as_str())]);
        // Not a pipe, which what it leaves running would keep open.
        let out = File::create(printed).map_err(file("create", printed))?;
        call.stdout(out.try_clone().map_err(file("use", printed))?).stderr(out);
        // A terminal's interrupt is ours to take: what was begun ends, and is then taken down.
        call.process_group(0);
        let mut child = Netns::open(&self.netns)?.run(move || call.spawn())?.map_err(failed)?;
        let started = Instant::now();
        loop {
            match child.try_wait().map_err(failed)? {
                None if started.elapsed() > DEADLINE => {
                    // It fails only when all of it has ended meanwhile.
                    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                    let _ = child.wait();
                    return Ok(None);
                }
                None => sleep(PAUSE),
                ended => return Ok(ended),
            }
        }
    }
}
