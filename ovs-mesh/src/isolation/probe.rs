//! Live packets: that every address of a tenant answers where it should, and that nothing of a tenant's gets elsewhere.
//!
//! A run writes no row and makes no device, port, flow or address, so that nothing of it can be left behind, also where it
//! is killed. What it sends it gives to the tenants' bridges as a controller would (packet-out, through the bridge's flows),
//! from the bridge's own MAC address; what becomes of that it hears with one packet socket on all devices of the host,
//! behind a filter in the kernel. It needs nothing inside containers.
//!
//! | question | to | proves |
//! | --- | --- | --- |
//! | ARP probe (RFC 5227), for IPv6 a solicitation (RFC 4861) from the bridge's link-local address, short, to all | each container and gateway of the tenant | that it answers, with the MAC address that it is known by, by the port or from the host where it should be, and nobody else does |
//! | the same to addresses that only other tenants have, outside the tenant's own subnet | nobody | that they stay silent here |
//! | the same to one of another tenant's, by his MAC address | nobody | that it gets to nobody, also where tenants have equal addresses |
//! | the same at the tenant's MTU, to the one who answered | each container and gateway | the way there at full MTU |
//! | ICMP echo at the tenant's MTU, not to be cut, from the gateway's device, if this host has one | each other container and gateway | the way there and back at full MTU |
//!
//! Every frame carries a mark in its padding. One that is met with it at a port of another tenant's, at a device that is
//! nobody's, on the wire with another key, to another machine or in another wrapping, or on its way back, is a breach: so
//! are answers by another tenant's way. On the wire, of each short question one copy must leave for each peer; one that is
//! missing, or there twice, is only degraded, for the tenant's frames still stay with the tenant.
//!
//! **What is overheard.** ARP, neighbour discovery and ICMP of others that pass meanwhile are judged as well, by what is known
//! of all hosts that were looked at ([`Owners`]): a frame from a MAC address that is another tenant's alone, or that says that
//! somebody has an address that only others have, outside the tenant's own subnet, is a breach, and so is one with a
//! tenant's key from or to a machine that is no host of the tenant's, unless somebody else on this host has a tunnel
//! for it. A frame that says that one MAC address has what is another's of the same tenant, or that does not come from where
//! its MAC address is attached, degrades the tenant. Nobody is accused for what is not known: a MAC address that no
//! host tells of, a virtual router's, an address that the topology does not give to anybody.
//!
//! **How much is sent.** In a tenant with *n* addresses, *f* addresses and MAC addresses of others' (at most [`ProbeOptions::foreign`]) and
//! *p* peers, where all is well: *n + f* short questions (each a copy to every local port and each peer), *n* long ones and,
//! from a gateway, *n − 1* echo requests. What is not answered is asked [`ProbeOptions::tries`] times, so at most *tries*
//! times as much, and twice the echo requests. There are never more than [`ProbeOptions::at_once`] questions without an
//! answer, nor two frames within [`ProbeOptions::gap`].
//!
//! **What stays.** Bridges learn their own bridges' MAC addresses, as of anything that sends. ARP's questions have
//! no sender that a neighbour table could hold. IPv6's have: who answers one knows the bridge's link-local address, the one
//! that its MAC address gives it, until his neighbour table forgets it. So has an echo request: the gateway and who answers
//! it may then know each other's (true) addresses, as after any other packet between them.
//!
//! **What it cannot see.** Frames that no packet socket sees: of DPDK's and `AF_XDP`'s devices; the tunnels over an underlay
//! whose devices carry no Ethernet frames. An answer does not say which question it answers: an IPv6 neighbour advertisement
//! to all, while an address is asked for, may make a long question seem answered that was not; echo requests tell. An IPv6
//! address that is being configured at that moment (RFC 4862 section 5.4) does not answer yet. A host that looks for
//! conflicts about an IPv4 address at that very moment (RFC 5227; Linux itself does not) may take an ARP probe for one.

mod asks;
mod cookie;
mod ear;
mod facts;
mod filter;
mod frames;
mod judge;
mod layout;
mod met;
mod others;
mod owners;
mod run;
mod seen;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::{Instant, sleep_until};

pub use cookie::{Cookie, Mark, Stage};
pub use owners::Owners;
pub use seen::{Claim, Content, Outer, Seen};

use self::ear::{Ear, Gateway};
use self::facts::Facts;
use self::layout::Layout;
use self::owners::End;
use self::run::{Next, Run, Sending, Via};
use super::report::Report;
use crate::chain::Chain;
use crate::link::{LinkError, Links, LinksOpenError, Netns, NetnsError};
use crate::names::{HostName, NetnsName, TenantName};
use crate::openflow::{Connection, LOCAL, OpenFlowError, Output};
use crate::ovsdb::Endpoint;
use crate::plan::{GATEWAY_DEVICE, Plan, PlanError};
use crate::switch::{Switch, SwitchError};
use crate::topology::Topology;

