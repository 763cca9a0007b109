use super::*;
use crate::testing;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};

fn all(topology: &Topology) -> Vec<Plan> {
    topology.hosts().iter().map(|host| Plan::new(topology, host.name()).unwrap()).collect()
}

proptest! {
    /// A has a tunnel to B exactly if B has one to A, with the same key and swapped addresses.
    #[test]
    fn the_mesh_is_symmetric(topology in testing::topologies()) {
        let mut ends = HashSet::new();
        for plan in all(&topology) {
            for (bridge, tunnel) in plan.tunnels() {
                let Tuple { kind, key, local_ip, remote_ip } = tunnel.tuple;
                ends.insert((bridge.tenant.clone(), kind, key, local_ip.0, remote_ip.0));
            }
        }
        for (tenant, kind, key, local, remote) in &ends {
            prop_assert!(ends.contains(&(tenant.clone(), *kind, *key, *remote, *local)));
            prop_assert_ne!(local, remote);
        }
        let expected: usize =
            topology.tenants().iter().map(|t| t.members.len() * t.members.len().saturating_sub(1)).sum();
        prop_assert_eq!(ends.len(), expected);
    }

    /// On a host no tuple and no name occurs twice.
    #[test]
    fn tuples_and_names_are_unique(topology in testing::topologies()) {
        for plan in all(&topology) {
            let tuples: HashSet<_> = plan.tunnels().map(|(_, tunnel)| tunnel.tuple).collect();
            let gateways = plan.bridges.iter().filter_map(|b| b.gateway.as_ref()).map(|g| g.port.clone());
            let names: Vec<_> = plan.tunnels().map(|(_, t)| t.port.clone()).chain(gateways).collect();
            prop_assert_eq!(tuples.len(), plan.tunnels().count());
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        }
    }

    /// The file's order decides nothing.
    #[test]
    fn plans_do_not_depend_on_the_order_of_the_file((topology, shuffled) in testing::shuffled_topologies()) {
        for host in topology.hosts() {
            prop_assert_eq!(Plan::new(&topology, host.name()), Plan::new(&shuffled, host.name()));
        }
    }

    /// A new host changes nothing but its own tunnels.
    #[test]
    fn a_new_host_changes_only_its_own_tunnels((before, after, new) in testing::grown_topologies()) {
        for host in before.hosts() {
            let old = Plan::new(&before, host.name()).unwrap();
            let mut grown = Plan::new(&after, host.name()).unwrap();
            for bridge in &mut grown.bridges {
                bridge.tunnels.retain(|tunnel| tunnel.peer != new);
            }
            prop_assert_eq!(old, grown);
        }
    }
}

#[test]
fn the_five_hosts_of_the_example() {
    let topology: Topology = include_str!("../../../examples/ha-redis.toml").parse().unwrap();
    insta::assert_json_snapshot!(Plan::new(&topology, &"proxy1".parse().unwrap()).unwrap());
}

#[test]
fn an_unknown_host_is_told_the_hosts_there_are() {
    let topology: Topology = include_str!("../../../examples/ha-redis.toml").parse().unwrap();
    insta::assert_snapshot!(Plan::new(&topology, &"redis9".parse().unwrap()).unwrap_err());
}

#[test]
fn names_are_spread_and_stable() {
    let tuple = |n: u32| Tuple {
        kind: TunnelKind::Gre,
        key: i64::from(n + 1).try_into().unwrap(),
        local_ip: Local("10.0.0.1".parse().unwrap()),
        remote_ip: Remote("10.0.0.2".parse().unwrap()),
    };
    let names: BTreeSet<_> = (0..100_000).map(|n| tunnel_port(&tuple(n))).collect();
    assert_eq!(names.len(), 100_000);
    // Pinned: a different name for the same tuple would make every existing mesh rebuild its tunnels.
    let pinned: BTreeMap<_, _> = (0..2).map(|n| (n, tunnel_port(&tuple(n)))).collect();
    insta::assert_debug_snapshot!(pinned);
    assert!(names.iter().all(|name| name.as_str().parse::<PortName>().is_ok()));
}

#[test]
fn a_plan_reads_well_and_as_commands() {
    let topology: Topology = include_str!("../../../examples/ha-redis.toml").parse().unwrap();
    let plan = Plan::new(&topology, &"proxy1".parse().unwrap()).unwrap();
    insta::assert_snapshot!(format!("{plan}\n{}", plan.ovs_vsctl()));
}
