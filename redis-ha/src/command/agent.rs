//! `redis-ha agent`

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ovs_mesh::HostName;
use ovsmesh_lab::Signals;
use redis_ha::{AGENT_PRIORITY as PRIORITY, AgentOptions, Config, Secrets, agent};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

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
    /// Come before all that shares the processor with it (`SCHED_RR`, sched(7)); where that is refused, say so and go on
    #[arg(long)]
    realtime: bool,
    /// Keep a master up that no replica follows any more (to measure what that loses)
    #[arg(long, hide = true)]
    no_gate: bool,
    /// Where systemd listens
    #[arg(long, hide = true, env = "NOTIFY_SOCKET")]
    notify_socket: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, options: Options) -> Result<Exit, Failure> {
    let Options { host, haproxy_socket, track_file, realtime, no_gate, notify_socket } = options;
    // First: systemd's watchdog runs already.
    if realtime && let Err(why) = come_first() {
        anstream::eprintln!("note: no real-time scheduling, so that a busy host may delay answers: {why}");
    }
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

/// For this thread and those that it starts.
fn come_first() -> io::Result<()> {
    let priority = ThreadPriorityValue::try_from(PRIORITY).map_err(io::Error::other)?;
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy)
        .map_err(|why| match why {
            thread_priority::Error::OS(errno) => io::Error::from_raw_os_error(errno),
            other => io::Error::other(other),
        })
}

#[cfg(test)]
mod tests {
    use thread_priority::{ScheduleParams, thread_schedule_policy_param};

    use super::*;

    #[test]
    fn it_comes_first_or_says_why_not() {
        let set = std::thread::spawn(|| (come_first(), thread_schedule_policy_param(thread_native_id())));
        let (result, policy) = set.join().unwrap();
        let (policy, ScheduleParams { sched_priority }) = policy.unwrap();
        match result {
            Ok(()) => {
                assert_eq!(policy, ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin));
                assert_eq!(sched_priority, i32::from(PRIORITY));
            }
            // In a control group without time for it (sched(7), CONFIG_RT_GROUP_SCHED).
            Err(why) => assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{why}"),
        }
    }
}
