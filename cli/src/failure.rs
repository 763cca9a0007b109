//! What can go wrong, with its exit code and what to do about it.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use ovs_mesh::isolation::{OriginError, SnapshotFileError, StaticError};
use ovs_mesh::ovsdb::Endpoint;
use ovs_mesh::{AttachError, PlanError, SwitchError, SyncError, TopologyError};
use ovsmesh_lab::{LabError, StateError};
use ovz_net::{CallError, HookError, InstallError};

use crate::Exit;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot start the runtime")]
    Runtime { source: std::io::Error },
    #[error("cannot read the topology file {}", path.display())]
    Config { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("this machine's host name `{text}` is no host of a topology")]
    HostName { text: String, source: ovs_mesh::NameError },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("`--format {format}` is for `{command}` only")]
    Format { format: &'static str, command: &'static str },
    #[error("`--db` is one endpoint, without a host's name, for all commands but `verify`")]
    Databases,
    #[error("cannot read the snapshot {}", path.display())]
    ReadSnapshot { path: PathBuf, source: std::io::Error },
    #[error("{} is no snapshot", path.display())]
    Snapshot { path: PathBuf, source: SnapshotFileError },
    #[error("the snapshot {} cannot be verified", path.display())]
    Verify { path: PathBuf, source: StaticError },
    #[error("a host cannot be verified")]
    VerifyHost { source: StaticError },
    #[error("cannot write the snapshot to {}", path.display())]
    WriteSnapshot { path: PathBuf, source: std::io::Error },
    #[error("it cannot be told which host's database {endpoint} is")]
    Origin { endpoint: Endpoint, source: OriginError },
    #[error("the report cannot be written as JUnit XML")]
    Junit { source: Box<dyn Error + Send + Sync> },
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("cannot watch {}", path.display())]
    Watch { path: PathBuf, source: notify::Error },
    #[error("cannot find this program's own file, which is to be the hook")]
    Program { source: std::io::Error },
    #[error("cannot print the result")]
    Print { source: std::io::Error },
    #[error("{why}")]
    Stopped { exit: Exit, why: LabError },
    #[error("cannot wait for signals")]
    Signal { source: std::io::Error },
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Stopped { exit, .. } => *exit,
            Self::Config { .. }
            | Self::Lab(LabError::Plan(_))
            | Self::Topology(_)
            | Self::HostName { .. }
            | Self::Plan(PlanError::UnknownHost { .. })
            | Self::Call(_)
            | Self::Hook(HookError::Plan(_))
            | Self::Databases
            | Self::ReadSnapshot { .. }
            | Self::Snapshot { .. }
            | Self::Verify { .. }
            | Self::VerifyHost { .. }
            | Self::Origin { .. }
            | Self::Install(
                InstallError::Program { .. } | InstallError::Text { .. } | InstallError::Root { .. },
            )
            | Self::Format { .. } => Exit::Usage,
            Self::Switch(error)
            | Self::Sync(SyncError::Switch(error))
            | Self::Hook(HookError::Switch(error) | HookError::Attach(AttachError::Switch(error)))
            | Self::Attach(AttachError::Switch(error)) => switch_exit(error),
            Self::Sync(SyncError::NotApplied { .. })
            | Self::Hook(
                HookError::Deadline { .. }
                | HookError::Attach(AttachError::NotApplied { .. } | AttachError::NotTakenBack { .. }),
            )
            | Self::Attach(AttachError::NotApplied { .. } | AttachError::NotTakenBack { .. }) => {
                Exit::NotApplied
            }
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config { .. } => {
                Some("write one (see examples/), or name it with --config or OVSMESH_CONFIG")
            }
            Self::Lab(LabError::State(StateError::Absent { .. })) => {
                Some("bring it up with: ovsmesh lab up; --name says which")
            }
            Self::Origin { .. } => Some("say which, as --db HOST=ENDPOINT"),
            Self::HostName { .. } | Self::Plan(PlanError::UnknownHost { .. }) => {
                Some("name this host with --host or OVSMESH_HOST")
            }
            Self::Switch(error)
            | Self::Sync(SyncError::Switch(error))
            | Self::Hook(HookError::Switch(error) | HookError::Attach(AttachError::Switch(error)))
            | Self::Attach(AttachError::Switch(error)) => switch_hint(error),
            Self::Sync(SyncError::NotApplied { .. }) => {
                Some("is ovs-vswitchd running? its log tells what it is doing; --timeout gives it more time")
            }
            Self::Install(InstallError::Manifest { .. }) => {
                Some("put it back from a backup; it says what was on this host before")
            }
            Self::Install(InstallError::File { .. }) => Some(
                "run it as root; what was done until then is finished by `ovsmesh vznet install` and undone by \
                 `ovsmesh vznet uninstall`",
            ),
            _ => None,
        }
    }

    /// The chain of causes, each once, and the hint.
    pub(crate) fn text(&self) -> String {
        let mut text = match self {
            // Shows its faults itself, each with its own `error:` line.
            Self::Topology(error) => return error.to_string(),
            other => format!("error: {other}"),
        };
        causes(&mut text, self.source());
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\nhint: {hint}");
        }
        text
    }
}

impl Failure {
    /// Why a host of a lab has no status.
    pub(crate) fn text_of(host: &ovs_mesh::HostName, error: &LabError) -> String {
        let mut text = format!("host {host}: no status: {error}");
        causes(&mut text, error.source());
        text
    }
}

fn causes(text: &mut String, mut cause: Option<&dyn Error>) {
    while let Some(error) = cause {
        let _ = write!(text, "\n  because: {error}");
        cause = error.source();
    }
}

fn switch_exit(error: &SwitchError) -> Exit {
    match error {
        SwitchError::Links(_)
        | SwitchError::Link(_)
        | SwitchError::Gateway(_)
        | SwitchError::Remote { .. } => Exit::Failed,
        SwitchError::Connect(_)
        | SwitchError::Transact(_)
        | SwitchError::Monitor(_)
        | SwitchError::Watch { .. }
        | SwitchError::Read(_) => Exit::Ovsdb,
    }
}

fn switch_hint(error: &SwitchError) -> Option<&'static str> {
    match error {
        SwitchError::Connect(_) => Some("name another endpoint with --db or OVSMESH_DB"),
        SwitchError::Remote { .. } => Some("run it on the host itself"),
        SwitchError::Links(_) | SwitchError::Link(_) | SwitchError::Gateway(_) => {
            Some("run as root: devices and namespaces are the kernel's")
        }
        _ => None,
    }
}
