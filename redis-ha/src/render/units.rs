//! The systemd units.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ovs_mesh::HostName;

use super::{Layout, VRRP_INSTANCE, head, wait};
use crate::agent::{AGENT_PRIORITY, WATCHDOG};
use crate::config::{Aws, AwsVip, Cluster, Config};

/// After how long an agent that ended is started again: sooner than `HAProxy` takes its absence for an answer.
pub(crate) const AGENT_RESTART: Duration = Duration::from_millis(100);

/// What is done when an agent has ended, as a line of a shell: `SERVICE_RESULT` (systemd.exec(5)) says how.
///
/// One that was killed is back at once: what keepalived knows stays, if that agent has found a live `HAProxy`, and is marked (`00`) for
/// the next, which must do so itself before it may be killed. All others have ended because they were to, or cannot start.
pub(crate) fn after_agent(track: &Path) -> String {
    let track = track.display();
    format!(
        "case $SERVICE_RESULT in signal|core-dump|watchdog|oom-kill) [ \"$(cat {track})\" != 0 ] || {{ echo 00 > {track}; exit; }};; esac; \
         echo 1 > {track}"
    )
}

/// What all daemons of the service are kept from.
const HARDENED: &str = "\
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=full
PrivateTmp=yes
";

pub(super) fn redis(cluster: &Cluster, layout: &Layout) -> String {
    let (wait, restart) = if cluster.starts_as_replica() {
        let wait = wait::path(layout);
        (
            format!("# A master that ended is replaced before it is back.\nExecStartPre=+{}", wait.display()),
            0.1,
        )
    } else {
        (
            "# Away for longer than the Sentinels need to see it (RestartSec): they replace it.".to_owned(),
            cluster.profile.pace().restart.as_secs_f64(),
        )
    };
    let mut text = head("systemd unit of a node's Redis");
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "[Unit]
# However often it ends, it is started again.
StartLimitIntervalSec=0
Description=Redis of tenant {tenant}
After=network.target

[Service]
User=redis
Group=redis
# Its files hold passwords.
UMask=0077
StateDirectory=redis-ha/redis
StateDirectoryMode=0700
# The file holds a password, and whoever copied it here may not have known who redis is. (+: as root.)
ExecStartPre=+/bin/chgrp redis {conf}
{wait}
{why}
ExecStart=/usr/bin/redis-server {conf}{replica}
LimitNOFILE=65536
OOMScoreAdjust=-600
Restart=always
RestartSec={restart}
TimeoutStopSec=15
{HARDENED}
[Install]
WantedBy=multi-user.target
",
        tenant = cluster.tenant,
        conf = layout.conf.join("redis.conf").display(),
        replica = if cluster.starts_as_replica() { " --replicaof 127.0.0.1 1" } else { "" },
        why = if cluster.starts_as_replica() {
            "\
# --replicaof: no node begins as a master. One that restarts follows nobody until the Sentinels give it a master: an empty one cannot
# wipe its replicas, and one that was replaced meanwhile takes no writes. (The first master of all is made by `redis-ha bootstrap`.)"
        } else {
            "# As the article has it: an old master comes back as a master, until the Sentinels demote it. To compare with."
        },
    );
    text
}

pub(super) fn sentinel(layout: &Layout) -> String {
    let mut text = head("systemd unit of a node's Sentinel");
    let live = layout.state.join("sentinel").join("sentinel.conf");
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "[Unit]
# However often it ends, it is started again.
StartLimitIntervalSec=0
Description=Sentinel
After=network.target

[Service]
User=redis
Group=redis
# Sentinel replaces its file with one of mode 0644 less this, and the file holds passwords.
UMask=0077
StateDirectory=redis-ha/sentinel
StateDirectoryMode=0700
# Sentinel's state lives in its configuration: what is rendered is only what it begins with, and never replaces it.
ExecStartPre=+/bin/chgrp redis {conf}
ExecStartPre=/bin/sh -c '[ -e {live} ] || install -m 600 {conf} {live}'
ExecStart=/usr/bin/redis-sentinel {live}
Restart=always
RestartSec=0.2
{HARDENED}
[Install]
WantedBy=multi-user.target
",
        conf = layout.conf.join("sentinel.conf").display(),
        live = live.display(),
    );
    text
}

pub(super) fn haproxy(layout: &Layout) -> String {
    let mut text = head("systemd unit of a proxy's HAProxy");
    let conf = layout.conf.join("haproxy.cfg");
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "[Unit]
# However often it ends, it is started again.
StartLimitIntervalSec=0
Description=HAProxy in front of the tenants' Redis
After=network.target ovsmesh.service
Wants=ovsmesh.service

[Service]
RuntimeDirectory=redis-ha
RuntimeDirectoryPreserve=yes
ExecStartPre=/usr/sbin/haproxy -c -q -f {conf}
ExecStart=/usr/sbin/haproxy -W -db -f {conf}
ExecReload=/usr/sbin/haproxy -c -q -f {conf}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
Restart=always
RestartSec=0.2
# Ports, other addresses than the host's own, and the tenants' namespaces.
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_SYS_RESOURCE
LimitNOFILE=65536
{HARDENED}
[Install]
WantedBy=multi-user.target
",
        conf = conf.display(),
    );
    text
}

