//! Runs a command inside a lab.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use ovs_mesh::link::{Netns, NetnsError};

use crate::plan::NoSuchTarget;
use crate::preflight::search_path;
use crate::state::Lab;

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The lab has no such place.
    #[error(transparent)]
    Target(#[from] NoSuchTarget),
    /// The place's namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The command could not be started.
    #[error("cannot run `{command}` in `{target}`")]
    Command {
        /// The command.
        command: String,
        /// The place.
        target: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Lab {
    /// Runs a command in a place of the lab ([`crate::LabPlan::target`]) with the caller's own input and output, and waits for
    /// it, for as long as it takes.
    ///
    /// On a host, the tools of Open vSwitch talk to that host's daemons (`OVS_RUNDIR`), and so does `ovsmesh`, which is
    /// found even where it is not installed: as the program that is running.
    pub fn exec(
        &self,
        target: &str,
        command: &OsStr,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<ExitStatus, ExecError> {
        let place = self.plan().target(target)?;
        let netns = Netns::open(place.netns)?;
        let mut process = Command::new(command);
        process.args(args);
        let own = env::current_exe().ok().and_then(|program| program.parent().map(PathBuf::from));
        if let Ok(path) = env::join_paths(search_path(env::var_os("PATH").as_deref()).into_iter().chain(own))
        {
            process.env("PATH", path);
        }
        if let Some(host) = place.host {
            for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
                process.env(variable, &host.dir);
            }
            process.env("OVSMESH_CONFIG", self.topology_path());
            process.env("OVSMESH_HOST", host.name.as_str());
            process.env("OVSMESH_DB", format!("unix:{}", host.db_socket().display()));
        }
        let failed = |source| {
            let command = command.to_string_lossy().into_owned();
            ExecError::Command { command, target: target.to_owned(), source }
        };
        netns.run(move || process.spawn())?.and_then(|mut child| child.wait()).map_err(failed)
    }
}
