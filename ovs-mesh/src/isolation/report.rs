//! What all checks of all hosts come to.

use std::collections::{BTreeSet, HashMap};

use serde::{Serialize, Serializer};

use super::findings::{Check, Finding, Level, Severity};
use crate::mesh::Mesh;
use crate::names::{HostName, MeshName, TenantName};
use crate::topology::Topology;

/// What is known of one tenant towards another on one host. Of a tenant towards itself: of its own mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// The tenant's own mesh works, as far as it was checked.
    Reaches,
    /// The two must not reach each other, and do not, as far as was checked.
    KeptApart,
    /// The tenant's own mesh does not work as it should.
    Degraded,
    /// The two reach each other; of a tenant towards itself: it is not kept apart from whoever is no tenant.
    Breach,
    /// Nothing was checked.
    Unknown,
}

/// One host's square of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostMatrix {
    /// The host.
    pub host: HostName,
    /// The levels at which it was checked.
    pub checked: BTreeSet<Level>,
    /// Checks that were not made.
    pub skipped: Vec<Skipped>,
    /// What live packets asked for, in each tenant that was probed.
    pub probed: Vec<Probed>,
    /// The tenants that it carries, in the topology's order.
    pub tenants: Vec<TenantName>,
    /// A row a tenant, a cell a tenant, both in the order of `tenants`.
    pub cells: Vec<Vec<Cell>>,
}

/// Checks that were not made on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The checks.
    pub checks: Vec<Check>,
    /// Why not.
    pub reason: String,
}

/// How much was asked for in a tenant's network, and answered or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// The tenant.
    pub tenant: TenantName,
    /// The tenant's own addresses, which must answer.
    pub addresses: usize,
    /// Addresses that only other tenants have, and that must be silent.
    pub silent_addresses: usize,
    /// MAC addresses that only other tenants have, frames for which must get to nobody.
    pub silent_macs: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    host: HostName,
    tenants: Vec<TenantName>,
    checked: BTreeSet<Level>,
    skipped: Vec<Skipped>,
    probed: Vec<Probed>,
}

/// Findings, and what was looked at to find them: a clean report says as much as a bad one only if it says that too.
///
/// Its `Display` is the matrix, then the findings; as JSON it has the fields `mesh`, `breaches`, `degraded`, `notices`
/// (how many), `hosts` ([`HostMatrix`]) and `findings` ([`Finding`]), the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    mesh: MeshName,
    scopes: Vec<Scope>,
    findings: Vec<Finding>,
}

impl Report {
    /// A report in which nothing is known of anything.
    pub fn new(topology: &Topology) -> Self {
        let mesh = Mesh::new(topology);
        let scopes = topology.hosts().iter().map(|host| Scope {
            host: host.name().clone(),
            tenants: mesh.tenants_on(host.name()).map(|tenant| tenant.name().clone()).collect(),
            checked: BTreeSet::new(),
            skipped: Vec::new(),
            probed: Vec::new(),
        });
        Self { mesh: topology.name().clone(), scopes: scopes.collect(), findings: Vec::new() }
    }

    /// Says that a host was checked at a level.
    pub fn checked(&mut self, host: &HostName, level: Level) {
        if let Some(scope) = self.scope(host) {
            scope.checked.insert(level);
        }
    }

    /// Says that checks could not be made on a host, and why.
    pub fn skipped(&mut self, host: &HostName, checks: &[Check], reason: impl Into<String>) {
        if let Some(scope) = self.scope(host) {
            scope.skipped.push(Skipped { checks: checks.to_vec(), reason: reason.into() });
        }
    }

    /// Says that a whole level could not be run on a host, and why.
    pub fn skipped_level(&mut self, host: &HostName, level: Level, reason: impl Into<String>) {
        let checks: Vec<Check> = Check::ALL.iter().copied().filter(|check| check.level() == level).collect();
        self.skipped(host, &checks, reason);
    }

