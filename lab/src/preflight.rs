//! What a lab needs of this machine, asked before anything is made.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use ovs_mesh::Datapath;
use ovs_mesh::link::{DatapathError, datapaths};

/// Directories that hold daemons and are not in every user's `PATH`.
const SYSTEM_DIRS: &str = "/usr/sbin:/sbin";
/// OVS's database schema, where Debian's package has it.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Why this machine cannot have a lab.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Namespaces and devices need root.
    #[error("a lab makes network namespaces and devices, which takes root; run it with sudo")]
    NotRoot,
    /// A program of Open vSwitch is missing.
    #[error("`{program}` is not in PATH or {SYSTEM_DIRS}; Debian's package openvswitch-switch has it")]
    NoProgram {
        /// The program.
        program: &'static str,
    },
    /// The kernel has no Open vSwitch datapath.
    #[error(
        "the kernel's datapath is not there: `modprobe openvswitch`, or leave out `--datapath system` for the userspace \
         datapath, which needs no module"
    )]
    NoDatapath(#[source] DatapathError),
    /// The database schema is missing.
    #[error("{SCHEMA} is missing; Debian's package openvswitch-switch has it")]
    NoSchema,
}

/// Whether this machine has the datapath.
pub(crate) async fn has_datapath(datapath: Datapath) -> Result<(), PreflightError> {
    match datapath {
        Datapath::Netdev => Ok(()),
        Datapath::System => datapaths(None).await.map(drop).map_err(PreflightError::NoDatapath),
    }
}

/// Open vSwitch's programs on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) ovsdb_tool: PathBuf,
    pub(crate) ovsdb_server: PathBuf,
    pub(crate) ovs_vswitchd: PathBuf,
    pub(crate) ovs_vsctl: PathBuf,
    pub(crate) schema: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Result<Self, PreflightError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(PreflightError::NotRoot);
        }
        let path = search_path(env::var_os("PATH").as_deref());
        let schema = PathBuf::from(SCHEMA);
        let programs = Self {
            ovsdb_tool: find_in(&path, "ovsdb-tool")?,
            ovsdb_server: find_in(&path, "ovsdb-server")?,
            ovs_vswitchd: find_in(&path, "ovs-vswitchd")?,
            ovs_vsctl: find_in(&path, "ovs-vsctl")?,
            schema,
        };
        if programs.schema.is_file() { Ok(programs) } else { Err(PreflightError::NoSchema) }
    }
}

/// `PATH` with the directories of the daemons behind it.
pub(crate) fn search_path(path: Option<&OsStr>) -> Vec<PathBuf> {
    path.map(env::split_paths).into_iter().flatten().chain(env::split_paths(SYSTEM_DIRS)).collect()
}

fn find_in(path: &[PathBuf], program: &'static str) -> Result<PathBuf, PreflightError> {
    path.iter()
        .map(|dir| dir.join(program))
        .find(|file| nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok() && file.is_file())
        .ok_or(PreflightError::NoProgram { program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let why = find_in(&[PathBuf::from("/nowhere")], "ovsdb-server").unwrap_err().to_string();
        assert!(why.contains("`ovsdb-server`") && why.contains("openvswitch-switch"), "{why}");
    }

    #[test]
    fn the_daemons_directories_come_last() {
        let path = search_path(Some(OsStr::new("/opt/ovs/bin:/usr/bin")));
        assert_eq!(path, ["/opt/ovs/bin", "/usr/bin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    }
}
