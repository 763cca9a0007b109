//! The containers of the nodes: the commands that make them, and what they begin with.

mod lxc;

use std::collections::BTreeMap;
use std::fmt::Write;

use ovs_mesh::{Ctid, HostName};

use super::{Place, RenderedFile, head, sysctl};
use crate::config::{Bytes, Cluster, Config, Node};

/// The first container to start at boot has this order, all others the same: none waits for another.
const BOOT_ORDER: u32 = 100;
/// What a container needs beside Redis, in bytes.
const BASE: u64 = 128 << 20;

/// vzctl's hosts have OpenVZ 6's kernel, which no systemd starts on that is new enough for the units (235: `StateDirectory=`), or an
/// upstream one.
const TEMPLATE_6: &str = "\
case $(uname -r) in
    2.6.32*)
        if [ -z \"${TEMPLATE:-}\" ]; then
            echo \"$0: Debian 12's systemd does not start on this kernel: TEMPLATE=… must name a template that does, with Redis 7 and systemd 235 or later\" >&2
            exit 1
        fi
        ;;
esac
TEMPLATE=${TEMPLATE:-debian-12-x86_64}
";
/// The hook is told a CTID, and finds the container in the topology by it; the container's root has that name too. What `prlctl` gives a
/// container that is not given a UUID is its own affair.
const TEMPLATE_7: &str = "\
TEMPLATE=${TEMPLATE:-debian-12-x86_64}
known() {
    [ -e \"CONF_DIR/$2.conf\" ] && return
    echo \"$0: container $1 has another CTID than $2, which the topology has: there is no CONF_DIR/$2.conf. Give it a UUID as its ctid in the topology, render again, and delete this one\" >&2
    exit 1
}
";

/// What brings a node's files into a container that runs. Whose commands run inside it is told after the node: a container's root could lead
/// who writes below its root file system from outside to another place, at any moment.
const BRING: &str = r#"# A container that runs gets changed files, too, and this tells which; what it runs goes on with what was read at its start.
bring() {
    node=$1
    shift
    changed=$( (cd "nodes/$node" && find . -type f -exec tar --owner=0 --group=0 -cf - {} +) |
        "$@" /usr/bin/env LC_ALL=C /bin/tar -C / -df - 2>&1 |
        grep -Ev ': (Mod time|Uid|Gid) differs$' | sed 's,^/bin/tar: ,,; s/^\.//; s/: .*//' | sort -u | paste -sd ' ' -)
    [ -n "$changed" ] || return 0
    tar -C "nodes/$node" --owner=0 --group=0 -cf - . | "$@" /bin/tar -C / --no-overwrite-dir -xpf -
    echo "container $node runs on; changed in it, and not read yet: $changed"
}
"#;

/// The memory of a container: twice the data, since a fork copies what is written while it lives, and the rest of the system.
pub fn container_memory(cluster: &Cluster) -> Bytes {
    Bytes::new(cluster.max_memory.get().saturating_mul(2).saturating_add(BASE))
}

/// The scripts of every host that has a node.
pub(super) fn files(config: &Config) -> Vec<RenderedFile> {
    let mut by_host: BTreeMap<&HostName, Vec<(&Cluster, Node<'_>)>> = BTreeMap::new();
    for cluster in &config.clusters {
        for node in config.nodes(cluster) {
            by_host.entry(node.host).or_default().push((cluster, node));
        }
    }
    let template_7 = TEMPLATE_7.replace("CONF_DIR", &config.topology.openvz_conf_dir().display().to_string());
    let scripts = |(host, nodes): (&HostName, Vec<(&Cluster, Node<'_>)>)| {
        let file = |name: &str, text: String| RenderedFile {
            place: Place::Host(host.clone()),
            path: name.into(),
            text,
            mode: 0o755,
        };
        let [lxc, hook] = lxc::files(host, &nodes, config);
        [
            file(
                "containers-openvz6.sh",
                script(host, &nodes, ("vzctl", TEMPLATE_6), |cluster, node| vzctl(config, cluster, node)),
            ),
            file(
                "containers-openvz7.sh",
                script(host, &nodes, ("prlctl", &template_7), |cluster, node| prlctl(config, cluster, node)),
            ),
            lxc,
            hook,
            sysctl::host(host),
        ]
    };
    by_host.into_iter().flat_map(scripts).collect()
}

fn script(
    host: &HostName,
    nodes: &[(&Cluster, Node<'_>)],
    (tool, template): (&str, &str),
    commands: impl Fn(&Cluster, Node<'_>) -> String,
) -> String {
    let mut text = "#!/bin/sh\n".to_owned();
    text.push_str(&head(&format!("The containers of host {host}, made with {tool}")));
    text.push_str(
        "# Run it on the host, in the directory of all rendered files, as often as you like: its containers get them anew.\n\
         # `ovsmesh vznet install` comes first: the hook puts each container on its tenant's bridge when it starts. The template has Debian's redis-server and redis-sentinel, whose own\n\
         # units are disabled; the container's are started here.\nset -eu\n",
    );
    text.push_str(template);
    text.push_str(&sysctl::install(host));
    text.push_str(BRING);
    for (cluster, node) in nodes {
        // Writing into a string cannot fail.
        let _ = write!(text, "\n# tenant {}\n{}", cluster.tenant, commands(cluster, *node));
    }
    text
}

/// OpenVZ 6 (vzctl(8)).
fn vzctl(config: &Config, cluster: &Cluster, node: Node<'_>) -> String {
    let ctid = node.ctid;
    format!(
        "if ! vzctl status {ctid} | grep -qw exist; then
    vzctl create {ctid} --ostemplate \"$TEMPLATE\" --hostname {tenant}-{ctid}
    # No address here: the tenant's network is layer 2, and the container's own file has the address.
    vzctl set {ctid} --save --netif_add eth0,,,,{bridge}
fi
vzctl set {ctid} --save --ram {memory}M --swappages 0 --onboot yes --bootorder {BOOT_ORDER}
if vzctl status {ctid} | grep -qw running; then
    bring {ctid} vzctl exec2 {ctid}
else
    vzctl mount {ctid}
    {files}
    vzctl umount {ctid}
    vzctl start {ctid} --wait
fi
vzctl exec2 {ctid} systemctl enable --now redis-ha-redis redis-ha-sentinel
",
        tenant = cluster.tenant,
        memory = container_memory(cluster).get() >> 20,
        bridge = bridge(config, cluster),
        files = files_into(ctid),
    )
}

/// Puts a node's files into its container, which is stopped, as root's; the directories that are there stay as they are, `/` among them.
fn files_into(ctid: &Ctid) -> String {
    format!(
        "tar -C nodes/{ctid} --owner=0 --group=0 -cf - . | tar -C \"/vz/root/{ctid}\" --no-overwrite-dir -xpf -"
    )
}

/// OpenVZ 7 (prlctl(8)).
fn prlctl(config: &Config, cluster: &Cluster, node: Node<'_>) -> String {
    let ctid = node.ctid;
    let name = format!("{}-{ctid}", cluster.tenant);
    let uuid = if ctid.as_str().contains('-') { format!(" --uuid {ctid}") } else { String::new() };
    let name = if uuid.is_empty() { ctid.to_string() } else { name };
    format!(
        "if ! prlctl status {name} > /dev/null 2>&1; then
    prlctl create {name} --vmtype ct --ostemplate \"$TEMPLATE\"{uuid}
    known {name} {ctid}
    prlctl set {name} --hostname {tenant}-{ctid}
    prlctl set {name} --device-add net --ifname eth0 --network {bridge} --ipadd {address}
fi
known {name} {ctid}
prlctl set {name} --memsize {memory}M --swappages 0 --autostart on --autostart-delay 0
if prlctl status {name} | grep -qw running; then
    bring {ctid} prlctl exec {name}
else
    prlctl mount {name}
    {files}
    prlctl umount {name}
    prlctl start {name} --wait
fi
prlctl exec {name} systemctl enable --now redis-ha-redis redis-ha-sentinel
",
        tenant = cluster.tenant,
        memory = container_memory(cluster).get() >> 20,
        bridge = bridge(config, cluster),
        address = address(config, cluster, node),
        files = files_into(ctid),
    )
}

fn bridge<'a>(config: &'a Config, cluster: &Cluster) -> &'a str {
    config.topology.tenant(&cluster.tenant).map_or("", |tenant| tenant.bridge().as_str())
}

fn address(config: &Config, cluster: &Cluster, node: Node<'_>) -> String {
    config
        .topology
        .tenant(&cluster.tenant)
        .map_or_else(|| node.ip.to_string(), |tenant| tenant.with_prefix(node.ip).to_string())
}

/// Debian's interfaces(5): the address, and the MTU that the tunnels leave, since nothing tells a container of it.
pub(super) fn interfaces(config: &Config, cluster: &Cluster, node: Node<'_>) -> String {
    let family = if node.ip.is_ipv4() { "inet" } else { "inet6" };
    format!(
        "{}auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 {family} static\n    address {}\n    \
         # The underlay's MTU less the tunnel's overhead; larger packets are lost without a word.\n    mtu {}\n",
        head(&format!("The network of container {}", node.ctid)),
        address(config, cluster, node),
        config.topology.tenant_mtu(),
    )
}

#[cfg(test)]
mod tests;
