//! Whose a database is: which host of a topology its rows belong to. Pure.

use std::collections::BTreeMap;

use crate::names::{HostName, MeshName};
use crate::snapshot::Snapshot;
use crate::topology::Topology;

/// Why it cannot be told whose a database is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// No tunnel of the mesh's starts from an address of a host.
    #[error("it has no tunnel of mesh `{mesh}` that starts from a host's address")]
    None {
        /// The topology's mesh.
        mesh: MeshName,
    },
    /// Its tunnels start from several hosts' addresses.
    #[error("its tunnels start from the addresses of several hosts: {}", hosts.join(", "))]
    Several {
        /// The hosts.
        hosts: Vec<String>,
    },
}

/// The host of the topology whose switch this is: the one whose underlay address the mesh's tunnels start from.
pub fn origin(topology: &Topology, rows: &Snapshot) -> Result<HostName, OriginError> {
    let mut starts: BTreeMap<&HostName, usize> = BTreeMap::new();
    for (_, port, interface) in rows.placed_interfaces() {
        if !port.is_owned_by(topology.name()) || !interface.is_tunnel() {
            continue;
        }
        let local = interface.options.get("local_ip").and_then(|text| text.parse().ok());
        if let Some(host) = topology.hosts().iter().find(|host| Some(host.underlay_ip()) == local) {
            *starts.entry(host.name()).or_default() += 1;
        }
    }
    let all: usize = starts.values().sum();
    match starts.iter().max_by_key(|(_, count)| **count) {
        // One that went astray is for the checks to tell of.
        Some((host, count)) if count * 2 > all => Ok((*host).clone()),
        Some(_) => {
            Err(OriginError::Several { hosts: starts.keys().map(|host| host.as_str().to_owned()).collect() })
        }
        None => Err(OriginError::None { mesh: topology.name().clone() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hosts::healthy_hosts;
    use crate::testing::topologies;

    proptest! {
        /// A host that has a tunnel is known by it.
        #[test]
        fn a_host_is_known_by_its_tunnels(topology in topologies()) {
            for host in healthy_hosts(&topology) {
                let has_tunnel = host.rows.interfaces.values().any(crate::snapshot::InterfaceRow::is_tunnel);
                let found = origin(&topology, &host.rows);
                if has_tunnel {
                    prop_assert_eq!(found, Ok(host.host));
                } else {
                    prop_assert_eq!(found, Err(OriginError::None { mesh: topology.name().clone() }));
                }
            }
        }
    }
}
