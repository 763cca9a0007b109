//! Random valid topologies for property tests.

pub(crate) mod hosts;
pub(crate) mod model;

use proptest::prelude::*;
use std::fmt::Write;

use crate::names::HostName;
use crate::topology::Topology;

/// A topology's blocks, each a piece of text, so that tests can reorder or leave out some.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    ipv6: bool,
    hosts: Vec<usize>,
    /// Per tenant: name, key and the hosts it spans; none: every host.
    tenants: Vec<(usize, u32, Option<Vec<usize>>)>,
}

impl Blocks {
    fn text(&self) -> String {
        let mut text = "[mesh]\nname = \"m\"\nunderlay_mtu = 1500\n".to_owned();
        for host in &self.hosts {
            let ip = if self.ipv6 {
                format!("fd00::{host:x}")
            } else {
                format!("10.0.{}.{}", host / 250, host % 250 + 1)
            };
            let _ = writeln!(text, "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"{ip}\"");
        }
        for (name, key, hosts) in &self.tenants {
            let _ =
                writeln!(text, "[[tenant]]\nname = \"t{name}\"\nkey = {key}\nsubnet = \"192.168.0.0/16\"");
            if let Some(hosts) = hosts {
                let names: Vec<String> = hosts.iter().map(|host| format!("\"h{host}\"")).collect();
                let _ = writeln!(text, "hosts = [{}]", names.join(", "));
                if let Some(first) = hosts.iter().min() {
                    let _ = writeln!(text, "gateways = {{ h{first} = \"192.168.0.9\" }}");
                }
            }
        }
        text
    }

    pub(crate) fn topology(&self) -> Topology {
        self.text().parse().unwrap_or_else(|error| panic!("{error}"))
    }
}

fn blocks() -> impl Strategy<Value = Blocks> {
    let tenants = prop::collection::btree_map(
        1u32..40,
        prop::option::of(prop::collection::btree_set(1usize..30, 1..8)),
        0..5,
    );
    (any::<bool>(), prop::collection::btree_set(1usize..30, 1..9), tenants).prop_map(
        |(ipv6, hosts, tenants)| {
            let hosts: Vec<usize> = hosts.into_iter().collect();
            let tenants = tenants
                .into_iter()
                .map(|(key, wanted)| {
                    let members =
                        wanted.map(|set| hosts.iter().copied().filter(|host| set.contains(host)).collect());
                    (key as usize, key, members)
                })
                .collect();
            Blocks { ipv6, hosts, tenants }
        },
    )
}

pub(crate) fn topologies() -> impl Strategy<Value = Topology> {
    blocks().prop_map(|blocks| blocks.topology())
}

/// A topology, and the same with its hosts, tenants and member lists in another order.
pub(crate) fn shuffled_topologies() -> impl Strategy<Value = (Topology, Topology)> {
    blocks().prop_flat_map(|blocks| {
        let hosts = Just(blocks.hosts.clone()).prop_shuffle();
        let tenants = Just(blocks.tenants.clone()).prop_shuffle();
        (Just(blocks), hosts, tenants).prop_map(|(blocks, hosts, mut tenants)| {
            for (_, _, members) in &mut tenants {
                if let Some(members) = members {
                    members.reverse();
                }
            }
            let shuffled = Blocks { ipv6: blocks.ipv6, hosts, tenants };
            (blocks.topology(), shuffled.topology())
        })
    })
}

/// Two unrelated topologies of the same mesh: what it was and what it becomes.
pub(crate) fn changed_topologies() -> impl Strategy<Value = (Topology, Topology)> {
    (blocks(), blocks()).prop_map(|(before, after)| (before.topology(), after.topology()))
}

/// A topology, the same with one more host (which every tenant without a list of hosts gets), and that host.
pub(crate) fn grown_topologies() -> impl Strategy<Value = (Topology, Topology, HostName)> {
    blocks().prop_map(|blocks| {
        let mut grown = blocks.clone();
        grown.hosts.push(99);
        for (_, key, members) in &mut grown.tenants {
            if let Some(members) = members
                && *key % 2 == 0
                && !members.is_empty()
            {
                members.push(99);
            }
        }
        let name = "h99".parse().unwrap_or_else(|error| panic!("{error}"));
        (blocks.topology(), grown.topology(), name)
    })
}
