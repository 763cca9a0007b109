//! What clients see of a fault: the default profile beside the article's way, on the same machine in the same run.
//!
//! `scripts/bench-failover` runs it. It prints a table of medians, and the raw figures to stderr as they come.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use ovs_mesh::Datapath;
use ovsmesh_lab::{Lab, LabOptions};
use redis_ha::{Config, DrillOptions, Fault, Profile, ServiceLab, ServiceOptions, drill};

/// The faults, and whether the article's 30 s matter to them.
const FAULTS: [(Fault, bool); 9] = [
    (Fault::MasterKilled, true),
    (Fault::MasterCut, true),
    (Fault::HaproxyKilled, false),
    (Fault::ProxyCut, false),
    (Fault::MasterReturns, false),
    (Fault::StaleMinority, false),
    (Fault::StaleReplicas, false),
    (Fault::SentinelStopped, false),
    (Fault::LinkFlap, false),
];

/// What is measured of one drill.
#[derive(Debug, Clone, Copy)]
struct Figures {
    outage: f64,
    acknowledged: usize,
    lost: usize,
}

struct Asked {
    runs: usize,
    kills: usize,
    profiles: Vec<Profile>,
    faults: Vec<Fault>,
    program: PathBuf,
    config: PathBuf,
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
    let faults = FAULTS
        .into_iter()
        .map(|(fault, _)| fault)
        .filter(|fault| words("FAULTS").is_none_or(|words| words.iter().any(|word| word == fault.as_str())));
    Ok(Asked {
        runs: number("RUNS", 3)?,
        kills: number("KILLS", 40)?,
        profiles: profiles.collect(),
        faults: faults.collect(),
        program: variable("REDIS_HA")
            .ok_or("REDIS_HA names the redis-ha program; run scripts/bench-failover")?
            .into(),
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
    let mut all: BTreeMap<(Fault, &str), Vec<Figures>> = BTreeMap::new();
    let mut flaps = None;
    for profile in &asked.profiles {
        let lab = up(&asked, *profile).await?;
        for (fault, with_30) in FAULTS {
            if !asked.faults.contains(&fault) || (*profile == Profile::Seed30 && !with_30) {
                continue;
            }
            for run in 0..asked.runs {
                let report = drill(&lab, "acme", fault, DrillOptions::default(), &asked.program).await?;
                let figures = Figures {
                    outage: report.outage_ms / 1000.0,
                    acknowledged: report.acknowledged,
                    lost: report.lost,
                };
                eprintln!("{} {fault} {run}: {figures:?} failovers {}", profile.as_str(), report.failovers);
                all.entry((fault, profile.as_str())).or_default().push(figures);
            }
        }
        if *profile == Profile::ALL[0] && asked.kills > 0 {
            flaps = Some(kills(&lab, &asked).await?);
        }
        Lab::down(lab.mesh().name())?;
    }
    table(&asked, &all);
    if let Some(text) = flaps {
        println!("\n{text}");
    }
    Ok(())
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

/// Kills masters, the second half with all cores busy: how often a kill led to more than one failover.
async fn kills(lab: &ServiceLab, asked: &Asked) -> Result<String, Box<dyn Error>> {
    let mut counts = [(0, 0), (0, 0)];
    for (half, (kills, flapped)) in counts.iter_mut().enumerate() {
        let cores = std::thread::available_parallelism()?.get();
        let load: Result<Vec<Child>, _> = (0..cores * half)
            .map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn())
            .collect();
        let mut load = load?;
        let mut outcome = Ok(());
        for _ in 0..asked.kills / 2 {
            match drill(lab, "acme", Fault::MasterKilled, DrillOptions::default(), &asked.program).await {
                Ok(report) => {
                    eprintln!(
                        "kill, {} busy: outage {:.2} s, failovers {}",
                        cores * half,
                        report.outage_ms / 1000.0,
                        report.failovers
                    );
                    *kills += 1;
                    *flapped += usize::from(report.failovers != 1);
                }
                Err(error) => outcome = Err(error),
            }
        }
        for busy in &mut load {
            busy.kill()?;
            busy.wait()?;
        }
        outcome?;
    }
    let [(calm, calm_flapped), (busy, busy_flapped)] = counts;
    Ok(format!(
        "kills with other than one failover: {calm_flapped} of {calm}; with all cores busy {busy_flapped} of {busy}"
    ))
}

fn table(asked: &Asked, all: &BTreeMap<(Fault, &str), Vec<Figures>>) {
    println!("medians of {} runs: outage in seconds / acknowledged / lost\n", asked.runs);
    print!("{:<18}", "fault");
    for profile in &asked.profiles {
        print!("{:>26}", profile.as_str());
    }
    println!("{:>18}", "seed / default");
    for fault in &asked.faults {
        print!("{:<18}", fault.as_str());
        let mut outages = BTreeMap::new();
        for profile in &asked.profiles {
            let Some(runs) = all.get(&(*fault, profile.as_str())) else {
                print!("{:>26}", "-");
                continue;
            };
            let outage = median(runs.iter().map(|run| run.outage).collect()).unwrap_or(f64::NAN);
            let count = |of: fn(&Figures) -> usize| median(runs.iter().map(of).collect()).unwrap_or_default();
            let (acknowledged, lost) = (count(|run| run.acknowledged), count(|run| run.lost));
            print!("{:>26}", format!("{outage:.2} / {acknowledged} / {lost}"));
            outages.insert(profile.as_str(), (outage, lost));
        }
        match (outages.get("seed"), outages.get("fast")) {
            (Some((_, lost)), Some((_, ours))) if *lost > 100 => {
                println!("{:>18}", format!("lost {}", lost / *ours.max(&1)));
            }
            (Some((outage, _)), Some((ours, _))) => {
                println!("{:>18}", format!("outage {:.1}", outage / ours));
            }
            _ => println!(),
        }
    }
}

fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> Option<T> {
    // No figure is a NaN.
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}
