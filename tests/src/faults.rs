//! The fault catalogue: what can go wrong on a switch, and what must say so.
//!
//! A fault is put into a healthy lab by the commands that an operator, another agent or an accident would run. After it is
//! undone, and the mesh synced, the lab must be healthy again.

mod bridges;
mod devices;
mod flows;
mod ports;
mod tunnels;

use std::fmt::Write as _;

use ovs_mesh::isolation::Check;
use ovs_mesh::{Datapath, Plan, Topology};

use crate::{TestLab, datapath, host, ovsmesh, topology};

/// A fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What it is.
    pub name: &'static str,
    /// The checks that must find it without sending anything, each at its own level.
    pub checks: &'static [Check],
    /// What brings it about: a host and a script for its shell.
    pub inject: &'static [(&'static str, &'static str)],
    /// What takes it away again, before every host is synced.
    pub undo: &'static [(&'static str, &'static str)],
    /// Whether it takes the userspace datapath: a device of the kernel's datapath can be no other master's.
    pub userspace_only: bool,
}

/// A fault whose scripts run on host h1, and that a sync mends.
const fn synced(
    name: &'static str,
    checks: &'static [Check],
    inject: &'static [(&'static str, &'static str)],
) -> Fault {
    undone(name, checks, inject, &[])
}

/// A fault that takes more than a sync to mend.
const fn undone(
    name: &'static str,
    checks: &'static [Check],
    inject: &'static [(&'static str, &'static str)],
    undo: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { name, checks, inject, undo, userspace_only: false }
}

/// A fault that only the userspace datapath lets anybody bring about.
const fn userspace(
    name: &'static str,
    checks: &'static [Check],
    inject: &'static [(&'static str, &'static str)],
    undo: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { userspace_only: true, ..undone(name, checks, inject, undo) }
}

/// All that the static checks and the traces must find, in the order of the catalogue.
pub fn catalogue() -> Vec<(&'static str, &'static [Fault])> {
    vec![
        ("Tunnels", tunnels::FAULTS),
        ("Ports", ports::FAULTS),
        ("Bridges", bridges::FAULTS),
        ("Flows", flows::FAULTS),
        ("Devices, namespaces and addresses", devices::FAULTS),
    ]
}

/// Faults that leave nothing to go on with: each has a lab of its own.
pub const FATAL: &[Fault] = &[
    synced(
        "ovs-vswitchd is down",
        &[Check::SwitchApplied, Check::TraceFailed],
        &[("h2", "kill -9 $(cat $OVS_RUNDIR/ovs-vswitchd.pid)")],
    ),
    synced(
        "ovsdb-server is down",
        &[Check::SwitchUnreachable],
        &[("h2", "kill -9 $(cat $OVS_RUNDIR/ovsdb-server.pid)")],
    ),
];

/// What only live packets can see. The probes' own tests bring it about.
pub const PROBED: &[(&str, Check)] = &[
    ("a container asks in another's name", Check::ProbeSpoof),
    ("a container sends from another's MAC address", Check::ProbeSpoof),
    ("a container has an address that only another tenant has", Check::ProbeForeignAnswer),
    ("a container has lost its address", Check::ProbeUnanswered),
    ("a machine that is no host sends with a tenant's key", Check::ProbeWire),
];

