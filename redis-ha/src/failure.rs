//! What can go wrong, with its exit code and what to do about it.

use std::error::Error;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::PathBuf;

use ovs_mesh::{Ctid, MeshName, TenantName};
use ovsmesh_lab::{DownError, LabError, StateError};
use redis_ha::{
    AgentError, BootstrapError, CertificateError, CheckError, ConfigError, DrillError, Obstacle, ProxyError,
    SecretError, ServiceLabError,
};

use crate::Exit;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot start the runtime")]
    Runtime { source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot {step} {}", path.display())]
    File { step: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot print the result")]
    Print { source: std::io::Error },
    #[error("cannot find this program's own file, which is to be the lab's agent")]
    Program { source: std::io::Error },
    #[error("there is no `ovsmesh` beside this program, which is to be the containers' hook")]
    Hook,
    #[error("host `{name}` is not one of the service's proxies: {proxies}")]
    NoProxy { name: String, proxies: String },
    #[error("cannot wait for signals")]
    Signal { source: std::io::Error },
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("no tenant `{tenant}` has a cluster in the service's file; those that have one: {known}")]
    Tenant { tenant: TenantName, known: String },
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error("this host's devices cannot be read")]
    Links { source: ovs_mesh::link::LinksOpenError },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Lab(#[from] ServiceLabError),
    #[error("{why}")]
    Lost { name: MeshName, why: ServiceLabError },
    #[error(transparent)]
    Down(#[from] DownError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Drill(#[from] DrillError),
    #[error("the drill was interrupted, and what it broke is mended")]
    Interrupted { exit: Exit },
    #[error("{why}")]
    Stopped { exit: Exit, why: LabError },
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Interrupted { exit } | Self::Stopped { exit, .. } => *exit,
            Self::Config(_)
            | Self::Secret(_)
            | Self::Check(CheckError::NotRendered { .. })
            | Self::Certificate(_)
            | Self::NoProxy { .. }
            | Self::Tenant { .. }
            | Self::Lab(ServiceLabError::Mesh(LabError::Plan(_)))
            | Self::Drill(DrillError::Tenant { .. } | DrillError::PlotPath { .. }) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config(ConfigError::Read { source, .. }) => Some(match source.kind() {
                ErrorKind::NotFound => {
                    "write one (see examples/redis-ha.toml), or name it with --config or REDIS_HA_CONFIG"
                }
                ErrorKind::PermissionDenied => "run it as root, or as the user that may read it",
                _ => "name the service's file (see examples/redis-ha.toml) with --config or REDIS_HA_CONFIG",
            }),
            // One that is there, and cannot be read, is not to be written over: all passwords come from it.
            Self::Secret(SecretError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Some("make one: (umask 077; tr -dc a-zA-Z0-9 < /dev/urandom | head -c 32 > FILE)")
            }
            Self::Secret(SecretError::Read { source, .. })
                if source.kind() == ErrorKind::PermissionDenied =>
            {
                Some("run it as root, or as the user that may read it")
            }
            Self::Certificate(CertificateError::File(SecretError::Read { source, .. }))
                if source.kind() == ErrorKind::NotFound =>
            {
                Some("make it: (umask 077; cat fullchain.pem privkey.pem > FILE)")
            }
            Self::Certificate(CertificateError::Content { .. }) => {
                Some("write them into it: (umask 077; cat fullchain.pem privkey.pem > FILE)")
            }
            Self::NoProxy { .. } => Some(
                "run it on one of them; if this machine is one under another name, say which with --host or REDIS_HA_HOST",
            ),
            Self::Proxy(ProxyError::Addresses { .. }) => {
                Some("is this machine that proxy, and `interface` of [proxy] its device of the underlay?")
            }
            Self::Check(CheckError::NotRendered { .. }) => {
                Some("name the directory that `redis-ha render --out DIR` wrote")
            }
            Self::Check(CheckError::Program { source, .. }) if source.kind() == ErrorKind::NotFound => Some(
                "install the daemons that the service runs: apt install haproxy keepalived redis-server redis-sentinel",
            ),
            Self::Hook => Some("build it (cargo build -p ovsmesh), or name it with --ovsmesh"),
            Self::Lab(ServiceLabError::Mesh(LabError::State(StateError::Absent { .. })))
            | Self::Drill(DrillError::Lab(ServiceLabError::Mesh(LabError::State(StateError::Absent {
                ..
            })))) => Some("bring it up with: redis-ha lab up; --name says which"),
            _ => None,
        }
    }

    /// What went wrong, and what to do.
    pub(crate) fn text(&self) -> String {
        match self {
            // Show their faults themselves, each with its own `error:` line.
            Self::Config(ConfigError::File(error)) => error.to_string(),
            Self::Config(ConfigError::Topology { source }) => source.to_string(),
            Self::Lost { name, why } => chain(why, Some(&lost_hint(name))),
            Self::Bootstrap(BootstrapError::Refused { tenant, obstacles, force, named }) => {
                let hint = force_hint(tenant, obstacles, (force.as_ref(), named.as_ref()));
                chain(self, hint.as_deref())
            }
            other => chain(other, other.hint()),
        }
    }
}

