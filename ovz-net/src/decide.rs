//! Which bridge a container's interface belongs on. Pure: the same call, files and host give the same answer.
//!
//! Up to four voices name a place for an interface, and the first that speaks is heard:
//!
//! | | voice | speaks when |
//! | --- | --- | --- |
//! | 1 | the call: `BRIDGE` of `init`, `NETWORK` of `addif` | it is given |
//! | 2 | the configuration: `bridge=`, `network=` of the interface | the interface is in it, and the call is not `addif` (which libvzctl makes with the new network before it saves it) |
//! | 3 | the topology: the container's tenant | it places the container |
//! | 4 | the topology's `[openvz] default_bridge` | it is set |
//!
//! A name is a tenant's bridge (anywhere in the mesh), a Linux bridge of this host, or, for `network=` and `NETWORK`,
//! also a tenant's name or a network that the host maps to a bridge. What it leads to depends on the topology:
//!
//! | the first voice names | container placed here, in tenant P | placed on another host | not placed |
//! | --- | --- | --- | --- |
//! | P's bridge, or P | P | refused | – |
//! | another tenant's | refused | refused | that tenant, if this host is in it |
//! | a Linux bridge | that bridge | that bridge | that bridge |
//! | anything else | refused | refused | refused |
//! | nothing | P | refused | `default_bridge`, else refused |
//!
//! Above all of it: *any* voice that names another tenant than the topology's is a refusal, also behind a first voice
//! that names a Linux bridge; so is a container that nobody placed and whose interfaces name two tenants, for it would
//! join what must never meet. An interface with `type=routed` has no bridge, and `delif` is always carried out.
//!
//! That a Linux bridge outside the mesh wins over the topology is for containers with one interface in their tenant and
//! another on, say, a management network. [`Decision::Enslave`] says when no interface is left for the tenant.

mod refusal;
mod site;

use ovs_mesh::{Attachment, BridgeName, Container, PortName, Tenant, TenantName};

pub use refusal::Refusal;
pub use site::{Devices, Site, Voice};

use crate::call::{Call, Request};
use crate::conf::{Configuration, Netif, NetifKind};
use site::Named;

/// What is to become of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It joins its tenant's bridge.
    Attach {
        /// What to attach, as [`ovs_mesh::attach()`] takes it.
        attachment: Attachment,
        /// The tenant's bridge.
        bridge: BridgeName,
        /// Who decided.
        by: Voice,
    },
    /// It becomes a port of a Linux bridge outside the mesh.
    Enslave {
        /// The device.
        device: PortName,
        /// The Linux bridge.
        bridge: BridgeName,
        /// Who decided.
        by: Voice,
        /// The tenant that the topology puts the container in, if no other interface of it goes there: worth a
        /// warning, for that is rarely meant.
        instead_of: Option<TenantName>,
    },
    /// It leaves whatever bridge it is on: its row, if that is ours, and a Linux bridge likewise.
    Detach {
        /// The device.
        device: PortName,
    },
    /// The host routes for it, and no bridge has a part in that.
    Routed {
        /// The device.
        device: PortName,
    },
}

/// Decides a call; the module's table is the rule.
///
/// ```
/// use ovz_net::{Call, Configuration, Decision, Devices, Site, decide};
///
/// let topology: ovs_mesh::Topology = r#"
///     mesh = { name = "prod", underlay_mtu = 9001 }
///     host = [{ name = "redis1", underlay_ip = "10.0.1.11" }]
///     [[tenant]]
///     name = "acme"
///     key = 101
///     subnet = "192.168.10.0/24"
///     containers = [{ ctid = "101", host = "redis1", ip = "192.168.10.11" }]
/// "#.parse()?;
/// let call = Call::parse(["init", "veth", "veth101.0"], [("VEID", "101")])?;
/// let text = b"NETIF=\"ifname=eth0,bridge=br-globex\"";
/// let own = Configuration::read("/etc/vz/conf/101.conf".as_ref(), text, call.generation());
/// let devices = Devices { present: true, ..Devices::default() };
/// let host = "redis1".parse()?;
/// let site = Site { topology: &topology, host: &host, global: None, own: Some(&own), devices: &devices };
/// let refusal = decide(&call, &site).unwrap_err();
/// assert!(refusal.to_string().starts_with("/etc/vz/conf/101.conf:1 (eth0) names `br-globex`"));
///
/// // Hot-added: not in the configuration yet, so the topology decides.
/// let Decision::Attach { bridge, .. } = decide(&call, &Site { own: None, ..site })? else { panic!() };
/// assert_eq!(bridge.as_str(), "br-acme");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decide(call: &Call, site: &Site<'_>) -> Result<Decision, Refusal> {
    let device = call.device.clone();
    if call.request == Request::DelIf {
        return Ok(Decision::Detach { device });
    }
    let Site { topology, host, global, own, devices } = *site;
    if topology.host(host).is_none() {
        let names: Vec<&str> = topology.hosts().iter().map(|host| host.name().as_str()).collect();
        return Err(Refusal::UnknownHost { host: host.clone(), hosts: names.join(", ") });
    }
    let conf = Configuration::in_force(own, global);
    let netif = conf.and_then(|conf| {
        conf.devices(&call.ctid).find(|(name, _)| *name == device.as_str()).map(|(_, netif)| (conf, netif))
    });
    let asked = Asked { call, site, conf, netif };
    if asked.is_routed() {
        return Ok(Decision::Routed { device });
    }
    let decision = asked.decision()?;
    if devices.present { Ok(decision) } else { Err(Refusal::NoDevice { device }) }
}

