//! What a check finds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::{HostName, TenantName};

/// How bad a finding is. The rule, for every check:
///
/// - **Breach**: a frame of a tenant can get to where the topology has no place for that tenant (another tenant, a
///   stranger's port, the host itself, another machine, a collector, a peer by another key), or a frame from there can
///   get in, or what keeps that from happening (key, type, far end and `protected` of a tunnel; the owner of a bridge or
///   port; a bridge without controller or mirror) is not as the topology has it, or what was seen is not understood, so
///   that nobody can say. Isolation is proved, not assumed.
/// - **Degraded**: a tenant's frames stay with the tenant, but some of them do not arrive, or not as they should, or will
///   not after the next restart or change.
/// - **Notice**: neither, but somebody sees more than he needs to, or has taken a precaution away that nothing else rests
///   on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong yet.
    Notice,
    /// The tenant's own network does not work as it should.
    Degraded,
    /// Tenants are not, or not provably, kept apart.
    Breach,
}

impl Severity {
    /// The severity in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Degraded => "degraded",
            Self::Breach => "breach",
        }
    }
}

/// By what a finding was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// From what is configured: rows and devices.
    Static,
    /// From what ovs-vswitchd says it would do with a packet.
    Trace,
    /// From what became of a live packet.
    Probe,
}

impl Level {
    /// All levels, in the order in which they are run.
    pub const ALL: [Self; 3] = [Self::Static, Self::Trace, Self::Probe];

    /// The level in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Trace => "trace",
            Self::Probe => "probe",
        }
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $level:ident $variant:ident = $name:literal;)*) => {
        /// A named check. The names are stable: scripts and CI systems may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $($(#[$doc])* $variant,)*
        }

        impl Check {
            /// Every check there is, level by level.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The check's name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The level that makes it.
            pub fn level(self) -> Level {
                match self {
                    $(Self::$variant => Level::$level,)*
                }
            }
        }
    };
}

