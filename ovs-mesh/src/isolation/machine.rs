//! Reading the kernel: every namespace of this machine that has a name, and the caller's own.
//!
//! A lab's hosts are all on one machine, so that the machine is read once and each host is a view of it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::{Instant, timeout_at};

use super::links::{Device, Forwarding, HostLinks, NetnsLinks, PeerNetns};
use crate::link::{Address, Link, LinkError, Links, LinksOpenError, Netns, NetnsError, NetnsId};

/// Why the kernel's devices could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A namespace cannot be found or entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A namespace's devices cannot be read.
    #[error(transparent)]
    Open(#[from] LinksOpenError),
    /// Devices or addresses cannot be read.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It cannot be told which namespace the caller is in.
    #[error("cannot tell this process's network namespace")]
    Own(#[source] io::Error),
    /// It takes longer than there is time.
    #[error("the devices of this machine's network namespaces could not be read in time")]
    Deadline,
}

/// The devices of this machine, namespace by namespace.
#[derive(Debug)]
pub struct Machine {
    spaces: Vec<Space>,
}

/// A network namespace.
#[derive(Debug)]
struct Space {
    /// None is the caller's own, where that has no name.
    name: Option<String>,
    id: NetnsId,
    links: Vec<Link>,
    addresses: Vec<Address>,
    forwarding: Forwarding,
    /// The namespaces that this one's ids stand for, by position.
    ids: HashMap<i32, usize>,
}

impl Machine {
    /// Reads all of it. Namespaces that come and go meanwhile are left out.
    pub async fn read(deadline: Instant) -> Result<Self, MachineError> {
        timeout_at(deadline, read()).await.unwrap_or(Err(MachineError::Deadline))
    }

    /// What a host in that namespace has; none if there is no such namespace, or no name for it.
    pub fn host(&self, host: NetnsId) -> Option<HostLinks> {
        let own = self.spaces.iter().find(|space| space.id == host)?;
        let others = self.spaces.iter().filter(|space| space.id != host);
        let netns = others.filter_map(|space| {
            Some(NetnsLinks {
                name: space.name.clone()?,
                devices: self.devices(space, host),
                forwarding: space.forwarding,
            })
        });
        Some(HostLinks {
            devices: self.devices(own, host),
            forwarding: own.forwarding,
            netns: netns.collect(),
        })
    }

    fn devices(&self, space: &Space, host: NetnsId) -> Vec<Device> {
        let place = |id: i32| match space.ids.get(&id).map(|at| &self.spaces[*at]) {
            Some(there) if there.id == host => PeerNetns::Host,
            Some(Space { name: Some(name), .. }) => PeerNetns::Named(name.clone()),
            _ => PeerNetns::Unknown,
        };
        space.links.iter().map(|link| Device::new(link, &space.addresses, place)).collect()
    }
}

/// A namespace that is held open while ids are asked for.
struct Held {
    links: Links,
    /// None is the caller's own.
    netns: Option<Netns>,
}

async fn read() -> Result<Machine, MachineError> {
    let own = NetnsId::own().map_err(MachineError::Own)?;
    let mut held = Vec::new();
    let mut spaces: Vec<Space> = Vec::new();
    for name in Netns::list()? {
        let netns = match Netns::open(&name) {
            Ok(netns) => netns,
            Err(NetnsError::Absent { .. } | NetnsError::NotMounted { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let links = Links::open_in(&netns)?;
        let forwarding = netns.run(forwarding)?;
        spaces.push(space(Some(name.to_string()), netns.id(), &links, forwarding).await?);
        held.push(Held { links, netns: Some(netns) });
    }
    if !spaces.iter().any(|space| space.id == own) {
        let links = Links::open()?;
        spaces.push(space(None, own, &links, forwarding()).await?);
        held.push(Held { links, netns: None });
    }
    for at in 0..spaces.len() {
        let ids = ids(at, &spaces, &held).await?;
        spaces[at].ids = ids;
    }
    Ok(Machine { spaces })
}

async fn space(
    name: Option<String>,
    id: NetnsId,
    links: &Links,
    forwarding: Forwarding,
) -> Result<Space, LinkError> {
    let addresses = links.all_addresses().await?;
    Ok(Space { name, id, links: links.list().await?, addresses, forwarding, ids: HashMap::new() })
}

/// Which namespaces a namespace's ids stand for. The kernel only tells the id of a namespace that one has in hand: those
/// that can be meant are asked for, the ones that have a device of the index that is spoken of.
async fn ids(at: usize, spaces: &[Space], held: &[Held]) -> Result<HashMap<i32, usize>, LinkError> {
    let mut ids: HashMap<i32, usize> = HashMap::new();
    let mut asked = vec![false; spaces.len()];
    for link in &spaces[at].links {
        let Some(id) = link.link_netns else { continue };
        for (there, space) in spaces.iter().enumerate() {
            if ids.contains_key(&id) {
                break;
            }
            let Some(netns) = held[there].netns.as_ref().filter(|_| there != at && !asked[there]) else {
                continue;
            };
            let is_it = |far: &Link| {
                let back = far.peer_index == Some(link.index);
                Some(far.index) == link.peer_index && (back || !link.is_veth())
            };
            // A tunnel need not stand on a device: it may be of any namespace.
            let is_afloat = link.gre.is_some() && link.peer_index.is_none_or(|index| index == 0);
            if !is_afloat && !space.links.iter().any(is_it) {
                continue;
            }
            asked[there] = true;
            // An older name for the same namespace comes first.
            if let Some(known) = held[at].links.netns_id(netns).await? {
                ids.entry(known).or_insert(there);
            }
        }
    }
    Ok(ids)
}

/// Whether the calling thread's namespace forwards: the switch for all devices, or that of any one (ip-sysctl).
fn forwarding() -> Forwarding {
    let is_on = |file: PathBuf| fs::read_to_string(file).is_ok_and(|text| text.trim() != "0");
    let any = |directory: &str, file: &str| {
        let devices = fs::read_dir(directory).into_iter().flatten().flatten();
        devices.filter(|device| device.file_name() != "default").any(|device| is_on(device.path().join(file)))
    };
    let ipv4 = "/proc/sys/net/ipv4/conf";
    let ipv6 = "/proc/sys/net/ipv6/conf";
    Forwarding {
        ipv4: any(ipv4, "forwarding"),
        // A device's own switch does nothing without that for all, but for the one of Linux 6.17.
        ipv6: is_on(Path::new(ipv6).join("all/forwarding")) || any(ipv6, "force_forwarding"),
    }
}
