//! A tenant's gateway on a host: a network namespace of its own, and a veth pair from it to the host.

use std::fmt;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use tokio::time::sleep;

use super::{
    DeviceRef, Link, LinkError, Links, LinksOpenError, Netns, NetnsError, OffloadError, VethSpec, features,
    set_tx_checksum,
};
use crate::{NetnsName, PortName};

/// How long to go on mending what somebody else keeps changing.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the device of a deleted namespace may outlive it: the kernel takes those down in the background.
const LINGERS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// The longest alias that the kernel takes, in bytes (linux/if.h `IFALIASZ` − 1).
const ALIAS_MAX: usize = 255;
/// Where the kernel keeps whether a namespace forwards packets between its devices (ip-sysctl).
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// A gateway as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySpec {
    /// The end on the host, which becomes a port of the tenant's bridge.
    pub host_device: PortName,
    /// The gateway's namespace, in which nothing but this tenant's traffic ever is.
    pub netns: NetnsName,
    /// The end inside, usually `eth0`.
    pub device: String,
    /// The tenant's address inside, with its prefix length; the only global one there.
    pub address: IpNetwork,
    /// The tenant's MTU in bytes, the same at both ends.
    pub mtu: u32,
    /// Whether the end inside leaves transmit checksums to its device. The userspace datapath sends frames on as they
    /// come, so there every checksum must be in place already: ping would work and TCP not.
    pub checksum_offload: bool,
}

/// One way in which a gateway is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayDiffers {
    /// Its namespace is not there.
    NetnsAbsent,
    /// The veth pair is not there.
    PairAbsent,
    /// One end is there, but the other is not where it should be.
    PairBroken,
    /// The end on the host has another MTU, in bytes.
    HostMtu(u32),
    /// The end inside has another MTU, in bytes.
    InnerMtu(u32),
    /// The end on the host is down.
    HostDown,
    /// The end inside is down.
    InnerDown,
    /// `lo` is down inside.
    LoopbackDown,
    /// The host's own network stack listens on the end on the host, on the userspace datapath.
    KernelListens,
    /// The end on the host does not carry the alias that says whose it is.
    Unmarked,
    /// The end inside leaves transmit checksums to its device on the userspace datapath.
    ChecksumOffload,
    /// The address is not there.
    AddressAbsent,
    /// There is a global address that is not the gateway's.
    ForeignAddress(IpNetwork),
    /// The namespace would forward packets; the name is that of the setting (sysctl(8)).
    Forwards(&'static str),
}

impl fmt::Display for GatewayDiffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetnsAbsent => f.write_str("its network namespace is missing"),
            Self::PairAbsent => f.write_str("its veth pair is missing"),
            Self::PairBroken => f.write_str("the two ends of its veth pair do not belong together"),
            Self::HostMtu(mtu) => write!(f, "the end on the host has MTU {mtu}"),
            Self::InnerMtu(mtu) => write!(f, "the end inside has MTU {mtu}"),
            Self::HostDown => f.write_str("the end on the host is down"),
            Self::InnerDown => f.write_str("the end inside is down"),
            Self::LoopbackDown => f.write_str("lo is down inside"),
            Self::KernelListens => f.write_str("the host's own network stack listens on it"),
            Self::Unmarked => f.write_str("the end on the host is not marked as the gateway's"),
            Self::ChecksumOffload => {
                f.write_str("the end inside leaves checksums to a device that adds none")
            }
            Self::AddressAbsent => f.write_str("its address is missing"),
            Self::ForeignAddress(address) => write!(f, "it has the address {address}"),
            Self::Forwards(setting) => write!(f, "it forwards packets ({setting})"),
        }
    }
}

/// How a gateway is, compared with how it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayState {
    /// Every difference that can be seen now; behind a missing namespace or pair there may be more.
    pub differs: Vec<GatewayDiffers>,
}

impl GatewayState {
    /// Whether there is nothing to do.
    pub fn converged(&self) -> bool {
        self.differs.is_empty()
    }
}

/// What [`ensure_gateway`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayOutcome {
    /// Whether this call made the veth pair.
    pub created: bool,
    /// What it found different and mended, in order; empty when the gateway was as it should be.
    pub changed: Vec<GatewayDiffers>,
}

