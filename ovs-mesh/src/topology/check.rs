//! From a draft to a topology: what only shows when the values are seen together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::draft::{ContainerDraft, Draft, HostDraft, TenantDraft};
use super::{Container, Gateway, Host, Tenant, Topology};
use crate::file::{At, Fault};
use crate::names::{BridgeName, Ctid, HostName, TenantName, TunnelKey, TunnelKind};

/// The smallest MTU of a link that carries IPv4 (RFC 791) and IPv6 (RFC 8200 section 5), in bytes.
const MIN_MTU: [u16; 2] = [68, 1280];

pub(super) fn check(draft: Draft, faults: Vec<Fault>) -> Result<Topology, Vec<Fault>> {
    let mut checker = Checker { faults, ..Checker::default() };
    let topology = checker.topology(draft);
    match topology {
        Some(topology) if checker.faults.is_empty() => Ok(topology),
        _ => Err(checker.faults),
    }
}

/// First uses of what must be unique in the mesh.
#[derive(Default)]
struct Checker {
    faults: Vec<Fault>,
    hosts: HashMap<HostName, (usize, Range<usize>)>,
    underlay: HashMap<IpAddr, Range<usize>>,
    tenants: HashMap<TenantName, Range<usize>>,
    keys: HashMap<TunnelKey, Range<usize>>,
    bridges: HashMap<BridgeName, Range<usize>>,
    ctids: HashMap<Ctid, Range<usize>>,
}

/// Notes the first use of a value; a second one is a fault that shows both.
fn unique<T: Eq + Hash + Clone + std::fmt::Display>(
    seen: &mut HashMap<T, Range<usize>>,
    at: &At<T>,
    what: &str,
    why: &str,
    faults: &mut Vec<Fault>,
) {
    match seen.entry(at.value.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(at.span.clone());
        }
        Entry::Occupied(entry) => faults.push(
            Fault::new(at.span.clone(), format!("{what} `{}` is used twice", at.value), why)
                .with_earlier(entry.get().clone(), "first used here"),
        ),
    }
}

impl Checker {
    fn topology(&mut self, draft: Draft) -> Option<Topology> {
        let hosts: Vec<Option<Host>> =
            draft.hosts.iter().enumerate().map(|(position, host)| self.host(position, host)).collect();
        let kind = self.family(&draft.hosts);
        let mtu = draft.underlay_mtu.and_then(|at| self.mtu(&at, kind.unwrap_or(TunnelKind::Gre)));
        let tenant_mtu = mtu.zip(kind).map(|(mtu, kind)| mtu - kind.overhead());
        let count = hosts.len();
        let tenants: Vec<Option<Tenant>> =
            draft.tenants.into_iter().map(|tenant| self.tenant(tenant, count, tenant_mtu)).collect();
        let default_bridge = draft.default_bridge.map(|at| self.default_bridge(at));
        Some(Topology {
            name: draft.name?,
            underlay_mtu: mtu?,
            datapath: draft.datapath,
            kind: kind.unwrap_or(TunnelKind::Gre),
            hosts: hosts.into_iter().collect::<Option<_>>()?,
            tenants: tenants.into_iter().collect::<Option<_>>()?,
            conf_dir: PathBuf::from(draft.conf_dir.as_deref().unwrap_or("/etc/vz/conf")),
            default_bridge,
        })
    }

