//! What an instance does when it first starts: installs Open vSwitch and our programs, and becomes a host of the mesh.

use std::fmt::Write;

use ovs_mesh::{HostName, Topology};
use serde_json::{Value, json};

use super::hosts::logical_name;
use super::network::VIP_RESERVE;
use super::{StackError, StackOptions, VipPlacement};
use crate::mesh_unit::mesh_unit;

/// EC2's bound, in bytes before they are encoded.
const MAX: usize = 16 * 1024;

const INSTALL: &str = r#"#!/bin/bash
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# Enhanced networking comes with the image and the instance type; without it the mesh would be slow, and nobody told.
device=$(ip -o route show default | sed 's/.* dev \([^ ]*\).*/\1/')
driver=$(basename "$(readlink "/sys/class/net/$device/device/driver")")
case $driver in
    ena | ixgbevf) ;;
    *) echo "no enhanced networking: $device is driven by $driver" >&2; exit 1 ;;
esac
# The security group lets nothing but HTTPS leave.
find /etc/apt \( -name '*.list' -o -name '*.sources' -o -name '*.cfg' \) -exec sed -i 's|http://|https://|g' {} +
apt-get update -q
apt-get install -y -q --no-install-recommends ca-certificates curl openvswitch-switch PACKAGES
archive=$(mktemp)
curl --fail --silent --show-error --location --proto =https --retry 5 --output "$archive" '${ProgramsUrl}'
echo "${ProgramsSha256}  $archive" | sha256sum --check --quiet
tar -C /usr/local/bin -xzf "$archive" PROGRAMS
mkdir -p /etc/ovsmesh
"#;

/// Of a proxy whose VIP is an address of its interface; cloud-init's, of Debian 12 (22.4).
const VIP_IS_KEEPALIVEDS: &str = "\
# cloud-init makes an interface's secondary addresses this machine's own for good. The VIP is keepalived's to set.
cat > /etc/cloud/cloud.cfg.d/95-ovsmesh-vip.cfg << 'END-OF-FILE'
datasource: { Ec2: { apply_full_imds_network_config: false } }
updates: { network: { when: [boot-new-instance, boot] } }
END-OF-FILE
# On an interface that had the VIP before this instance, it has done so already. The other address need not go along.
sysctl -q -w net.ipv4.conf.all.promote_secondaries=1
ip -4 address flush to VIP/32
";

const NOTIFY_UNIT: &str = "[Unit]
Description=redis-ha notify: the VIP follows keepalived's master
Before=redis-ha-keepalived.service
After=network.target

[Service]
Type=notify
ExecStart=/usr/local/bin/redis-ha notify ARGUMENTS
RuntimeDirectory=redis-ha
RuntimeDirectoryPreserve=yes
Restart=always
RestartSec=1
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes

[Install]
WantedBy=multi-user.target
";

/// A host's script, with the stack's values put in by CloudFormation.
pub(super) fn user_data(
    topology: &Topology,
    options: &StackOptions,
    host: &HostName,
) -> Result<Value, StackError> {
    let is_proxy = options.proxies.contains(host);
    let (packages, programs) =
        if is_proxy { ("haproxy keepalived", "ovsmesh redis-ha") } else { ("lxc debootstrap", "ovsmesh") };
    let mut script = INSTALL.replace(" PACKAGES", &format!(" {packages}")).replace("PROGRAMS", programs);
    if is_proxy && options.placement == VipPlacement::Address {
        script.push_str(&VIP_IS_KEEPALIVEDS.replace("VIP/", &format!("{}/", options.vip)));
    }
    file(&mut script, "/etc/ovsmesh/mesh.toml", &mesh(topology));
    file(&mut script, "/etc/systemd/system/ovsmesh.service", &without_comments(&mesh_unit(host)));
    let mut units = "ovsmesh.service".to_owned();
    if is_proxy {
        // The service has units of its own of both.
        script.push_str("systemctl disable --now haproxy.service keepalived.service\n");
        let unit = NOTIFY_UNIT.replace("ARGUMENTS", &notify_arguments(topology, options));
        file(&mut script, "/etc/systemd/system/redis-ha-notify.service", &unit);
        units.push_str(" redis-ha-notify.service");
    }
    // The unit keeps it so; this fails, and is told in the instance's log, if it cannot be done at all.
    let _ = write!(
        script,
        "systemctl daemon-reload\n/usr/local/bin/ovsmesh sync --host {host} --timeout 60s\nsystemctl enable --now {units}\n"
    );
    // An address or an identifier takes less room than what stands for it.
    let bytes = script.len();
    if bytes > MAX {
        return Err(StackError::UserData { host: host.clone(), bytes, max: MAX });
    }
    Ok(json!({ "Fn::Base64": { "Fn::Sub": script } }))
}

/// There is little room.
fn without_comments(unit: &str) -> String {
    unit.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect()
}

/// A file's text in a script, taken as it is.
fn file(script: &mut String, path: &str, text: &str) {
    let _ = write!(script, "cat > {path} << 'END-OF-FILE'\n{}\nEND-OF-FILE\n", text.trim_end());
}

/// The whole topology, each host with the address that the VPC gives it.
fn mesh(topology: &Topology) -> String {
    // What is no reference of ours is to stay as it is.
    let mut text = topology.to_toml().replace("${", "${!");
    for host in topology.hosts() {
        let line = |address: &str| format!("underlay_ip = \"{address}\"");
        let reference = format!("${{{}Interface.PrimaryPrivateIpAddress}}", logical_name(host.name()));
        // No two hosts have one.
        text = text.replace(&line(&host.underlay_ip().to_string()), &line(&reference));
    }
    text
}

fn notify_arguments(topology: &Topology, options: &StackOptions) -> String {
    let mut arguments = format!("--vip {}={}", options.instance, options.vip);
    match options.placement {
        VipPlacement::Address => {
            for host in topology.hosts().iter().filter(|host| options.proxies.contains(host.name())) {
                let _ = write!(arguments, " --peer ${{{}Interface}}", logical_name(host.name()));
            }
            let _ = write!(arguments, " --peer ${{{VIP_RESERVE}}}");
        }
        VipPlacement::Route => arguments.push_str(" --route-table ${RouteTable}"),
    }
    arguments
}