/// How a probe goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// What the run's frames are told apart by: best a random number, another for each run.
    pub cookie: u64,
    /// How long an answer may take.
    pub wait: Duration,
    /// How often is asked what is not answered.
    pub tries: u8,
    /// How many questions may be without an answer at once.
    pub at_once: usize,
    /// The least time between two frames.
    pub gap: Duration,
    /// How many addresses and MAC addresses of other tenants are asked for in each tenant, taken from the others by turns.
    pub foreign: usize,
    /// When a run ends, whatever has not been asked by then: so long after it began, and as long again as all its questions
    /// would take if nobody answered.
    pub deadline: Duration,
    /// When it ends at the latest, if that is sooner.
    pub most: Option<Duration>,
    /// How long ovs-vswitchd may take to take a frame. One that is busy forwards as fast as ever: what it does not take in
    /// time is not checked, and nobody's fault.
    pub take: Duration,
    /// Tenants that are not probed: those of which it is known that a packet goes round, where a question to all would go
    /// round for ever. The report tells that they were left out.
    pub skip: BTreeSet<TenantName>,
}

impl ProbeOptions {
    /// 3 tries of 300 ms, 64 questions at once, 1000 frames a second, 16 addresses and MAC addresses of others a tenant, 15 s
    /// beyond what silence takes, 10 s for ovs-vswitchd.
    pub fn new(cookie: u64) -> Self {
        Self {
            cookie,
            wait: Duration::from_millis(300),
            tries: 3,
            at_once: 64,
            gap: Duration::from_millis(1),
            foreign: 16,
            deadline: Duration::from_secs(15),
            most: None,
            take: Duration::from_secs(10),
            skip: BTreeSet::new(),
        }
    }
}

/// Why a host could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The topology has no such host.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The switch is on another machine: frames can be given to its bridges, and heard, only there.
    #[error("live packets can only be sent and heard on the switch's own machine; {endpoint} is another")]
    Remote {
        /// The database's endpoint.
        endpoint: Endpoint,
    },
    /// The switch cannot be read.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// The host's or a gateway's devices cannot be read.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A gateway's devices cannot be read.
    #[error(transparent)]
    Links(#[from] LinksOpenError),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Packets cannot be heard.
    #[error("cannot hear packets in {}", netns.as_ref().map_or("the host's namespace".to_owned(), |netns| format!("network namespace `{netns}`")))]
    Socket {
        /// The namespace; none is the caller's own.
        netns: Option<NetnsName>,
        /// The kernel's reason; it takes `CAP_NET_RAW` (capabilities(7)).
        #[source]
        source: io::Error,
    },
}

/// Probes every tenant of a host, but for [`ProbeOptions::skip`], from that host.
///
/// A bridge that takes no packets is a finding, and the other tenants are probed all the same.
pub async fn probe(
    switch: &Switch,
    topology: &Topology,
    host: &HostName,
    options: &ProbeOptions,
    owners: &Owners<'_>,
) -> Result<Report, ProbeError> {
    let plan = Plan::new(topology, host)?;
    if switch.rundir().is_none() {
        return Err(ProbeError::Remote { endpoint: switch.endpoint().clone() });
    }
    let mut ear = Ear::open(switch.netns())?;
    let snapshot = switch.snapshot().await?;
    let links = switch.links.list().await?;
    let layout = Layout::new(topology, &plan);
    let (mut gateways, macs) = gateways(&layout).await?;
    let mut owners = owners.clone();
    owners.attached(&layout, &snapshot, None);
    for (tenant, mac) in &macs {
        let gateway = plan.bridge_of(tenant).and_then(|bridge| bridge.gateway.as_ref());
        let (Some(gateway), Some(tenant)) = (gateway, layout.named(tenant)) else { continue };
        let end = End { host: plan.host.clone(), port: gateway.port.to_string() };
        owners.put(tenant, Some(gateway.address.ip()), *mac, end);
    }
    let facts = Facts::new(&plan, &snapshot, &links, macs);
    let mut run = Run::new(&layout, &facts, &owners, options, Instant::now());
    let mut bridges = bridges(switch, &facts, &mut run).await;
    loop {
        listen(&mut ear, &mut gateways, &mut run).map_err(|source| ProbeError::Socket {
            netns: switch.netns().map(|it| it.name().clone()),
            source,
        })?;
        match run.next(Instant::now()) {
            Next::Done => break,
            Next::Wait(until) => {
                let all = std::iter::once(&ear).chain(gateways.values().map(|gateway| &gateway.ear));
                let stirred = select_all(all.map(|ear| Box::pin(ear.stirred())));
                tokio::select! {
                    _ = stirred => {}
                    () = sleep_until(until) => {}
                }
            }
            Next::Send(sending) => {
                match sending.via {
                    Via::Bridge => inject(&mut bridges, &sending, &mut run).await,
                    Via::Gateway => speak(&mut gateways, &sending, &mut run),
                }
                run.taken(&sending, Instant::now());
            }
        }
    }
    Ok(run.report())
}

