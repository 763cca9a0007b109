//! The subcommands, one file each.

pub(crate) mod agent;
pub(crate) mod bootstrap;

use std::io;

use ovs_mesh::{HostName, NameError, TenantName};
use redis_ha::{AgentError, BootstrapError, ConfigError, SecretError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("this machine's host name `{text}` is no host of a topology")]
    HostName { text: String, source: NameError },
    #[error("cannot start the runtime")]
    Runtime { source: io::Error },
    #[error("cannot wait for signals")]
    Signal { source: io::Error },
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("no tenant `{tenant}` has a cluster in the service's file")]
    Tenant { tenant: TenantName },
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// The host that this machine is, by its own name.
fn this_host() -> Result<HostName, Failure> {
    let text = gethostname::gethostname().to_string_lossy().into_owned();
    text.parse().map_err(|source| Failure::HostName { text, source })
}
