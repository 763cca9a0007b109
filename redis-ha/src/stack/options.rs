//! What a stack is made from beside the topology, checked against each other.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use ovs_mesh::{Datapath, HostName, Topology};

use super::hosts::{self, logical_name};

/// The largest MTU of a VPC, in bytes.
const VPC_MTU: u16 = 9001;

/// How many running instances a spread placement group has in a zone, at most.
const SPREAD: usize = 7;

/// Where the VIP is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipPlacement {
    /// In the first subnet, as a secondary address; all proxies are in that subnet, and so in one zone.
    Address,
    /// Outside the VPC's own addresses, as a route; the proxies are spread over both zones.
    Route,
}

/// Which of the operator's ranges, as the option that gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOption {
    /// `--vpc`.
    Vpc,
    /// `--subnet-a`.
    SubnetA,
    /// `--subnet-b`.
    SubnetB,
    /// `--client`.
    Client,
    /// `--ssh`.
    Ssh,
}

impl RangeOption {
    /// Whether it is a network that EC2 makes; the others say who is let in.
    fn is_network(self) -> bool {
        match self {
            Self::Vpc | Self::SubnetA | Self::SubnetB => true,
            Self::Client | Self::Ssh => false,
        }
    }
}

impl fmt::Display for RangeOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vpc => "--vpc",
            Self::SubnetA => "--subnet-a",
            Self::SubnetB => "--subnet-b",
            Self::Client => "--client",
            Self::Ssh => "--ssh",
        })
    }
}

/// What the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackOptions {
    /// The VPC's addresses.
    pub vpc: Ipv4Network,
    /// Its two subnets, each in a zone of its own.
    pub subnets: [Ipv4Network; 2],
    /// The hosts in front; the others run the containers.
    pub proxies: Vec<HostName>,
    /// keepalived's VRRP instance, whose master has the VIP.
    pub instance: String,
    /// The VIP.
    pub vip: Ipv4Addr,
    /// How it moves.
    pub placement: VipPlacement,
    /// Who may reach the tenants' ports.
    pub clients: Vec<Ipv4Network>,
    /// The tenants' ports on the proxies.
    pub client_ports: Vec<u16>,
    /// Who may log in.
    pub ssh: Ipv4Network,
}

/// A template cannot be made, or what it would make would not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// One proxy alone is not available when it fails.
    #[error("there are {found} proxies; two are needed at least")]
    Proxies {
        /// How many there are.
        found: usize,
    },
    /// A proxy is no host.
    #[error("the proxy `{host}` is no host of the topology")]
    UnknownProxy {
        /// The proxy.
        host: HostName,
    },
    /// All hosts are proxies.
    #[error("all hosts are proxies: none is left to run containers")]
    NoContainerHost,
    /// The underlay is not IPv4.
    #[error("host `{host}` has the underlay address {address}, and the VPC's addresses are IPv4")]
    Underlay {
        /// The host.
        host: HostName,
        /// Its address.
        address: IpAddr,
    },
    /// Larger than any packet of a VPC.
    #[error("the topology's underlay_mtu is {mtu}; a VPC's packets have {VPC_MTU} bytes at most")]
    Mtu {
        /// The topology's.
        mtu: u16,
    },
    /// An instance's hosts have nothing that would lead the userspace datapath's tunnels to their network interface.
    #[error("the topology has the userspace datapath, and the stack's hosts run the kernel's")]
    Datapath,
    /// EC2 would not start the eighth.
    #[error("{hosts} hosts would be in one zone; a spread placement group has {SPREAD} in each at most")]
    Spread {
        /// How many there are.
        hosts: usize,
    },
    /// Two hosts would be one resource: names of resources have letters and digits alone.
    #[error("hosts `{one}` and `{other}` differ in neither letters nor digits")]
    SameName {
        /// The first.
        one: HostName,
        /// The second.
        other: HostName,
    },
    /// A range's address is one within it, so that nobody knows whether a host or all of its network is meant.
    #[error("{option} {range} is an address in a network")]
    HostBits {
        /// Which range.
        option: RangeOption,
        /// The range.
        range: Ipv4Network,
    },
    /// EC2 makes no such VPC or subnet.
    #[error("{option} {range} has a prefix of {} bits; a VPC and a subnet have 16 to 28", range.prefix())]
    Prefix {
        /// Which range.
        option: RangeOption,
        /// The range.
        range: Ipv4Network,
    },
    /// A subnet is not within the VPC.
    #[error("the subnet {subnet} is not within the VPC's {vpc}")]
    Subnet {
        /// The subnet.
        subnet: Ipv4Network,
        /// The VPC.
        vpc: Ipv4Network,
    },
    /// The subnets overlap.
    #[error("the subnets {0} and {1} overlap")]
    Overlap(Ipv4Network, Ipv4Network),
    /// The VIP could not be given to an interface: outside the subnet, or one of the five that a VPC keeps.
    #[error("{vip} is no address that the subnet {subnet} can give")]
    VipOutside {
        /// The VIP.
        vip: Ipv4Addr,
        /// The subnet.
        subnet: Ipv4Network,
    },
    /// No route could lead to it: the VPC's own route comes first.
    #[error("{vip} is within the VPC's {vpc}, where no route can lead elsewhere")]
    VipInside {
        /// The VIP.
        vip: Ipv4Addr,
        /// The VPC.
        vpc: Ipv4Network,
    },
    /// Nobody could use it.
    #[error("there is no {0}")]
    NoClients(&'static str),
    /// The name would not be one word in a command line.
    #[error("the VRRP instance's name `{name}` has other than letters, digits, `_`, `-` and `.`")]
    Instance {
        /// The name.
        name: String,
    },
    /// EC2 takes no more.
    #[error("host `{host}`'s user data has {bytes} bytes; EC2 takes {max}")]
    UserData {
        /// The host.
        host: HostName,
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
}

impl StackError {
    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let text = match self {
            Self::HostBits { option, range } => {
                let network = format!("{}/{}", range.network(), range.prefix());
                return Some(if option.is_network() {
                    format!("write {network}").into()
                } else {
                    format!("write {network} for the network, {}/32 for the address", range.ip()).into()
                });
            }
            Self::Proxies { .. } => {
                "name them with --proxy; the default is all hosts with a tenant's gateway"
            }
            Self::Datapath => {
                "write `datapath = \"system\"` in [mesh]; a lab takes the userspace one whatever that says"
            }
            Self::Spread { .. } => {
                "the two zones have 14 hosts at most, and with --placement address all proxies are in the first"
            }
            Self::UserData { .. } => {
                "the topology is too large to be installed this way: make the stack from its hosts with one tenant"
            }
            Self::VipOutside { .. } => "or choose --placement route, for a VIP outside the VPC",
            Self::VipInside { .. } => "choose one outside, or --placement address",
            _ => return None,
        };
        Some(text.into())
    }
}

