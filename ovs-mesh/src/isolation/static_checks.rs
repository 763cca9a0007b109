//! What the configuration alone says of isolation: rows and devices against the topology.
//!
//! Hosts are handed in one by one, and of each only what its peers have to be compared with is kept, so that the mesh of a
//! hundred hosts is never in memory whole. A host's checks are linear in its rows.

mod behind;
mod between;
mod bridges;
mod devices;
mod foreign;
mod gateways;
mod places;
mod ports;
mod tunnels;
mod wiring;

use std::collections::HashMap;
use std::net::IpAddr;

use uuid::Uuid;

use super::findings::{Check, Finding, Level, Severity};
use super::host::HostSnapshot;
use super::links::{Device, HostLinks};
use super::report::Report;
use crate::names::{HostName, MeshName, TenantName};
use crate::plan::{Bridge, Plan, PlanError, TENANT_ID, gateway_netns};
use crate::snapshot::{BridgeRow, InterfaceRow, PortRow};
use crate::topology::{Host, Tenant, Topology};

use between::Seen;
use places::Places;

/// What mends everything that a sync writes.
const SYNC: &str = "run `ovsmesh sync` on the host";

/// Checks that take a view of the kernel.
const KERNEL: &[Check] = &[
    Check::BridgeJoined,
    Check::TenantsJoined,
    Check::GatewayLink,
    Check::GatewayShared,
    Check::GatewayForwarding,
    Check::HostAddress,
    Check::DeviceEnslaved,
    Check::DeviceStale,
    Check::DeviceDown,
    Check::DeviceTunnel,
    Check::AddressDuplicate,
    Check::MtuUnderlay,
    Check::UnderlayAddress,
];

/// Why a snapshot cannot be checked against the topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaticError {
    /// It is of another mesh.
    #[error("the snapshot of host `{host}` is of mesh `{found}`, the topology of mesh `{mesh}`")]
    OtherMesh {
        /// The host.
        host: HostName,
        /// The snapshot's mesh.
        found: MeshName,
        /// The topology's mesh.
        mesh: MeshName,
    },
    /// Its host was there before.
    #[error("there are two snapshots of host `{host}`: leave one out")]
    Twice {
        /// The host.
        host: HostName,
    },
    /// Its host has no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The static checks of a mesh.
#[derive(Debug)]
pub struct StaticChecks<'a> {
    facts: Facts<'a>,
    seen: Seen,
    report: Report,
    found: Vec<Finding>,
}

/// Checks the hosts of all snapshots, each alone and against each other.
pub fn static_checks(topology: &Topology, snapshots: &[HostSnapshot]) -> Result<Report, StaticError> {
    let mut checks = StaticChecks::new(topology);
    snapshots.iter().try_for_each(|snapshot| checks.host(snapshot))?;
    Ok(checks.finish())
}

impl<'a> StaticChecks<'a> {
    /// No host yet.
    pub fn new(topology: &'a Topology) -> Self {
        let facts = Facts::new(topology);
        let seen = Seen::new(topology);
        Self { facts, seen, report: Report::new(topology), found: Vec::new() }
    }

    /// Checks a host by itself, and keeps what its peers are to be compared with.
    pub fn host(&mut self, snapshot: &HostSnapshot) -> Result<(), StaticError> {
        let topology = self.facts.topology;
        let HostSnapshot { mesh, host, .. } = snapshot;
        if mesh != topology.name() {
            let (host, found, mesh) = (host.clone(), mesh.clone(), topology.name().clone());
            return Err(StaticError::OtherMesh { host, found, mesh });
        }
        let plan = Plan::new(topology, host)?;
        let Some(at) = topology.position(host).filter(|at| !self.seen.has(*at)) else {
            return Err(StaticError::Twice { host: host.clone() });
        };
        let view = View::new(&self.facts, &plan, snapshot, at);
        let mut found = Found { host, list: Vec::new() };
        let own = self.seen.host(at, topology.tenants().len());
        bridges::check(&view, &mut found);
        tunnels::check(&view, own, &mut found);
        ports::check(&view, own, &mut found);
        devices::check(&view, &mut found);
        behind::check(&view, own, &mut found);
        match &view.places {
            Some(places) => {
                gateways::check(&view, places, &mut found);
                wiring::check(&view, places, &mut found);
            }
            None => self.report.skipped(host, KERNEL, "the snapshot says nothing of the kernel's devices"),
        }
        if snapshot.links.as_ref().is_some_and(foreign::is_unread) {
            let reason = "the snapshot does not say what its GRE devices take and send: take it again";
            self.report.skipped(host, &[Check::DeviceTunnel], reason);
        }
        if snapshot.tunnels.is_none() {
            let reason = "the snapshot has no list of ovs-vswitchd's tunnels";
            self.report.skipped(host, &[Check::TunnelListed], reason);
        }
        self.report.checked(host, Level::Static);
        self.found.extend(found.list);
        Ok(())
    }

    /// What was found on hosts by themselves so far.
    pub(super) fn so_far(&self) -> &[Finding] {
        &self.found
    }

    /// Compares the hosts with each other: what they all come to.
    pub fn finish(mut self) -> Report {
        let found = self.seen.compare(&self.facts);
        self.report.extend(self.found.into_iter().chain(found));
        self.report
    }
}

