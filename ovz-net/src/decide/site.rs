//! What is known where a decision is made, and what a name means there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ovs_mesh::{BridgeName, HostName, Tenant, Topology};

use crate::conf::{Configuration, Generation, Netif, NetifKind, Place};

/// The files and the host that a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The mesh.
    pub topology: &'a Topology,
    /// The host that this is.
    pub host: &'a HostName,
    /// `/etc/vz/vz.conf`, if there is one.
    pub global: Option<&'a Configuration>,
    /// The container's configuration, if there is one; a hot-added interface is not in it yet.
    pub own: Option<&'a Configuration>,
    /// The host's devices.
    pub devices: &'a Devices,
}

/// As much of a host's devices as a decision needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// The Linux bridges (not those of Open vSwitch).
    pub bridges: BTreeSet<BridgeName>,
    /// The bridges of OpenVZ 7's networks (`virsh net-info`), by the network's name. Those of `type=bridge` need none.
    pub networks: BTreeMap<String, BridgeName>,
    /// Whether the call's device exists.
    pub present: bool,
}

/// Who named a place for an interface; its `Display` leads an operator there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// The call's `BRIDGE`.
    Bridge,
    /// The call's `NETWORK`.
    Network,
    /// An interface of a configuration.
    Configuration {
        /// File and line.
        place: Place,
        /// The interface's name in the container.
        ifname: String,
    },
    /// The topology, by its placement of the container.
    Topology,
    /// The topology's `default_bridge`.
    Default,
}

impl Voice {
    pub(super) fn configuration(conf: &Configuration, netif: &Netif) -> Self {
        Self::Configuration { place: conf.place(netif), ifname: netif.ifname.clone() }
    }
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("the argument BRIDGE"),
            Self::Network => f.write_str("the argument NETWORK"),
            Self::Configuration { place, ifname } => write!(f, "{place} ({})", ifname.escape_debug()),
            Self::Topology => f.write_str("the topology"),
            Self::Default => f.write_str("the topology's default_bridge"),
        }
    }
}

/// What a name stands for on this host.
#[derive(Debug, Clone)]
pub(super) enum Named<'a> {
    Tenant(&'a Tenant),
    Linux(BridgeName),
    Unknown(String),
    /// Guessing could put a container into the wrong tenant.
    Several {
        name: String,
        meanings: String,
    },
}

impl<'a> Site<'a> {
    /// What an interface's configuration names. One generation's key comes before the other's, which only the
    /// operator can have meant.
    pub(super) fn named_by(&self, conf: &Configuration, netif: &Netif) -> Vec<(Voice, Named<'a>)> {
        let bridge = netif.bridge.as_deref().map(|name| self.bridge(name));
        let network = netif.network.as_deref().map(|name| self.network(name, netif.kind));
        let named = match conf.generation() {
            Generation::Vzctl => [bridge, network],
            Generation::Libvzctl => [network, bridge],
        };
        let voice = |named| (Voice::configuration(conf, netif), named);
        named.into_iter().flatten().map(voice).collect()
    }

    fn tenant_of(&self, bridge: &str) -> Option<&'a Tenant> {
        self.topology.tenants().iter().find(|tenant| tenant.bridge().as_str() == bridge)
    }

    fn linux(&self, name: &str) -> Option<BridgeName> {
        name.parse().ok().filter(|name| self.devices.bridges.contains(name))
    }

    /// A bridge's name.
    pub(super) fn bridge(&self, name: &str) -> Named<'a> {
        let tenant = self.tenant_of(name).map(Named::Tenant);
        let named = tenant.or_else(|| self.linux(name).map(Named::Linux));
        named.unwrap_or_else(|| Named::Unknown(name.to_owned()))
    }

    /// A network's name: of a bridge if it is of that kind, else it may be of several things.
    pub(super) fn network(&self, name: &str, kind: Option<NetifKind>) -> Named<'a> {
        let tenant = self.topology.tenants().iter().find(|tenant| tenant.name().as_str() == name);
        if kind == Some(NetifKind::Bridge) {
            return match (self.bridge(name), tenant) {
                (Named::Unknown(_), Some(tenant)) => Named::Tenant(tenant),
                (named, _) => named,
            };
        }
        let same = |known: &str| known.split_whitespace().eq(name.split_whitespace());
        let mapped = self.devices.networks.iter().find(|(known, _)| same(known)).map(|(_, bridge)| bridge);
        // A network's own bridge is what OpenVZ means; a Linux bridge that merely has its name is not.
        let bridge = mapped.cloned().or_else(|| self.linux(name));
        let by_bridge = bridge.as_ref().and_then(|bridge| self.tenant_of(bridge.as_str()));
        let mut tenants: Vec<&Tenant> =
            [self.tenant_of(name), tenant, by_bridge].into_iter().flatten().collect();
        tenants.sort_by_key(|tenant| tenant.name());
        tenants.dedup_by_key(|tenant| tenant.name());
        match (tenants.as_slice(), bridge.filter(|_| by_bridge.is_none())) {
            ([tenant], None) => Named::Tenant(tenant),
            ([], Some(bridge)) if self.devices.bridges.contains(&bridge) => Named::Linux(bridge),
            ([], _) => Named::Unknown(name.to_owned()),
            (tenants, bridge) => {
                let tenants = tenants.iter().map(|tenant| format!("tenant `{}`", tenant.name()));
                let bridge = bridge.map(|bridge| format!("bridge `{bridge}`"));
                let meanings: Vec<String> = tenants.chain(bridge).collect();
                Named::Several { name: name.to_owned(), meanings: meanings.join(" and ") }
            }
        }
    }

    /// The names that would be known, for messages: at most eight of a kind.
    pub(super) fn known(&self) -> String {
        let here = |tenant: &&Tenant| self.topology.members(tenant).any(|host| host.name() == self.host);
        let tenants = self.topology.tenants().iter().filter(here).map(Tenant::bridge);
        let bridges = |mut names: Vec<String>| {
            let more = names.len().saturating_sub(8);
            names.truncate(8);
            let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            if more > 0 { format!("{list}, … ({more} more)") } else { list }
        };
        let tenants = bridges(tenants.map(ToString::to_string).collect());
        let linux = bridges(self.devices.bridges.iter().map(ToString::to_string).collect());
        format!("tenants' bridges: {tenants}; Linux bridges: {linux}")
    }
}