/// What helps where there is no master and nothing but what there is of a service that ran already, or nothing but the choice of the node
/// to be forced, is in the way of one.
fn force_hint(
    tenant: &TenantName,
    obstacles: &[Obstacle],
    (force, named): (Option<&Ctid>, Option<&Ctid>),
) -> Option<String> {
    let is_of_before = |obstacle: &Obstacle| match obstacle {
        Obstacle::FailedOver { .. }
        | Obstacle::Replicas { .. }
        | Obstacle::Data { .. }
        | Obstacle::Named { .. }
        | Obstacle::Stranger(_) => true,
        Obstacle::Redis { .. } | Obstacle::Sentinel { .. } | Obstacle::Master(_) => false,
    };
    let named = named.filter(|_| obstacles.iter().all(is_of_before))?;
    Some(if force == Some(named) {
        format!("see `redis-ha status`, and try again once all Sentinels name {named}")
    } else {
        format!(
            "see `redis-ha status`; if the Sentinels make no master of themselves, `redis-ha bootstrap --tenant {tenant} --force {named}` \
             makes the node that they name the master: the others get its data and lose their own"
        )
    })
}

/// What helps where a part of the mesh below a lab is gone.
pub(crate) fn lost_hint(name: &MeshName) -> String {
    format!("take it down with: redis-ha lab down --name {name}; then make it anew")
}

/// An error with all its causes, each once, and the hint.
pub(crate) fn chain(error: &dyn Error, hint: Option<&str>) -> String {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    // Writing into a string cannot fail.
    while let Some(error) = cause {
        let _ = write!(text, "\n  because: {error}");
        cause = error.source();
    }
    if let Some(hint) = hint {
        let _ = write!(text, "\nhint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_be_forced_is_told() {
        let ctid = |text: &str| text.parse::<Ctid>().unwrap();
        let node = || ctid("103");
        let data = || Obstacle::Data { node: node(), keys: 7 };
        let named = || Obstacle::Named { node: node(), master: "10.0.0.2:6379".parse().unwrap() };
        let command = Some("`redis-ha bootstrap --tenant acme --force 102`");
        let table = [
            (vec![data()], None, Some("102"), command),
            (
                vec![data(), Obstacle::FailedOver { node: node(), epoch: 4 }, named()],
                None,
                Some("102"),
                command,
            ),
            // Another than they name.
            (vec![named(), named()], Some("101"), Some("102"), command),
            (vec![Obstacle::Stranger(ctid("9"))], Some("9"), Some("102"), command),
            // One of them does not name it yet.
            (vec![named()], Some("102"), Some("102"), Some("once all Sentinels name 102")),
            (vec![named()], None, None, None),
            // Data may be where nobody looks, and a master is one.
            (vec![data(), Obstacle::Master(node())], None, Some("102"), None),
            (vec![data(), Obstacle::Redis { node: node(), why: String::new() }], None, Some("102"), None),
        ];
        for (obstacles, force, named, expected) in table {
            let (tenant, force, named) = ("acme".parse().unwrap(), force.map(ctid), named.map(ctid));
            let refused = BootstrapError::Refused { tenant, obstacles: obstacles.clone(), force, named };
            let text = Failure::Bootstrap(refused).text();
            let hint = text.split_once("\nhint: ").map(|(_, hint)| hint);
            match expected {
                Some(expected) => assert!(hint.is_some_and(|hint| hint.contains(expected)), "{text}"),
                None => assert_eq!(hint, None, "{obstacles:?}"),
            }
        }
    }
}
