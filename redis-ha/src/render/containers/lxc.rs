//! Containers made with LXC, on a plain Debian 12.

use std::fmt::Write;
use std::path::PathBuf;

use ovs_mesh::{HostName, PortName};

use super::super::{Place, RenderedFile, head, sysctl};
use super::{BRING, container_memory};
use crate::config::{Cluster, Config, Node};

/// What puts a container's interface on its tenant's bridge.
const HOOK: &str = include_str!("../../../../examples/lxc/ovsmesh-lxc");

const TEMPLATE: &str = r#"set -eu
TEMPLATE=${TEMPLATE:-/var/cache/lxc/redis-ha-debian-12.tar}
if [ ! -e "$TEMPLATE" ]; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    # It becomes /, where others than root must come.
    chmod 755 "$root"
    debootstrap --variant=minbase --include=systemd-sysv,ifupdown,iproute2,redis-server,redis-sentinel \
        bookworm "$root" "${MIRROR:-https://deb.debian.org/debian}"
    # Debian's own units would take the ports.
    systemctl --root="$root" mask redis-server.service redis-sentinel.service
    mkdir -p "$(dirname "$TEMPLATE")"
    tar -C "$root" --numeric-owner -cf "$TEMPLATE.new" .
    mv "$TEMPLATE.new" "$TEMPLATE"
fi
"#;

/// The script of a host and the hook that its containers have.
pub(super) fn files(host: &HostName, nodes: &[(&Cluster, Node<'_>)], config: &Config) -> [RenderedFile; 2] {
    let file = |name: &str, text: String| RenderedFile {
        place: Place::Host(host.clone()),
        path: PathBuf::from(name),
        text,
        mode: 0o755,
    };
    let mut text = "#!/bin/sh\n".to_owned();
    text.push_str(&head(&format!("The containers of host {host}, made with LXC")));
    text.push_str(
        "# Run it on the host as root, in the directory of all rendered files, as often as you like: a container that is stopped gets them\n\
         # anew. `ovsmesh sync` comes first, and Debian's packages lxc and debootstrap. TEMPLATE=… names a tar of another root\n\
         # file system: Debian 12 with ifupdown, redis-server and redis-sentinel, whose own units are masked.\n",
    );
    text.push_str(TEMPLATE);
    text.push_str(&sysctl::install(host));
    text.push_str(BRING);
    // Writing into a string cannot fail.
    let _ = writeln!(text, "install -D -m 755 hosts/{host}/ovsmesh-lxc /usr/local/sbin/ovsmesh-lxc");
    for (cluster, node) in nodes {
        let _ = write!(text, "\n# tenant {}\n{}", cluster.tenant, container(config, host, cluster, *node));
    }
    [file("containers-lxc.sh", text), file("ovsmesh-lxc", HOOK.to_owned())]
}

/// lxc.container.conf(5), lxc-start(1).
fn container(config: &Config, host: &HostName, cluster: &Cluster, node: Node<'_>) -> String {
    let Node { ctid, .. } = node;
    // A UUID is too long for a device's name: LXC makes one.
    let device = format!("veth{ctid}.0");
    let device = match device.parse::<PortName>() {
        Ok(device) => format!("lxc.net.0.veth.pair = {device}\n"),
        Err(_) => String::new(),
    };
    format!(
        "mkdir -p /var/lib/lxc/{ctid}
if [ ! -e /var/lib/lxc/{ctid}/rootfs ]; then
    rm -rf /var/lib/lxc/{ctid}/new
    mkdir /var/lib/lxc/{ctid}/new
    tar -C /var/lib/lxc/{ctid}/new --numeric-owner -xpf \"$TEMPLATE\"
    echo {tenant}-{ctid} > /var/lib/lxc/{ctid}/new/etc/hostname
    mv /var/lib/lxc/{ctid}/new /var/lib/lxc/{ctid}/rootfs
fi
cat > /var/lib/lxc/{ctid}/config << 'END-OF-FILE'
lxc.include = /usr/share/lxc/config/common.conf
lxc.uts.name = {tenant}-{ctid}
lxc.rootfs.path = dir:/var/lib/lxc/{ctid}/rootfs
# Sandboxed units mount, within the container.
lxc.apparmor.profile = generated
lxc.apparmor.allow_nesting = 1
lxc.cgroup.memory.limit_in_bytes = {memory}M
lxc.cgroup2.memory.max = {memory}M
lxc.cgroup2.memory.swap.max = 0
# At boot, all at once.
lxc.start.auto = 1
lxc.net.0.type = veth
lxc.net.0.name = eth0
{device}lxc.net.0.mtu = {mtu}
lxc.net.0.script.up = /usr/bin/env OVSMESH_HOST={host} /usr/local/sbin/ovsmesh-lxc up {tenant} {ctid}
lxc.net.0.script.down = /usr/bin/env OVSMESH_HOST={host} /usr/local/sbin/ovsmesh-lxc down
END-OF-FILE
if lxc-info -n {ctid} -s 2> /dev/null | grep -qw RUNNING; then
    lxc-cgroup -n {ctid} memory.max {memory}M 2> /dev/null || lxc-cgroup -n {ctid} memory.limit_in_bytes {memory}M ||
        echo \"$0: container {ctid} keeps the memory that it has until it starts anew\" >&2
    bring {ctid} lxc-attach -n {ctid} --clear-env --
else
    tar -C nodes/{ctid} --owner=0 --group=0 -cf - . | tar -C /var/lib/lxc/{ctid}/rootfs --no-overwrite-dir -xpf -
    systemctl --root=/var/lib/lxc/{ctid}/rootfs enable redis-ha-redis.service redis-ha-sentinel.service
    lxc-start -n {ctid}
fi
",
        tenant = cluster.tenant,
        memory = container_memory(cluster).get() >> 20,
        mtu = config.topology.tenant_mtu(),
    )
}
