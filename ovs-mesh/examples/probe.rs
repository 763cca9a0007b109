//! Probes a host with live packets, as `ovsmesh verify --probe` does, and prints what it finds:
//! `probe TOPOLOGY HOST DB-SOCKET [NETNS [COOKIE]]`. Exits with 1 if it finds anything.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ovs_mesh::isolation::{ProbeOptions, probe};
use ovs_mesh::link::Netns;
use ovs_mesh::ovsdb::Endpoint;
use ovs_mesh::{HostName, Switch, SwitchOptions, Topology};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [topology, host, socket, rest @ ..] = arguments.as_slice() else {
        return Err("usage: probe TOPOLOGY HOST DB-SOCKET [NETNS [COOKIE]]".into());
    };
    let topology: Topology = std::fs::read_to_string(topology)?.parse()?;
    let host: HostName = host.parse()?;
    let netns = rest.first().map(|name| Ok::<_, Box<dyn std::error::Error>>(Netns::open(&name.parse()?)?));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let cookie = match rest.get(1) {
        Some(cookie) => cookie.parse()?,
        None => now.as_secs() ^ u64::from(now.subsec_nanos()) << 32 ^ u64::from(std::process::id()),
    };
    let options =
        SwitchOptions { netns: netns.transpose()?, ..SwitchOptions::new(Endpoint::Unix(socket.into())) };
    let switch = Switch::connect(&options).await?;
    let started = Instant::now();
    let report = probe(&switch, &topology, &host, &ProbeOptions::new(cookie)).await?;
    println!("{report}");
    eprintln!("{} findings in {:?}", report.findings().len(), started.elapsed());
    Ok(if report.findings().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