/// Collects a host's findings.
struct Found<'a> {
    host: &'a HostName,
    list: Vec<Finding>,
}

impl Found<'_> {
    fn add(
        &mut self,
        check: Check,
        severity: Severity,
        tenants: &[&TenantName],
        object: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.list.push(Finding::new(check, severity, self.host, tenants, object, reason, remedy));
    }
}

/// The topology by what rows name.
#[derive(Debug)]
struct Facts<'a> {
    topology: &'a Topology,
    by_name: HashMap<&'a str, &'a Tenant>,
    by_key: HashMap<u32, usize>,
    by_bridge: HashMap<&'a str, &'a Tenant>,
    by_underlay: HashMap<IpAddr, usize>,
    by_ctid: HashMap<&'a str, (&'a Tenant, &'a HostName)>,
    /// Gateways' namespaces, of every host: on one machine they have one name each.
    by_netns: HashMap<String, &'a Tenant>,
}

impl<'a> Facts<'a> {
    fn new(topology: &'a Topology) -> Self {
        let tenants = topology.tenants();
        let containers = tenants.iter().flat_map(|tenant| {
            tenant.containers().iter().map(move |it| (it.ctid().as_str(), (tenant, it.host())))
        });
        let netns = tenants.iter().flat_map(|tenant| {
            tenant.gateways().iter().map(move |gateway| {
                (gateway_netns(topology.name(), gateway.host(), tenant.name()).to_string(), tenant)
            })
        });
        Self {
            topology,
            by_name: tenants.iter().map(|tenant| (tenant.name().as_str(), tenant)).collect(),
            by_key: tenants.iter().enumerate().map(|(at, tenant)| (tenant.key().get(), at)).collect(),
            by_bridge: tenants.iter().map(|tenant| (tenant.bridge().as_str(), tenant)).collect(),
            by_underlay: topology.hosts().iter().enumerate().map(|(at, h)| (h.underlay_ip(), at)).collect(),
            by_ctid: containers.collect(),
            by_netns: netns.collect(),
        }
    }

    fn tenant_of_key(&self, key: u32) -> Option<&'a Tenant> {
        self.by_key.get(&key).map(|at| &self.topology.tenants()[*at])
    }

    fn host_at(&self, underlay: IpAddr) -> Option<(usize, &'a Host)> {
        self.by_underlay.get(&underlay).map(|at| (*at, &self.topology.hosts()[*at]))
    }
}

/// One host: what should be there, and what is.
struct View<'a> {
    facts: &'a Facts<'a>,
    plan: &'a Plan,
    snapshot: &'a HostSnapshot,
    host: &'a Host,
    /// The planned bridges that are there and the mesh's own.
    bridges: Vec<(&'a Bridge, &'a Tenant, &'a BridgeRow)>,
    rows_by_name: HashMap<&'a str, &'a BridgeRow>,
    devices: HashMap<&'a str, &'a Device>,
    places: Option<Places<'a>>,
}

impl<'a> View<'a> {
    fn new(facts: &'a Facts<'a>, plan: &'a Plan, snapshot: &'a HostSnapshot, at: usize) -> Self {
        let rows_by_name: HashMap<&str, &BridgeRow> =
            snapshot.rows.bridges.values().map(|row| (row.name.as_str(), row)).collect();
        let bridges = plan.bridges.iter().filter_map(|bridge| {
            let row = rows_by_name.get(bridge.name.as_str()).copied()?;
            let tenant = facts.by_name.get(bridge.tenant.as_str()).copied()?;
            Some((bridge, tenant, row))
        });
        let devices = snapshot.links.iter().flat_map(|links: &HostLinks| &links.devices);
        Self {
            facts,
            plan,
            snapshot,
            host: &facts.topology.hosts()[at],
            bridges: bridges.collect(),
            devices: devices.map(|device| (device.name.as_str(), device)).collect(),
            places: snapshot.links.as_ref().map(Places::new),
            rows_by_name,
        }
    }

    /// A bridge's ports and their interfaces, but for the local port.
    fn ports(&self, row: &'a BridgeRow) -> impl Iterator<Item = (&'a PortRow, Vec<&'a InterfaceRow>)> {
        let rows = &self.snapshot.rows;
        let ports = row.ports.iter().filter_map(|uuid| rows.ports.get(uuid));
        ports.filter(|port| port.name != row.name).map(|port| (port, self.interfaces(port)))
    }

    fn interfaces(&self, port: &'a PortRow) -> Vec<&'a InterfaceRow> {
        let rows = &self.snapshot.rows;
        port.interfaces.iter().filter_map(|uuid| rows.interfaces.get(uuid)).collect()
    }

    fn port(&self, uuid: Uuid) -> Option<&'a PortRow> {
        self.snapshot.rows.ports.get(&uuid)
    }

    /// The topology's tenant that a row says it belongs to.
    fn named_tenant(&self, ids: &crate::snapshot::StringMap) -> Option<&'a Tenant> {
        self.facts.by_name.get(ids.get(TENANT_ID)?.as_str()).copied()
    }

    fn is_owned(&self, port: &PortRow) -> bool {
        port.is_owned_by(&self.plan.mesh)
    }
}

/// What a row is on, for a finding's object.
fn on(port: &PortRow, bridge: &BridgeRow) -> String {
    format!("port {} on bridge {}", port.name, bridge.name)
}

#[cfg(test)]
mod tests;