checks! {
    /// The host's database can be read.
    Static SwitchUnreachable = "switch-unreachable";
    /// ovs-vswitchd answers, and has caught up with the database.
    Static SwitchApplied = "switch-applied";
    /// Each tenant of the host has its bridge.
    Static BridgeMissing = "bridge-missing";
    /// A tenant's bridge is this mesh's, and that tenant's.
    Static BridgeOwner = "bridge-owner";
    /// A bridge has the mesh's datapath type.
    Static BridgeDatapath = "bridge-datapath";
    /// A bridge forwards without anybody's help (`fail_mode`).
    Static BridgeFailMode = "bridge-fail-mode";
    /// No controller can program a bridge.
    Static BridgeController = "bridge-controller";
    /// No mirror copies a bridge's frames.
    Static BridgeMirror = "bridge-mirror";
    /// No sampler (sFlow, `NetFlow`, IPFIX) tells of a bridge's frames.
    Static BridgeSampling = "bridge-sampling";
    /// No spanning tree takes links out of a mesh that has no loops.
    Static BridgeSpanningTree = "bridge-spanning-tree";
    /// A bridge learns and floods as a bridge does (`flood_vlans`, `flow_tables`, `mcast_snooping_enable`).
    Static BridgeForwarding = "bridge-forwarding";
    /// A bridge has no path, by patch ports or devices, to a bridge that is no tenant's.
    Static BridgeJoined = "bridge-joined";
    /// There is a tunnel to every other host of the tenant.
    Static TunnelMissing = "tunnel-missing";
    /// There is no tunnel that the topology does not have.
    Static TunnelExtra = "tunnel-extra";
    /// A tunnel has its type.
    Static TunnelType = "tunnel-type";
    /// A tunnel has its tenant's key, both ways.
    Static TunnelKey = "tunnel-key";
    /// A tunnel does not have another tenant's key.
    Static TunnelKeySwapped = "tunnel-key-swapped";
    /// A tunnel's key is the one it goes out with: ovs-vswitchd cuts it to 32 bits, and reads `010` as 8.
    Static TunnelKeyTruncated = "tunnel-key-truncated";
    /// A tunnel goes to the peer that it is named after.
    Static TunnelRemote = "tunnel-remote";
    /// No tunnel goes to a machine that is no host of the tenant.
    Static TunnelStranger = "tunnel-stranger";
    /// A tunnel starts from the host's underlay address.
    Static TunnelLocal = "tunnel-local";
    /// A tunnel has no option beyond its tuple.
    Static TunnelOptions = "tunnel-options";
    /// A tunnel is `protected`: what comes in by one never leaves by another.
    Static TunnelProtected = "tunnel-protected";
    /// No two tunnels have one tuple.
    Static TunnelDuplicate = "tunnel-duplicate";
    /// No tunnel of somebody else's sends or takes with a tenant's key, to or from a host of the tenant.
    Static TunnelForeign = "tunnel-foreign";
    /// ovs-vswitchd has the tunnels that the rows say.
    Static TunnelListed = "tunnel-listed";
    /// Both ends of a tunnel are there.
    Static PeerSymmetry = "peer-symmetry";
    /// What leaves as one tenant's is taken for the same tenant's at the far end.
    Static PeerCrossing = "peer-crossing";
    /// Everything on a tenant's bridge is the mesh's.
    Static PortStranger = "port-stranger";
    /// No patch port leads out of a tenant's bridge.
    Static PortPatch = "port-patch";
    /// A port has one interface.
    Static PortBond = "port-bond";
    /// A port has no VLAN settings: they would split the tenant's network.
    Static PortVlan = "port-vlan";
    /// Nothing but tunnels is `protected`.
    Static PortProtected = "port-protected";
    /// A port is on one bridge, and an interface in one port.
    Static PortShared = "port-shared";
    /// A port of the mesh's is on the bridge of the tenant that it says it belongs to.
    Static PortMisplaced = "port-misplaced";
    /// ovs-vswitchd has opened every port.
    Static PortError = "port-error";
    /// No row of the mesh's is left from what the topology no longer has.
    Static RowStale = "row-stale";
    /// A container is on its tenant's bridge.
    Static ContainerTenant = "container-tenant";
    /// A container is on its host.
    Static ContainerHost = "container-host";
    /// A container is attached once.
    Static ContainerDuplicate = "container-duplicate";
    /// A tenant's gateway is on its bridge.
    Static GatewayMissing = "gateway-missing";
    /// A gateway's veth pair leads into its own namespace, and is up, with the topology's address.
    Static GatewayLink = "gateway-link";
    /// Nobody else's devices are in a gateway's namespace.
    Static GatewayShared = "gateway-shared";
    /// A gateway does not forward packets.
    Static GatewayForwarding = "gateway-forwarding";
    /// No devices, bridges or routers lead from one tenant to another.
    Static TenantsJoined = "tenants-joined";
    /// The host has no address on a tenant's network: it could be reached, and could route.
    Static HostAddress = "host-address";
    /// A port's device is not also a port of another bridge, of Linux's for example.
    Static DeviceEnslaved = "device-enslaved";
    /// ovs-vswitchd has the device that has the port's name now.
    Static DeviceStale = "device-stale";
    /// A port's device is up.
    Static DeviceDown = "device-down";
    /// No GRE device of the kernel's sends or takes with a tenant's key, to or from a host of the tenant.
    Static DeviceTunnel = "device-tunnel";
    /// No two of a tenant have one MAC address.
    Static MacDuplicate = "mac-duplicate";
    /// No two of a tenant have one address.
    Static AddressDuplicate = "address-duplicate";
    /// Everything on a tenant's network has the tenant's MTU: a frame too large for a link is lost without a word.
    Static MtuTenant = "mtu-tenant";
    /// The underlay takes what the topology says it takes.
    Static MtuUnderlay = "mtu-underlay";
    /// The host has the underlay address that its peers send to.
    Static UnderlayAddress = "underlay-address";

    /// A copy of a frame ends only at the tenant's own ports.
    Trace TraceLeak = "trace-leak";
    /// A copy leaves only with the tenant's key and to the tenant's hosts.
    Trace TraceTunnel = "trace-tunnel";
    /// What came by a tunnel does not leave by one.
    Trace TraceTransit = "trace-transit";
    /// No copy goes to a controller or a collector.
    Trace TraceUserspace = "trace-userspace";
    /// Every action is understood and followed to its end.
    Trace TraceUnknown = "trace-unknown";
    /// A copy gets to all who should have one.
    Trace TraceMissing = "trace-missing";
    /// A frame arrives as it was sent.
    Trace TraceRewrite = "trace-rewrite";
    /// A bridge has one flow, `NORMAL`: any other may do anything with packets that are not traced.
    Trace TraceFlows = "trace-flows";
    /// No flow of somebody else's bridge makes a tunnel of his send with a tenant's key to a host of the mesh.
    Trace TraceForeign = "trace-foreign";
    /// ovs-vswitchd can say what it would do.
    Trace TraceFailed = "trace-failed";
    /// The datapath has the ports that ovs-vswitchd thinks it has.
    Trace DatapathPort = "datapath-port";

    /// Every known address of the tenant answers.
    Probe ProbeUnanswered = "probe-unanswered";
    /// It answers with the MAC address that it is known by, and no other does.
    Probe ProbeMac = "probe-mac";
    /// It answers at the tenant's full MTU.
    Probe ProbeMtu = "probe-mtu";
    /// Addresses that are no tenant's own stay silent.
    Probe ProbeForeignAnswer = "probe-foreign-answer";
    /// No frame arrives that is not the tenant's.
    Probe ProbeForeignFrame = "probe-foreign-frame";
    /// Nobody says that he has an address, or sends from a MAC address, that is known to be another's of the tenant's.
    Probe ProbeSpoof = "probe-spoof";
    /// On the wire, a tenant's frames have the tenant's key and go to the tenant's hosts.
    Probe ProbeWire = "probe-wire";
}

/// A text that is no check's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a check")]
pub struct UnknownCheck {
    /// The text as given.
    pub text: String,
}

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        let found = Self::ALL.iter().find(|check| check.as_str() == text);
        found.copied().ok_or_else(|| UnknownCheck { text: text.to_owned() })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Check {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check that found it.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What it was found by.
    pub level: Level,
    /// The host it was found on.
    pub host: HostName,
    /// The tenants it concerns, by name. None: all that the host carries. Several, and a breach: they reach each other.
    pub tenants: Vec<TenantName>,
    /// What it was found at: a kind and a name.
    pub object: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// A finding of this check; the tenants are put in order, each once.
    pub fn new(
        check: Check,
        severity: Severity,
        host: &HostName,
        tenants: &[&TenantName],
        object: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let mut tenants: Vec<TenantName> = tenants.iter().map(|tenant| (*tenant).clone()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        Self {
            check,
            severity,
            level: check.level(),
            host: host.clone(),
            tenants,
            object: object.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_check_has_one_name_and_is_found_by_it() {
        let names: HashSet<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        for check in Check::ALL {
            assert_eq!(check.as_str().parse(), Ok(*check));
            assert!(check.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{check}");
        }
        assert!("no-such".parse::<Check>().is_err());
    }
}
