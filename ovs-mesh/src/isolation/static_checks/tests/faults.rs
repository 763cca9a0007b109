//! One fault after the other in a healthy mesh: each is found by its name, and nothing else is.

mod devices;
mod foreign;
mod tunnels;

use uuid::Uuid;

use super::*;
use crate::isolation::{Cell, Mirror, NetnsLinks, PeerNetns};
use crate::plan::{CTID_ID, GATEWAY_ID, MESH_ID, PEER_ID};
use crate::snapshot::{Opening, StringMap};
use crate::testing::hosts::{ByName, add_port, blank};
use crate::unixctl::ListedKey;
use Check::*;
use Severity::{Breach, Degraded, Notice};

type Expected = Vec<(Check, Severity)>;
type Fault = Box<dyn Fn(&mut [HostSnapshot])>;

/// Puts the fault into host a (0), b (1) or another, and says what all hosts' snapshots come to.
fn found(fault: &dyn Fn(&mut [HostSnapshot])) -> Report {
    let topology = topology();
    let mut hosts = healthy_hosts(&topology);
    fault(&mut hosts);
    static_checks(&topology, &hosts).unwrap()
}

fn on_a(fault: impl Fn(&mut HostSnapshot) + 'static) -> Fault {
    Box::new(move |hosts| fault(&mut hosts[0]))
}

fn option(name: &str, option: &str, value: &str) -> Fault {
    let (name, option, value) = (name.to_owned(), option.to_owned(), value.to_owned());
    // ovs-vswitchd follows its rows: only what is checked by them is to be found.
    on_a(move |host| {
        host.interface(&name).options.insert(option.clone(), value.clone());
        host.tunnels = None;
    })
}

/// Somebody else's bridge, br-x.
fn add_alien(host: &mut HostSnapshot) {
    let some = host.rows.bridges.values().next().unwrap().clone();
    let uuid = Uuid::from_u128(0x9999);
    let row =
        BridgeRow { uuid, name: "br-x".to_owned(), ports: vec![], external_ids: StringMap::new(), ..some };
    host.rows.bridges.insert(uuid, row);
    host.rows.bridge_set.push(uuid);
}

fn judge(table: Vec<(&str, Fault, Expected)>) {
    for (name, fault, mut expected) in table {
        let report = found(&*fault);
        let mut found: Expected = report.findings().iter().map(|one| (one.check, one.severity)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}:\n{report}");
    }
}

