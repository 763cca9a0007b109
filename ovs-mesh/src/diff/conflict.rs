//! Rows of somebody else's that are in the way of the plan.

use std::collections::HashMap;

use serde::Serialize;

use crate::names::BridgeName;
use crate::names::TunnelKind;
use crate::plan::{Plan, Tuple};
use crate::snapshot::{EffectiveTuple, Snapshot, TunnelClass};

/// A row that is not ours and that the plan cannot stand beside. It is never changed; its owner must give way, or the
/// topology must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "conflict", rename_all = "kebab-case")]
pub enum Conflict {
    /// A bridge of that name exists.
    #[error(
        "bridge `{bridge}` exists and belongs to {owner}: rename the tenant's `bridge` or remove that one"
    )]
    Bridge {
        /// The bridge.
        bridge: BridgeName,
        /// Whose it is.
        owner: String,
    },
    /// A port of that name exists.
    #[error(
        "port `{port}` on bridge `{bridge}` exists and belongs to {owner}: remove it, the mesh needs its name"
    )]
    Port {
        /// The port.
        port: String,
        /// The bridge it is on.
        bridge: String,
        /// Whose it is.
        owner: String,
    },
    /// A tunnel with an equal tuple exists: one of the two would get the other's packets, or none at all.
    #[error(
        "tunnel `{interface}` on bridge `{bridge}` belongs to {owner} and has the tuple of ours to {peer} ({tuple}): \
         change the tenant's key or remove that tunnel"
    )]
    Tuple {
        /// The interface that has the tuple.
        interface: String,
        /// The bridge it is on.
        bridge: String,
        /// Whose it is.
        owner: String,
        /// The peer of the planned tunnel.
        peer: String,
        /// The planned tuple.
        tuple: Box<Tuple>,
    },
}

impl Tuple {
    /// The tuple as ovs-vswitchd will read it.
    pub(crate) fn effective(&self) -> EffectiveTuple {
        let Self { kind, key, local_ip, remote_ip } = self;
        let class = match kind {
            TunnelKind::Gre => TunnelClass::Gre,
            TunnelKind::Ip6Gre => TunnelClass::Ip6Gre,
        };
        EffectiveTuple { class, remote: Some(remote_ip.0), local: Some(local_ip.0), key: Some(key.get()) }
    }
}

pub(super) fn find(plan: &Plan, snapshot: &Snapshot) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let datapath = plan.bridges.first().map_or("system", |bridge| bridge.datapath.as_str());
    let mut names: HashMap<&str, bool> = HashMap::new();
    let mut tuples: HashMap<EffectiveTuple, (&str, &Tuple)> = HashMap::new();
    for bridge in &plan.bridges {
        names.insert(bridge.name.as_str(), true);
        names.extend(bridge.gateway.iter().map(|gateway| (gateway.port.as_str(), false)));
        for tunnel in &bridge.tunnels {
            names.insert(tunnel.port.as_str(), false);
            tuples.insert(tunnel.tuple.effective(), (tunnel.peer.as_str(), &tunnel.tuple));
        }
    }
    for bridge in &plan.bridges {
        let taken = snapshot.bridges.values().find(|row| row.name == bridge.name.as_str());
        if let Some(row) = taken.filter(|row| !row.is_owned_by(&plan.mesh)) {
            let owner = crate::snapshot::owner_of(&row.external_ids);
            conflicts.push(Conflict::Bridge { bridge: bridge.name.clone(), owner });
        }
    }
    for (bridge, port, interface) in snapshot.placed_interfaces() {
        let is_local = port.name == bridge.name;
        if port.is_owned_by(&plan.mesh) || (is_local && bridge.is_owned_by(&plan.mesh)) {
            continue;
        }
        let reserved = names.get(port.name.as_str()).or_else(|| names.get(interface.name.as_str()));
        // A foreign bridge's local port is that bridge's conflict.
        if reserved.is_some_and(|is_bridge| !(is_local && *is_bridge)) {
            conflicts.push(Conflict::Port {
                port: port.name.clone(),
                bridge: bridge.name.clone(),
                owner: port.owner(),
            });
        }
        if bridge.datapath() != datapath {
            continue;
        }
        let Some(theirs) = interface.effective_tuple() else { continue };
        let ours = match theirs {
            // Without a local address theirs takes what comes to any of ours.
            EffectiveTuple { local: None, remote: Some(_), key: Some(_), .. } => tuples
                .iter()
                .find(|(ours, _)| EffectiveTuple { local: None, ..**ours } == theirs)
                .map(|(_, found)| *found),
            _ => tuples.get(&theirs).copied(),
        };
        if let Some((peer, tuple)) = ours {
            conflicts.push(Conflict::Tuple {
                interface: interface.name.clone(),
                bridge: bridge.name.clone(),
                owner: port.owner(),
                peer: peer.to_owned(),
                tuple: Box::new(*tuple),
            });
        }
    }
    conflicts.sort_by_key(ToString::to_string);
    conflicts
}
