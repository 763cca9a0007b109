use super::*;
use crate::isolation::Check;

fn topology() -> Topology {
    r#"
    mesh = { name = "m", underlay_mtu = 1500 }
    host = [
        { name = "a", underlay_ip = "10.0.0.1" },
        { name = "b", underlay_ip = "10.0.0.2" },
        { name = "c", underlay_ip = "10.0.0.3" },
        { name = "d", underlay_ip = "10.0.0.4" },
    ]
    tenant = [
        { name = "acme", key = 101, subnet = "192.168.0.0/24" },
        { name = "globex", key = 102, subnet = "192.168.0.0/24", hosts = ["a", "b", "c"] },
    ]
    "#
    .parse()
    .unwrap()
}

fn finding(check: Check, severity: Severity, host: &str, tenants: &[&str]) -> Finding {
    let tenants: Vec<TenantName> = tenants.iter().map(|name| name.parse().unwrap()).collect();
    let tenants: Vec<&TenantName> = tenants.iter().collect();
    let host = host.parse().unwrap();
    Finding::new(check, severity, &host, &tenants, "port x on bridge y", "it is <so>", "mend it")
}

/// Hosts a to c are checked, b and c alike; d is not.
fn report() -> Report {
    let mut report = Report::new(&topology());
    for host in ["a", "b", "c"] {
        report.checked(&host.parse().unwrap(), Level::Static);
    }
    report.checked(&"a".parse().unwrap(), Level::Trace);
    report.skipped(&"a".parse().unwrap(), &[Check::TunnelListed, Check::GatewayLink], "nobody was there");
    report.skipped_level(&"d".parse().unwrap(), Level::Trace, "ovs-vswitchd does not answer");
    report.extend([
        finding(Check::BridgeSampling, Severity::Notice, "a", &["acme"]),
        finding(Check::TunnelMissing, Severity::Degraded, "a", &["globex"]),
        finding(Check::TunnelKeySwapped, Severity::Breach, "a", &["globex", "acme"]),
        finding(Check::TraceLeak, Severity::Breach, "a", &["acme"]),
        finding(Check::TraceLeak, Severity::Breach, "a", &["acme"]),
    ]);
    report
}

#[test]
fn the_worst_counts_and_nothing_twice() {
    let report = report();
    assert_eq!(report.findings().len(), 4);
    assert_eq!(report.worst(), Some(Severity::Breach));
    assert_eq!(Report::new(&topology()).worst(), None);
}

#[test]
fn a_finding_is_in_the_cells_it_concerns() {
    use Cell::{Breach, Degraded, KeptApart, Reaches, Unknown};
    let matrix = report().matrix();
    assert_eq!(matrix[0].cells, [[Breach, Breach], [Breach, Degraded]]);
    assert_eq!(matrix[1].cells, [[Reaches, KeptApart], [KeptApart, Reaches]]);
    assert_eq!(matrix[3].cells, [[Unknown]]);
    let mut whole = Report::new(&topology());
    whole.checked(&"a".parse().unwrap(), Level::Static);
    whole.extend([finding(Check::SwitchApplied, Severity::Degraded, "a", &[])]);
    assert_eq!(whole.matrix()[0].cells, [[Degraded, KeptApart], [KeptApart, Degraded]]);
    // A tenant that this host does not carry has no cell of its own here.
    let mut other = Report::new(&topology());
    other.checked(&"d".parse().unwrap(), Level::Static);
    other.extend([finding(Check::PeerCrossing, Severity::Breach, "d", &["acme", "globex"])]);
    assert_eq!(other.matrix()[3].cells, [[Breach]]);
}

#[test]
fn reports_of_hosts_and_levels_are_joined() {
    let mut joined = Report::new(&topology());
    joined.join(report());
    joined.join(report());
    assert_eq!(joined.findings(), report().findings());
    assert_eq!(joined.matrix()[0].checked, report().matrix()[0].checked);
}

#[test]
fn a_report_reads_well() {
    insta::assert_snapshot!("text", report().to_string());
    insta::assert_json_snapshot!("json", report());
    insta::assert_snapshot!("junit", shortened(&report().to_junit().unwrap()));
}

/// The checks that say something; the rest passed.
fn shortened(junit: &str) -> String {
    let mut shown = Vec::new();
    let mut passed = 0;
    for line in junit.lines() {
        if line.contains("<testcase") && line.ends_with("/>") {
            passed += 1;
        } else {
            shown.push(line);
        }
    }
    format!("{}\n{passed} passed", shown.join("\n"))
}
