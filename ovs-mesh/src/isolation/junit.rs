//! A report as JUnit XML, for CI systems: a test suite a host and level, a test case a check.

use std::collections::HashMap;

use quick_junit::{NonSuccessKind, Report as Junit, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::findings::{Check, Finding, Level, Severity};
use super::report::{HostMatrix, Report};
use crate::names::HostName;

impl Report {
    /// The report as JUnit XML. A check fails by a breach and by what is degraded, the failure's type says which; notices
    /// are a passed check's output; checks that were not made are skipped.
    ///
    /// It says nothing of when it was made and how long that took, so that the same report is the same text.
    pub fn to_junit(&self) -> Result<String, SerializeError> {
        let mut junit = Junit::new(format!("ovsmesh verify {}", self.mesh()));
        let mut by_host: HashMap<&HostName, Vec<&Finding>> = HashMap::new();
        for finding in self.findings() {
            by_host.entry(&finding.host).or_default().push(finding);
        }
        for square in self.matrix() {
            let findings = by_host.remove(&square.host).unwrap_or_default();
            for level in Level::ALL {
                let suite = self.suite(&square, level, &findings);
                junit.add_test_suites(suite);
            }
        }
        junit.to_string()
    }

    fn suite(&self, square: &HostMatrix, level: Level, findings: &[&Finding]) -> Option<TestSuite> {
        let checked = square.checked.contains(&level);
        let skipped = |check: Check| square.skipped.iter().find(|skipped| skipped.checks.contains(&check));
        let mut checks = Check::ALL.iter().copied().filter(|check| check.level() == level).peekable();
        // A level that nobody asked for is no suite.
        if !checked && checks.peek().is_none_or(|check| skipped(*check).is_none()) {
            return None;
        }
        let mut suite = TestSuite::new(format!("{} {}", square.host, level.as_str()));
        for check in checks {
            let found: Vec<&Finding> =
                findings.iter().copied().filter(|finding| finding.check == check).collect();
            let mut case = match skipped(check).filter(|_| found.is_empty()) {
                Some(skipped) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(skipped.reason.as_str());
                    TestCase::new(check.as_str(), status)
                }
                None => TestCase::new(check.as_str(), status(&found)),
            };
            case.set_classname(format!("{}.{}.{}", self.mesh(), square.host, level.as_str()));
            if found.first().is_some_and(|worst| worst.severity == Severity::Notice) {
                case.set_system_out(found.iter().map(|finding| text(finding)).collect::<Vec<_>>().join("\n"));
            }
            suite.add_test_case(case);
        }
        Some(suite)
    }
}

fn status(found: &[&Finding]) -> TestCaseStatus {
    // The worst come first.
    match found.first() {
        Some(worst) if worst.severity > Severity::Notice => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(worst.severity.as_str());
            status.set_message(format!("{}: {}", worst.object, worst.reason));
            status.set_description(found.iter().map(|finding| text(finding)).collect::<Vec<_>>().join("\n"));
            status
        }
        _ => TestCaseStatus::success(),
    }
}

fn text(finding: &Finding) -> String {
    let Finding { check: _, severity, level: _, host: _, tenants, object, reason, remedy } = finding;
    let tenants: Vec<&str> = tenants.iter().map(AsRef::as_ref).collect();
    format!("{} [{}] {object}: {reason}; remedy: {remedy}", severity.as_str(), tenants.join(", "))
}
