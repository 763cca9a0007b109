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
    /// The checks that must find it, each at its own level.
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

/// What only live packets can see. The probes' own tests count them.
pub const PROBED: &[(&str, Check)] = &[];

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
