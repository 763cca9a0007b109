//! What verification reads of a real ovsdb-server and a real ovs-vswitchd, and what it makes of that.

use ovs_mesh::isolation::{
    Check, DatapathPorts, Finding, HostSnapshot, Mirror, Severity, Trace, Tracing, static_checks,
};
use ovs_mesh::ovsdb::{Client, MonitorRequest, Mutation, Mutator, Operation, Value};
use ovs_mesh::unixctl::{self, Unixctl, parse_tunnels};
use ovs_mesh::{Diff, HostDevices, Plan, Snapshot, Topology, lower};

use crate::support::{DB, Ovsdb, row, soon, start_vswitchd};

fn topology() -> Topology {
    r#"
    mesh = { name = "m", underlay_mtu = 1500 }
    host = [
        { name = "a", underlay_ip = "10.0.0.1" },
        { name = "b", underlay_ip = "10.0.0.2" },
        { name = "c", underlay_ip = "10.0.0.3" },
    ]
    tenant = [
        { name = "acme", key = 101, subnet = "192.168.0.0/24" },
        { name = "globex", key = 102, subnet = "192.168.0.0/24" },
    ]
    "#
    .parse()
    .expect("it is a topology")
}

/// Transacts, and waits until ovs-vswitchd has done what it asks for.
async fn apply(server: &Ovsdb, client: &Client, mut operations: Vec<Operation>) {
    let watch = MonitorRequest::new().table("Open_vSwitch", ["cur_cfg", "next_cfg"]);
    let (_, mut monitor) = client.monitor(DB, &watch, soon()).await.expect("the table can be watched");
    let next = Mutation::new("next_cfg", Mutator::Add, 1);
    operations.push(Operation::mutate_row("Open_vSwitch", server.root, vec![next]));
    client.transact(DB, &operations, soon()).await.expect("the rows are taken");
    loop {
        let updates = monitor.next(soon()).await.expect("ovs-vswitchd applies it");
        let mut rows = updates.table("Open_vSwitch").filter_map(|(_, update)| update.current());
        if rows.any(|row| row["cur_cfg"] == row["next_cfg"]) {
            break;
        }
    }
}