/// What live packets must show of the faults that they can show, by name.
const SHOWN: &[(&str, &[Check])] = {
    use Check::{ProbeForeignAnswer, ProbeForeignFrame, ProbeMac, ProbeMtu, ProbeUnanswered, ProbeWire};
    const JOINED: &[Check] = &[ProbeForeignAnswer, ProbeForeignFrame];
    &[
        ("two tenants' keys are swapped", &[ProbeForeignAnswer, ProbeForeignFrame, ProbeWire]),
        ("two tenants' tunnels have one key", &[ProbeUnanswered]),
        ("a key is no tenant's", &[ProbeWire]),
        ("a key is cut to another tenant's", &[ProbeWire]),
        ("a tunnel has no key", &[ProbeWire]),
        ("a tunnel takes any key", &[ProbeWire]),
        ("a tunnel sends with another tenant's key", &[ProbeWire]),
        ("both ends of a tunnel have another tenant's key", &[ProbeForeignFrame, ProbeWire]),
        ("a tunnel is missing", &[ProbeUnanswered, ProbeWire]),
        ("a tunnel goes one way only", &[ProbeUnanswered]),
        ("a tunnel too many to a host of the tenant's", &[ProbeWire]),
        ("a tunnel goes to a stranger", &[ProbeUnanswered]),
        ("a tunnel goes to a host that does not carry the tenant", &[ProbeWire]),
        ("a tunnel is of another type", &[ProbeUnanswered]),
        ("a tunnel asks for checksums", &[ProbeMtu]),
        ("another agent's tunnel has taken a tenant's packets", &[ProbeUnanswered]),
        ("a container is on another tenant's bridge", JOINED),
        ("a port's row says another tenant", &[ProbeForeignFrame]),
        ("a stranger's tunnel is on a tenant's bridge", &[ProbeWire]),
        ("patch ports join two tenants", JOINED),
        ("patch ports join two tenants by somebody else's bridge", JOINED),
        ("a port has a VLAN tag", &[ProbeUnanswered]),
        ("a port is a trunk of other VLANs", &[ProbeUnanswered]),
        ("a port tags what it is untagged", &[ProbeUnanswered]),
        ("a container's port is protected", &[ProbeUnanswered]),
        ("a port is on two bridges", &[ProbeForeignFrame]),
        ("a gateway is not on its bridge", &[ProbeUnanswered]),
        ("a tenant's bridge is gone", &[ProbeUnanswered]),
        ("a bridge has another datapath", &[ProbeUnanswered]),
        ("a bridge waits for a controller's flows", &[ProbeUnanswered]),
        ("a mirror copies a tenant's frames to a VLAN", &[ProbeWire]),
        ("all flows are gone", &[ProbeUnanswered]),
        ("a flow drops broadcasts", &[ProbeUnanswered]),
        ("a flow drops what comes from one peer", &[ProbeUnanswered]),
        ("a flow drops what is for one address", &[ProbeMtu]),
        ("a flow sends what is for one container to another", &[ProbeMtu]),
        ("a flow sends to one host only", &[ProbeUnanswered]),
        ("a flow tags frames", &[ProbeUnanswered]),
        ("a flow sends frames into another tenant by a patch port", &[ProbeForeignFrame]),
        (
            "a flow sends frames by another tenant's key, through a tunnel that takes any",
            &[ProbeForeignFrame, ProbeWire],
        ),
        ("a veth pair joins two tenants' bridges", JOINED),
        ("a gateway has lost its address", &[ProbeUnanswered]),
        ("a gateway is down", &[ProbeUnanswered]),
        ("a gateway's namespace is gone", &[ProbeUnanswered]),
        ("a container's device is down", &[ProbeUnanswered]),
        ("a container's device was made anew under its row", &[ProbeUnanswered]),
        ("a container is gone, its row is not", &[ProbeUnanswered]),
        ("the host has lost its underlay address", &[ProbeUnanswered]),
        ("two containers have one MAC address", &[ProbeMac]),
        ("two containers have one address", &[ProbeMac]),
        ("a container has the gateway's address", &[ProbeMac]),
    ]
};

