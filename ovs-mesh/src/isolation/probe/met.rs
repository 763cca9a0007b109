//! What was met on the host, sorted: answers, copies on the wire, and what has no place where it is. Pure.

use std::net::IpAddr;

use super::asks::{Wanted, Way};
use super::cookie::{Mark, Stage};
use super::facts::Place;
use super::run::Run;
use super::seen::{Content, Outer, Seen};
use crate::link::Mac;
use crate::names::TenantName;

/// Something of a tenant's that was met where it has no place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stray {
    /// At a port of another tenant's.
    Tenant { tenant: usize, port: String },
    /// At a device that is nobody's.
    Device { name: String },
    /// On the wire, by another key or to another machine.
    Wire { dst: IpAddr, key: Option<u32> },
    /// Inside something that is no tunnel of the mesh's.
    Wrapped { device: String },
    /// Back by a tunnel.
    Back { src: IpAddr, key: Option<u32> },
    /// Back by a port.
    Returned { port: String },
    /// An answer to one tenant's bridge, by another tenant's way.
    Answer { tenant: usize, address: IpAddr },
}

impl Run<'_> {
    /// Something was met inside a gateway.
    pub(super) fn met_in_gateway(&mut self, tenant: usize, seen: &Seen) {
        if let (None, Content::EchoReply(mark)) = (seen.outer, seen.content)
            && usize::from(mark.tenant) == tenant
            && let Some(asked) = self.asked.get_mut(usize::from(mark.ask))
        {
            asked.passed[mark.stage as usize] = true;
        }
    }

    /// Something was met on the host, at the device of this index, on its way out of the host or into it.
    pub(super) fn met(&mut self, device: u32, outgoing: bool, seen: &Seen) {
        let unnamed = || Place::Other { name: format!("device {device}") };
        let place = self.facts.places.get(&device).cloned().unwrap_or_else(unnamed);
        match (seen.content, seen.outer) {
            (Content::Own { mark, plain }, outer) => {
                if usize::from(mark.tenant) >= self.tenants.len() {
                    return;
                }
                match outer {
                    None => self.own_bare(mark, plain, &place, outgoing),
                    Some(outer) => self.own_on_wire(mark, outer, device, outgoing),
                }
                return;
            }
            (Content::EchoReply(mark), None) => {
                let tenant = usize::from(mark.tenant);
                if let Place::Port { tenant: met, name } = &place
                    && tenant < self.tenants.len()
                {
                    self.at_port(tenant, met, name.clone());
                }
            }
            (Content::Answer { address, mac, to }, outer) if !outgoing => {
                let (tenant, way) = match (outer, &place) {
                    (None, Place::Port { tenant, name } | Place::Stranger { tenant, name }) => {
                        (self.layout.named(tenant), Some(Way::Port(name.clone())))
                    }
                    (None, _) => (None, None),
                    (Some(outer), _) => (self.layout.keyed(outer.key), Some(Way::Peer(outer.src))),
                };
                if let (Some(tenant), Some(way)) = (tenant, way)
                    && self.answer(tenant, device, (address, mac, to), way)
                {
                    return;
                }
            }
            (Content::EchoReply(_) | Content::Answer { .. } | Content::Other, _) => {}
        }
        self.overheard(&place, outgoing, seen);
    }

    fn stray(&mut self, tenant: usize, stray: Stray) {
        self.tenants[tenant].strays.insert(stray);
    }

    /// A tenant's frame at a port; whether that is the tenant's own.
    fn at_port(&mut self, tenant: usize, met: &TenantName, port: String) -> bool {
        if self.layout.name(tenant) == met {
            return true;
        }
        if let Some(other) = self.layout.named(met) {
            self.stray(tenant, Stray::Tenant { tenant: other, port });
        }
        false
    }

    fn own_bare(&mut self, mark: Mark, plain: bool, place: &Place, outgoing: bool) {
        let tenant = usize::from(mark.tenant);
        match place.clone() {
            Place::Port { name, .. } | Place::Stranger { name, .. } | Place::Other { name } if !plain => {
                self.stray(tenant, Stray::Wrapped { device: name });
            }
            Place::Stranger { name, .. } | Place::Other { name } => {
                self.stray(tenant, Stray::Device { name });
            }
            Place::Port { tenant: met, name } => {
                if !self.at_port(tenant, &met, name.clone()) {
                    return;
                }
                let from_gateway = matches!(mark.stage, Stage::Echo | Stage::Short);
                if outgoing {
                    let Some(asked) = self.asked.get_mut(usize::from(mark.ask)) else { return };
                    if let Wanted::Known { way: Some(Way::Port(port)), .. } = &asked.ask.wanted {
                        asked.arrived |= *port == name;
                    }
                } else if !from_gateway {
                    self.tenants[tenant].looped = true;
                    self.stray(tenant, Stray::Returned { port: name });
                }
            }
            Place::Mirror => {}
        }
    }

    fn own_on_wire(&mut self, mark: Mark, outer: Outer, device: u32, outgoing: bool) {
        let tenant = usize::from(mark.tenant);
        let Outer { src, dst, key } = outer;
        let own_key = key == Some(self.layout.tenant(tenant).key().get());
        if !outgoing {
            // What goes from one's own address is only underway from one device of the host's to another.
            let own = self.layout.address(&self.layout.plan.host);
            if own != Some(src) {
                self.tenants[tenant].looped = true;
                self.stray(tenant, Stray::Back { src, key });
            }
        } else if !own_key || !self.layout.peers(tenant).contains_key(&dst) {
            self.stray(tenant, Stray::Wire { dst, key });
        } else if mark.stage == Stage::Question
            && let Some(asked) = self.asked.get_mut(usize::from(mark.ask))
        {
            *asked.copies.entry((mark.attempt, dst, device)).or_default() += 1;
            asked.left.insert(dst);
        }
    }

    /// Whether it is the answer to a question, or one that is heard elsewhere too.
    fn answer(
        &mut self,
        tenant: usize,
        device: u32,
        (address, mac, to): (IpAddr, Mac, Mac),
        way: Way,
    ) -> bool {
        let bridge = self.layout.bridge(tenant);
        let own = bridge.and_then(|bridge| self.facts.bridges.get(&bridge.name));
        let is_group = to.octets()[0] & 1 == 1;
        if own != Some(&to) && !is_group {
            let askers = self.by_bridge.get(&to);
            if let Some(asker) = askers.and_then(|askers| askers.first().copied()) {
                self.stray(asker, Stray::Answer { tenant, address });
            }
            return false;
        }
        // The switch hands it to the bridge's own device, to which it is addressed; how it came is seen elsewhere.
        if bridge.is_some_and(|bridge| way == Way::Port(bridge.name.to_string())) {
            return true;
        }
        // Nobody asks by ARP to a group; who tells of himself unasked has not answered.
        if is_group && address.is_ipv4() {
            return false;
        }
        let asked = [self.by_mac.get(&(tenant, mac)), self.by_address.get(&(tenant, address))];
        let asked = asked.into_iter().flatten().copied().find(|at| self.asked[*at].sent[0] > 0);
        let Some(asked) = asked.map(|at| &mut self.asked[at]) else { return false };
        *asked.answers.entry((mac, way)).or_default().entry(device).or_default() += 1;
        true
    }
}
