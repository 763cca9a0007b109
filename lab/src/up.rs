//! Brings a lab up.

use std::error::Error;
use std::sync::Arc;

use ovs_mesh::link::{
    LinkError, Links, LinksOpenError, Netns, NetnsError, OffloadError, VethSpec, set_tx_checksum,
};
use ovs_mesh::{Datapath, HostName, MeshName};
use tokio::task::{JoinError, JoinSet, spawn_blocking};

use crate::phy::{self, CARD};
use crate::plan::{ContainerPlan, LabPlan};
use crate::preflight::{PreflightError, Programs};
use crate::program::ProgramError;
use crate::state::{Claim, StateError};

/// The Linux bridge that joins the hosts, alone in its namespace.
pub(crate) const UNDERLAY: &str = "underlay";

/// Hears how far a lab has come.
pub trait Progress {
    /// `done` of `total` steps are done, and `what` was the last.
    fn step(&self, done: usize, total: usize, what: &str);
}

impl Progress for () {
    fn step(&self, _: usize, _: usize, _: &str) {}
}

/// Why a lab did not come up. Nothing of it is left, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// This machine cannot have a lab.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The lab's name or namespaces are taken, or its state cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// A namespace could not be made.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No connection to a namespace could be had.
    #[error(transparent)]
    Open(#[from] LinksOpenError),
    /// A device could not be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A container's checksum offload could not be switched off.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// A program of Open vSwitch failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// vswitchd did not bring a host's bridge to the underlay's MTU.
    #[error(
        "{bridge} on host `{host}` has MTU {found} and not the underlay's {mtu} after {} s",
        phy::DEADLINE.as_secs(),
        bridge = phy::BRIDGE
    )]
    Bridge {
        /// The host.
        host: HostName,
        /// The MTU that it should have, in bytes.
        mtu: u32,
        /// The MTU that it has; 0 when there is no such device.
        found: u32,
    },
    /// It was stopped, or failed, and what was made of it is still there.
    #[error(
        "lab `{lab}` did not come up, and what was made could not be taken down: {left}; `{maker} down --name {lab}` removes it"
    )]
    Left {
        /// The lab.
        lab: MeshName,
        /// The command that made it.
        maker: String,
        /// Why it is still there.
        left: String,
        /// Why it did not come up; none where it was stopped.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A part of the work was cut short, by a panic or the end of the runtime.
    #[error("a part of the lab's coming up was cut short")]
    Cut(#[from] JoinError),
}

/// Makes the underlay, the hosts and the containers.
pub(crate) async fn build(
    plan: &Arc<LabPlan>,
    programs: &Arc<Programs>,
    claim: &Arc<Claim>,
    progress: &dyn Progress,
) -> Result<(), UpError> {
    let total = 1 + plan.hosts.len() + plan.containers.len();
    let underlay = underlay(plan).await?;
    progress.step(1, total, "the underlay");

    // The names of those that run, in the order in which they end. Each holds the claim: one that goes on after this
    // was dropped is waited for by whoever takes the lab down.
    let mut hosts = JoinSet::new();
    for number in 0..plan.hosts.len() {
        let (plan, programs, claim, underlay) =
            (Arc::clone(plan), Arc::clone(programs), Arc::clone(claim), underlay.clone());
        hosts.spawn(async move {
            let host = &plan.hosts[number];
            let links = bring_up(&plan, number, &underlay, programs, claim).await?;
            Ok::<_, UpError>((format!("host {}", host.name), host.name.clone(), links))
        });
    }
    let mut done = 1;
    let mut opened = Vec::new();
    while let Some(ended) = hosts.join_next().await {
        let (what, host, links) = ended??;
        done += 1;
        progress.step(done, total, &what);
        opened.push((host, links));
    }
    for container in &plan.containers {
        if let Some((_, links)) = opened.iter().find(|(host, _)| *host == container.host) {
            make(container, plan.datapath, links).await?;
        }
        done += 1;
        progress.step(done, total, &format!("container {}", container.ctid));
    }
    Ok(())
}

async fn underlay(plan: &LabPlan) -> Result<Links, UpError> {
    let links = Links::open_in(&Netns::ensure(&plan.underlay)?)?;
    links.create_bridge(UNDERLAY).await?;
    links.set_mtu(UNDERLAY, plan.underlay_mtu).await?;
    links.set_up(UNDERLAY).await?;
    Ok(links)
}

async fn bring_up(
    plan: &Arc<LabPlan>,
    number: usize,
    underlay: &Links,
    programs: Arc<Programs>,
    claim: Arc<Claim>,
) -> Result<Links, UpError> {
    let host = &plan.hosts[number];
    let netns = Netns::ensure(&host.netns)?;
    let links = Links::open_in(&netns)?;
    let port = host.underlay_device.as_str();
    let pair = VethSpec { peer_netns: Some(netns.clone()), ..VethSpec::new(port, CARD, plan.underlay_mtu) };
    underlay.create_veth(&pair).await?;
    underlay.set_alias(port, host.name.as_str()).await?;
    underlay.set_master(port, Some(UNDERLAY)).await?;
    underlay.set_up(port).await?;
    links.set_up("lo").await?;
    if plan.datapath == Datapath::Netdev {
        // The address is the bridge's: the kernel would answer for it by the card as well, and deliver what comes there twice.
        links.keep_kernel_off(CARD)?;
    }
    links.set_up(CARD).await?;
    let starting = Arc::clone(plan);
    spawn_blocking(move || {
        let _claim = claim;
        phy::start(&starting.hosts[number], starting.underlay_mtu, starting.datapath, &netns, &programs)
    })
    .await??;
    phy::address(host, plan.datapath, &links, plan.underlay_mtu).await?;
    Ok(links)
}

/// A container as OpenVZ would leave it before the hook: its pair of devices, its address, and no bridge yet.
async fn make(container: &ContainerPlan, datapath: Datapath, host: &Links) -> Result<(), UpError> {
    let netns = Netns::ensure(&container.netns)?;
    let links = Links::open_in(&netns)?;
    let device = container.device.as_str();
    let pair = VethSpec { peer_netns: Some(netns.clone()), ..VethSpec::new(device, CARD, container.mtu) };
    host.create_veth(&pair).await?;
    host.set_up(device).await?;
    // The userspace datapath sends frames on with the checksums that they came with.
    if datapath == Datapath::Netdev {
        set_tx_checksum(Some(&netns), CARD, false).await?;
    }
    links.add_address(CARD, container.address).await?;
    links.set_up("lo").await?;
    links.set_up(CARD).await?;
    Ok(())
}
