//! `verify` finds every fault of the catalogue by its name, and nothing in a healthy mesh, whatever is beside it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ovs_mesh::isolation::{Check, Level, Report, VerifyOptions};
use ovsmesh_tests::faults::{FATAL, Fault, PROBED, catalogue, healthy};
use ovsmesh_tests::{TestLab, chain};

/// The levels that the catalogue is for.
const LEVELS: [Level; 2] = [Level::Static, Level::Trace];
/// How long a lab may take to be healthy again.
const MENDED: Duration = Duration::from_secs(15);

async fn verify(lab: &TestLab) -> Report {
    let options = VerifyOptions { levels: LEVELS.into_iter().collect(), ..VerifyOptions::default() };
    let (report, notes) =
        lab.mesh.verify(options, &()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(notes, [""; 0], "something was not read");
    report
}

/// Undoes and syncs until nothing is found any more.
async fn mend(lab: &TestLab, fault: &Fault) -> Result<(), String> {
    fault.undo(lab);
    let started = Instant::now();
    loop {
        let synced = lab.mesh.sync_all(lab.mesh.topology(), &()).await;
        let report = verify(lab).await;
        match (synced, report.findings()) {
            (Ok(_), []) => return Ok(()),
            (synced, _) if started.elapsed() > MENDED => {
                let why = synced.err().map(|error| chain(&error)).unwrap_or_default();
                return Err(format!("{} is not mended: {why}\n{report}", fault.name));
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A row of the table: what each level found.
fn row(fault: &Fault, report: &Report) -> String {
    let mut row = format!("| {} |", fault.name);
    for level in LEVELS {
        let found = report.findings().iter().filter(|finding| finding.level == level);
        let found: BTreeSet<Check> = found.map(|finding| finding.check).collect();
        let named = |check: &Check| match fault.checks.contains(check) {
            true => format!("**{check}**"),
            false => check.to_string(),
        };
        let _ = write!(row, " {} |", found.iter().map(named).collect::<Vec<_>>().join(", "));
    }
    row + "\n"
}

/// What must have found a fault, and did not.
fn missed(fault: &Fault, report: &Report) -> Option<String> {
    let has = |check: &&Check| !report.findings().iter().any(|finding| finding.check == **check);
    let missed: Vec<&str> = fault.checks.iter().filter(has).map(|check| check.as_str()).collect();
    let text = || format!("{}: not found by {}:\n{report}", fault.name, missed.join(" and "));
    (!missed.is_empty()).then(text)
}

#[tokio::test]
async fn every_fault_is_found_by_its_name() {
    let lab = TestLab::up(healthy()).await;
    let clean = verify(&lab).await;
    assert_eq!(clean.findings(), [], "{clean}");
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut table = String::new();
    let head = |name: &str| format!("\n## {name}\n\n| fault | static | trace |\n| --- | --- | --- |\n");
    for (name, faults) in catalogue() {
        table += &head(name);
        for fault in faults {
            fault.inject(&lab);
            let report = verify(&lab).await;
            count += 1;
            table += &row(fault, &report);
            print!("{}", row(fault, &report));
            wrong.extend(missed(fault, &report));
            if let Err(why) = mend(&lab, fault).await {
                panic!("{}\n{table}\n{why}", wrong.join("\n"));
            }
        }
    }
    drop(lab);
    table += &head("Daemons");
    for fault in FATAL {
        let lab = TestLab::up(ovsmesh_tests::simple(2, &[("acme", 7), ("globex", 8)], false)).await;
        fault.inject(&lab);
        let report = verify(&lab).await;
        count += 1;
        table += &row(fault, &report);
        wrong.extend(missed(fault, &report));
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} faults");
    written(&document(count, &table));
}

fn document(count: usize, table: &str) -> String {
    let mut text = format!(
        "# What `ovsmesh verify` finds\n\n\
         {count} faults, each put into a healthy lab of three hosts and three tenants with equal addresses, on real Open vSwitch \
         daemons (userspace datapath), and what each level found then. In bold: the checks that must find it. After each the lab \
         is mended and must have no finding again.\n\n\
         Written by `tests/tests/verify.rs`, which fails when this is not what it finds. To write it anew:\n\
         `OVSMESH_WRITE_FAULTS=1 cargo test -p ovsmesh-tests --test verify every_fault`\n"
    );
    text += table;
    if !PROBED.is_empty() {
        text += "\n## Only live packets see it (not counted)\n\n| fault | probe |\n| --- | --- |\n";
        PROBED.iter().for_each(|(name, check)| text += &format!("| {name} | **{check}** |\n"));
    }
    text
}

fn written(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    if std::env::var_os("OVSMESH_WRITE_FAULTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/faults.md is not what was found; to write it anew, set OVSMESH_WRITE_FAULTS=1:\n{text}"
    );
}
