//! sysctl.d(5): what the kernel must allow for the daemons to work as they are configured.
//!
//! `net.core` is a network namespace's own, so a container has a file of its own; `vm` and `fs` are the host's, for all containers.

use ovs_mesh::HostName;

use super::{Place, RenderedFile, head};

/// A node's, and a host's with nodes.
pub(super) const PATH: &str = "/etc/sysctl.d/60-redis-ha.conf";
/// A proxy's has another name: where a host with nodes is a proxy too, it has both.
pub(super) const PROXY_PATH: &str = "/etc/sysctl.d/60-redis-ha-proxy.conf";

const HOST: &str = "\
# A machine that has a higher limit already keeps it by a file of a later name in /etc/sysctl.d.
# A fork, for the disk or a replica, copies only what is written meanwhile, but by default the kernel refuses it when twice the data
# might not fit: no snapshot, no new replica. What containers really take is limited by their own memory.
vm.overcommit_memory = 1
# Each container's systemd takes several, and they are counted for root of all containers together: the default of 128 is used up by
# some tens of containers, and in the next one nothing starts (\"Too many open files\").
fs.inotify.max_user_instances = 8192
";

const NODE: &str = "\
# How many connections may wait to be taken: after a failover all sessions come at once. Redis asks for 511 (tcp-backlog), and kernels
# before 5.4, those of OpenVZ among them, allow 128; this is what newer ones allow.
net.core.somaxconn = 4096
";

const PROXY: &str = "\
# A machine that has a higher limit already keeps it by a file of a later name in /etc/sysctl.d.
# After a failover all clients of a tenant connect again at once. One for whom there is no place in the queue tries again after a
# second: that much longer an outage. HAProxy asks for as many places as it takes connections, and gets no more than this.
net.core.somaxconn = 32768
# The same for those whose handshake is under way.
net.ipv4.tcp_max_syn_backlog = 32768
# Nothing lets others' addresses be bound (net.ipv4.ip_nonlocal_bind): HAProxy's `transparent` does so for its own ports alone.
";

/// What a node's container needs.
pub(super) fn node() -> String {
    format!("{}\n{NODE}", head("sysctl settings of a node"))
}

/// What a proxy needs.
pub(super) fn proxy() -> String {
    format!("{}\n{PROXY}", head("sysctl settings of a proxy"))
}

/// What a host with nodes needs.
pub(super) fn host(host: &HostName) -> RenderedFile {
    RenderedFile {
        place: Place::Host(host.clone()),
        path: PATH.into(),
        text: format!("{}\n{HOST}", head("sysctl settings of a host with nodes")),
        mode: 0o644,
    }
}

/// The lines of a host's script that put its file in place. A machine that does not let itself be set, as one that is a container
/// itself, can have containers all the same.
pub(super) fn install(host: &HostName) -> String {
    format!(
        "install -D -m 644 hosts/{host}{PATH} {PATH} && sysctl -q -p {PATH} ||
    echo \"$0: not all of {PATH} could be set; it says what each is for\" >&2
"
    )
}