/// Why a gateway could not be read, made, mended or removed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its namespace could not be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No connection to its namespace could be had.
    #[error(transparent)]
    Open(#[from] LinksOpenError),
    /// One of its devices could not be read or changed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its checksum offload could not be read or switched off.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// A setting of its namespace could not be read or changed.
    #[error("cannot {step} {setting} in network namespace `{netns}`")]
    Setting {
        /// What was attempted.
        step: &'static str,
        /// The setting (sysctl(8)).
        setting: &'static str,
        /// The namespace.
        netns: NetnsName,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The device on the host is somebody else's, and is left alone.
    #[error(
        "{device} is there already and is not the gateway of network namespace `{netns}`; rename or remove it"
    )]
    Foreign {
        /// The device.
        device: DeviceRef,
        /// The gateway's namespace.
        netns: NetnsName,
    },
    /// It did not stay as it was set; somebody else is changing it too.
    #[error(
        "the gateway in network namespace `{netns}` did not come to be as it should within {} s: {}",
        DEADLINE.as_secs(),
        differs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    NotConverged {
        /// The gateway's namespace.
        netns: NetnsName,
        /// What still differs.
        differs: Vec<GatewayDiffers>,
    },
}

/// How the gateway is; changes nothing.
pub async fn gateway_state(host: &Links, spec: &GatewaySpec) -> Result<GatewayState, GatewayError> {
    look(host, spec).await.map(|seen| GatewayState { differs: seen.differs })
}

/// Makes the gateway what it should be; a second time, nothing is written.
///
/// Safe when any number of processes do this at once: what another has made meanwhile counts as made. A veth pair
/// whose ends do not belong together (the namespace was deleted and made anew) is replaced when its alias says that
/// it is this gateway's, and left alone otherwise.
pub async fn ensure_gateway(host: &Links, spec: &GatewaySpec) -> Result<GatewayOutcome, GatewayError> {
    let started = Instant::now();
    let mut outcome = GatewayOutcome::default();
    loop {
        let seen = match look(host, spec).await {
            // Something went away between two looks at it: look again.
            Err(
                GatewayError::Link(LinkError::Absent { .. }) | GatewayError::Netns(NetnsError::Absent { .. }),
            ) if started.elapsed() < DEADLINE => {
                continue;
            }
            seen => seen?,
        };
        if seen.differs.is_empty() {
            return Ok(outcome);
        }
        if started.elapsed() >= DEADLINE {
            return Err(GatewayError::NotConverged { netns: spec.netns.clone(), differs: seen.differs });
        }
        for differs in seen.differs.clone() {
            match mend(host, spec, &seen, &differs).await {
                Ok(true) => {
                    outcome.created |= differs == GatewayDiffers::PairAbsent;
                    outcome.changed.push(differs);
                }
                Ok(false) if differs == GatewayDiffers::PairBroken => {
                    if started.elapsed() > LINGERS {
                        let device = host.device(spec.host_device.as_str());
                        return Err(GatewayError::Foreign { device, netns: spec.netns.clone() });
                    }
                    sleep(PAUSE).await;
                }
                Ok(false) | Err(GatewayError::Link(LinkError::Absent { .. })) => {}
                Err(why) => return Err(why),
            }
        }
    }
}

/// Removes the gateway: its pair, and its namespace's name. Idempotent; whether there was anything.
///
/// The namespace is deleted even when processes still run in it (they were the gateway's, and keep it alive without
/// its device until they end). A device of that name that is not the gateway's is an error and stays.
pub async fn remove_gateway(
    host: &Links,
    host_device: &PortName,
    netns: &NetnsName,
) -> Result<bool, GatewayError> {
    let mut removed = false;
    if let Some(link) = host.get(host_device.as_str()).await? {
        let inner = match Netns::open(netns) {
            Ok(found) => Links::open_in(&found)?.list().await?,
            Err(NetnsError::Absent { .. } | NetnsError::NotMounted { .. }) => Vec::new(),
            Err(why) => return Err(why.into()),
        };
        if !marked(&link, netns) && !inner.iter().any(|inner| belong_together(&link, inner)) {
            return Err(GatewayError::Foreign {
                device: host.device(host_device.as_str()),
                netns: netns.clone(),
            });
        }
        removed |= host.delete_link(&link).await?;
    }
    removed |= Netns::delete(netns)?;
    Ok(removed)
}

