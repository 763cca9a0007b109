//! Hosts as they are when every sync has run and every container has been attached.

use std::collections::HashMap;

use ipnetwork::IpNetwork;

use super::model::Database;
use crate::diff::{Diff, HostDevices};
use crate::isolation::{
    BridgeDetails, Device, Forwarding, HostLinks, HostSnapshot, InterfaceDetails, NetnsLinks, PeerNetns,
    SwitchDetails,
};
use crate::link::Mac;
use crate::lower::lower;
use crate::plan::{Bridge, Plan};
use crate::snapshot::InterfaceRow;
use crate::topology::Topology;
use crate::unixctl::{ListedKey, ListedRemote, ListedTunnel};

/// Every host of a topology, in its order.
pub(crate) fn healthy_hosts(topology: &Topology) -> Vec<HostSnapshot> {
    topology
        .hosts()
        .iter()
        .map(|host| healthy_host(topology, &Plan::new(topology, host.name()).unwrap()))
        .collect()
}

fn healthy_host(topology: &Topology, plan: &Plan) -> HostSnapshot {
    let mut database = Database::default();
    loop {
        let diff = Diff::new(plan, &database.snapshot, &HostDevices::default()).unwrap();
        if diff.is_empty() {
            break;
        }
        let operations = lower(plan, &database.snapshot, &diff.next_step(1000));
        database.transact(&operations).unwrap();
    }
    for bridge in &plan.bridges {
        for ctid in &bridge.containers {
            database.attach_container(plan, bridge, &format!("veth{ctid}"), ctid.as_str());
        }
    }
    let mut rows = database.snapshot;
    rows.cur_cfg = rows.next_cfg;
    let mut links = Links::new(topology, plan);
    for bridge in &plan.bridges {
        links.bridge(topology, bridge);
    }
    for interface in rows.interfaces.values_mut() {
        interface.ifindex = Some(links.index_of(&interface.name).map_or(0, i64::from));
    }
    let interfaces = rows.interfaces.keys().zip(1..).map(|(uuid, ofport)| {
        (*uuid, InterfaceDetails { ofport: Some(ofport), ..InterfaceDetails::default() })
    });
    let switch = SwitchDetails {
        ovs_version: Some("3.1.0".to_owned()),
        bridges: rows.bridges.keys().map(|uuid| (*uuid, BridgeDetails::default())).collect(),
        interfaces: interfaces.collect(),
    };
    let tunnels = Some(listed(rows.interfaces.values()));
    let base = HostSnapshot::new(plan.mesh.clone(), plan.host.clone());
    HostSnapshot { rows, switch, tunnels, links: Some(links.links), ..base }
}

/// The list of tunnels that ovs-vswitchd would have of these rows.
fn listed<'a>(rows: impl Iterator<Item = &'a InterfaceRow>) -> Vec<ListedTunnel> {
    let tunnels = rows.filter_map(|row| {
        let tuple = row.effective_tuple()?;
        let key = tuple.key.map_or(ListedKey::Flow, |key| ListedKey::Exact(u64::from(key)));
        Some(ListedTunnel {
            name: row.name.clone(),
            kind: row.kind.clone(),
            remote: tuple.remote.map_or(ListedRemote::Flow, ListedRemote::Address),
            local: tuple.local,
            in_key: key,
            out_key: key,
            datapath_port: 4,
        })
    });
    tunnels.collect()
}

/// The kernel of a host, device by device.
struct Links {
    links: HostLinks,
    salt: u8,
}

impl Links {
    fn new(topology: &Topology, plan: &Plan) -> Self {
        let host = topology.host(&plan.host).unwrap();
        let salt = u8::try_from(topology.position(&plan.host).unwrap() % 256).unwrap();
        let lo = Device { name: "lo".to_owned(), index: 1, up: true, mtu: 65_536, ..blank() };
        let card = Device {
            name: "eth0".to_owned(),
            index: 2,
            up: true,
            mtu: u32::from(topology.underlay_mtu()),
            addresses: vec![IpNetwork::from(host.underlay_ip())],
            ..blank()
        };
        // As a router has it: what matters is that no tenant's device has an address.
        let forwarding = Forwarding { ipv4: true, ipv6: true };
        Self { links: HostLinks { devices: vec![lo, card], forwarding, netns: Vec::new() }, salt }
    }

    fn index_of(&self, name: &str) -> Option<u32> {
        self.links.devices.iter().find(|device| device.name == name).map(|device| device.index)
    }

    fn next(&self) -> u32 {
        u32::try_from(self.links.devices.len()).unwrap() + 1
    }

