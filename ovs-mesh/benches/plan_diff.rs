//! Plan and diff of one host by the number of its own ports: the time for an element is the time for a port, and stays
//! the same while their number grows ten times and more. `cargo bench -p ovs-mesh`.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ovs_mesh::{
    BridgeRow, Diff, HostDevices, InterfaceRow, MAC_TABLE_SIZE, MESH_ID, Opening, PEER_ID, Plan, PortRow,
    Snapshot, StringMap, TENANT_ID, Topology,
};
use uuid::Uuid;

/// Hosts and tenants; the last is the largest mesh that the project promises anything about.
const SIZES: [(usize, usize); 4] = [(100, 10), (100, 100), (300, 100), (1000, 100)];

fn topology(hosts: usize, tenants: usize) -> Topology {
    let mut text = "[mesh]\nname = \"bench\"\nunderlay_mtu = 1500\n".to_owned();
    for host in 0..hosts {
        let (third, fourth) = (host / 250, host % 250 + 1);
        let _ = writeln!(text, "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"10.0.{third}.{fourth}\"");
    }
    for tenant in 0..tenants {
        let key = tenant + 1;
        let _ = writeln!(text, "[[tenant]]\nname = \"t{tenant}\"\nkey = {key}\nsubnet = \"192.168.0.0/16\"");
    }
    text.parse().expect("a valid topology")
}

fn map<const N: usize>(pairs: [(&str, String); N]) -> StringMap {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What OVSDB holds once the plan is applied.
struct Applied {
    snapshot: Snapshot,
    next: u128,
}

impl Applied {
    fn snapshot_of(plan: &Plan) -> Snapshot {
        let mut applied = Self { snapshot: Snapshot::default(), next: 0 };
        for bridge in &plan.bridges {
            let ids = map([(MESH_ID, plan.mesh.to_string()), (TENANT_ID, bridge.tenant.to_string())]);
            let local = (Some(i64::from(bridge.mtu)), "internal", StringMap::new());
            let mut ports = vec![applied.port(bridge.name.as_str(), false, StringMap::new(), local)];
            for tunnel in &bridge.tunnels {
                let options = map([
                    ("key", tunnel.tuple.key.to_string()),
                    ("local_ip", tunnel.tuple.local_ip.to_string()),
                    ("remote_ip", tunnel.tuple.remote_ip.to_string()),
                ]);
                let mut ids = ids.clone();
                ids.insert(PEER_ID.to_owned(), tunnel.peer.to_string());
                let interface = (None, tunnel.tuple.kind.as_str(), options);
                ports.push(applied.port(tunnel.port.as_str(), true, ids, interface));
            }
            let uuid = applied.uuid();
            let row = BridgeRow {
                uuid,
                name: bridge.name.to_string(),
                datapath_type: bridge.datapath.as_str().to_owned(),
                fail_mode: Some("standalone".to_owned()),
                external_ids: ids,
                other_config: map([("mac-table-size", MAC_TABLE_SIZE.to_string())]),
                ports,
            };
            applied.snapshot.bridge_set.push(uuid);
            applied.snapshot.bridges.insert(uuid, row);
        }
        applied.snapshot
    }

    fn uuid(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    fn port(
        &mut self,
        name: &str,
        protected: bool,
        external_ids: StringMap,
        (mtu_request, kind, options): (Option<i64>, &str, StringMap),
    ) -> Uuid {
        let (port, interface) = (self.uuid(), self.uuid());
        let row = InterfaceRow {
            uuid: interface,
            name: name.to_owned(),
            kind: kind.to_owned(),
            options,
            external_ids: StringMap::new(),
            mtu_request,
            opening: Opening::Done,
            error: None,
            ifindex: None,
        };
        self.snapshot.interfaces.insert(interface, row);
        let row = PortRow {
            uuid: port,
            name: name.to_owned(),
            external_ids,
            interfaces: vec![interface],
            protected,
            tag: None,
            trunks: Vec::new(),
            vlan_mode: None,
        };
        self.snapshot.ports.insert(port, row);
        port
    }
}

fn plan_and_diff(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_host");
    group.sample_size(10);
    for (hosts, tenants) in SIZES {
        let topology = topology(hosts, tenants);
        let host = topology.hosts()[0].name().clone();
        let plan = Plan::new(&topology, &host).expect("a host of the topology");
        let links = HostDevices::default();
        let (empty, applied) = (Snapshot::default(), Applied::snapshot_of(&plan));
        let diff = |snapshot: &Snapshot| Diff::new(&plan, snapshot, &links).expect("nobody else's rows");
        assert!(diff(&applied).is_empty(), "the applied plan is no fixed point: {:?}", diff(&applied));
        let size = format!("{hosts}x{tenants}");
        group.throughput(Throughput::Elements((plan.tunnels().count()) as u64));
        group.bench_function(BenchmarkId::new("plan", &size), |bencher| {
            bencher.iter(|| Plan::new(black_box(&topology), &host));
        });
        group.bench_function(BenchmarkId::new("diff_all_missing", &size), |bencher| {
            bencher.iter(|| diff(black_box(&empty)));
        });
        group.bench_function(BenchmarkId::new("diff_nothing_to_do", &size), |bencher| {
            bencher.iter(|| diff(black_box(&applied)));
        });
    }
    group.finish();
}

criterion_group!(benches, plan_and_diff);
criterion_main!(benches);
