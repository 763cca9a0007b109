//! Where frames can get from a tenant's bridge without a tunnel: through patch ports, veth pairs, Linux bridges, devices
//! on top of devices, and namespaces that forward.
//!
//! Everything that frames pass between is a node of a graph, and a tenant's part of it must hold nothing but that
//! tenant's.

use std::collections::{HashMap, HashSet, VecDeque};

use super::places::{Places, Space};
use super::{Check, Device, Found, Severity, View};
use crate::names::TenantName;
use crate::snapshot::BridgeRow;
use crate::topology::Tenant;

/// Kinds of devices that stand on another and pass its frames on (ip-link(8)).
const UPPER: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
/// Kinds of devices that pass frames between those that stand under them.
const JOINS: [&str; 3] = ["bridge", "bond", "team"];

#[derive(Clone, Copy)]
enum Node<'a> {
    Bridge(&'a BridgeRow),
    /// A device; its namespace is a position in [`Places::spaces`].
    Device(usize, &'a Device),
    /// A namespace that forwards packets.
    Router(usize),
}

struct Graph<'a, 'b> {
    places: &'b Places<'a>,
    nodes: Vec<Node<'a>>,
    edges: Vec<Vec<usize>>,
}

pub(super) fn check(view: &View<'_>, places: &Places<'_>, found: &mut Found<'_>) {
    let graph = Graph::new(view, places);
    let mut reached: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    for (_, tenant, row) in &view.bridges {
        let Some(start) = graph.bridge(row) else { continue };
        // A part that holds several tenants is told of once.
        if reached[start].is_none() {
            let part = graph.part(start, &mut reached);
            judge(view, &graph, tenant, &part, &reached, found);
        }
    }
}

impl<'a, 'b> Graph<'a, 'b> {
    fn new(view: &View<'a>, places: &'b Places<'a>) -> Self {
        let mut bridges: Vec<&BridgeRow> = view.snapshot.rows.bridges.values().collect();
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        let mut nodes: Vec<Node<'a>> = bridges.into_iter().map(Node::Bridge).collect();
        let mut at: HashMap<(usize, u32), usize> = HashMap::new();
        let mut routers = HashMap::new();
        for (space, Space { devices, forwarding, .. }) in places.spaces.iter().enumerate() {
            for device in *devices {
                at.insert((space, device.index), nodes.len());
                nodes.push(Node::Device(space, device));
            }
            if forwarding.any() {
                routers.insert(space, nodes.len());
                nodes.push(Node::Router(space));
            }
        }
        let edges = vec![Vec::new(); nodes.len()];
        let mut graph = Self { places, nodes, edges };
        graph.devices(&at, &routers);
        graph.ports(view, &at);
        graph
    }

    fn join(&mut self, one: usize, other: usize) {
        self.edges[one].push(other);
        self.edges[other].push(one);
    }

    fn devices(&mut self, at: &HashMap<(usize, u32), usize>, routers: &HashMap<usize, usize>) {
        let found: Vec<(usize, usize, &Device)> = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(node, what)| match what {
                Node::Device(space, device) => Some((node, *space, *device)),
                Node::Bridge(_) | Node::Router(_) => None,
            })
            .collect();
        for (node, space, device) in found {
            if let Some(master) = device.master.and_then(|index| at.get(&(space, index))) {
                let joins =
                    matches!(self.nodes[*master], Node::Device(_, it) if JOINS.iter().any(|k| it.is_kind(k)));
                if joins {
                    self.join(node, *master);
                }
            }
            let peer = if device.is_kind("veth") {
                self.places.far_end(space, device)
            } else if UPPER.iter().any(|kind| device.is_kind(kind)) {
                self.places.peer(space, device)
            } else {
                None
            };
            if let Some(other) = peer.and_then(|(there, peer)| at.get(&(there, peer.index))) {
                self.join(node, *other);
            }
            self.route(node, space, device, routers);
        }
    }

    fn route(&mut self, node: usize, space: usize, device: &Device, routers: &HashMap<usize, usize>) {
        let Some(router) = routers.get(&space) else { return };
        let forwarding = self.places.spaces[space].forwarding;
        if device.up && device.name != "lo" && device.addresses.iter().any(|own| forwarding.carries(own)) {
            self.join(node, *router);
        }
    }

    fn ports(&mut self, view: &View<'a>, at: &HashMap<(usize, u32), usize>) {
        let rows: HashMap<&str, usize> = (0..)
            .zip(&self.nodes)
            .filter_map(|(node, what)| match what {
                Node::Bridge(row) => Some((row.name.as_str(), node)),
                Node::Device(..) | Node::Router(_) => None,
            })
            .collect();
        let mut patches: HashMap<&str, usize> = HashMap::new();
        let mut wanted: Vec<(usize, &str)> = Vec::new();
        let mut held: Vec<(usize, usize)> = Vec::new();
        for (row, _, interface) in view.snapshot.rows.placed_interfaces() {
            let Some(&bridge) = rows.get(row.name.as_str()) else { continue };
            if interface.kind == "patch" {
                patches.insert(&interface.name, bridge);
                wanted.extend(interface.options.get("peer").map(|peer| (bridge, peer.as_str())));
            } else if !interface.is_tunnel()
                && let Some(device) = view.devices.get(interface.name.as_str())
                && let Some(device) = at.get(&(0, device.index))
            {
                held.push((bridge, *device));
            }
        }
        held.sort_unstable();
        wanted.sort_unstable();
        for (bridge, device) in held {
            self.join(bridge, device);
        }
        for (bridge, peer) in wanted {
            if let Some(&other) = patches.get(peer) {
                self.join(bridge, other);
            }
        }
    }

    fn bridge(&self, row: &BridgeRow) -> Option<usize> {
        self.nodes.iter().position(|node| matches!(node, Node::Bridge(own) if own.uuid == row.uuid))
    }

    /// Whether that is a device on top of the gateway's own, in its namespace, that leads nowhere else: as keepalived's
    /// `use_vmac` makes one for its address.
    fn is_leaf_of_gateway(&self, view: &View<'_>, tenant: &Tenant, node: usize) -> bool {
        let Node::Device(space, _) = self.nodes[node] else { return false };
        let named = self.places.spaces[space].name.and_then(|name| view.facts.by_netns.get(name));
        let is_own = named.is_some_and(|own| own.name() == tenant.name());
        // The edge to what it stands on is the only one.
        let [lower] = self.edges[node].as_slice() else { return false };
        is_own
            && matches!(self.nodes[*lower], Node::Device(there, it) if there == space && it.is_kind("veth"))
    }

    /// Everything that can be reached from a node, nearest first; `from` says from where each was.
    fn part(&self, start: usize, from: &mut [Option<usize>]) -> Vec<usize> {
        from[start] = Some(start);
        let mut part = vec![start];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &next in &self.edges[node] {
                if from[next].is_none() {
                    from[next] = Some(node);
                    part.push(next);
                    queue.push_back(next);
                }
            }
        }
        part
    }

    fn name(&self, node: usize) -> String {
        let inside = |space: usize| self.places.spaces[space].name.map_or("the host", |name| name);
        match self.nodes[node] {
            Node::Bridge(row) => row.name.clone(),
            Node::Device(0, device) => device.name.clone(),
            Node::Device(space, device) => format!("{} in {}", device.name, inside(space)),
            Node::Router(space) => format!("forwarding in {}", inside(space)),
        }
    }

    fn path(&self, to: usize, from: &[Option<usize>]) -> String {
        let steps = std::iter::successors(Some(to), |node| from[*node].filter(|before| before != node));
        let mut names: Vec<String> = steps.map(|node| self.name(node)).collect();
        names.reverse();
        names.join(" – ")
    }
}

