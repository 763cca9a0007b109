//! `ovsmesh snapshot`

use ovs_mesh::isolation::{Machine, collect};
use ovs_mesh::link::NetnsId;
use ovs_mesh::ovsdb::Endpoint;
use tokio::time::Instant;

use crate::Exit;
use crate::args::{Global, Snapshot as Options};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global, options: &Options) -> Result<Exit, Failure> {
    let goal = global.goal()?;
    let switch = global.switch().await?;
    let collected = collect(&switch, goal.topology.name(), &goal.host).await?;
    let mut snapshot = collected.snapshot;
    if let Some(error) = collected.no_tunnels {
        anstream::eprintln!("warning: without ovs-vswitchd's own list of tunnels: {error}");
    }
    if matches!(switch.endpoint(), Endpoint::Unix(_)) {
        let own = NetnsId::own().ok();
        match Machine::read(Instant::now() + global.timeout()).await {
            Ok(machine) => snapshot.links = own.and_then(|own| machine.host(own)),
            Err(error) => anstream::eprintln!("warning: without the kernel's devices: {error}"),
        }
    } else {
        anstream::eprintln!("warning: without the kernel's devices: they are on the switch's own machine");
    }
    let text = snapshot.to_json().map_err(|source| Failure::Print { source: source.into() })?;
    match &options.out {
        Some(path) => std::fs::write(path, text + "\n")
            .map_err(|source| Failure::WriteSnapshot { path: path.clone(), source })?,
        None => output::write(format_args!("{text}"))?,
    }
    Ok(Exit::Done)
}
