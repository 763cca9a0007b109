//! What clients see of a fault: the default profile beside the article's way, on the same machine in the same run.
//!
//! `scripts/bench-failover` runs it. It prints a table of medians, and the raw figures to stderr as they come; each drill's timeline goes
//! to `bench-failover.log` beside the program.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use ovs_mesh::{Chain, Datapath};
use ovsmesh_lab::{Lab, LabOptions};
use redis_ha::{Config, DrillOptions, DrillReport, Fault, Profile, ServiceLab, ServiceOptions, drill};

/// What the default profile is to keep to.
#[derive(Debug, Clone, Copy)]
enum Aim {
    /// An outage of so many seconds at most, and nothing lost.
    Outage(f64),
    /// No outage that a client would notice (a quarter of a second, its patience), and nothing lost.
    Nothing,
    /// At most a twentieth of what the article's way loses.
    Twentieth,
}

/// The faults, whether the article's 30 s matter to them, and the default profile's aim.
const FAULTS: [(Fault, bool, Option<Aim>); 9] = [
    (Fault::MasterKilled, true, Some(Aim::Outage(1.6))),
    (Fault::MasterCut, true, Some(Aim::Outage(2.0))),
    (Fault::HaproxyKilled, false, Some(Aim::Outage(0.25))),
    (Fault::ProxyCut, false, Some(Aim::Outage(0.5))),
    (Fault::MasterReturns, false, Some(Aim::Nothing)),
    (Fault::StaleMinority, false, Some(Aim::Twentieth)),
    (Fault::StaleReplicas, false, Some(Aim::Twentieth)),
    (Fault::SentinelStopped, false, Some(Aim::Nothing)),
    (Fault::LinkFlap, false, None),
];

/// What is measured of one drill.
#[derive(Debug, Clone, Copy)]
struct Figures {
    outage: f64,
    acknowledged: usize,
    lost: usize,
    failovers: usize,
}

impl From<&DrillReport> for Figures {
    fn from(report: &DrillReport) -> Self {
        let DrillReport { outage_ms, acknowledged, lost, failovers, .. } = *report;
        Self { outage: outage_ms / 1000.0, acknowledged, lost, failovers }
    }
}

/// All drills of one fault at one profile.
#[derive(Debug, Default)]
struct Row {
    held: Vec<Figures>,
    failed: usize,
}

impl Row {
    fn outage(&self) -> Option<f64> {
        median(self.held.iter().map(|run| run.outage).collect())
    }

    fn longest(&self) -> Option<f64> {
        self.held.iter().map(|run| run.outage).max_by(f64::total_cmp)
    }

    fn lost(&self) -> Option<usize> {
        median(self.held.iter().map(|run| run.lost).collect())
    }
}