fn listen(ear: &mut Ear, gateways: &mut BTreeMap<usize, Gateway>, run: &mut Run<'_>) -> io::Result<()> {
    let cookie = run.cookie;
    let missed = ear.listen(|heard, frame| {
        if let Some(seen) = Seen::parse(frame, cookie) {
            run.met(heard.device, heard.outgoing, &seen);
        }
    })?;
    run.missed(missed);
    for (tenant, gateway) in gateways {
        let missed = gateway.ear.listen(|heard, frame| {
            if let Some(seen) = Seen::parse(frame, cookie).filter(|_| !heard.outgoing) {
                run.met_in_gateway(*tenant, &seen);
            }
        })?;
        run.missed(missed);
    }
    Ok(())
}

/// The gateways of this host that are there, by their tenant's place in the topology, and their MAC addresses. One that is
/// not there does not answer either, and is found by that.
async fn gateways(
    layout: &Layout<'_>,
) -> Result<(BTreeMap<usize, Gateway>, HashMap<crate::TenantName, crate::link::Mac>), ProbeError> {
    let (mut found, mut macs) = (BTreeMap::new(), HashMap::new());
    for (at, tenant) in layout.topology.tenants().iter().enumerate() {
        let gateway = layout.bridge(at).and_then(|bridge| bridge.gateway.as_ref());
        let Some(gateway) = gateway.filter(|gateway| Netns::exists(&gateway.netns)) else { continue };
        let netns = Netns::open(&gateway.netns)?;
        let link = Links::open_in(&netns)?.get(GATEWAY_DEVICE).await?;
        if let Some((link, mac)) = link.and_then(|link| link.mac.map(|mac| (link, mac))) {
            found.insert(at, Gateway::open(&netns, &link)?);
            macs.insert(tenant.name().clone(), mac);
        }
    }
    Ok((found, macs))
}

/// Connections to the tenants' bridges. ovs-vswitchd greets them in its own time, so all are opened first.
async fn bridges(switch: &Switch, facts: &Facts, run: &mut Run<'_>) -> HashMap<usize, Connection> {
    let (layout, options) = (run.layout, run.options);
    let mut open = HashMap::new();
    let Some(rundir) = switch.rundir() else { return open };
    for (at, tenant) in layout.topology.tenants().iter().enumerate() {
        let planned = layout.bridge(at).filter(|_| !options.skip.contains(tenant.name()));
        let Some(bridge) = planned else { continue };
        if !facts.bridges.contains_key(&bridge.name) {
            run.close(at, format!("the host has no device `{}`", bridge.name));
            continue;
        }
        let socket = rundir.join(format!("{}.mgmt", bridge.name));
        match Connection::open(&socket, run.patience(Instant::now())).await {
            Ok(connection) => drop(open.insert(at, connection)),
            Err(error) => untaken(run, at, &error),
        }
    }
    open
}

async fn inject(bridges: &mut HashMap<usize, Connection>, sending: &Sending, run: &mut Run<'_>) {
    let Some(bridge) = bridges.get_mut(&sending.tenant) else { return };
    let deadline = run.patience(Instant::now());
    if let Err(error) = bridge.inject(LOCAL, Output::Table, &sending.frame, deadline).await {
        untaken(run, sending.tenant, &error);
    }
}

/// One ovs-vswitchd serves all bridges: where it is busy, it is for all of them.
fn untaken(run: &mut Run<'_>, tenant: usize, error: &OpenFlowError) {
    match error {
        OpenFlowError::Deadline { .. } => run.stop(Chain(error).to_string()),
        _ => run.close(tenant, Chain(error).to_string()),
    }
}

fn speak(gateways: &mut BTreeMap<usize, Gateway>, sending: &Sending, run: &mut Run<'_>) {
    let Some(gateway) = gateways.get_mut(&sending.tenant) else { return };
    if let Err(error) = gateway.speak(&sending.frame) {
        run.refused(sending, error.to_string());
    }
}

#[cfg(test)]
mod tests;