/// What a tenant's part of the graph holds besides the tenant's own.
fn judge(
    view: &View<'_>,
    graph: &Graph<'_, '_>,
    tenant: &Tenant,
    part: &[usize],
    from: &[Option<usize>],
    found: &mut Found<'_>,
) {
    let mut tenants: Vec<&TenantName> = vec![tenant.name()];
    let mut first = None;
    for &node in part.iter().skip(1) {
        if let Node::Bridge(row) = graph.nodes[node]
            && let Some(other) = view.bridges.iter().find(|(_, _, own)| own.uuid == row.uuid)
        {
            tenants.push(other.1.name());
            first.get_or_insert(node);
        }
    }
    if let Some(node) = first {
        let object = graph.name(part[0]);
        let reason = format!("it has a path that is no tunnel: {}", graph.path(node, from));
        let remedy = "take one link of the path away";
        found.add(
            Check::TenantsJoined,
            Severity::Breach,
            &tenants,
            format!("bridge {object}"),
            reason,
            remedy,
        );
    }
    // What is only reached through a router is not on the tenant's network; that there is one was told above.
    let mut routed: HashSet<usize> = HashSet::new();
    for &node in part.iter().skip(1) {
        let before = from[node].unwrap_or(node);
        if matches!(graph.nodes[before], Node::Router(_)) || routed.contains(&before) {
            routed.insert(node);
            continue;
        }
        let joined = match graph.nodes[node] {
            Node::Bridge(row) => !view.bridges.iter().any(|(_, _, own)| own.uuid == row.uuid),
            Node::Device(_, device) => {
                JOINS.iter().any(|kind| device.is_kind(kind)) || UPPER.iter().any(|kind| device.is_kind(kind))
            }
            Node::Router(_) => false,
        };
        if joined && !graph.is_leaf_of_gateway(view, tenant, node) {
            let object = graph.name(node);
            let reason = format!("it is no tenant's, and the tenant reaches it: {}", graph.path(node, from));
            let remedy = "take one link of the path away";
            let (check, severity) = (Check::BridgeJoined, Severity::Breach);
            found.add(check, severity, &tenants, format!("device {object}"), reason, remedy);
        }
        if let Node::Device(0, device) = graph.nodes[node]
            && let Some(address) = device.addresses.first()
        {
            let also = if graph.places.spaces[0].forwarding.any() { ", and forwards packets" } else { "" };
            let reason = format!("the host is on the tenant's network with {address}{also}");
            let remedy = format!("`ip address del {address} dev {}`", device.name);
            let (check, severity) = (Check::HostAddress, Severity::Breach);
            found.add(check, severity, &tenants, format!("device {}", device.name), reason, remedy);
        }
    }
}
