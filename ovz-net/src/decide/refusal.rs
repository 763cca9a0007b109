//! Why an interface is put on no bridge.

use std::path::PathBuf;

use ovs_mesh::{BridgeName, Ctid, HostName, PortName, TenantName};

use super::Voice;

/// Why an interface is put on no bridge; its `Display` says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The topology does not know this host.
    #[error("the topology has no host `{host}`; its hosts are: {hosts}")]
    UnknownHost {
        /// The host.
        host: HostName,
        /// The hosts there are.
        hosts: String,
    },
    /// The name is of a tenant that is not the container's.
    #[error(
        "{by} names `{}`, the bridge of tenant `{}`, but the topology puts container {ctid} in tenant `{}`; name its bridge \
         `{}` there, or move the container in the topology",
        named.1, named.0, placed.0, placed.1
    )]
    OtherTenant {
        /// The container.
        ctid: Ctid,
        /// Who named the other tenant.
        by: Voice,
        /// That tenant and its bridge.
        named: (TenantName, BridgeName),
        /// The container's tenant and its bridge.
        placed: (TenantName, BridgeName),
    },
    /// A container that the topology does not place would be in two tenants at once.
    #[error(
        "container {ctid} would join two tenants: {} names `{}`, and {} names `{}`; leave one of them, or place the \
         container in the topology",
        first.0, first.1, second.0, second.1
    )]
    TwoTenants {
        /// The container.
        ctid: Ctid,
        /// Who names the one tenant.
        first: (Voice, TenantName),
        /// Who names the other.
        second: (Voice, TenantName),
    },
    /// The topology has the container on another host: it was migrated, or it is started in two places.
    #[error(
        "the topology places container {ctid} of tenant `{tenant}` on host `{placed}`, not on `{here}`; if it has moved, \
         change its `host` in the topology to `{here}` on every host"
    )]
    PlacedElsewhere {
        /// The container.
        ctid: Ctid,
        /// Its tenant.
        tenant: TenantName,
        /// The host that the topology places it on.
        placed: HostName,
        /// This host.
        here: HostName,
    },
    /// The tenant has no bridge on this host.
    #[error(
        "{by} names tenant `{tenant}`, which has no bridge on host `{host}`; its hosts are: {hosts}; add `{host}` to its \
         `hosts` in the topology, or start the container on one of them"
    )]
    TenantNotHere {
        /// Who named the tenant.
        by: Voice,
        /// The tenant.
        tenant: TenantName,
        /// This host.
        host: HostName,
        /// The tenant's hosts.
        hosts: String,
    },
    /// The name is of nothing that an interface can be put on.
    #[error(
        "{by} names `{}`, which is neither a tenant's bridge nor a Linux bridge of this host; correct it or make the \
         bridge; there are {known}",
        name.escape_debug()
    )]
    UnknownBridge {
        /// Who named it.
        by: Voice,
        /// The name.
        name: String,
        /// The bridges there are.
        known: String,
    },
    /// The name could be of several things.
    #[error(
        "{by} names `{}`, which is {meanings}; set `type=bridge` and name the bridge, or rename one of them",
        name.escape_debug()
    )]
    Ambiguous {
        /// Who named it.
        by: Voice,
        /// The name.
        name: String,
        /// What it could be.
        meanings: String,
    },
    /// Nobody names a bridge.
    #[error(
        "nothing says where `{device}` of container {ctid} belongs: {}, the topology does not place the container, and it \
         has no default_bridge; name a `bridge=` in the configuration, place the container in the topology, or set \
         `[openvz] default_bridge` (the stock hook takes \"vmbr0\")",
        unnamed(listed.as_ref(), searched.as_ref())
    )]
    NoHome {
        /// The device.
        device: PortName,
        /// The container.
        ctid: Ctid,
        /// The interface's place in the configuration, if it is there.
        listed: Option<Voice>,
        /// The configuration that was in force.
        searched: Option<PathBuf>,
    },
    /// The default bridge is not a Linux bridge of this host.
    #[error(
        "`{device}` belongs on default_bridge `{bridge}` of the topology, which is no Linux bridge of this host; make it \
         (`ip link add {bridge} type bridge`) or name another"
    )]
    NoDefaultBridge {
        /// The device.
        device: PortName,
        /// The bridge.
        bridge: BridgeName,
    },
    /// There is no such device.
    #[error("there is no device `{device}` on this host; the container has to be running")]
    NoDevice {
        /// The device.
        device: PortName,
    },
}

fn unnamed(listed: Option<&Voice>, searched: Option<&PathBuf>) -> String {
    match (listed, searched) {
        (Some(voice), _) => format!("{voice} names no bridge"),
        (None, Some(path)) => format!("{} does not have it", path.display()),
        (None, None) => "the container has no configuration".to_owned(),
    }
}