/// What was seen in one look, for mending it.
struct Seen {
    differs: Vec<GatewayDiffers>,
    inside: Option<(Netns, Links)>,
    host_link: Option<Link>,
    inner_link: Option<Link>,
}

async fn look(host: &Links, spec: &GatewaySpec) -> Result<Seen, GatewayError> {
    let netns = match Netns::open(&spec.netns) {
        Ok(netns) => netns,
        Err(NetnsError::Absent { .. } | NetnsError::NotMounted { .. }) => {
            let differs = vec![GatewayDiffers::NetnsAbsent];
            return Ok(Seen { differs, inside: None, host_link: None, inner_link: None });
        }
        Err(why) => return Err(why.into()),
    };
    let links = Links::open_in(&netns)?;
    // The two ends live in two namespaces, and no read covers both: what was there before and after is what counts.
    let looked = Instant::now();
    let (host_link, inner_link) = loop {
        let before = host.get(spec.host_device.as_str()).await?;
        let inner = links.get(&spec.device).await?;
        let after = host.get(spec.host_device.as_str()).await?;
        let same = before.map(|link| link.index) == after.as_ref().map(|link| link.index);
        if same || looked.elapsed() > DEADLINE {
            break (after, inner);
        }
    };
    let mut differs = Vec::new();
    match (&host_link, &inner_link) {
        (None, None) => differs.push(GatewayDiffers::PairAbsent),
        (Some(outer), Some(inner)) if belong_together(outer, inner) => {
            compare_pair(spec, outer, inner, &mut differs);
            if !spec.checksum_offload && !host.is_kernel_off(spec.host_device.as_str())? {
                differs.push(GatewayDiffers::KernelListens);
            }
            if !spec.checksum_offload && features(Some(&netns), &spec.device).await?.tx_checksum() {
                differs.push(GatewayDiffers::ChecksumOffload);
            }
            compare_addresses(spec, &links, &mut differs).await?;
        }
        _ => differs.push(GatewayDiffers::PairBroken),
    }
    if links.get("lo").await?.is_some_and(|lo| !lo.up) {
        differs.push(GatewayDiffers::LoopbackDown);
    }
    for setting in FORWARDING {
        if forwards(&netns, setting)? {
            differs.push(GatewayDiffers::Forwards(setting));
        }
    }
    Ok(Seen { differs, inside: Some((netns, links)), host_link, inner_link })
}

fn belong_together(outer: &Link, inner: &Link) -> bool {
    outer.is_veth()
        && inner.is_veth()
        && outer.peer_index == Some(inner.index)
        && inner.peer_index == Some(outer.index)
}

fn compare_pair(spec: &GatewaySpec, outer: &Link, inner: &Link, differs: &mut Vec<GatewayDiffers>) {
    let found = [
        (outer.mtu != spec.mtu, GatewayDiffers::HostMtu(outer.mtu)),
        (inner.mtu != spec.mtu, GatewayDiffers::InnerMtu(inner.mtu)),
        (!marked(outer, &spec.netns), GatewayDiffers::Unmarked),
        (!outer.up, GatewayDiffers::HostDown),
        (!inner.up, GatewayDiffers::InnerDown),
    ];
    differs.extend(found.into_iter().filter_map(|(differs, how)| differs.then_some(how)));
}

async fn compare_addresses(
    spec: &GatewaySpec,
    inside: &Links,
    differs: &mut Vec<GatewayDiffers>,
) -> Result<(), LinkError> {
    let addresses = inside.addresses(&spec.device).await?;
    let foreign = addresses.iter().filter(|found| found.global && found.network != spec.address);
    differs.extend(foreign.map(|found| GatewayDiffers::ForeignAddress(found.network)));
    if !addresses.iter().any(|found| found.network == spec.address) {
        differs.push(GatewayDiffers::AddressAbsent);
    }
    Ok(())
}

