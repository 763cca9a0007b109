//! What a probe has to know of a host beyond the topology. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::link::{Link, Mac};
use crate::names::{BridgeName, Ctid, TenantName};
use crate::plan::{Bridge, Plan};
use crate::snapshot::{InterfaceRow, PortRow, Snapshot};

/// What a device of the host is to the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A port of a tenant's bridge, or the bridge's own device.
    Port { tenant: TenantName, name: String },
    /// On a tenant's bridge, and nobody of the tenant's.
    Stranger { tenant: TenantName, name: String },
    /// None of the mesh's.
    Other { name: String },
    /// Shows what is seen elsewhere a second time: the other end of a port's veth pair, a tunnel's device.
    Mirror,
}

/// One host, as far as frames can be met on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The bridges' own MAC addresses.
    pub(super) bridges: HashMap<BridgeName, Mac>,
    /// By device index.
    pub(super) places: HashMap<u32, Place>,
    /// The containers' ports on this host, by tenant and container.
    pub(super) containers: HashMap<(TenantName, Ctid), String>,
    /// The MAC addresses of the gateways that can be looked into.
    pub(super) gateways: HashMap<TenantName, Mac>,
    /// The GRE tunnels that are nobody's of the mesh's.
    pub(super) beside: Vec<Beside>,
}

/// Somebody else's GRE tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beside {
    /// The far end; none: any.
    pub(super) remote: Option<IpAddr>,
    /// The key; none: any.
    pub(super) key: Option<u32>,
}

/// Devices in which tunnels' frames show a second time, without what is outside (rtnetlink's kinds).
const TUNNELS: [&str; 8] = ["gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "vxlan", "geneve"];

impl Facts {
    pub(super) fn new(
        plan: &Plan,
        snapshot: &Snapshot,
        links: &[Link],
        gateways: HashMap<TenantName, Mac>,
    ) -> Self {
        let mut facts = Self { gateways, ..Self::default() };
        let by_name: HashMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
        for bridge in &plan.bridges {
            let Some(link) = by_name.get(bridge.name.as_str()) else { continue };
            facts.bridges.extend(link.mac.map(|mac| (bridge.name.clone(), mac)));
            let place = Place::Port { tenant: bridge.tenant.clone(), name: link.name.clone() };
            facts.places.insert(link.index, place);
        }
        let bridges: HashMap<&str, &Bridge> =
            plan.bridges.iter().map(|bridge| (bridge.name.as_str(), bridge)).collect();
        for (row, port, interface) in snapshot.placed_interfaces() {
            let Some(bridge) = bridges.get(row.name.as_str()) else {
                let tuple = interface.effective_tuple();
                facts.beside.extend(tuple.map(|tuple| Beside { remote: tuple.remote, key: tuple.key }));
                continue;
            };
            let own = port.is_owned_by(&plan.mesh) && port.tenant() == Some(bridge.tenant.as_str());
            if own {
                facts.attached(&bridge.tenant, port, interface);
            }
            // The bridge's own device has a row too, which nobody signs.
            if let Some(link) = by_name.get(interface.name.as_str()).filter(|_| interface.name != row.name) {
                let name = interface.name.clone();
                let tenant = bridge.tenant.clone();
                let place = if own { Place::Port { tenant, name } } else { Place::Stranger { tenant, name } };
                facts.places.insert(link.index, place);
            }
        }
        // What a tunnel of the kernel's own is to whom, nobody tells here.
        if links.iter().any(is_own_tunnel) {
            facts.beside.push(Beside { remote: None, key: None });
        }
        for link in links {
            if !facts.places.contains_key(&link.index) {
                let place = facts.elsewhere(link);
                facts.places.insert(link.index, place);
            }
        }
        facts
    }

    fn attached(&mut self, tenant: &TenantName, port: &PortRow, interface: &InterfaceRow) {
        let Some(ctid) = port.ctid().and_then(|text| text.parse::<Ctid>().ok()) else { return };
        self.containers.insert((tenant.clone(), ctid), interface.name.clone());
    }

    /// Whether a tunnel to or from there, with that key, may be somebody else's.
    pub(super) fn is_beside(&self, far: IpAddr, key: Option<u32>) -> bool {
        let is_it = |tunnel: &Beside| {
            tunnel.remote.is_none_or(|remote| remote == far)
                && tunnel.key.is_none_or(|own| own == key.unwrap_or(0))
        };
        self.beside.iter().any(is_it)
    }

    fn elsewhere(&self, link: &Link) -> Place {
        let is_tunnel = link.kind.as_deref().is_some_and(|kind| TUNNELS.contains(&kind));
        // The index is one of this namespace only where no other is named.
        let peer = link.peer_index.filter(|_| link.is_veth() && link.link_netns.is_none());
        let beside = peer.and_then(|peer| self.places.get(&peer));
        if is_tunnel || matches!(beside, Some(Place::Port { .. })) {
            return Place::Mirror;
        }
        Place::Other { name: link.name.clone() }
    }
}

/// A GRE tunnel that somebody made, and neither the kernel's fallback nor Open vSwitch's.
fn is_own_tunnel(link: &Link) -> bool {
    const GRE: [&str; 4] = ["gre", "gretap", "ip6gre", "ip6gretap"];
    const EVERYWHERE: [&str; 6] = ["gre0", "gretap0", "ip6gre0", "ip6gretap0", "gre_sys", "ip6gre_sys"];
    let is_gre = link.kind.as_deref().is_some_and(|kind| GRE.contains(&kind));
    is_gre && !EVERYWHERE.contains(&link.name.as_str())
}
