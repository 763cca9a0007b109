//! What a probe has to know of a host beyond the topology. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// A container's port on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerPort {
    pub(super) port: String,
    /// `attached-mac`.
    pub(super) mac: Option<Mac>,
}

/// One host, as far as frames can be met on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The bridges' own MAC addresses.
    pub(super) bridges: HashMap<BridgeName, Mac>,
    /// By device index.
    pub(super) places: HashMap<u32, Place>,
    /// By tenant and container.
    pub(super) containers: HashMap<(TenantName, Ctid), ContainerPort>,
    /// The MAC addresses of the gateways that can be looked into.
    pub(super) gateways: HashMap<TenantName, Mac>,
    /// Whose a MAC address is known to be.
    pub(super) owners: BTreeMap<Mac, BTreeSet<TenantName>>,
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
            let Some(bridge) = bridges.get(row.name.as_str()) else { continue };
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
        for (tenant, mac) in &facts.gateways {
            facts.owners.entry(*mac).or_default().insert(tenant.clone());
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
        let mac = interface.external_ids.get("attached-mac").and_then(|text| text.parse().ok());
        if let Some(mac) = mac {
            self.owners.entry(mac).or_default().insert(tenant.clone());
        }
        let found = ContainerPort { port: interface.name.clone(), mac };
        self.containers.insert((tenant.clone(), ctid), found);
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