/// Host a as its sync leaves it, on the dummy datapath, and with a container's port on each bridge.
async fn host(server: &Ovsdb, client: &Client, plan: &Plan) {
    let results = client.transact(DB, &Snapshot::operations(), soon()).await.expect("it can be read");
    let snapshot = Snapshot::from_results(results).expect("it is an Open vSwitch");
    let diff = Diff::new(plan, &snapshot, &HostDevices::default()).expect("nobody is in the way");
    let mut operations = lower(plan, &snapshot, &diff.next_step(usize::MAX));
    for operation in &mut operations {
        if let Operation::Insert { table, row, .. } = operation
            && table == "Bridge"
        {
            row.insert("datapath_type".to_owned(), "dummy".into());
        }
    }
    apply(server, client, operations).await;
    for (at, bridge) in plan.bridges.iter().enumerate() {
        let name = format!("veth{at}");
        let ids =
            [("ovsmesh-mesh", "m"), ("ovsmesh-tenant", bridge.tenant.as_str()), ("ovsmesh-ctid", &name)];
        let interface = row([("name", name.as_str().into()), ("type", "dummy".into())]);
        let port = row([
            ("name", name.as_str().into()),
            ("interfaces", Value::named_uuid("i")),
            ("external_ids", Value::string_map(ids)),
        ]);
        let insert = Mutation::new("ports", Mutator::Insert, Value::named_uuid("p"));
        let named = ovs_mesh::ovsdb::Condition::equal("name", bridge.name.as_str());
        let operations = vec![
            Operation::insert_named("Interface", "i", interface),
            Operation::insert_named("Port", "p", port),
            Operation::Mutate { table: "Bridge".to_owned(), r#where: vec![named], mutations: vec![insert] },
        ];
        apply(server, client, operations).await;
    }
}

async fn read(client: &Client, topology: &Topology) -> HostSnapshot {
    let results = client.transact(DB, &HostSnapshot::operations(), soon()).await.expect("it can be read");
    let host = topology.hosts()[0].name().clone();
    HostSnapshot::from_results(topology.name().clone(), host, results).expect("it is a host")
}

fn worst(findings: &[Finding]) -> Vec<(Check, Severity)> {
    findings.iter().map(|finding| (finding.check, finding.severity)).collect()
}

#[tokio::test]
async fn a_host_is_read_and_checked() {
    let server = Ovsdb::start().await;
    let _vswitchd = start_vswitchd(&server).await;
    let client = server.client().await;
    let topology = topology();
    let plan = Plan::new(&topology, topology.hosts()[0].name()).unwrap();
    host(&server, &client, &plan).await;
    let control = unixctl::find(server.path(), "ovs-vswitchd").unwrap();
    let mut control = Unixctl::connect(control, soon()).await.unwrap();
    let listed = control.call("ofproto/list-tunnels", &[], soon()).await.unwrap();
    let mut snapshot = read(&client, &topology).await;
    snapshot.tunnels = Some(parse_tunnels(&listed).unwrap());
    let report = static_checks(&topology, std::slice::from_ref(&snapshot)).unwrap();
    // Only what the dummy datapath makes different.
    let found = worst(report.findings());
    let dummy = [(Check::BridgeDatapath, Severity::Degraded), (Check::MtuTenant, Severity::Degraded)];
    assert!(found.iter().all(|found| dummy.contains(found)), "{report}");
    let gre = snapshot.rows.interfaces.values().find(|row| row.kind == "gre").unwrap();
    assert!(snapshot.switch.interfaces[&gre.uuid].ofport.is_some());
    let again = HostSnapshot::from_json(&snapshot.to_json().unwrap()).unwrap();
    assert_eq!(again, snapshot);

    // Everything that only verification reads.
    let bridge = plan.bridges[0].name.as_str();
    let port = plan.bridges[0].tunnels[0].port.as_str();
    let uuid = snapshot.rows.bridges.values().find(|row| row.name == bridge).unwrap().uuid;
    let tunnel = snapshot.rows.ports.values().find(|row| row.name == port).unwrap().uuid;
    let columns = row([
        ("mirrors", Value::named_uuid("m")),
        ("controller", Value::named_uuid("c")),
        ("sflow", Value::named_uuid("s")),
        ("stp_enable", true.into()),
        ("mcast_snooping_enable", true.into()),
        ("flood_vlans", Value::from(vec![7_i64, 9])),
    ]);
    let mirror = row([("name", "m0".into()), ("select_src_port", tunnel.into()), ("output_vlan", 55.into())]);
    let operations = vec![
        Operation::insert_named("Mirror", "m", mirror),
        Operation::insert_named("Controller", "c", row([("target", "tcp:127.0.0.1:1".into())])),
        Operation::insert_named("sFlow", "s", row([("targets", "127.0.0.1:6343".into())])),
        Operation::update_row("Bridge", uuid, columns),
    ];
    client.transact(DB, &operations, soon()).await.expect("the rows are taken");
    let changed = read(&client, &topology).await;
    let details = &changed.switch.bridges[&uuid];
    assert_eq!(details.controllers, ["tcp:127.0.0.1:1"]);
    let wanted = Mirror {
        name: "m0".to_owned(),
        select_src_port: vec![tunnel],
        output_vlan: Some(55),
        ..Mirror::default()
    };
    assert_eq!(details.mirrors, [wanted]);
    assert!(details.sflow && details.stp && details.mcast_snooping && !details.ipfix && !details.netflow);
    assert_eq!(details.flood_vlans, [7, 9]);
    let report = static_checks(&topology, &[changed]).unwrap();
    for check in [Check::BridgeMirror, Check::BridgeController, Check::BridgeSampling] {
        assert!(worst(report.findings()).contains(&(check, Severity::Breach)), "{check}: {report}");
    }
}

/// Every packet that is to be traced is one that ovs-vswitchd understands, and in a healthy mesh none leaks. The tunnels
/// are made to work as the kernel's do (`dpif/set-dp-features`), since there is no underlay here.
#[tokio::test]
async fn traces_are_asked_for_and_judged() {
    let server = Ovsdb::start().await;
    let _vswitchd = start_vswitchd(&server).await;
    let client = server.client().await;
    let topology = topology();
    let plan = Plan::new(&topology, topology.hosts()[0].name()).unwrap();
    host(&server, &client, &plan).await;
    let control = unixctl::find(server.path(), "ovs-vswitchd").unwrap();
    let mut control = Unixctl::connect(control, soon()).await.unwrap();
    let first = plan.bridges[0].name.as_str();
    control.call("dpif/set-dp-features", &[first, "tnl_push_pop", "false"], soon()).await.unwrap();
    let ports = DatapathPorts::parse(&control.call("dpif/show", &[], soon()).await.unwrap()).unwrap();
    let tracing = Tracing::new(&topology, topology.hosts()[0].name(), &ports).unwrap();
    let cases = tracing.cases(&[]);
    assert_eq!(cases.len(), 2 * 3 * 3, "two tenants, a container and two tunnels each, three packets");
    for case in &cases {
        let [bridge, flow] = &case.arguments;
        let reply = control.call("ofproto/trace", &[bridge, flow], soon()).await.unwrap();
        let trace: Trace = reply.parse().unwrap();
        assert_eq!(tracing.judge([(case, &trace)]), [], "{flow}: {reply}");
    }

    // A tunnel that is not protected any more, and one with another key.
    let tunnels = &plan.bridges[0].tunnels;
    let rows = read(&client, &topology).await.rows;
    let port = rows.ports.values().find(|row| row.name == tunnels[0].port.as_str()).unwrap();
    let other = rows.interfaces.values().find(|row| row.name == tunnels[1].port.as_str()).unwrap();
    let options = Value::string_map([
        ("key", "777"),
        ("local_ip", "10.0.0.1"),
        ("remote_ip", &tunnels[1].tuple.remote_ip.to_string()),
    ]);
    let operations = vec![
        Operation::update_row("Port", port.uuid, row([("protected", false.into())])),
        Operation::update_row("Interface", other.uuid, row([("options", options)])),
    ];
    apply(&server, &client, operations).await;
    let ports = DatapathPorts::parse(&control.call("dpif/show", &[], soon()).await.unwrap()).unwrap();
    let tracing = Tracing::new(&topology, topology.hosts()[0].name(), &ports).unwrap();
    let mut found = Vec::new();
    for case in tracing.cases(&[]).iter().filter(|case| case.bridge == plan.bridges[0].name.as_str()) {
        let [bridge, flow] = &case.arguments;
        // What a tunnel does not take, it cannot be asked about.
        if case.in_port == tunnels[1].port.as_str() {
            continue;
        }
        let reply = control.call("ofproto/trace", &[bridge, flow], soon()).await.unwrap();
        found.extend(tracing.judge([(case, &reply.parse().unwrap())]));
    }
    let found = worst(&found);
    assert!(found.contains(&(Check::TraceTunnel, Severity::Breach)), "{found:?}");
    assert!(found.contains(&(Check::TraceTransit, Severity::Breach)), "{found:?}");
}
