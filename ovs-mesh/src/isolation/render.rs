//! A report as a human reads it: the matrix, then the findings.

use std::fmt;

use super::findings::{Finding, Severity};
use super::report::{Cell, HostMatrix, Probed, Report, Skipped};

impl Cell {
    /// One character, so that a matrix of many tenants fits a line.
    fn sign(self) -> char {
        match self {
            Self::Reaches => '+',
            Self::KeptApart => '.',
            Self::Degraded => '~',
            Self::Breach => '!',
            Self::Unknown => '?',
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |severity| self.count(severity);
        writeln!(
            f,
            "mesh {}: breaches {}, degraded {}, notices {}",
            self.mesh(),
            count(Severity::Breach),
            count(Severity::Degraded),
            count(Severity::Notice)
        )?;
        writeln!(f, "+ reaches its own   . kept apart   ~ degraded   ! breach   ? not checked")?;
        // Hosts that are alike share a square: a hundred healthy ones are one.
        let matrix = self.matrix();
        let mut left: Vec<&HostMatrix> = matrix.iter().collect();
        while let Some(first) = left.first().copied() {
            let (alike, others): (Vec<&HostMatrix>, Vec<&HostMatrix>) = left.iter().partition(|other| {
                let HostMatrix { host: _, checked, skipped, probed, tenants, cells } = other;
                (checked, skipped, probed, tenants, cells)
                    == (&first.checked, &first.skipped, &first.probed, &first.tenants, &first.cells)
            });
            let names: Vec<&str> = alike.iter().map(|square| square.host.as_str()).collect();
            square(f, &names, first)?;
            left = others;
        }
        for Finding { check, severity, level, host, tenants, object, reason, remedy } in self.findings() {
            let tenants: Vec<&str> = tenants.iter().map(AsRef::as_ref).collect();
            let tenants = if tenants.is_empty() { "all tenants".to_owned() } else { tenants.join(", ") };
            let severity = match severity {
                Severity::Breach => "BREACH",
                milder => milder.as_str(),
            };
            writeln!(f, "\n{severity} {check} on {host}: {tenants}: {object}")?;
            writeln!(f, "  {} shows: {reason}", level.as_str())?;
            writeln!(f, "  remedy: {remedy}")?;
        }
        Ok(())
    }
}

fn square(f: &mut fmt::Formatter<'_>, hosts: &[&str], square: &HostMatrix) -> fmt::Result {
    let HostMatrix { host: _, checked, skipped, probed, tenants, cells } = square;
    let levels: Vec<&str> = checked.iter().map(|level| level.as_str()).collect();
    let levels = if levels.is_empty() { "not checked".to_owned() } else { levels.join(", ") };
    writeln!(f, "\n{} ({levels})", hosts.join(", "))?;
    for Skipped { checks, reason } in skipped {
        writeln!(f, "  {} checks not made: {reason}", checks.len())?;
    }
    if !probed.is_empty() {
        let sum = |count: fn(&Probed) -> usize| probed.iter().map(count).sum::<usize>();
        writeln!(
            f,
            "  asked for: {} addresses of the tenants' own; for silence, {} addresses and {} MAC addresses of others",
            sum(|it| it.addresses),
            sum(|it| it.silent_addresses),
            sum(|it| it.silent_macs)
        )?;
    }
    if tenants.is_empty() {
        return writeln!(f, "  no tenants");
    }
    let digits = tenants.len().to_string().len();
    let width = tenants.iter().map(|tenant| tenant.as_str().len()).max().unwrap_or(0);
    write!(f, "  {:digits$} {:width$}", "", "")?;
    (1..=tenants.len()).try_for_each(|number| write!(f, " {number:>digits$}"))?;
    writeln!(f)?;
    for (at, (tenant, row)) in tenants.iter().zip(cells).enumerate() {
        write!(f, "  {:>digits$} {tenant:width$}", at + 1)?;
        row.iter().try_for_each(|cell| write!(f, " {:>digits$}", cell.sign()))?;
        writeln!(f)?;
    }
    Ok(())
}
