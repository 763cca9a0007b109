//! How long a static verification takes: snapshots of many hosts, written to files, read and checked.
//!
//! ```text
//! static_speed [--write] DIRECTORY [HOSTS TENANTS]
//! ```
//!
//! Every tenant spans every host, so that there are TENANTS × HOSTS × (HOSTS − 1) tunnel ports; 100 hosts and 50 tenants,
//! the default, have 495,000. The files stay in DIRECTORY, with the topology as `mesh.toml`; with `--write` nothing else is
//! done.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ovs_mesh::isolation::{BridgeDetails, HostSnapshot, InterfaceDetails, StaticChecks};
use ovs_mesh::{
    BridgeRow, InterfaceRow, MESH_ID, Opening, PEER_ID, Plan, PortRow, StringMap, TENANT_ID, Topology,
};
use serde_json::from_str;
use uuid::Uuid;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let only_write = words.first().is_some_and(|word| word == "--write");
    words.drain(..usize::from(only_write));
    let (directory, hosts, tenants) = match words.as_slice() {
        [directory] => (directory, 100, 50),
        [directory, hosts, tenants] => (directory, from_str(hosts)?, from_str(tenants)?),
        _ => return Err("usage: static_speed [--write] DIRECTORY [HOSTS TENANTS]".into()),
    };
    let topology = topology(hosts, tenants)?;
    fs::write(Path::new(directory).join("mesh.toml"), topology.to_toml())?;
    let mut files = Vec::new();
    let mut ports = 0;
    for host in topology.hosts() {
        let snapshot = healthy(&Plan::new(&topology, host.name())?);
        ports += snapshot.rows.ports.len();
        let file = Path::new(directory).join(format!("{}.json", host.name()));
        fs::write(&file, snapshot.to_json()?)?;
        files.push(file);
    }
    println!("{hosts} hosts × {tenants} tenants: {ports} ports");
    if only_write {
        return Ok(());
    }
    let started = Instant::now();
    let report = verify(&topology, &files)?;
    println!(
        "read and checked in {:.2} s, {} findings",
        started.elapsed().as_secs_f64(),
        report.findings().len()
    );
    let started = Instant::now();
    let text = report.to_string().len() + serde_json::to_string(&report)?.len() + report.to_junit()?.len();
    println!("written three ways in {:.2} s, {text} bytes", started.elapsed().as_secs_f64());
    if let Some(finding) = report.findings().first() {
        return Err(format!("a healthy mesh has a finding: {finding:?}").into());
    }
    Ok(())
}

fn verify(topology: &Topology, files: &[PathBuf]) -> Result<ovs_mesh::isolation::Report, Box<dyn Error>> {
    let mut checks = StaticChecks::new(topology);
    for file in files {
        checks.host(&HostSnapshot::from_json(&fs::read_to_string(file)?)?)?;
    }
    Ok(checks.finish())
}

fn topology(hosts: usize, tenants: usize) -> Result<Topology, Box<dyn Error>> {
    let mut text = "mesh = { name = \"m\", underlay_mtu = 1500 }\n".to_owned();
    for host in 0..hosts {
        writeln!(
            text,
            "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"10.0.{}.{}\"",
            host / 250,
            host % 250 + 1
        )?;
    }
    for tenant in 1..=tenants {
        writeln!(text, "[[tenant]]\nname = \"t{tenant}\"\nkey = {tenant}\nsubnet = \"10.9.0.0/16\"")?;
    }
    Ok(text.parse()?)
}

/// A host as its sync leaves it.
fn healthy(plan: &Plan) -> HostSnapshot {
    let mut snapshot = HostSnapshot::new(plan.mesh.clone(), plan.host.clone());
    let mut ids = (1_u128..).map(Uuid::from_u128);
    let mut id = || ids.next().unwrap_or_default();
    for bridge in &plan.bridges {
        let owned = || {
            let pairs = [(MESH_ID, plan.mesh.as_str()), (TENANT_ID, bridge.tenant.as_str())];
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect::<StringMap>()
        };
        let mut ports = Vec::new();
        let local = (bridge.name.as_str(), "internal", StringMap::new(), StringMap::new());
        let tunnels = bridge.tunnels.iter().map(|tunnel| {
            let mut ids = owned();
            ids.insert(PEER_ID.to_owned(), tunnel.peer.to_string());
            let tuple = tunnel.tuple;
            let options: StringMap = [
                ("key", tuple.key.to_string()),
                ("local_ip", tuple.local_ip.to_string()),
                ("remote_ip", tuple.remote_ip.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect();
            (tunnel.port.as_str(), tuple.kind.as_str(), options, ids)
        });
        for (name, kind, options, external_ids) in std::iter::once(local).chain(tunnels) {
            let (port, interface) = (id(), id());
            let row = InterfaceRow {
                uuid: interface,
                name: name.to_owned(),
                kind: kind.to_owned(),
                options,
                external_ids: StringMap::new(),
                mtu_request: None,
                opening: Opening::Done,
                error: None,
                ifindex: Some(0),
            };
            let details = InterfaceDetails { ofport: Some(1), ..InterfaceDetails::default() };
            snapshot.switch.interfaces.insert(interface, details);
            snapshot.rows.interfaces.insert(interface, row);
            let row = PortRow {
                uuid: port,
                name: name.to_owned(),
                external_ids,
                interfaces: vec![interface],
                protected: kind != "internal",
                tag: None,
                trunks: Vec::new(),
                vlan_mode: None,
            };
            snapshot.rows.ports.insert(port, row);
            ports.push(port);
        }
        let uuid = id();
        let row = BridgeRow {
            uuid,
            name: bridge.name.to_string(),
            datapath_type: bridge.datapath.as_str().to_owned(),
            fail_mode: Some("standalone".to_owned()),
            external_ids: owned(),
            other_config: BTreeMap::new(),
            ports,
        };
        snapshot.switch.bridges.insert(uuid, BridgeDetails::default());
        snapshot.rows.bridge_set.push(uuid);
        snapshot.rows.bridges.insert(uuid, row);
    }
    snapshot
}