/// A call to be decided, and the interface that it is about, where a configuration has it.
struct Asked<'a> {
    call: &'a Call,
    site: &'a Site<'a>,
    conf: Option<&'a Configuration>,
    netif: Option<(&'a Configuration, &'a Netif)>,
}

impl<'a> Asked<'a> {
    fn is_routed(&self) -> bool {
        let kind = match &self.call.request {
            Request::AddIf { .. } | Request::DelIf => None,
            Request::Init { .. } => self.netif.and_then(|(_, netif)| netif.kind),
        };
        self.call.environment.network_type.or(kind) == Some(NetifKind::Routed)
    }

    fn decision(&self) -> Result<Decision, Refusal> {
        let voices = self.voices();
        let placed = self.site.topology.container(&self.call.ctid);
        match placed {
            Some((tenant, _)) => self.no_other_tenant(tenant, &voices)?,
            None => self.one_tenant(&voices)?,
        }
        let Some((by, named)) = voices.into_iter().next() else { return self.unnamed(placed) };
        match named {
            Named::Tenant(tenant) => match placed {
                Some((_, container)) if container.host() != self.site.host => {
                    Err(self.elsewhere(tenant, container))
                }
                _ => self.attach(tenant, by),
            },
            Named::Linux(bridge) => {
                let instead_of = placed.map(|(tenant, _)| tenant).filter(|tenant| !self.others_join(tenant));
                let instead_of = instead_of.map(|tenant| tenant.name().clone());
                Ok(Decision::Enslave { device: self.call.device.clone(), bridge, by, instead_of })
            }
            Named::Unknown(name) => {
                if let Some((tenant, container)) = placed.filter(|(_, c)| c.host() != self.site.host) {
                    return Err(self.elsewhere(tenant, container));
                }
                Err(Refusal::UnknownBridge { by, name, known: self.site.known() })
            }
            Named::Several { name, meanings } => Err(Refusal::Ambiguous { by, name, meanings }),
        }
    }

    /// The names given for this interface, the first heard first.
    fn voices(&self) -> Vec<(Voice, Named<'a>)> {
        let mut voices = Vec::new();
        match &self.call.request {
            Request::Init { bridge: Some(bridge) } => {
                voices.push((Voice::Bridge, self.site.bridge(bridge.as_str())));
            }
            Request::AddIf { network } => {
                let kind = self.call.environment.network_type;
                return vec![(Voice::Network, self.site.network(network, kind))];
            }
            Request::Init { bridge: None } | Request::DelIf => {}
        }
        voices.extend(self.netif.into_iter().flat_map(|(conf, netif)| self.site.named_by(conf, netif)));
        voices
    }