/// Mends one difference; false when there was nothing to do, or nothing that may be done.
async fn mend(
    host: &Links,
    spec: &GatewaySpec,
    seen: &Seen,
    differs: &GatewayDiffers,
) -> Result<bool, GatewayError> {
    let outer = spec.host_device.as_str();
    let inner = spec.device.as_str();
    let Some((netns, inside)) = &seen.inside else {
        return Netns::ensure(&spec.netns).map(|_| true).map_err(GatewayError::from);
    };
    match differs {
        GatewayDiffers::NetnsAbsent => return Ok(false),
        GatewayDiffers::PairAbsent => {
            let pair = VethSpec { peer_netns: Some(netns.clone()), ..VethSpec::new(outer, inner, spec.mtu) };
            match host.create_veth(&pair).await {
                Ok(()) => host.set_alias(outer, &alias(&spec.netns)).await?,
                Err(LinkError::AlreadyExists { .. }) => return Ok(false),
                Err(why) => return Err(why.into()),
            }
        }
        // By index: the name may already stand for the pair that another process has made in its place.
        GatewayDiffers::PairBroken => {
            return Ok(match (&seen.host_link, &seen.inner_link) {
                (Some(link), _) if marked(link, &spec.netns) && netns.is_current() => {
                    host.delete_link(link).await?
                }
                (None, Some(link)) if link.is_veth() => inside.delete_link(link).await?,
                _ => false,
            });
        }
        GatewayDiffers::HostMtu(_) => host.set_mtu(outer, spec.mtu).await?,
        GatewayDiffers::InnerMtu(_) => inside.set_mtu(inner, spec.mtu).await?,
        GatewayDiffers::HostDown => host.set_up(outer).await?,
        GatewayDiffers::InnerDown => inside.set_up(inner).await?,
        GatewayDiffers::LoopbackDown => inside.set_up("lo").await?,
        GatewayDiffers::KernelListens => host.keep_kernel_off(outer)?,
        GatewayDiffers::Unmarked => host.set_alias(outer, &alias(&spec.netns)).await?,
        GatewayDiffers::ChecksumOffload => return Ok(set_tx_checksum(Some(netns), inner, false).await?),
        GatewayDiffers::AddressAbsent => return Ok(inside.add_address(inner, spec.address).await?),
        GatewayDiffers::ForeignAddress(address) => return Ok(inside.delete_address(inner, *address).await?),
        GatewayDiffers::Forwards(setting) => {
            let written = netns.run(|| fs::write(format!("/proc/sys/{setting}"), "0"))?;
            let netns = spec.netns.clone();
            written.map_err(|source| GatewayError::Setting { step: "clear", setting, netns, source })?;
        }
    }
    Ok(true)
}

/// The namespaces of all gateways that have their end on this host, whatever mesh they are of: what their aliases say.
pub async fn gateways_on(host: &Links) -> Result<Vec<NetnsName>, LinkError> {
    let links = host.list().await?;
    let named = |link: &Link| link.alias.as_deref()?.strip_prefix(ALIAS)?.parse().ok();
    Ok(links.iter().filter(|link| link.is_veth()).filter_map(named).collect())
}

/// What a gateway's alias begins with.
const ALIAS: &str = "ovsmesh gateway ";

/// What `ip link` shows of whom the host's end belongs to.
fn alias(netns: &NetnsName) -> String {
    let mut alias = format!("{ALIAS}{netns}");
    alias.truncate(ALIAS_MAX);
    alias
}

fn marked(link: &Link, netns: &NetnsName) -> bool {
    link.alias.as_deref() == Some(alias(netns).as_str())
}

/// Whether the namespace forwards. A new one may: `net.core.devconf_inherit_init_net` decides what it starts with.
fn forwards(netns: &Netns, setting: &'static str) -> Result<bool, GatewayError> {
    match netns.run(|| fs::read_to_string(format!("/proc/sys/{setting}")))? {
        Ok(text) => Ok(text.trim() != "0"),
        // A kernel without IPv6 has no such setting.
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => {
            Err(GatewayError::Setting { step: "read", setting, netns: netns.name().clone(), source })
        }
    }
}
