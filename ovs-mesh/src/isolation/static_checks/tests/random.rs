//! For random healthy meshes, no finding; for any single change of what isolates, a breach.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::isolation::Mirror;
use crate::plan::{CTID_ID, MESH_ID};
use crate::testing::hosts::{ByName, add_port};
use crate::testing::topologies;

/// A change of one column of one row that isolation rests on.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Unprotect,
    Key(u32),
    KeyText(&'static str),
    OutKey(u32),
    NoKey,
    Remote([u8; 4]),
    NoRemote,
    TunnelType(&'static str),
    TunnelTenant,
    TunnelMesh,
    TunnelMoved,
    BridgeMesh,
    BridgeTenant,
    Controller,
    Mirror,
    Sflow,
    Stranger,
    Patch,
    Bond,
    Shared,
    Container,
    Address,
    Enslaved,
}

fn faults() -> impl Strategy<Value = Fault> {
    use Fault::*;
    let plain = vec![
        Unprotect,
        NoKey,
        NoRemote,
        TunnelTenant,
        TunnelMesh,
        TunnelMoved,
        BridgeMesh,
        BridgeTenant,
        Controller,
        Mirror,
        Sflow,
        Stranger,
        Patch,
        Bond,
        Shared,
        Container,
        Address,
        Enslaved,
    ];
    let texts = vec!["flow", "abc", "", "0", "4294967296", "-1", "08", "1e3"];
    let types = vec!["vxlan", "geneve", "stt", "patch", "internal", ""];
    prop_oneof![
        8 => prop::sample::select(plain),
        1 => any::<u32>().prop_map(Key),
        // A key that some tenant has.
        2 => (1_u32..40).prop_map(Key),
        1 => prop::sample::select(texts).prop_map(KeyText),
        1 => (1_u32..40).prop_map(OutKey),
        1 => any::<[u8; 4]>().prop_map(Remote),
        // An address that some host has.
        2 => (1_u8..30).prop_map(|host| Remote([10, 0, 0, host])),
        1 => prop::sample::select(types).prop_map(TunnelType),
    ]
}

/// Puts the fault in; false where this host has nothing to put it in, or where it would change nothing.
fn inject(fault: Fault, index: usize, topology: &Topology, host: &mut HostSnapshot) -> bool {
    let plan = Plan::new(topology, &host.host).unwrap();
    if plan.bridges.is_empty() {
        return false;
    }
    let bridge = &plan.bridges[index % plan.bridges.len()];
    let name = bridge.name.as_str();
    let other = &plan.bridges[(index + 1) % plan.bridges.len()];
    let tunnel = bridge.tunnels.get(index % bridge.tunnels.len().max(1));
    let row = host.bridge(name).uuid;
    let set = |ids: &mut crate::snapshot::StringMap, key: &str, value: &str| {
        ids.insert(key.to_owned(), value.to_owned());
    };
    // ovs-vswitchd follows its rows.
    host.tunnels = None;
    if let Some(tunnel) = tunnel {
        let port = tunnel.port.as_str();
        let key = tunnel.tuple.key.get();
        let options = &mut host.interface(port).options;
        match fault {
            Fault::Unprotect => host.port(port).protected = false,
            Fault::Key(text) if text == key => return false,
            Fault::Key(text) => set(options, "key", &text.to_string()),
            Fault::KeyText(text) if strtoull(text) == u64::from(key) => return false,
            Fault::KeyText(text) => set(options, "key", text),
            Fault::OutKey(text) if text == key => return false,
            Fault::OutKey(text) => set(options, "out_key", &text.to_string()),
            Fault::NoKey => drop(options.remove("key")),
            Fault::Remote(ip) if tunnel.tuple.remote_ip.0 == IpAddr::from(ip) => return false,
            Fault::Remote(ip) => set(options, "remote_ip", &IpAddr::from(ip).to_string()),
            Fault::NoRemote => drop(options.remove("remote_ip")),
            Fault::TunnelType(kind) => kind.clone_into(&mut host.interface(port).kind),
            Fault::TunnelTenant => set(&mut host.port(port).external_ids, TENANT_ID, "nobody"),
            Fault::TunnelMesh => drop(host.port(port).external_ids.remove(MESH_ID)),
            Fault::TunnelMoved => {
                if other.name == bridge.name {
                    return false;
                }
                let uuid = host.port(port).uuid;
                host.bridge(name).ports.retain(|own| *own != uuid);
                host.bridge(other.name.as_str()).ports.push(uuid);
            }
            Fault::Shared => {
                if other.name == bridge.name {
                    return false;
                }
                let uuid = host.port(port).uuid;
                host.bridge(other.name.as_str()).ports.push(uuid);
            }
            Fault::Bond => {
                let uuid = host.interface(name).uuid;
                host.port(port).interfaces.push(uuid);
            }
            _ => return of_the_bridge(fault, topology, host, bridge, row, other),
        }
        return true;
    }
    of_the_bridge(fault, topology, host, bridge, row, other)
}

fn strtoull(text: &str) -> u64 {
    crate::snapshot::strtoull_base_0(text)
}

fn of_the_bridge(
    fault: Fault,
    topology: &Topology,
    host: &mut HostSnapshot,
    bridge: &Bridge,
    row: Uuid,
    other: &Bridge,
) -> bool {
    let name = bridge.name.as_str();
    match fault {
        Fault::BridgeMesh => {
            host.bridge(name).external_ids.remove(MESH_ID);
        }
        Fault::BridgeTenant => {
            host.bridge(name).external_ids.insert(TENANT_ID.to_owned(), "nobody".to_owned());
        }
        Fault::Controller => host.details(name).controllers.push("tcp:127.0.0.1:6653".to_owned()),
        Fault::Mirror => {
            let output_port = host.rows.bridges[&row].ports.first().copied();
            host.details(name).mirrors.push(Mirror {
                name: "m".to_owned(),
                output_port,
                ..Mirror::default()
            });
        }
        Fault::Sflow => host.details(name).sflow = true,
        Fault::Stranger => add_port(host, name, "stranger0", "", &[], &[]),
        Fault::Patch => add_port(host, name, "patch0", "patch", &[("peer", "patch1")], &[]),
        Fault::Container => {
            if other.name == bridge.name {
                return false;
            }
            let ids = [(MESH_ID, host.mesh.to_string()), (TENANT_ID, other.tenant.to_string())];
            let ids: Vec<(&str, &str)> = ids.iter().map(|(key, value)| (*key, value.as_str())).collect();
            add_port(host, name, "veth9", "", &[], &[ids.as_slice(), &[(CTID_ID, "9")]].concat());
        }
        Fault::Address => host.device(name).addresses.push("192.168.0.77/16".parse().unwrap()),
        Fault::Enslaved => {
            let Some(gateway) = &bridge.gateway else { return false };
            let mtu = u32::from(topology.tenant_mtu());
            let index = 5000;
            let bridge = Device {
                name: "lb0".to_owned(),
                index,
                mtu,
                kind: Some("bridge".to_owned()),
                ..crate::testing::hosts::blank()
            };
            host.links.as_mut().unwrap().devices.push(bridge);
            host.device(gateway.port.as_str()).master = Some(index);
        }
        _ => return false,
    }
    true
}

proptest! {
    #[test]
    fn a_healthy_mesh_has_no_finding(topology in topologies()) {
        let report = static_checks(&topology, &healthy_hosts(&topology)).unwrap();
        prop_assert_eq!(report.findings(), []);
    }

    #[test]
    fn any_change_of_what_isolates_is_a_breach(
        topology in topologies(),
        at in any::<prop::sample::Index>(),
        index in 0_usize..1000,
        fault in faults(),
        alone in any::<bool>(),
    ) {
        let mut hosts = healthy_hosts(&topology);
        let first = at.index(hosts.len());
        let count = hosts.len();
        let mut order = (0..count).map(|step| (first + step) % count);
        // A mesh may have nothing that the fault could be put in, as without tenants.
        let at = order.find(|at| inject(fault, index, &topology, &mut hosts[*at]));
        let Some(at) = at else { return Ok(()) };
        let host = hosts[at].host.clone();
        // Also where nothing is known of the other hosts.
        let hosts = if alone { vec![hosts.swap_remove(at)] } else { hosts };
        let report = static_checks(&topology, &hosts).unwrap();
        let breach = |finding: &&Finding| finding.severity == Severity::Breach && finding.host == host;
        prop_assert!(report.findings().iter().any(|finding| breach(&finding)), "{report}");
    }
}