    fn no_other_tenant(&self, placed: &Tenant, voices: &[(Voice, Named<'a>)]) -> Result<(), Refusal> {
        for (by, named) in voices {
            if let Named::Tenant(tenant) = named
                && tenant.name() != placed.name()
            {
                return Err(Refusal::OtherTenant {
                    ctid: self.call.ctid.clone(),
                    by: by.clone(),
                    named: (tenant.name().clone(), tenant.bridge().clone()),
                    placed: (placed.name().clone(), placed.bridge().clone()),
                });
            }
        }
        Ok(())
    }

    /// A container that nobody placed is in one tenant at most, all its interfaces seen together.
    fn one_tenant(&self, voices: &[(Voice, Named<'a>)]) -> Result<(), Refusal> {
        let others = self.others().filter(|(_, netif)| netif.kind != Some(NetifKind::Routed));
        let others = others.flat_map(|(conf, netif)| self.site.named_by(conf, netif));
        let own = voices.iter().cloned();
        let mut tenants = own.chain(others).filter_map(|(by, named)| match named {
            Named::Tenant(tenant) => Some((by, tenant)),
            Named::Linux(_) | Named::Unknown(_) | Named::Several { .. } => None,
        });
        // An interface of no tenant is not held up by what is wrong with the others.
        if !voices.iter().any(|(_, named)| matches!(named, Named::Tenant(_))) {
            return Ok(());
        }
        let Some((first_by, first)) = tenants.next() else { return Ok(()) };
        match tenants.find(|(_, tenant)| tenant.name() != first.name()) {
            None => Ok(()),
            Some((second_by, second)) => Err(Refusal::TwoTenants {
                ctid: self.call.ctid.clone(),
                first: (first_by, first.name().clone()),
                second: (second_by, second.name().clone()),
            }),
        }
    }

    /// The container's other interfaces.
    fn others(&self) -> impl Iterator<Item = (&'a Configuration, &'a Netif)> {
        let this = self.netif.map(|(_, netif)| netif);
        let all = self.conf.into_iter().flat_map(|conf| conf.netifs().iter().map(move |netif| (conf, netif)));
        all.filter(move |(_, netif)| this.is_none_or(|this| !std::ptr::eq(this, *netif)))
    }

    /// Whether another interface of the container goes to this tenant, by name or because it names nothing.
    fn others_join(&self, tenant: &Tenant) -> bool {
        self.others().filter(|(_, netif)| netif.kind != Some(NetifKind::Routed)).any(|(conf, netif)| {
            match self.site.named_by(conf, netif).into_iter().next() {
                None => true,
                Some((_, Named::Tenant(named))) => named.name() == tenant.name(),
                Some((_, Named::Linux(_) | Named::Unknown(_) | Named::Several { .. })) => false,
            }
        })
    }

    /// Nobody but perhaps the topology has a place for it.
    fn unnamed(&self, placed: Option<(&Tenant, &Container)>) -> Result<Decision, Refusal> {
        match placed {
            Some((tenant, container)) if container.host() != self.site.host => {
                Err(self.elsewhere(tenant, container))
            }
            Some((tenant, _)) => self.attach(tenant, Voice::Topology),
            None => {
                let device = self.call.device.clone();
                let Some(bridge) = self.site.topology.openvz_default_bridge() else {
                    let listed = self.netif.map(|(conf, netif)| Voice::configuration(conf, netif));
                    let searched = self.conf.map(|conf| conf.path().to_owned());
                    let ctid = self.call.ctid.clone();
                    return Err(Refusal::NoHome { device, ctid, listed, searched });
                };
                if !self.site.devices.bridges.contains(bridge) {
                    return Err(Refusal::NoDefaultBridge { device, bridge: bridge.clone() });
                }
                let bridge = bridge.clone();
                Ok(Decision::Enslave { device, bridge, by: Voice::Default, instead_of: None })
            }
        }
    }

    fn attach(&self, tenant: &Tenant, by: Voice) -> Result<Decision, Refusal> {
        let Site { topology, host, .. } = self.site;
        if !topology.members(tenant).any(|member| member.name() == *host) {
            let hosts: Vec<&str> = topology.members(tenant).map(|host| host.name().as_str()).collect();
            return Err(Refusal::TenantNotHere {
                by,
                tenant: tenant.name().clone(),
                host: (*host).clone(),
                hosts: hosts.join(", "),
            });
        }
        let mac = self.call.environment.mac.or(self.netif.and_then(|(_, netif)| netif.mac));
        Ok(Decision::Attach {
            attachment: Attachment {
                device: self.call.device.clone(),
                tenant: tenant.name().clone(),
                ctid: Some(self.call.ctid.clone()),
                mac,
                iface_id: self.call.environment.iface_id.clone(),
            },
            bridge: tenant.bridge().clone(),
            by,
        })
    }

    fn elsewhere(&self, tenant: &Tenant, container: &Container) -> Refusal {
        Refusal::PlacedElsewhere {
            ctid: self.call.ctid.clone(),
            tenant: tenant.name().clone(),
            placed: container.host().clone(),
            here: self.site.host.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