    fn mac(&self, index: u32) -> Mac {
        let [_, _, high, low] = index.to_be_bytes();
        Mac::from([2, 0, self.salt, 1, high, low])
    }

    fn bridge(&mut self, topology: &Topology, bridge: &Bridge) {
        let mtu = u32::from(bridge.mtu);
        let local = Device {
            name: bridge.name.to_string(),
            index: self.next(),
            kind: Some("tun".to_owned()),
            mtu,
            ..blank()
        };
        self.links.devices.push(local);
        if let Some(gateway) = &bridge.gateway {
            self.pair(gateway.port.as_str(), gateway.netns.as_str(), mtu, Some(gateway.address));
        }
        let tenant = topology.tenant(&bridge.tenant).unwrap();
        for ctid in &bridge.containers {
            let container = tenant.containers().iter().find(|it| it.ctid() == ctid).unwrap();
            let address = tenant.with_prefix(container.ip());
            self.pair(&format!("veth{ctid}"), &format!("ct{ctid}"), mtu, Some(address));
        }
    }

    /// A veth pair from the host into a namespace.
    fn pair(&mut self, name: &str, netns: &str, mtu: u32, address: Option<IpNetwork>) {
        let (outer, inner) = (self.next(), 2);
        let veth = |name: &str, index, peer, peer_netns| Device {
            name: name.to_owned(),
            index,
            peer_index: Some(peer),
            peer_netns,
            kind: Some("veth".to_owned()),
            up: true,
            mtu,
            ..blank()
        };
        self.links.devices.push(Device {
            mac: Some(self.mac(outer + 1000)),
            ..veth(name, outer, inner, PeerNetns::Named(netns.to_owned()))
        });
        let inner = Device {
            mac: Some(self.mac(outer)),
            addresses: address.into_iter().collect(),
            ..veth("eth0", inner, outer, PeerNetns::Host)
        };
        let lo = Device { name: "lo".to_owned(), index: 1, up: true, mtu: 65_536, ..blank() };
        let space = NetnsLinks {
            name: netns.to_owned(),
            devices: vec![lo, inner],
            forwarding: Forwarding::default(),
        };
        self.links.netns.push(space);
    }
}

/// A device without anything.
pub(crate) fn blank() -> Device {
    Device {
        index: 0,
        name: String::new(),
        mtu: 1500,
        up: false,
        mac: None,
        kind: None,
        gre: None,
        master: None,
        peer_index: None,
        peer_netns: PeerNetns::Same,
        addresses: Vec::new(),
    }
}

/// Rows by name, for faults to be put in.
pub(crate) trait ByName {
    fn bridge(&mut self, name: &str) -> &mut crate::snapshot::BridgeRow;
    fn port(&mut self, name: &str) -> &mut crate::snapshot::PortRow;
    fn interface(&mut self, name: &str) -> &mut InterfaceRow;
    fn details(&mut self, bridge: &str) -> &mut BridgeDetails;
    fn device(&mut self, name: &str) -> &mut Device;
    fn netns(&mut self, name: &str) -> &mut NetnsLinks;
}

impl ByName for HostSnapshot {
    fn bridge(&mut self, name: &str) -> &mut crate::snapshot::BridgeRow {
        self.rows.bridges.values_mut().find(|row| row.name == name).unwrap()
    }

    fn port(&mut self, name: &str) -> &mut crate::snapshot::PortRow {
        self.rows.ports.values_mut().find(|row| row.name == name).unwrap()
    }

    fn interface(&mut self, name: &str) -> &mut InterfaceRow {
        self.rows.interfaces.values_mut().find(|row| row.name == name).unwrap()
    }

    fn details(&mut self, bridge: &str) -> &mut BridgeDetails {
        let uuid = self.bridge(bridge).uuid;
        self.switch.bridges.get_mut(&uuid).unwrap()
    }

    fn device(&mut self, name: &str) -> &mut Device {
        let devices = &mut self.links.as_mut().unwrap().devices;
        devices.iter_mut().find(|device| device.name == name).unwrap()
    }

    fn netns(&mut self, name: &str) -> &mut NetnsLinks {
        let spaces = &mut self.links.as_mut().unwrap().netns;
        spaces.iter_mut().find(|space| space.name == name).unwrap()
    }
}

/// Puts a new port on a bridge, with one interface of its name.
pub(crate) fn add_port(
    host: &mut HostSnapshot,
    bridge: &str,
    name: &str,
    kind: &str,
    options: &[(&str, &str)],
    ids: &[(&str, &str)],
) {
    let map = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut database = Database::of(std::mem::take(&mut host.rows));
    database.add_to(bridge, name, kind, map(options).into_iter().collect(), map(ids).into_iter().collect());
    host.rows = database.snapshot;
}