impl StackOptions {
    /// The hosts with a tenant's gateway: the containers' networks are entered there.
    pub fn gateway_hosts(topology: &Topology) -> Vec<HostName> {
        let has_gateway = |name: &HostName| {
            topology.tenants().iter().any(|tenant| tenant.gateways().iter().any(|at| at.host() == name))
        };
        topology.hosts().iter().map(ovs_mesh::Host::name).filter(|name| has_gateway(name)).cloned().collect()
    }

    pub(super) fn check(&self, topology: &Topology) -> Result<(), StackError> {
        let Self { vpc, subnets, proxies, instance, vip, placement, clients, client_ports, ssh } = self;
        let [subnet_a, subnet_b] = subnets;
        let ranges = [
            (RangeOption::Vpc, vpc),
            (RangeOption::SubnetA, subnet_a),
            (RangeOption::SubnetB, subnet_b),
            (RangeOption::Ssh, ssh),
        ];
        let of_clients = clients.iter().map(|range| (RangeOption::Client, range));
        for (option, range) in ranges.into_iter().chain(of_clients) {
            if range.ip() != range.network() {
                return Err(StackError::HostBits { option, range: *range });
            }
            if option.is_network() && !(16..=28).contains(&range.prefix()) {
                return Err(StackError::Prefix { option, range: *range });
            }
        }
        if let Some(host) = proxies.iter().find(|host| topology.host(host).is_none()) {
            return Err(StackError::UnknownProxy { host: host.clone() });
        }
        let is_proxy = |name: &HostName| proxies.contains(name);
        let found = topology.hosts().iter().filter(|host| is_proxy(host.name())).count();
        if found < 2 {
            return Err(StackError::Proxies { found });
        }
        if found == topology.hosts().len() {
            return Err(StackError::NoContainerHost);
        }
        if topology.datapath() != Datapath::System {
            return Err(StackError::Datapath);
        }
        if topology.underlay_mtu() > VPC_MTU {
            return Err(StackError::Mtu { mtu: topology.underlay_mtu() });
        }
        check_hosts(topology)?;
        let placed = hosts::subnets(topology, self);
        let in_one = |subnet: &str| placed.iter().filter(|placed| **placed == subnet).count();
        if let Some(hosts) = ["SubnetA", "SubnetB"].map(in_one).into_iter().find(|hosts| *hosts > SPREAD) {
            return Err(StackError::Spread { hosts });
        }
        for subnet in subnets {
            if !(vpc.contains(subnet.network()) && vpc.contains(subnet.broadcast())) {
                return Err(StackError::Subnet { subnet: *subnet, vpc: *vpc });
            }
        }
        if subnets[0].overlaps(subnets[1]) {
            return Err(StackError::Overlap(subnets[0], subnets[1]));
        }
        match placement {
            VipPlacement::Address if !can_give(subnets[0], *vip) => {
                return Err(StackError::VipOutside { vip: *vip, subnet: subnets[0] });
            }
            VipPlacement::Route if vpc.contains(*vip) => {
                return Err(StackError::VipInside { vip: *vip, vpc: *vpc });
            }
            _ => {}
        }
        if clients.is_empty() || client_ports.is_empty() {
            let what = if clients.is_empty() { "range of clients" } else { "port for clients" };
            return Err(StackError::NoClients(what));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if instance.is_empty() || !instance.chars().all(is_word) {
            return Err(StackError::Instance { name: instance.clone() });
        }
        Ok(())
    }
}

fn check_hosts(topology: &Topology) -> Result<(), StackError> {
    for (at, host) in topology.hosts().iter().enumerate() {
        if !host.underlay_ip().is_ipv4() {
            return Err(StackError::Underlay { host: host.name().clone(), address: host.underlay_ip() });
        }
        let same =
            topology.hosts()[..at].iter().find(|one| logical_name(one.name()) == logical_name(host.name()));
        if let Some(one) = same {
            return Err(StackError::SameName { one: one.name().clone(), other: host.name().clone() });
        }
    }
    Ok(())
}

/// A VPC keeps the first four addresses of each subnet and the last.
fn can_give(subnet: Ipv4Network, address: Ipv4Addr) -> bool {
    let (first, last) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
    (first + 4..last).contains(&u32::from(address))
}
