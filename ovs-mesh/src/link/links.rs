//! Devices, addresses and routes of one network namespace over rtnetlink(7).

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use ipnetwork::IpNetwork;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use tokio::time::timeout;

use super::{Address, DeviceRef, Link, LinkError, LinksOpenError, Mac, Netns, VethSpec};
use crate::NetnsName;

/// How long one request may take. The kernel serves rtnetlink one request at a time, and taking down a namespace of
/// thousands of devices can hold the lock for seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection to the devices of one network namespace.
///
/// A netlink socket belongs to the namespace of the thread that made it, for good: a `Links` of another namespace is
/// used from any thread. Clones share the connection; it ends with the last of them. Every request has a deadline.
#[derive(Debug, Clone)]
pub struct Links {
    handle: Handle,
    netns: Option<NetnsName>,
    /// The namespace itself, where it is not this process's.
    inside: Option<Netns>,
    deadline: Duration,
}

impl Links {
    /// The devices of this process's own namespace. Call it in a tokio runtime with I/O and time.
    pub fn open() -> Result<Self, LinksOpenError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(LinksOpenError::NoRuntime)?;
        Self::connect(&runtime, None)
    }

    /// The devices of another namespace. Call it in a tokio runtime with I/O and time.
    pub fn open_in(netns: &Netns) -> Result<Self, LinksOpenError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(LinksOpenError::NoRuntime)?;
        netns.run(|| Self::connect(&runtime, Some(netns)))?
    }

    fn connect(runtime: &tokio::runtime::Handle, netns: Option<&Netns>) -> Result<Self, LinksOpenError> {
        let _entered = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().map_err(LinksOpenError::Socket)?;
        runtime.spawn(connection);
        let name = netns.map(|netns| netns.name().clone());
        Ok(Self { handle, netns: name, inside: netns.cloned(), deadline: DEADLINE })
    }

    /// The same connection with another deadline for each request; 10 s unless told.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The namespace; none is the one that this process had when the connection was opened.
    pub fn netns(&self) -> Option<&NetnsName> {
        self.netns.as_ref()
    }

    pub(super) fn device(&self, name: &str) -> DeviceRef {
        DeviceRef { device: name.to_owned(), netns: self.netns.clone() }
    }

    /// Runs one exchange with its deadline and says of which device it failed.
    async fn bounded<T>(
        &self,
        step: &'static str,
        name: &str,
        exchange: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, LinkError> {
        let device = || self.device(name);
        match timeout(self.deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => Err(LinkError::Timeout { step, device: device(), waited: self.deadline }),
            Ok(Err(rtnetlink::Error::NetlinkError(refusal))) => {
                let source = io::Error::from_raw_os_error(refusal.raw_code().saturating_neg());
                Err(match source.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::ENODEV) => LinkError::Absent { device: device() },
                    _ => LinkError::Kernel { step, device: device(), source },
                })
            }
            Ok(Err(why)) => Err(LinkError::Protocol { step, device: device(), source: Box::new(why) }),
        }
    }

    /// The device of that name, if there is one.
    pub async fn get(&self, name: &str) -> Result<Option<Link>, LinkError> {
        let mut found = Box::pin(self.handle.link().get().match_name(name).execute());
        match self.bounded("read", name, found.try_next()).await {
            Ok(message) => Ok(message.map(Link::from_message)),
            Err(LinkError::Absent { .. }) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Every device, in the kernel's order.
    pub async fn list(&self) -> Result<Vec<Link>, LinkError> {
        let found = self.handle.link().get().execute().map_ok(Link::from_message).try_collect();
        self.bounded("list", "*", found).await
    }

    async fn index(&self, name: &str) -> Result<u32, LinkError> {
        let link = self.get(name).await?;
        link.map(|link| link.index).ok_or_else(|| LinkError::Absent { device: self.device(name) })
    }

    async fn add(&self, name: &str, message: LinkMessage) -> Result<(), LinkError> {
        match self.bounded("make", name, self.handle.link().add(message).execute()).await {
            Err(LinkError::Kernel { device, source, .. }) if is(&source, Errno::EEXIST) => {
                Err(LinkError::AlreadyExists { device })
            }
            answer => answer,
        }
    }

    async fn change(&self, step: &'static str, name: &str, message: LinkMessage) -> Result<(), LinkError> {
        self.bounded(step, name, self.handle.link().change(message).execute()).await
    }

    /// Makes a veth pair in one request: no moment shows half of it, or the other end in the wrong namespace.
    pub async fn create_veth(&self, spec: &VethSpec) -> Result<(), LinkError> {
        let VethSpec { name, mtu, mac, peer_name, peer_mtu, peer_mac, peer_netns } = spec;
        let mut peer = end::<LinkUnspec>(LinkMessageBuilder::default(), peer_name, *peer_mtu, *peer_mac);
        if let Some(netns) = peer_netns {
            peer = peer.setns_by_fd(netns.raw_fd());
        }
        let pair = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        self.add(name, end(pair, name, *mtu, *mac).build()).await
    }

    /// Makes a Linux bridge, down, without spanning tree.
    pub async fn create_bridge(&self, name: &str) -> Result<(), LinkError> {
        self.add(name, LinkBridge::new(name).build()).await
    }

    /// Removes the device, and with one end of a veth the other; whether there was one.
    pub async fn delete(&self, name: &str) -> Result<bool, LinkError> {
        match self.get(name).await? {
            Some(link) => self.delete_link(&link).await,
            None => Ok(false),
        }
    }

    /// Removes that very device, and not another that has its name by now; whether it was still there.
    pub async fn delete_link(&self, link: &Link) -> Result<bool, LinkError> {
        match self.bounded("delete", &link.name, self.handle.link().del(link.index).execute()).await {
            Ok(()) => Ok(true),
            Err(LinkError::Absent { .. }) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Brings the device up.
    pub async fn set_up(&self, name: &str) -> Result<(), LinkError> {
        self.change("bring up", name, LinkUnspec::new_with_name(name).up().build()).await
    }

    /// Takes the device down.
    pub async fn set_down(&self, name: &str) -> Result<(), LinkError> {
        self.change("take down", name, LinkUnspec::new_with_name(name).down().build()).await
    }

    /// Sets the MTU, in bytes.
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), LinkError> {
        self.change("set the MTU of", name, LinkUnspec::new_with_name(name).mtu(mtu).build()).await
    }

    /// Keeps the host's own network stack from what comes in by a device.
    ///
    /// The userspace datapath takes a copy of each frame (packet(7)); the kernel goes on with the original, and so would
    /// answer for the host's addresses, and route, to whom a tenant's bridge must shield. On the kernel's datapath it
    /// never sees the frames, and this is not needed. Addresses are strictly those of the path back (`rp_filter`, of
    /// which a device without routes has none), ARP is not answered, nothing is forwarded, IPv6 is off
    /// (ip-sysctl, `/proc/sys/net`).
    pub fn keep_kernel_off(&self, name: &str) -> Result<(), LinkError> {
        let step = "keep the host's network stack off";
        self.settings(step, name, |path, value| std::fs::write(path, value).map(|()| true)).map(drop)
    }

    /// Whether [`Links::keep_kernel_off`] has been called for a device, and nobody has undone it.
    pub fn is_kernel_off(&self, name: &str) -> Result<bool, LinkError> {
        self.settings("read the settings of", name, |path, value| {
            std::fs::read_to_string(path).map(|found| found.trim() == value)
        })
    }

    /// Goes through the settings that keep the kernel off a device; whether all are.
    fn settings(
        &self,
        step: &'static str,
        name: &str,
        each: impl Fn(&str, &str) -> io::Result<bool> + Send + Sync,
    ) -> Result<bool, LinkError> {
        const SETTINGS: [(&str, &str, &str); 4] = [
            ("ipv6", "disable_ipv6", "1"),
            ("ipv4", "rp_filter", "1"),
            ("ipv4", "arp_ignore", "8"),
            ("ipv4", "forwarding", "0"),
        ];
        let all = || {
            let mut all = true;
            for (family, setting, value) in SETTINGS {
                match each(&format!("/proc/sys/net/{family}/conf/{name}/{setting}"), value) {
                    // A kernel without IPv6 has no such setting.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && family == "ipv6" => {}
                    result => all &= result?,
                }
            }
            Ok(all)
        };
        let done = match &self.inside {
            // `/proc/sys/net` is that of the thread's own namespace.
            Some(netns) => netns.run(all).unwrap_or_else(|error| Err(io::Error::other(error))),
            None => all(),
        };
        done.map_err(|source| LinkError::Kernel { step, device: self.device(name), source })
    }

    /// Sets the Ethernet address.
    pub async fn set_mac(&self, name: &str, mac: Mac) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_name(name).address(mac.octets().to_vec()).build();
        self.change("set the MAC address of", name, message).await
    }

    /// Sets the text that the device is told apart by (`ip link set alias`).
    pub async fn set_alias(&self, name: &str, alias: &str) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_name(name).alias(alias).build();
        self.change("set the alias of", name, message).await
    }

    /// Renames the device; kernels before 6.2 refuse that while it is up.
    pub async fn set_name(&self, name: &str, new_name: &str) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(self.index(name).await?).name(new_name).build();
        match self.change("rename", name, message).await {
            Err(LinkError::Kernel { source, .. }) if is(&source, Errno::EEXIST) => {
                Err(LinkError::AlreadyExists { device: self.device(new_name) })
            }
            answer => answer,
        }
    }

    /// Makes the device a port of a Linux bridge, or of none.
    pub async fn set_master(&self, name: &str, bridge: Option<&str>) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_name(name);
        let message = match bridge {
            Some(bridge) => message.controller(self.index(bridge).await?),
            None => message.nocontroller(),
        };
        self.change("set the bridge of", name, message.build()).await
    }

    /// Moves the device into another namespace, where it arrives down and without addresses.
    pub async fn move_to_netns(&self, name: &str, netns: &Netns) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_name(name).setns_by_fd(netns.raw_fd()).build();
        self.change("move to another network namespace", name, message).await
    }

    /// The id by which this namespace knows another one (`ip netns list-id`, `IFLA_LINK_NETNSID`); none if it has had to do
    /// with it never.
    pub async fn netns_id(&self, of: &Netns) -> Result<Option<i32>, LinkError> {
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(of.raw_fd().unsigned_abs()));
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(message));
        message.header.flags = NLM_F_REQUEST;
        let mut handle = self.handle.clone();
        let exchange = async move {
            let mut answers = handle.request(message)?;
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::Error(error) => return Err(rtnetlink::Error::NetlinkError(error)),
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) => {
                        return Ok(answer.attributes.iter().find_map(|attribute| match attribute {
                            NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                            _ => None,
                        }));
                    }
                    _ => {}
                }
            }
            Err(rtnetlink::Error::RequestFailed)
        };
        self.bounded("find out the id of a network namespace from that of", "*", exchange).await
    }

    /// Every address of every device.
    pub async fn all_addresses(&self) -> Result<Vec<Address>, LinkError> {
        let found = self
            .handle
            .address()
            .get()
            .execute()
            .try_filter_map(|message| async move { Ok(address(&message)) });
        self.bounded("list the addresses of", "*", found.try_collect()).await
    }

    /// The addresses of one device; none when there is no such device.
    pub async fn addresses(&self, name: &str) -> Result<Vec<Address>, LinkError> {
        let Some(link) = self.get(name).await? else { return Ok(Vec::new()) };
        let mut all = self.all_addresses().await?;
        all.retain(|address| address.index == link.index);
        Ok(all)
    }

    /// Puts an address on the device; whether it was not there before.
    ///
    /// An IPv6 address is usable at once: duplicates are not looked for (`nodad`, ip-address(8)).
    pub async fn add_address(&self, name: &str, network: IpNetwork) -> Result<bool, LinkError> {
        let index = self.index(name).await?;
        let mut request = self.handle.address().add(index, network.ip(), network.prefix());
        if network.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        match self.bounded("add an address to", name, request.execute()).await {
            Ok(()) => Ok(true),
            Err(LinkError::Kernel { source, .. }) if is(&source, Errno::EEXIST) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Takes an address off the device; whether it was there.
    pub async fn delete_address(&self, name: &str, network: IpNetwork) -> Result<bool, LinkError> {
        let mut message = AddressMessage::default();
        message.header.family = if network.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.prefix_len = network.prefix();
        message.header.index = self.index(name).await?;
        message.attributes.push(AddressAttribute::Local(network.ip()));
        message.attributes.push(AddressAttribute::Address(network.ip()));
        match self.bounded("delete an address of", name, self.handle.address().del(message).execute()).await {
            Ok(()) => Ok(true),
            Err(LinkError::Kernel { source, .. }) if is(&source, Errno::EADDRNOTAVAIL) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Adds a route through a gateway that the device reaches, the default route when there is no destination;
    /// whether it was not there before.
    pub async fn add_route(
        &self,
        name: &str,
        destination: Option<IpNetwork>,
        gateway: IpAddr,
    ) -> Result<bool, LinkError> {
        let index = self.index(name).await?;
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let (to, prefix) = destination.map_or((any, 0), |to| (to.network(), to.prefix()));
        let mixed = |_| LinkError::Kernel {
            step: "add a route with a gateway of another address family through",
            device: self.device(name),
            source: io::Error::from(Errno::EAFNOSUPPORT),
        };
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, prefix)
            .and_then(|message| message.gateway(gateway))
            .map_err(mixed)?
            .output_interface(index)
            .build();
        match self.bounded("add a route through", name, self.handle.route().add(message).execute()).await {
            Ok(()) => Ok(true),
            Err(LinkError::Kernel { source, .. }) if is(&source, Errno::EEXIST) => Ok(false),
            Err(why) => Err(why),
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

fn end<T>(message: LinkMessageBuilder<T>, name: &str, mtu: u32, mac: Option<Mac>) -> LinkMessageBuilder<T> {
    let mut message = message.name(name).mtu(mtu);
    if let Some(mac) = mac {
        message = message.address(mac.octets().to_vec());
    }
    message
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point device IFA_ADDRESS is the far end's; IFA_LOCAL is ours where there is one.
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) => address = address.or(Some(*other)),
            _ => {}
        }
    }
    Some(Address {
        index: message.header.index,
        network: IpNetwork::new(address?, message.header.prefix_len).ok()?,
        global: message.header.scope == AddressScope::Universe,
    })
}
