//! `redis-ha bootstrap`

use std::time::Duration;

use ovs_mesh::{Ctid, HostName, TenantName};
use redis_ha::{Config, Secrets, Step, bootstrap};

use super::print;
use crate::{Exit, Failure, Global};

/// Make the first master of clusters that have just been installed; a cluster that has one is left alone
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The proxy host that this is; by default this machine's host name
    #[arg(long, env = "REDIS_HA_HOST", value_name = "NAME")]
    host: Option<HostName>,
    /// Only this tenant's cluster
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantName>,
    /// Promote this node although there are data; all others then have its data, and lose their own
    #[arg(long, value_name = "CTID", requires = "tenant")]
    force: Option<Ctid>,
    /// How long a cluster may take
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    timeout: Duration,
}

pub(crate) async fn run(global: &Global, options: Options) -> Result<Exit, Failure> {
    let Options { host, tenant, force, timeout } = options;
    let config = Config::read(&global.config)?;
    // First: on another machine there are no secrets either, and that is not what is wrong.
    let host = super::this_proxy(&config, host)?;
    let secrets = Secrets::read(&config)?;
    if let Some(tenant) = &tenant
        && config.cluster(tenant).is_none()
    {
        let known: Vec<&str> = config.clusters.iter().map(|cluster| cluster.tenant.as_str()).collect();
        return Err(Failure::Tenant { tenant: tenant.clone(), known: known.join(", ") });
    }
    // A tenant's failure is not another's.
    let mut failed: Vec<Failure> = Vec::new();
    for (cluster, credentials) in secrets.of(&config) {
        let name = &cluster.tenant;
        if tenant.as_ref().is_some_and(|tenant| tenant != name) {
            continue;
        }
        let netns = config.gateway(&host, name);
        let progress = |step| match step {
            Step::Promote(node) => anstream::eprintln!("{name}: {node} becomes the master"),
            Step::Attach(node) => anstream::eprintln!("{name}: {node} becomes its replica"),
            Step::Wait(missing) => anstream::eprintln!("{name}: waiting, {missing}"),
        };
        match bootstrap(&config, cluster, credentials, &netns, force.as_ref(), timeout, progress).await {
            Ok(done) => {
                let word = if done.already { "is already" } else { "is" };
                print(&format!("{name}: {} {word} the master, with all replicas\n", done.master))?;
            }
            Err(error) => failed.push(Failure::from(error)),
        }
    }
    let Some(last) = failed.pop() else { return Ok(Exit::Done) };
    for failure in failed {
        anstream::eprintln!("{}", failure.text());
    }
    Err(last)
}
