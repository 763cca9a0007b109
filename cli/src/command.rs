//! One file a subcommand.

pub(crate) mod attach;
pub(crate) mod lab;
pub(crate) mod plan;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod verify;
pub(crate) mod vznet;
pub(crate) mod vznet_install;

use std::path::{Path, PathBuf};

use ovs_mesh::ovsdb::Endpoint;
use ovs_mesh::{HostName, Plan, Switch, SwitchOptions, Topology};

use ovz_net::HookOptions;

use crate::args::Global;
use crate::failure::Failure;

/// What a host should be.
struct Goal {
    topology: Topology,
    host: HostName,
    plan: Plan,
}

impl Goal {
    fn hook<'a>(&'a self, global: &Global) -> HookOptions<'a> {
        let switch = global.switch_options();
        HookOptions { topology: &self.topology, host: &self.host, switch }
    }
}

impl Global {
    fn config_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from("/etc/ovsmesh/mesh.toml"))
    }

    fn topology(&self) -> Result<Topology, Failure> {
        read_topology(&self.config_path())
    }

    fn host_name(&self) -> Result<HostName, Failure> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let text = gethostname::gethostname().to_string_lossy().into_owned();
        text.parse().map_err(|source| Failure::HostName { text, source })
    }

    fn goal(&self) -> Result<Goal, Failure> {
        let (topology, host) = (self.topology()?, self.host_name()?);
        let plan = Plan::new(&topology, &host)?;
        Ok(Goal { topology, host, plan })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        self.goal().map(|goal| goal.plan)
    }

    fn switch_options(&self) -> SwitchOptions {
        self.options_of(self.endpoint())
    }

    fn options_of(&self, endpoint: Endpoint) -> SwitchOptions {
        SwitchOptions { tls: self.tls(), timeout: self.timeout(), ..SwitchOptions::new(endpoint) }
    }

    async fn switch(&self) -> Result<Switch, Failure> {
        Ok(Switch::connect(&self.switch_options()).await?)
    }
}

fn read_topology(path: &Path) -> Result<Topology, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Failure::Config { path: path.to_owned(), source })?;
    Ok(Topology::parse(&text, path)?)
}
