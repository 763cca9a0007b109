//! A host of a lab: its Open vSwitch, and what carries its underlay address: on the userspace datapath a bridge with the
//! network card on it, on the kernel's datapath the card itself.

use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ovs_mesh::Datapath;
use ovs_mesh::link::{Links, Netns, NetnsError};
use tokio::time::sleep;

use crate::plan::HostPlan;
use crate::preflight::Programs;
use crate::process::Daemon;
use crate::program::{ProgramError, Surroundings};
use crate::up::UpError;

/// The bridge between a host's network card and its underlay address. The userspace datapath finds its way to other
/// hosts only through a bridge of its own kind.
pub(crate) const BRIDGE: &str = "br-phy";
/// The host's network card.
pub(crate) const CARD: &str = "eth0";
/// How long vswitchd may take to bring the bridge's device to the underlay's MTU.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Starts the host's daemons and, where there is to be one, makes its bridge. Blocks for as long as the programs run.
pub(crate) fn start(
    host: &HostPlan,
    mtu: u32,
    datapath: Datapath,
    netns: &Netns,
    programs: &Programs,
) -> Result<(), ProgramError> {
    let dir = &host.dir;
    match fs::create_dir(dir) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            let program = Daemon::OvsdbServer.name().to_owned();
            return Err(ProgramError::Run { program, host: host.name.clone(), source });
        }
        _ => {}
    }
    let here = Surroundings { host: &host.name, netns, dir };
    let text = |path: PathBuf| path.display().to_string();
    let database = text(dir.join("conf.db"));
    let schema = text(programs.schema.clone());
    here.run(&programs.ovsdb_tool, &["create".to_owned(), database.clone(), schema])?;
    let mut server = daemon(Daemon::OvsdbServer, host);
    server.extend([format!("--remote=punix:{}", host.db_socket().display()), database]);
    here.run(&programs.ovsdb_server, &server)?;
    let mut switch = daemon(Daemon::OvsVswitchd, host);
    switch.push(format!("unix:{}", host.db_socket().display()));
    here.run(&programs.ovs_vswitchd, &switch)?;
    // With the operator's own tool: what it makes is nobody's but the host's, as a real host's card is.
    let commands = match datapath {
        Datapath::System => "--no-wait -- init".to_owned(),
        Datapath::Netdev => format!(
            "-- add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev -- add-port {BRIDGE} {CARD} -- set interface \
             {BRIDGE} mtu_request={mtu}"
        ),
    };
    let commands = format!("--db=unix:{} --timeout=25 {commands}", host.db_socket().display());
    here.run(&programs.ovs_vsctl, &commands.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

/// Makes a host resolve its peers' underlay addresses, as hosts that have talked before have.
///
/// vswitchd learns its tunnels' neighbours from the answers that pass `br-phy`, and drops the first packet to a peer that
/// it does not know yet. A datagram to the discard port (RFC 863) makes the host ask.
pub(crate) fn meet(netns: &Netns, own: IpAddr, peers: &[IpAddr]) -> Result<io::Result<()>, NetnsError> {
    netns.run(|| {
        let socket = UdpSocket::bind((own, 0))?;
        for peer in peers.iter().filter(|peer| **peer != own) {
            // An answer of `unreachable` to an earlier datagram shows up here: it came from the peer, so that is fine.
            if let Err(error) = socket.send_to(&[], (*peer, 9))
                && error.kind() != io::ErrorKind::ConnectionRefused
            {
                return Err(error);
            }
        }
        Ok(())
    })
}

fn daemon(daemon: Daemon, host: &HostPlan) -> Vec<String> {
    vec![
        daemon.pidfile_argument(&host.dir),
        format!("--log-file={}", host.dir.join(daemon.name()).with_extension("log").display()),
        "--detach".to_owned(),
        "--no-chdir".to_owned(),
        "-vconsole:err".to_owned(),
        "-vsyslog:off".to_owned(),
    ]
}

/// Gives the card or the bridge's device the underlay address, and waits until it has the underlay's MTU.
///
/// The bridge asks for that MTU: left alone, the userspace datapath keeps its own devices at 1500.
pub(crate) async fn address(
    host: &HostPlan,
    datapath: Datapath,
    links: &Links,
    mtu: u32,
) -> Result<(), UpError> {
    if datapath == Datapath::System {
        links.add_address(CARD, host.underlay_address).await?;
        return Ok(());
    }
    let started = Instant::now();
    loop {
        let found = links.get(BRIDGE).await?;
        match &found {
            Some(link) if !link.up => {
                links.set_up(BRIDGE).await?;
                links.add_address(BRIDGE, host.underlay_address).await?;
            }
            Some(link) if link.mtu == mtu => return Ok(()),
            _ if started.elapsed() > DEADLINE => {
                let found = found.map_or(0, |link| link.mtu);
                return Err(UpError::Bridge { host: host.name.clone(), mtu, found });
            }
            _ => sleep(PAUSE).await,
        }
    }
}