/// Two tenants on all of three hosts, with equal addresses, and one that the third host does not carry.
pub fn healthy() -> Topology {
    let mut text = "[mesh]\nname = \"x\"\nunderlay_mtu = 1500\ndatapath = \"netdev\"\n".to_owned();
    for host in 1..=3 {
        let _ = writeln!(text, "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"10.0.1.1{host}\"");
    }
    for (tenant, key, hosts) in [("acme", 7, 1..=3), ("globex", 8, 1..=3), ("initech", 9, 1..=2)] {
        let container = |at: &i32| {
            format!("{{ ctid = \"{}0{at}\", host = \"h{at}\", ip = \"192.168.7.1{at}\" }}", key - 6)
        };
        let containers: Vec<String> = hosts.clone().map(|at| container(&at)).collect();
        let names: Vec<String> = hosts.map(|at| format!("\"h{at}\"")).collect();
        let _ = writeln!(
            text,
            "[[tenant]]\nname = \"{tenant}\"\nkey = {key}\nsubnet = \"192.168.7.0/24\"\nhosts = [{}]\ncontainers = [{}]\ngateways = {{ h1 = \"192.168.7.1\" }}",
            names.join(", "),
            containers.join(", ")
        );
    }
    topology(&text)
}

impl Fault {
    /// All checks that must find it. What live packets must show is known of the userspace datapath.
    pub fn expected(&self) -> Vec<Check> {
        let shown = SHOWN.iter().filter(|(name, _)| *name == self.name && datapath() == Datapath::Netdev);
        self.checks.iter().copied().chain(shown.flat_map(|(_, checks)| checks.iter().copied())).collect()
    }

    /// Brings it about.
    pub fn inject(&self, lab: &TestLab) {
        self.inject.iter().for_each(|(place, script)| shell(lab, place, script));
    }

    /// Takes it away.
    pub fn undo(&self, lab: &TestLab) {
        self.undo.iter().for_each(|(place, script)| shell(lab, place, script));
    }
}

/// Runs a script on a host of the lab. It knows the mesh's name, the host's tunnels (`$ACME_H2`), gateways' devices
/// (`$GW_ACME`) and namespaces (`$NS_ACME`), the datapath (`$DP`) and the device of
/// the underlay (`$PHY`), and has `vs`, `of`, `own` (what makes a row
/// a tenant's) and `forward` for words.
pub fn shell(lab: &TestLab, place: &str, script: &str) {
    let plan = Plan::new(lab.mesh.topology(), &host(place)).expect("a plan");
    let mut text = format!("MESH={}\n", lab.mesh.name());
    text += match datapath() {
        Datapath::Netdev => "DP=netdev OTHER_DP=system PHY=br-phy\n",
        Datapath::System => "DP=system OTHER_DP=netdev PHY=eth0\n",
    };
    text += "vs() { ovs-vsctl --timeout=10 \"$@\"; }\nof() { ovs-ofctl \"$@\"; }\n";
    text += "forward() { ip netns exec $1 sh -c \"echo $2 > /proc/sys/net/ipv4/${3:-ip_forward}\"; }\n";
    let _ = writeln!(text, "ovsmesh() {{ {} \"$@\"; }}", ovsmesh().display());
    text += "own() { echo \"external_ids:ovsmesh-mesh=$MESH external_ids:ovsmesh-tenant=$1\"; }\n";
    for bridge in &plan.bridges {
        let tenant = bridge.tenant.as_str().to_uppercase();
        for tunnel in &bridge.tunnels {
            let _ = writeln!(text, "{tenant}_{}={}", tunnel.peer.as_str().to_uppercase(), tunnel.port);
        }
        if let Some(gateway) = &bridge.gateway {
            let _ = writeln!(text, "GW_{tenant}={}\nNS_{tenant}={}", gateway.port, gateway.netns);
        }
    }
    lab.run(place, &["sh", "-ec", &(text + script)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_in_the_catalogue() {
        let all: Vec<&str> =
            catalogue().iter().flat_map(|(_, faults)| faults.iter().map(|it| it.name)).collect();
        for (name, checks) in SHOWN {
            assert!(all.contains(name), "{name}");
            assert!(checks.iter().all(|check| check.level() == ovs_mesh::isolation::Level::Probe), "{name}");
        }
    }
}
