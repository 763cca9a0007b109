//! The full mesh: who has a tunnel to whom. Pure, and lazy: no more is computed than a host needs.

use crate::names::{HostName, Local, Remote, TunnelKey};
use crate::topology::{Host, Tenant, Topology};
use std::net::IpAddr;

/// One end of one tunnel, as its host sees it.
///
/// The far end's view has the same key and the addresses swapped: the mesh is symmetric by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelEnd<'a> {
    /// The tenant whose frames it carries.
    pub tenant: &'a Tenant,
    /// The host at this end.
    pub host: &'a Host,
    /// The host at the far end.
    pub peer: &'a Host,
}

impl TunnelEnd<'_> {
    /// The tenant's key.
    pub fn key(&self) -> TunnelKey {
        self.tenant.key()
    }

    /// This end's underlay address.
    pub fn local(&self) -> Local<IpAddr> {
        Local(self.host.underlay_ip())
    }

    /// The far end's underlay address.
    pub fn remote(&self) -> Remote<IpAddr> {
        Remote(self.peer.underlay_ip())
    }

    /// The same tunnel from its far end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { tenant: self.tenant, host: self.peer, peer: self.host }
    }
}

/// All tunnels of a topology.
#[derive(Debug, Clone, Copy)]
pub struct Mesh<'a> {
    topology: &'a Topology,
}

impl<'a> Mesh<'a> {
    /// The mesh of this topology.
    pub fn new(topology: &'a Topology) -> Self {
        Self { topology }
    }

    /// The tenants that a host carries, in the file's order.
    pub fn tenants_on(self, host: &HostName) -> impl Iterator<Item = &'a Tenant> + use<'a> {
        let position = self.topology.position(host);
        self.topology
            .tenants()
            .iter()
            .filter(move |tenant| position.is_some_and(|at| tenant.members.binary_search(&at).is_ok()))
    }

    /// A tenant's tunnels on one of its hosts: one to every other. None where the host is not the tenant's.
    pub fn tunnels(
        self,
        tenant: &'a Tenant,
        host: &HostName,
    ) -> impl Iterator<Item = TunnelEnd<'a>> + use<'a> {
        let own = self.topology.position(host).filter(|at| tenant.members.binary_search(at).is_ok());
        let hosts = self.topology.hosts();
        own.into_iter().flat_map(move |own| {
            let others = tenant.members.iter().filter(move |&&at| at != own);
            others.map(move |&at| TunnelEnd { tenant, host: &hosts[own], peer: &hosts[at] })
        })
    }
}