pub(super) fn keepalived(config: &Config, layout: &Layout) -> String {
    let mut text = head("systemd unit of a proxy's keepalived");
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "[Unit]
# However often it ends, it is started again.
StartLimitIntervalSec=0
Description=keepalived for the VIPs of the tenants' Redis
After=network.target redis-ha-agent.service
Wants=redis-ha-agent.service{notify}

[Service]
RuntimeDirectory=redis-ha
RuntimeDirectoryPreserve=yes
ExecStart=/usr/sbin/keepalived --dont-fork --vrrp --use-file {conf}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
Restart=always
RestartSec=0.2
{HARDENED}
[Install]
WantedBy=multi-user.target
",
        // Wanted, so that it is started along, and first, by whatever starts this.
        notify = if config.proxies.aws.is_some() { " redis-ha-notify.service" } else { "" },
        conf = layout.conf.join("keepalived.conf").display(),
    );
    text
}

pub(super) fn agent(proxy: &HostName, layout: &Layout) -> String {
    let mut text = head("systemd unit of a proxy's agent");
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "[Unit]
# However often it ends, it is started again.
StartLimitIntervalSec=0
Description=Says to HAProxy which node is the master
After=network.target ovsmesh.service
Wants=ovsmesh.service

[Service]
RuntimeDirectory=redis-ha
RuntimeDirectoryPreserve=yes
ExecStart=/usr/local/bin/redis-ha --config {conf} agent --host {proxy} --realtime
# Sooner than HAProxy takes its absence for an answer.
Restart=always
RestartSec={restart}
# An agent that does not give word to systemd hangs.
WatchdogSec={watchdog}
WatchdogSignal=SIGKILL
# A proxy without an agent serves nobody: keepalived gives the VIP to the other. Not so for one that was killed: the next is there
# before HAProxy misses it, and nothing moves.
ExecStopPost=/bin/sh -c '{after}'
# `systemctl kill -s KILL` is the way to a new version or a changed file, too: `restart` moves the VIP.
# --realtime: its answers are worth nothing when they come late. It asks for that itself: with CPUSchedulingPolicy, systemd starts nothing
# of this unit, what is after the agent neither, where control groups have no time for it (sched(7), CONFIG_RT_GROUP_SCHED). Nice is for
# that case, and until the agent has asked.
Nice=-20
LimitRTPRIO={priority}
# The tenants' namespaces.
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN CAP_DAC_OVERRIDE
{HARDENED}
[Install]
WantedBy=multi-user.target
",
        restart = AGENT_RESTART.as_secs_f64(),
        watchdog = WATCHDOG.as_secs_f64(),
        priority = AGENT_PRIORITY,
        // A dollar is systemd's own.
        after = after_agent(&layout.track_file()).replace('$', "$$"),
        conf = layout.conf.join("redis-ha.toml").display(),
    );
    text
}

/// What a proxy's notifier is told.
pub(crate) fn notify_options(config: &Config, aws: &Aws, proxy: &HostName, layout: &Layout) -> Vec<String> {
    let Aws { vip, region, interfaces, reserve } = aws;
    let mut options = vec!["--fifo".to_owned(), layout.notify_fifo().display().to_string()];
    let mut option = |name: &str, value: String| options.extend([name.to_owned(), value]);
    for vip in &config.proxies.vips {
        option("--vip", format!("{VRRP_INSTANCE}={}", vip.ip()));
    }
    if let AwsVip::Route { tables } = vip {
        for table in tables {
            option("--route-table", table.to_string());
        }
    }
    if let Some(region) = region {
        option("--region", region.to_string());
    }
    if let Some(interface) = interfaces.get(proxy) {
        option("--interface", interface.to_string());
    }
    // A route has no owner that it could be taken from by mistake.
    if *vip == AwsVip::Address {
        let others = interfaces.iter().filter(|(host, _)| *host != proxy).map(|(_, interface)| interface);
        for peer in others.chain(reserve) {
            option("--peer", peer.to_string());
        }
    }
    options
}

pub(super) fn notify(config: &Config, aws: &Aws, proxy: &HostName, layout: &Layout) -> String {
    let options = notify_options(config, aws, proxy, layout).join(" ");
    let mut text = head("systemd unit of a proxy's notifier");
    let _ = write!(
        text,
        "[Unit]
# However often it ends, it is started again.
StartLimitIntervalSec=0
Description=Moves the VIPs in the VPC to the proxy that keepalived chose
After=network.target
# keepalived's first word finds a reader: it is started once this has made the FIFO, for which no network is needed.
Before=redis-ha-keepalived.service

[Service]
Type=notify
RuntimeDirectory=redis-ha
RuntimeDirectoryPreserve=yes
ExecStart=/usr/local/bin/redis-ha notify {options}
Restart=always
RestartSec=0.2
CapabilityBoundingSet=
{HARDENED}
[Install]
WantedBy=multi-user.target
",
    );
    text
}
