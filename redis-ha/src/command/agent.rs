//! `redis-ha agent`

use std::path::PathBuf;
use std::sync::Arc;

use ovs_mesh::HostName;
use ovsmesh_lab::Signals;
use redis_ha::{AgentOptions, Config, Secrets, agent};

use crate::{Exit, Failure, Global};

/// Tell HAProxy which node of each cluster is the master, and keepalived whether HAProxy lives
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The proxy host that this is; by default this machine's host name
    #[arg(long, env = "REDIS_HA_HOST", value_name = "NAME")]
    host: Option<HostName>,
    /// HAProxy's stats socket, with level admin
    #[arg(long, value_name = "PATH", default_value = "/run/redis-ha/haproxy.sock")]
    haproxy_socket: PathBuf,
    /// The file from which keepalived knows whether HAProxy lives: 0, or 1 when it does not
    #[arg(long, value_name = "PATH", default_value = "/run/redis-ha/haproxy.dead")]
    track_file: PathBuf,
    /// Keep a master up that no replica follows any more (to measure what that loses)
    #[arg(long, hide = true)]
    no_gate: bool,
    /// Where systemd listens
    #[arg(long, hide = true, env = "NOTIFY_SOCKET")]
    notify_socket: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, options: Options) -> Result<Exit, Failure> {
    let Options { host, haproxy_socket, track_file, no_gate, notify_socket } = options;
    let config = Config::read(&global.config)?;
    // First: on another machine there are no secrets either, and that is not what is wrong.
    let host = super::this_proxy(&config, host)?;
    let secrets = Secrets::read(&config)?;
    let signals = Signals::new(|| {}).map_err(|source| Failure::Signal { source })?;
    let stop = async {
        signals.first().await;
    };
    let options = AgentOptions { host, haproxy_socket, track_file, gate: !no_gate, notify_socket };
    let tell = Arc::new(|notice| anstream::eprintln!("{notice}"));
    agent(&config, &secrets, &options, tell, stop).await?;
    Ok(Exit::Done)
}
