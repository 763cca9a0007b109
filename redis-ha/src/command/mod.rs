//! The subcommands, one file each.

pub(crate) mod agent;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod drill;
pub(crate) mod lab;
pub(crate) mod notify;
pub(crate) mod render;
pub(crate) mod stack;
pub(crate) mod status;

use std::io::Write;

use ovs_mesh::HostName;
use redis_ha::Config;

use crate::Failure;

/// Prints to stdout; a reader that goes away is a failure like any other.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| Failure::Print { source })
}

/// The proxy that this machine is: as it is told, or by its own name.
fn this_proxy(config: &Config, told: Option<HostName>) -> Result<HostName, Failure> {
    let name = match told {
        Some(host) => host.to_string(),
        None => gethostname::gethostname().to_string_lossy().into_owned(),
    };
    let hosts = &config.proxies.hosts;
    let found = hosts.iter().find(|host| host.as_str() == name).cloned();
    found.ok_or_else(|| Failure::NoProxy {
        name,
        proxies: hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(" and "),
    })
}