#[test]
fn of_bridges() {
    let mirror =
        || Mirror { name: "m0".to_owned(), select_all: true, output_vlan: Some(9), ..Mirror::default() };
    judge(vec![
        ("daemon down", on_a(|host| host.rows.next_cfg += 1), vec![(SwitchApplied, Degraded)]),
        (
            "bridge missing",
            on_a(|host| {
                let uuid = host.bridge("br-acme").uuid;
                host.rows.bridges.remove(&uuid);
                host.tunnels = None;
            }),
            // Both peers have their ends: one finding of the host that lacks its own.
            vec![(BridgeMissing, Degraded), (PeerSymmetry, Degraded)],
        ),
        (
            "bridge of somebody else's",
            on_a(|host| drop(host.bridge("br-acme").external_ids.insert(MESH_ID.to_owned(), "x".to_owned()))),
            vec![(BridgeOwner, Breach)],
        ),
        (
            "bridge of another tenant's",
            on_a(|host| {
                drop(host.bridge("br-acme").external_ids.insert(TENANT_ID.to_owned(), "globex".to_owned()));
            }),
            vec![(BridgeOwner, Breach)],
        ),
        (
            "other datapath",
            on_a(|host| host.bridge("br-acme").datapath_type = "netdev".to_owned()),
            vec![(BridgeDatapath, Degraded)],
        ),
        (
            "fail mode",
            on_a(|host| host.bridge("br-acme").fail_mode = Some("secure".to_owned())),
            vec![(BridgeFailMode, Degraded)],
        ),
        (
            "controller",
            on_a(|host| host.details("br-acme").controllers.push("tcp:10.9.9.9".to_owned())),
            vec![(BridgeController, Breach)],
        ),
        (
            "mirror",
            on_a(move |host| host.details("br-acme").mirrors.push(mirror())),
            vec![(BridgeMirror, Breach)],
        ),
        ("sflow", on_a(|host| host.details("br-acme").sflow = true), vec![(BridgeSampling, Breach)]),
        ("netflow", on_a(|host| host.details("br-acme").netflow = true), vec![(BridgeSampling, Notice)]),
        ("ipfix", on_a(|host| host.details("br-acme").ipfix = true), vec![(BridgeSampling, Notice)]),
        ("stp", on_a(|host| host.details("br-acme").stp = true), vec![(BridgeSpanningTree, Degraded)]),
        ("rstp", on_a(|host| host.details("br-acme").rstp = true), vec![(BridgeSpanningTree, Degraded)]),
        (
            "flood vlans",
            on_a(|host| host.details("br-acme").flood_vlans.push(7)),
            vec![(BridgeForwarding, Degraded)],
        ),
        (
            "flow tables",
            on_a(|host| host.details("br-acme").flow_tables.push(0)),
            vec![(BridgeForwarding, Degraded)],
        ),
        (
            "multicast snooping",
            on_a(|host| host.details("br-acme").mcast_snooping = true),
            vec![(BridgeForwarding, Degraded)],
        ),
        (
            "stale bridge with tunnels",
            // Host d does not carry acme; as if it had.
            Box::new(|hosts| {
                hosts[3].bridge("br-globex").name = "br-old".to_owned();
                hosts[3].port("br-globex").name = "br-old".to_owned();
                hosts[3].interface("br-globex").name = "br-old".to_owned();
            }),
            vec![(BridgeMissing, Degraded), (PeerSymmetry, Degraded), (RowStale, Breach)],
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn of_ports() {
    judge(vec![
        (
            "a stranger's",
            on_a(|host| add_port(host, "br-acme", "tap7", "", &[], &[("owner", "x")])),
            vec![(PortStranger, Breach)],
        ),
        (
            "a stranger's internal one",
            on_a(|host| add_port(host, "br-acme", "int0", "internal", &[], &[])),
            vec![(PortStranger, Breach)],
        ),
        (
            "patch to the other tenant",
            on_a(|host| {
                add_port(host, "br-acme", "pa", "patch", &[("peer", "pb")], &[]);
                add_port(host, "br-globex", "pb", "patch", &[("peer", "pa")], &[]);
            }),
            vec![(PortPatch, Breach), (PortPatch, Breach), (TenantsJoined, Breach)],
        ),
        (
            "bond",
            on_a(|host| {
                let second = host.interface("br-globex").uuid;
                host.port("veth101").interfaces.push(second);
            }),
            vec![(PortBond, Breach), (PortShared, Breach), (TenantsJoined, Breach), (DeviceDown, Degraded)],
        ),
        ("tag", on_a(|host| host.port("veth101").tag = Some(7)), vec![(PortVlan, Degraded)]),
        ("trunks", on_a(|host| host.port("veth101").trunks = vec![7, 8]), vec![(PortVlan, Degraded)]),
        (
            "vlan mode of the bridge's own port",
            on_a(|host| host.port("br-acme").vlan_mode = Some("dot1q-tunnel".to_owned())),
            vec![(PortVlan, Degraded)],
        ),
        ("protected", on_a(|host| host.port("veth101").protected = true), vec![(PortProtected, Degraded)]),
        (
            "on two bridges",
            on_a(|host| {
                let uuid = host.port("veth101").uuid;
                host.bridge("br-globex").ports.push(uuid);
            }),
            // There its row and its container are wrong, both bridges have one device, and its address is taken.
            vec![
                (PortShared, Breach),
                (ContainerTenant, Breach),
                (ContainerDuplicate, Breach),
                (TenantsJoined, Breach),
                (AddressDuplicate, Degraded),
                (AddressDuplicate, Degraded),
            ],
        ),
        (
            "error",
            on_a(|host| host.interface("veth101").error = Some("could not open network device".to_owned())),
            vec![(PortError, Degraded)],
        ),
        (
            "not opened",
            on_a(|host| host.interface("veth101").opening = Opening::Failed),
            vec![(PortError, Degraded)],
        ),
        (
            "container of the other tenant's",
            on_a(|host| drop(host.port("veth101").external_ids.insert(CTID_ID.to_owned(), "201".to_owned()))),
            // The other one is still attached too.
            vec![(ContainerTenant, Breach), (ContainerDuplicate, Breach), (AddressDuplicate, Degraded)],
        ),
        (
            "port that says it is the other tenant's",
            on_a(|host| {
                drop(host.port("veth101").external_ids.insert(TENANT_ID.to_owned(), "globex".to_owned()));
            }),
            vec![(PortMisplaced, Breach)],
        ),
        (
            "container of another host's",
            on_a(|host| {
                drop(host.port("veth101").external_ids.insert(CTID_ID.to_owned(), "102".to_owned()));
            }),
            vec![(ContainerHost, Degraded), (ContainerDuplicate, Degraded), (AddressDuplicate, Degraded)],
        ),
        (
            "port of the mesh's on another bridge",
            on_a(|host| {
                let uuid = Uuid::from_u128(9);
                let port = host.port("veth101").uuid;
                let acme = host.bridge("br-acme");
                acme.ports.retain(|own| *own != port);
                let row = BridgeRow {
                    uuid,
                    name: "br-x".to_owned(),
                    ports: vec![port],
                    external_ids: StringMap::new(),
                    ..acme.clone()
                };
                host.rows.bridges.insert(uuid, row);
            }),
            vec![(PortMisplaced, Breach)],
        ),
        (
            "stale gateway",
            Box::new(|hosts| {
                let ids = [(MESH_ID, "m"), (TENANT_ID, "acme"), (GATEWAY_ID, "m-b-acme")];
                add_port(&mut hosts[1], "br-acme", "gw-old", "", &[], &ids);
            }),
            vec![(RowStale, Breach)],
        ),
        (
            "gateway missing",
            on_a(|host| {
                let gateway = gateway(host, "acme").0;
                let uuid = host.port(&gateway).uuid;
                host.bridge("br-acme").ports.retain(|port| *port != uuid);
            }),
            vec![(GatewayMissing, Degraded)],
        ),
    ]);
}

/// The port and the namespace of a gateway on host a.
fn gateway(_: &HostSnapshot, tenant: &str) -> (String, String) {
    let topology = topology();
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let gateway = plan.bridge_of(&tenant.parse().unwrap()).unwrap().gateway.clone().unwrap();
    (gateway.port.to_string(), gateway.netns.to_string())
}

/// Who is concerned shows in the matrix.
#[test]
fn a_breach_is_in_the_cells_of_its_tenants() {
    let topology = topology();
    let name = tunnel(&topology, "a", "acme", "b");
    let report = found(&*option(&name, "key", "102"));
    let matrix = report.matrix();
    assert_eq!(matrix[0].cells, [[Cell::Degraded, Cell::Breach], [Cell::Breach, Cell::Reaches]]);
    assert_eq!(matrix[2].cells, [[Cell::Reaches, Cell::KeptApart], [Cell::KeptApart, Cell::Reaches]]);
    let alone = found(&*on_a(|host| add_port(host, "br-acme", "tap7", "", &[], &[])));
    assert_eq!(alone.matrix()[0].cells, [[Cell::Breach, Cell::KeptApart], [Cell::KeptApart, Cell::Reaches]]);
}