    fn host(&mut self, position: usize, draft: &HostDraft) -> Option<Host> {
        if let Some(at) = &draft.name {
            match self.hosts.entry(at.value.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert((position, at.span.clone()));
                }
                Entry::Occupied(entry) => self.faults.push(
                    Fault::new(
                        at.span.clone(),
                        format!("host name `{}` is used twice", at.value),
                        "every host needs a name of its own",
                    )
                    .with_earlier(entry.get().1.clone(), "first used here"),
                ),
            }
        }
        if let Some(at) = &draft.underlay_ip {
            let why = "every host needs an underlay address of its own: tunnels are told apart by it";
            unique(&mut self.underlay, at, "underlay address", why, &mut self.faults);
            if !is_unicast(at.value) {
                self.faults.push(Fault::new(
                    at.span.clone(),
                    format!("underlay address {} cannot be a tunnel's end", at.value),
                    "a unicast address that is neither loopback nor link-local",
                ));
            }
        }
        Some(Host {
            name: draft.name.as_ref()?.value.clone(),
            underlay_ip: draft.underlay_ip.as_ref()?.value,
        })
    }

    /// One family for all: a tunnel has an IPv4 or an IPv6 underlay, never one of each.
    fn family(&mut self, hosts: &[HostDraft]) -> Option<TunnelKind> {
        let mut addresses = hosts.iter().filter_map(|host| host.underlay_ip.as_ref());
        let first = addresses.next()?;
        for other in addresses.filter(|other| other.value.is_ipv4() != first.value.is_ipv4()) {
            self.faults.push(
                Fault::new(
                    other.span.clone(),
                    format!("underlay address {} is of another family than the first host's", other.value),
                    "all hosts of a mesh have IPv4, or all have IPv6 underlay addresses",
                )
                .with_earlier(first.span.clone(), "the first host's"),
            );
        }
        Some(TunnelKind::for_underlay(first.value))
    }

    fn mtu(&mut self, at: &At<i64>, kind: TunnelKind) -> Option<u16> {
        let least = match kind {
            TunnelKind::Gre => MIN_MTU[0] + kind.overhead(),
            TunnelKind::Ip6Gre => MIN_MTU[1] + kind.overhead(),
        };
        let mtu = u16::try_from(at.value).ok().filter(|mtu| *mtu >= least);
        if mtu.is_none() {
            self.faults.push(Fault::new(
                at.span.clone(),
                format!("an underlay MTU of {} bytes does not work", at.value),
                format!("a number of bytes from {least} to 65535; tenants get {} less", kind.overhead()),
            ));
        }
        mtu
    }

    fn tenant(&mut self, draft: TenantDraft, hosts: usize, mtu: Option<u16>) -> Option<Tenant> {
        let bridge = self.bridge(&draft);
        if let Some(at) = &draft.name {
            let why = "every tenant needs a name of its own";
            unique(&mut self.tenants, at, "tenant name", why, &mut self.faults);
        }
        if let Some(at) = &draft.key {
            let why = "every tenant needs a GRE key of its own: it is what keeps tenants apart on the wire";
            unique(&mut self.keys, at, "GRE key", why, &mut self.faults);
        }
        let subnet = draft.subnet.as_ref().and_then(|at| self.subnet(at, mtu));
        let members = self.members(draft.hosts.as_deref(), hosts);
        let mut addresses = HashMap::new();
        let mut gateways = Vec::with_capacity(draft.gateways.len());
        for (host, ip) in &draft.gateways {
            self.placed(host, &members);
            self.address(ip, draft.subnet.as_ref(), &mut addresses);
            gateways.push(Gateway { host: host.value.clone(), ip: ip.value });
        }
        let containers: Vec<Option<Container>> = draft
            .containers
            .iter()
            .map(|container| self.container(container, draft.subnet.as_ref(), &members, &mut addresses))
            .collect();
        Some(Tenant {
            name: draft.name?.value,
            key: draft.key?.value,
            subnet: subnet?,
            bridge: bridge?,
            members,
            gateways,
            containers: containers.into_iter().collect::<Option<_>>()?,
        })
    }

    fn bridge(&mut self, draft: &TenantDraft) -> Option<BridgeName> {
        let at = match (&draft.bridge, &draft.name) {
            (Some(at), _) => At { value: at.value.clone(), span: at.span.clone() },
            (None, Some(name)) => {
                let Ok(value) = BridgeName::default_for(&name.value) else {
                    self.faults.push(Fault::new(
                        name.span.clone(),
                        format!("the bridge `br-{}` would have a name of more than 15 bytes", name.value),
                        "a tenant name of at most 12 bytes, or a `bridge` of its own with at most 15",
                    ));
                    return None;
                };
                At { value, span: name.span.clone() }
            }
            (None, None) => return None,
        };
        let why = "every tenant needs a bridge of its own (`br-<tenant>` where it names none)";
        unique(&mut self.bridges, &at, "bridge", why, &mut self.faults);
        Some(at.value)
    }

    /// A tenant's bridge would take in every container that nobody placed.
    fn default_bridge(&mut self, at: At<BridgeName>) -> BridgeName {
        if let Some(tenant) = self.bridges.get(&at.value) {
            self.faults.push(
                Fault::new(
                    at.span,
                    format!("default_bridge `{}` is a tenant's bridge", at.value),
                    "a Linux bridge outside the mesh, as \"vmbr0\"; a tenant's containers go in its `containers`",
                )
                .with_earlier(tenant.clone(), "the tenant's bridge"),
            );
        }
        at.value
    }

    fn subnet(&mut self, at: &At<IpNetwork>, mtu: Option<u16>) -> Option<IpNetwork> {
        let subnet = at.value;
        if subnet.ip() != subnet.network() {
            self.faults.push(Fault::new(
                at.span.clone(),
                format!("subnet {subnet} has bits set beyond its prefix length"),
                format!("the network address: \"{}/{}\"", subnet.network(), subnet.prefix()),
            ));
            return None;
        }
        if subnet.is_ipv6() && mtu.is_some_and(|mtu| mtu < MIN_MTU[1]) {
            self.faults.push(Fault::new(
                at.span.clone(),
                format!("an IPv6 subnet needs a tenant MTU of {} bytes (RFC 8200)", MIN_MTU[1]),
                "an IPv4 subnet, or a larger underlay_mtu",
            ));
        }
        Some(subnet)
    }

    fn members(&mut self, names: Option<&[At<HostName>]>, hosts: usize) -> Vec<usize> {
        let Some(names) = names else { return (0..hosts).collect() };
        let mut seen = HashMap::new();
        let mut members = Vec::with_capacity(names.len());
        for at in names {
            unique(&mut seen, at, "host", "a tenant's hosts are each named once", &mut self.faults);
            members.extend(self.known_host(at));
        }
        members.sort_unstable();
        members.dedup();
        members
    }

    fn known_host(&mut self, at: &At<HostName>) -> Option<usize> {
        let found = self.hosts.get(&at.value).map(|(position, _)| *position);
        if found.is_none() {
            let mut names: Vec<String> = self.hosts.keys().map(|name| format!("`{name}`")).collect();
            names.sort_unstable();
            let listed = match names.len() {
                0..=8 => names.join(", "),
                more => format!("{}, … ({more} in all)", names[..8].join(", ")),
            };
            self.faults.push(Fault::new(
                at.span.clone(),
                format!("there is no [[host]] named `{}`", at.value),
                format!("the hosts are: {listed}"),
            ));
        }
        found
    }

    fn placed(&mut self, at: &At<HostName>, members: &[usize]) {
        if let Some(position) = self.known_host(at)
            && members.binary_search(&position).is_err()
        {
            self.faults.push(Fault::new(
                at.span.clone(),
                format!("host `{}` is not among the tenant's hosts", at.value),
                "a host of the tenant, or add it to the tenant's `hosts`",
            ));
        }
    }

    fn container(
        &mut self,
        draft: &ContainerDraft,
        subnet: Option<&At<IpNetwork>>,
        members: &[usize],
        addresses: &mut HashMap<IpAddr, Range<usize>>,
    ) -> Option<Container> {
        if let Some(at) = &draft.ctid {
            unique(&mut self.ctids, at, "CTID", "a container belongs to one tenant, once", &mut self.faults);
        }
        if let Some(at) = &draft.host {
            self.placed(at, members);
        }
        if let Some(at) = &draft.ip {
            self.address(at, subnet, addresses);
        }
        Some(Container {
            ctid: draft.ctid.as_ref()?.value.clone(),
            host: draft.host.as_ref()?.value.clone(),
            ip: draft.ip.as_ref()?.value,
        })
    }

    fn address(
        &mut self,
        at: &At<IpAddr>,
        subnet: Option<&At<IpNetwork>>,
        addresses: &mut HashMap<IpAddr, Range<usize>>,
    ) {
        unique(addresses, at, "address", "a tenant's addresses are each used once", &mut self.faults);
        let Some(subnet) = subnet else { return };
        let network = subnet.value;
        if !network.contains(at.value) {
            self.faults.push(
                Fault::new(
                    at.span.clone(),
                    format!("address {} is outside the tenant's subnet", at.value),
                    format!("an address in {network}"),
                )
                .with_earlier(subnet.span.clone(), "the subnet"),
            );
        } else if is_reserved(network, at.value) {
            self.faults.push(Fault::new(
                at.span.clone(),
                format!("address {} is the network's or the broadcast address of {network}", at.value),
                "an address that a host of the subnet can have",
            ));
        }
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || link_local)
}

/// The first address of a network, and of an IPv4 network the last, are nobody's; /31, /32 and /127, /128 have
/// neither (RFC 3021, RFC 6164).
fn is_reserved(network: IpNetwork, address: IpAddr) -> bool {
    match network {
        IpNetwork::V4(v4) if v4.prefix() < 31 => {
            address == IpAddr::V4(v4.network()) || address == IpAddr::V4(v4.broadcast())
        }
        IpNetwork::V6(v6) if v6.prefix() < 127 => address == IpAddr::V6(v6.network()),
        _ => false,
    }
}