    /// Says what live packets asked for on a host.
    pub fn probed(&mut self, host: &HostName, probed: impl IntoIterator<Item = Probed>) {
        if let Some(scope) = self.scope(host) {
            scope.probed.extend(probed);
        }
    }

    /// Adds findings; one that is there already is not added again.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by(|a, b| {
            let key = |finding: &Finding| (std::cmp::Reverse(finding.severity), finding.level);
            key(a)
                .cmp(&key(b))
                .then_with(|| a.host.cmp(&b.host))
                .then_with(|| a.check.cmp(&b.check))
                .then_with(|| a.object.cmp(&b.object))
                .then_with(|| a.reason.cmp(&b.reason))
        });
        self.findings.dedup();
    }

    /// Adds what another report of the same topology says, as that of another host or level.
    pub fn join(&mut self, other: Self) {
        for Scope { host, tenants: _, checked, skipped, probed } in other.scopes {
            if let Some(scope) = self.scope(&host) {
                scope.checked.extend(checked);
                scope.skipped.extend(skipped);
                scope.probed.extend(probed);
            }
        }
        self.extend(other.findings);
    }

    fn scope(&mut self, host: &HostName) -> Option<&mut Scope> {
        self.scopes.iter_mut().find(|scope| scope.host == *host)
    }

    /// The mesh.
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// All findings, the worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The severity of the worst finding; none without findings.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.first().map(|finding| finding.severity)
    }

    /// The matrix, a square a host, in the topology's order.
    pub fn matrix(&self) -> Vec<HostMatrix> {
        let mut by_host: HashMap<&HostName, Vec<&Finding>> = HashMap::new();
        for finding in &self.findings {
            by_host.entry(&finding.host).or_default().push(finding);
        }
        let squares =
            self.scopes.iter().map(|Scope { host, tenants, checked, skipped, probed }| HostMatrix {
                host: host.clone(),
                checked: checked.clone(),
                skipped: skipped.clone(),
                probed: probed.clone(),
                tenants: tenants.clone(),
                cells: cells(tenants, !checked.is_empty(), by_host.get(host).map_or(&[], Vec::as_slice)),
            });
        squares.collect()
    }
}

fn cells(tenants: &[TenantName], checked: bool, findings: &[&Finding]) -> Vec<Vec<Cell>> {
    let count = tenants.len();
    let start = |row, column| match checked {
        false => Cell::Unknown,
        true if row == column => Cell::Reaches,
        true => Cell::KeptApart,
    };
    let mut cells: Vec<Vec<Cell>> =
        (0..count).map(|row| (0..count).map(|column| start(row, column)).collect()).collect();
    let at: HashMap<&TenantName, usize> = tenants.iter().enumerate().map(|(at, name)| (name, at)).collect();
    // The worst come first, and stay.
    for finding in findings {
        let concerned: Vec<usize> = match finding.tenants.as_slice() {
            [] => (0..count).collect(),
            some => some.iter().filter_map(|tenant| at.get(tenant).copied()).collect(),
        };
        let together = finding.severity == Severity::Breach && finding.tenants.len() > 1;
        for &row in &concerned {
            match finding.severity {
                Severity::Breach if together => {
                    for &column in concerned.iter().filter(|column| **column != row) {
                        cells[row][column] = Cell::Breach;
                    }
                    // The other one is no tenant of this host.
                    if concerned.len() == 1 {
                        cells[row][row] = Cell::Breach;
                    }
                }
                Severity::Breach => cells[row][row] = Cell::Breach,
                Severity::Degraded if cells[row][row] != Cell::Breach => cells[row][row] = Cell::Degraded,
                Severity::Degraded | Severity::Notice => {}
            }
        }
    }
    cells
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            mesh: &'a MeshName,
            breaches: usize,
            degraded: usize,
            notices: usize,
            hosts: Vec<HostMatrix>,
            findings: &'a [Finding],
        }
        Shown {
            mesh: &self.mesh,
            breaches: self.count(Severity::Breach),
            degraded: self.count(Severity::Degraded),
            notices: self.count(Severity::Notice),
            hosts: self.matrix(),
            findings: &self.findings,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
