//! haproxy.cfg of a proxy.

use std::fmt::Write;
use std::time::Duration;

use ovs_mesh::HostName;

use super::{ALIVE_PORT, Layout, head};
use crate::agent::{check_lines, server_options};
use crate::config::{Cluster, Config, Credentials, OPERATOR_USER, Pace, REDIS_PORT, Secrets, Watch};

/// The configuration of a proxy's `HAProxy`, which runs in the host's own namespace and reaches each tenant through that tenant's gateway.
pub fn haproxy_cfg(config: &Config, secrets: &Secrets, proxy: &HostName, layout: &Layout) -> String {
    let mut text = head(&format!("HAProxy on {proxy}"));
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "
global
    # Stays root: connecting inside a tenant's namespace needs CAP_SYS_ADMIN at run time (setns(2)).
    log /dev/log local0
    # No maxconn: HAProxy takes as many connections as the unit's LimitNOFILE allows.
    # The agent holds a connection here, by which it sees at once that HAProxy died.
    stats socket {socket} mode 600 level admin
    stats timeout 1d
    # After a reload the old process checks nothing any more, so that its sessions could outlive a demotion: they end with it.
    hard-stop-after 500ms

defaults
    mode tcp
    log global
    option dontlognull
    option tcplog
    # A client whose host died is found by keep-alive, not by its silence, for Redis clients may be silent for hours: within two minutes.
    # (The kernel's own keep-alive begins after two hours.)
    option clitcpka
    clitcpka-idle 60s
    clitcpka-intvl 10s
    clitcpka-cnt 6
    option srvtcpka
    timeout client 1d
    timeout server 1d
    timeout connect 500ms
    timeout queue 500ms
    # There is one master: no other node is tried, and nobody is kept waiting for it. (With a retry, a failover takes clients longer.)
    retries 0
    no option redispatch
",
        socket = layout.haproxy_socket().display(),
    );
    if let Watch::Role { .. } = config.proxies.profile.pace().watch {
        let _ = write!(
            text,
            "\n# keepalived's script connects here, once a second.\nlisten alive\n    bind 127.0.0.1:{ALIVE_PORT}\n    \
             tcp-request connection reject\n"
        );
    }
    for (cluster, credentials) in secrets.of(config) {
        let tls = cluster.tls.as_ref().map(|_| layout.certificate(&cluster.tenant));
        let tls = tls.map(|path| format!(" ssl crt {}", path.display())).unwrap_or_default();
        listen(&mut text, config, (cluster, credentials), proxy, &tls);
    }
    text
}

fn listen(
    text: &mut String,
    config: &Config,
    (cluster, credentials): (&Cluster, &Credentials),
    proxy: &HostName,
    tls: &str,
) {
    let Cluster { tenant, listen, .. } = cluster;
    let Pace { watch, .. } = cluster.profile.pace();
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "
listen {tenant}
    # transparent: the VIP may be on the other proxy.
    bind {listen} transparent{tls}
{watch}",
        watch = match watch {
            Watch::Agent { check, .. } => asking(tenant.as_str(), check),
            Watch::Role { check, fall, rise } => role(credentials, check, fall, rise),
        }
    );
    let netns = config.gateway(proxy, tenant);
    for node in config.nodes(cluster) {
        let address = std::net::SocketAddr::new(node.ip, REDIS_PORT);
        let options = match watch {
            Watch::Agent { check, .. } => server_options(&netns, node.ctid, check),
            Watch::Role { .. } => format!("namespace {netns}"),
        };
        let _ = writeln!(text, "    server {} {address} {options}", node.ctid);
    }
}

/// The master is the node that the agent names.
fn asking(tenant: &str, check: Duration) -> String {
    let lines: String = check_lines().map(|line| format!("    {line}\n")).concat();
    format!(
        "    # Each node is out until the agent says `ready up` of it, which it does of the one node that a majority of Sentinels, heard
    # just now, calls the master. Its `down` closes that node's sessions, so that no client goes on writing to a demoted master.
    # No news from the agent are none to HAProxy; so the health check asks whether the agent is alive, and without it nobody is in.
    # All of this is asked at 127.0.0.1 in the tenant's gateway namespace, where its containers cannot answer.
    default-server disabled
{lines}    timeout check {check}ms
    # And never, whatever anybody says, a choice between two.
    tcp-request connection reject unless {{ nbsrv({tenant}) eq 1 }}
",
        check = check.as_millis(),
    )
}

/// The master is whoever says that it is one.
fn role(credentials: &Credentials, check: Duration, fall: u32, rise: u32) -> String {
    format!(
        "    # To compare with, not to use: two nodes may call themselves master at once, and sessions to a demoted one stay open.
    default-server check inter {check}ms fall {fall} rise {rise}
    option tcp-check
    timeout check {check}ms
    tcp-check connect
    tcp-check send \"AUTH {OPERATOR_USER} {password}\\r\\n\"
    tcp-check expect string +OK
    tcp-check send PING\\r\\n
    tcp-check expect string +PONG
    tcp-check send \"INFO replication\\r\\n\"
    tcp-check expect string role:master
    tcp-check send QUIT\\r\\n
    tcp-check expect string +OK
",
        check = check.as_millis(),
        password = credentials.operator.expose(),
    )
}
