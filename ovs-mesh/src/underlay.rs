//! Whether the userspace datapath can reach the peers. Pure.
//!
//! The userspace datapath encapsulates by itself, so it needs the underlay's route to leave by a bridge of its own type
//! that carries the underlay address. Otherwise tunnels look well and every packet is dropped (`native tunnel routing
//! failed` in a trace).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::plan::Plan;
use crate::topology::Datapath;

/// Whether this host's tunnels are encapsulated by ovs-vswitchd itself.
pub(crate) fn is_userspace(plan: &Plan) -> bool {
    plan.tunnels().any(|(bridge, _)| bridge.datapath == Datapath::Netdev)
}

/// A warning for each device by which peers are reached and that is no userspace bridge, and one for peers without a
/// route. `userspace` names the bridges of the userspace datapath; `routes` is the reply of `ovs/route/show` (ovs-vswitchd(8)).
pub(crate) fn missing_routes(plan: &Plan, userspace: &BTreeSet<&str>, routes: &str) -> Vec<String> {
    let routes: Vec<(IpNetwork, &str)> = routes.lines().filter_map(route).collect();
    let peers: BTreeMap<IpAddr, &str> =
        plan.tunnels().map(|(_, tunnel)| (tunnel.tuple.remote_ip.0, tunnel.peer.as_str())).collect();
    let mut wrong: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for (address, peer) in peers {
        let matching = routes.iter().filter(|(network, _)| network.contains(address));
        let device = matching.max_by_key(|(network, _)| network.prefix()).map(|(_, device)| *device);
        if !device.is_some_and(|device| userspace.contains(device)) {
            wrong.entry(device).or_default().push(peer);
        }
    }
    wrong
        .into_iter()
        .map(|(device, peers)| {
            let how = match device {
                Some(device) => format!("are reached by `{device}`, which is no bridge of the userspace datapath"),
                None => "have no route that ovs-vswitchd knows".to_owned(),
            };
            let named = peers.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            let more = if peers.len() > 5 { format!(" and {} more", peers.len() - 5) } else { String::new() };
            format!(
                "native tunnel routing will fail: {named}{more} {how}; put the underlay's device on a bridge with \
                 datapath_type=netdev and its address on that bridge"
            )
        })
        .collect()
}

/// `Cached: 10.0.1.0/24 dev br-phy SRC 10.0.1.11`, `User: …`, a gateway between.
fn route(line: &str) -> Option<(IpNetwork, &str)> {
    let mut words = line.split_whitespace().skip(1);
    let network = words.next()?.parse().ok()?;
    let device = words.skip_while(|word| *word != "dev").nth(1)?;
    Some((network, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_vswitchd_writes_them() {
        let read = |line| route(line).map(|(network, device)| (network.to_string(), device));
        assert_eq!(
            read("Cached: 10.0.1.0/24 dev br-phy SRC 10.0.1.11"),
            Some(("10.0.1.0/24".to_owned(), "br-phy"))
        );
        assert_eq!(
            read("User: 0.0.0.0/0 GW 10.0.1.1 dev br-phy SRC 10.0.1.11"),
            Some(("0.0.0.0/0".to_owned(), "br-phy"))
        );
        assert_eq!(
            read("Cached: 10.0.1.11/32 dev br-phy SRC 10.0.1.11 local"),
            Some(("10.0.1.11/32".to_owned(), "br-phy"))
        );
        assert_eq!(read("Route Table:"), None);
    }
}