type Rows = BTreeMap<(Fault, &'static str), Row>;

struct Asked {
    runs: usize,
    kills: usize,
    profiles: Vec<Profile>,
    faults: Vec<Fault>,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

fn asked() -> Result<Asked, Box<dyn Error>> {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str, default: usize| variable(name).map_or(Ok(default), |text| text.parse());
    let words = |name: &str| {
        variable(name).map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let profiles = Profile::ALL.into_iter().filter(|profile| {
        let default = ["fast", "seed", "seed-30"].map(str::to_owned).to_vec();
        words("PROFILES").unwrap_or(default).iter().any(|word| word == profile.as_str())
    });
    let is_asked =
        |fault: &Fault| words("FAULTS").is_none_or(|words| words.iter().any(|word| word == fault.as_str()));
    let faults = FAULTS.into_iter().map(|(fault, ..)| fault).filter(is_asked);
    let program: PathBuf =
        variable("REDIS_HA").ok_or("REDIS_HA names the redis-ha program; run scripts/bench-failover")?.into();
    let log = program.with_file_name("bench-failover.log");
    Ok(Asked {
        runs: number("RUNS", 3)?,
        kills: number("KILLS", 40)?,
        profiles: profiles.collect(),
        faults: faults.collect(),
        program,
        log,
        config: Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/redis-ha.toml"),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test` builds and runs benches too; this one is for its script alone.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let asked = asked()?;
    std::fs::write(&asked.log, "")?;
    let mut rows = Rows::new();
    let mut flaps = None;
    for profile in &asked.profiles {
        let lab = up(&asked, *profile).await?;
        for (fault, with_30, _) in FAULTS {
            if !asked.faults.contains(&fault) || (*profile == Profile::Seed30 && !with_30) {
                continue;
            }
            for _ in 0..asked.runs {
                run(&lab, &asked, fault, rows.entry((fault, profile.as_str())).or_default()).await;
            }
        }
        if *profile == Profile::ALL[0] && asked.kills > 0 {
            flaps = Some(kills(&lab, &asked, &mut rows).await?);
        }
        Lab::down(lab.mesh().name())?;
    }
    table(&asked, &rows);
    if let Some(text) = flaps {
        println!("\n{text}");
    }
    let failed: usize = rows.values().map(|row| row.failed).sum();
    if failed > 0 { Err(format!("{failed} drills failed; see above").into()) } else { Ok(()) }
}

/// Holds a drill; one that fails is told and counted, and the next begins on what is mended.
async fn run(lab: &ServiceLab, asked: &Asked, fault: Fault, row: &mut Row) {
    let profile = lab.config().proxies.profile;
    match drill(lab, "acme", fault, DrillOptions::default(), &asked.program).await {
        Ok(report) => {
            let figures = Figures::from(&report);
            eprintln!("{} {fault} {}: {figures:?}", profile.as_str(), row.held.len());
            if let Err(why) = note(&asked.log, &format!("== {} {report}", profile.as_str())) {
                eprintln!("{}: {why}", asked.log.display());
            }
            row.held.push(figures);
        }
        Err(error) => {
            eprintln!("{} {fault} FAILED: {}", profile.as_str(), Chain(&error));
            row.failed += 1;
        }
    }
}

fn note(log: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().create(true).append(true).open(log)?.write_all(text.as_bytes())
}

async fn up(asked: &Asked, profile: Profile) -> Result<ServiceLab, Box<dyn Error>> {
    let mut config = Config::read(&asked.config)?;
    config.set_profile(profile);
    let name = "bench-failover".parse()?;
    Lab::down(&name)?;
    let hook = asked.program.with_file_name("ovsmesh");
    let mesh = LabOptions { name, datapath: Datapath::Netdev, hook: &hook };
    let options = ServiceOptions { mesh, program: &asked.program, ec2: None };
    Ok(ServiceLab::up(config, options, &()).await?)
}

/// Kills masters, the second half with all cores busy: how often a kill led to more than one failover. Those of the first half are
/// drills as any other.
async fn kills(lab: &ServiceLab, asked: &Asked, rows: &mut Rows) -> Result<String, Box<dyn Error>> {
    let mut halves = [Row::default(), Row::default()];
    for (half, row) in halves.iter_mut().enumerate() {
        let cores = std::thread::available_parallelism()?.get();
        let load: Result<Vec<Child>, _> = (0..cores * half)
            .map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn())
            .collect();
        let mut load = load?;
        for _ in 0..asked.kills / 2 {
            run(lab, asked, Fault::MasterKilled, row).await;
        }
        for busy in &mut load {
            busy.kill()?;
            busy.wait()?;
        }
    }
    let text = |row: &Row| {
        let flapped = row.held.iter().filter(|run| run.failovers != 1).count();
        let outage = seconds(row.outage());
        format!("{flapped} of {}, outage {outage} s, longest {} s", row.held.len(), seconds(row.longest()))
    };
    let [calm, busy] = halves;
    let text = format!(
        "masters killed with other than one failover: {}; with all cores busy {}",
        text(&calm),
        text(&busy)
    );
    let row = rows.entry((Fault::MasterKilled, Profile::ALL[0].as_str())).or_default();
    row.held.extend(calm.held);
    row.failed += calm.failed + busy.failed;
    Ok(text)
}

fn table(asked: &Asked, rows: &Rows) {
    let [default, seed] = [Profile::ALL[0].as_str(), Profile::Seed.as_str()];
    println!("outage: the median's and the longest run's; acknowledged and lost: the medians\n");
    println!(
        "{:<18}{:<9}{:>5}{:>7}{:>9}{:>9}{:>14}{:>8}  {:<16}aim",
        "fault", "profile", "runs", "failed", "outage", "longest", "acknowledged", "lost", "seed / default"
    );
    for (fault, _, aim) in FAULTS {
        for profile in &asked.profiles {
            let Some(row) = rows.get(&(fault, profile.as_str())) else { continue };
            print!(
                "{fault:<18}{:<9}{:>5}{:>7}{:>9}{:>9}",
                profile.as_str(),
                row.held.len(),
                row.failed,
                seconds(row.outage()),
                seconds(row.longest())
            );
            let acknowledged = median(row.held.iter().map(|run| run.acknowledged).collect());
            print!("{:>14}{:>8}", count(acknowledged), count(row.lost()));
            if profile.as_str() == default {
                let seed = rows.get(&(fault, seed));
                let ratio = seed.and_then(|seed| ratio(seed, row)).unwrap_or_default();
                let met = aim.and_then(|aim| Some((aim, is_met(aim, row, seed)?)));
                let met = met.map(|(aim, is_met)| format!("{aim} {}", if is_met { "met" } else { "MISSED" }));
                print!("  {ratio:<16}{}", met.unwrap_or_default());
            }
            println!();
        }
    }
}

/// By what there is more of in the article's way: time, or losses where it has any.
fn ratio(seed: &Row, default: &Row) -> Option<String> {
    let (theirs, ours) = (seed.lost()?, default.lost()?);
    Some(if theirs > ours {
        format!("lost {}", theirs / ours.max(1))
    } else {
        format!("outage {:.1}", seed.outage()? / default.outage()?)
    })
}

/// Whether an aim is met; a loss is compared with the article's way, where that was measured.
fn is_met(aim: Aim, row: &Row, seed: Option<&Row>) -> Option<bool> {
    let (outage, lost) = (row.outage()?, row.lost()?);
    match aim {
        Aim::Outage(most) => Some(outage <= most && lost == 0),
        Aim::Nothing => Some(outage <= 0.25 && lost == 0),
        Aim::Twentieth => Some(lost * 20 <= seed?.lost()?),
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage(most) => write!(f, "{most} s"),
            Self::Nothing => f.write_str("nothing"),
            Self::Twentieth => f.write_str("1/20 lost"),
        }
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn count(value: Option<usize>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> Option<T> {
    // No figure is a NaN.
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}
