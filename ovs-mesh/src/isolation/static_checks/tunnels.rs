//! A tenant's tunnels: one to every other host of the tenant, with its key, and nothing else.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use uuid::Uuid;

use super::between::{SeenHost, Stray};
use super::foreign;
use super::{Check, Found, SYNC, Severity, View, on};
use crate::names::{TenantName, TunnelKey};
use crate::plan::{Bridge, Tunnel};
use crate::snapshot::{BridgeRow, EffectiveTuple, InterfaceRow, PortRole, PortRow, strtoull_base_0};
use crate::topology::Tenant;
use crate::unixctl::{ListedKey, ListedRemote, ListedTunnel};

pub(super) fn check(view: &View<'_>, own: &mut SeenHost, found: &mut Found<'_>) {
    let listed = view.snapshot.tunnels.as_deref();
    let listed: Option<HashMap<&str, &ListedTunnel>> =
        listed.map(|list| list.iter().map(|tunnel| (tunnel.name.as_str(), tunnel)).collect());
    for (bridge, tenant, row) in &view.bridges {
        let wanted: HashMap<&str, &Tunnel> =
            bridge.tunnels.iter().map(|tunnel| (tunnel.port.as_str(), tunnel)).collect();
        let mut missing = wanted.clone();
        for (port, interfaces) in view.ports(row) {
            let [interface] = interfaces.as_slice() else { continue };
            let planned = wanted.get(port.name.as_str()).copied();
            let is_tunnel = planned.is_some() || port.role(Some(interface)) == PortRole::Tunnel;
            if !is_tunnel || !view.is_owned(port) {
                continue;
            }
            missing.remove(port.name.as_str());
            let mut checker = Checker { view, tenant, row, port, interface, found };
            let key_is_good = checker.key();
            let end = checker.ends(planned);
            checker.columns();
            if let Some(listed) = &listed {
                checker.listed(listed.get(interface.name.as_str()).copied());
            }
            own.note(view, tenant, planned, interface, key_is_good && end);
        }
        self::missing(bridge, row, &missing, found);
    }
    let told = duplicates(view, found);
    foreign::check(view, own, &told, found);
}

fn missing(bridge: &Bridge, row: &BridgeRow, missing: &HashMap<&str, &Tunnel>, found: &mut Found<'_>) {
    for tunnel in missing.values() {
        let object = format!("port {} on bridge {}", tunnel.port, row.name);
        let reason = format!("there is no tunnel to {} ({})", tunnel.peer, tunnel.tuple);
        found.add(Check::TunnelMissing, Severity::Degraded, &[&bridge.tenant], object, reason, SYNC);
    }
}

struct Checker<'a, 'b, 'c> {
    view: &'b View<'a>,
    tenant: &'a Tenant,
    row: &'a BridgeRow,
    port: &'a PortRow,
    interface: &'a InterfaceRow,
    found: &'b mut Found<'c>,
}

impl<'a> Checker<'a, '_, '_> {
    fn add(&mut self, check: Check, severity: Severity, other: Option<&TenantName>, reason: String) {
        let tenants: Vec<&TenantName> = std::iter::once(self.tenant.name()).chain(other).collect();
        self.found.add(check, severity, &tenants, on(self.port, self.row), reason, SYNC);
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        self.interface.options.get(name).map(String::as_str)
    }

    /// Both keys; whether they are the tenant's.
    fn key(&mut self) -> bool {
        let both = self.option("key");
        let (incoming, outgoing) = (self.option("in_key").or(both), self.option("out_key").or(both));
        let good = self.one_key(incoming);
        good && (outgoing == incoming || self.one_key(outgoing))
    }

    fn one_key(&mut self, text: Option<&str>) -> bool {
        let wanted = self.tenant.key();
        let Some(text) = text else {
            self.add(
                Check::TunnelKey,
                Severity::Breach,
                None,
                "it has no key: it carries anybody's frames".to_owned(),
            );
            return false;
        };
        if text == "flow" {
            let reason = "its key is `flow`: it takes the frames of any tenant".to_owned();
            self.add(Check::TunnelKey, Severity::Breach, None, reason);
            return false;
        }
        let number = strtoull_base_0(text);
        let wire = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
        let other =
            self.view.facts.tenant_of_key(wire).map(Tenant::name).filter(|name| *name != self.tenant.name());
        if text.parse::<TunnelKey>().is_ok() {
            if wire == wanted.get() {
                return true;
            }
            let (check, whose) = match other {
                Some(other) => (Check::TunnelKeySwapped, format!("tenant {other}'s")),
                None => (Check::TunnelKey, "no tenant's".to_owned()),
            };
            self.add(check, Severity::Breach, other, format!("its key is {text}, {whose}, not {wanted}"));
            return false;
        }
        if number == u64::from(wanted.get()) {
            let reason = format!("its key is written `{text}`: right by luck of how ovs-vswitchd reads it");
            self.add(Check::TunnelOptions, Severity::Notice, None, reason);
            return true;
        }
        let whose = other.map_or(String::new(), |other| format!(", tenant {other}'s"));
        let reason = format!("its key is written `{text}` and goes out as {wire}{whose}, not as {wanted}");
        self.add(Check::TunnelKeyTruncated, Severity::Breach, other, reason);
        false
    }

    /// Where it goes to and from; whether that is where it should.
    fn ends(&mut self, planned: Option<&Tunnel>) -> bool {
        let kind = self.view.facts.topology.tunnel_kind();
        if self.interface.kind != kind.as_str() {
            let found = self.interface.describe();
            let reason = format!("it is of another type: {found}; the mesh's tunnels are {kind}");
            self.add(Check::TunnelType, Severity::Breach, None, reason);
            return false;
        }
        let remote = self.option("remote_ip");
        let address = remote.and_then(|text| text.parse::<IpAddr>().ok());
        let local = self.option("local_ip");
        let own = self.view.host.underlay_ip();
        if local.and_then(|text| text.parse().ok()) != Some(own) {
            let reason = format!("it starts from {}, not from {own}", local.unwrap_or("any address"));
            self.add(Check::TunnelLocal, Severity::Degraded, None, reason);
        }
        let Some(address) = address else {
            let reason = format!("it goes to `{}`, which is no address", remote.unwrap_or_default());
            self.add(Check::TunnelRemote, Severity::Breach, None, reason);
            return false;
        };
        if planned.is_some_and(|planned| planned.tuple.remote_ip.0 == address) {
            return true;
        }
        let member = self.view.facts.host_at(address);
        match (member, planned) {
            (None, _) => {
                let reason = format!("it goes to {address}, which is no host of the mesh");
                self.add(Check::TunnelStranger, Severity::Breach, None, reason);
            }
            (Some((at, host)), _) if self.tenant.members.binary_search(&at).is_err() => {
                let reason = format!("it goes to host {}, which does not carry the tenant", host.name());
                self.add(Check::TunnelStranger, Severity::Breach, None, reason);
            }
            (Some((_, host)), Some(planned)) => {
                let reason = format!("it goes to host {}, not to {}", host.name(), planned.peer);
                self.add(Check::TunnelRemote, Severity::Breach, None, reason);
            }
            (Some((_, host)), None) => {
                let reason = format!("the topology has no such tunnel to host {}", host.name());
                self.add(Check::TunnelExtra, Severity::Breach, None, reason);
            }
        }
        false
    }

    fn columns(&mut self) {
        if !self.port.protected {
            let reason = "it is not protected: what comes in by another tunnel leaves by it again, for ever";
            self.add(Check::TunnelProtected, Severity::Breach, None, reason.to_owned());
        }
        let planned = ["key", "local_ip", "remote_ip"];
        let more = self.interface.options.iter().filter(|(name, _)| !planned.contains(&name.as_str()));
        let more: Vec<String> = more.map(|(name, value)| format!("{name}={value}")).collect();
        if !more.is_empty() {
            let reason =
                format!("it has the options {}: its peer may not take what it sends", more.join(" "));
            self.add(Check::TunnelOptions, Severity::Degraded, None, reason);
        }
    }

    fn listed(&mut self, listed: Option<&ListedTunnel>) {
        let Some(tuple) = self.interface.effective_tuple() else { return };
        let Some(ListedTunnel { name: _, kind: _, remote, local: _, in_key, out_key, datapath_port: _ }) =
            listed
        else {
            let reason = "ovs-vswitchd does not have it: another tunnel has its tuple, or it failed";
            self.add(Check::TunnelListed, Severity::Degraded, None, reason.to_owned());
            return;
        };
        let has_remote = match remote {
            ListedRemote::Address(address) => tuple.remote == Some(*address),
            ListedRemote::Flow => tuple.remote.is_none(),
        };
        let low = |key: &ListedKey| match key {
            ListedKey::Exact(key) => Some(*key & u64::from(u32::MAX)),
            ListedKey::Flow | ListedKey::Absent => None,
        };
        let outgoing = self.option("out_key").or(self.option("key")).map(strtoull_base_0);
        let outgoing = outgoing.map_or(Some(0), |key| Some(key & u64::from(u32::MAX)));
        let same_out =
            low(out_key) == outgoing || self.option("out_key").or(self.option("key")) == Some("flow");
        if !has_remote || low(in_key) != tuple.key.map(u64::from) || !same_out {
            let reason =
                format!("ovs-vswitchd has it with remote {remote:?}, keys {in_key:?} and {out_key:?}");
            self.add(Check::TunnelListed, Severity::Breach, None, reason);
        }
    }
}

impl SeenHost {
    /// Keeps a tunnel for the comparison with its far end: that it stands as planned, or how it strays.
    fn note(
        &mut self,
        view: &View<'_>,
        tenant: &Tenant,
        planned: Option<&Tunnel>,
        interface: &InterfaceRow,
        good: bool,
    ) {
        let tenant = view.facts.by_key.get(&tenant.key().get()).copied().unwrap_or_default();
        if let Some(peer) = planned.filter(|_| good).and_then(|it| view.facts.host_at(it.tuple.remote_ip.0)) {
            self.stands(tenant, peer.0);
            return;
        }
        let Some(EffectiveTuple { remote: Some(remote), key, .. }) = interface.effective_tuple() else {
            return;
        };
        let Some((peer, _)) = view.facts.host_at(remote) else { return };
        let outgoing = interface.options.get("out_key").or_else(|| interface.options.get("key"));
        let outgoing = outgoing.filter(|text| *text != "flow").map(|text| strtoull_base_0(text));
        let outgoing = outgoing.and_then(|key| u32::try_from(key & u64::from(u32::MAX)).ok());
        self.strays.push(Stray { tenant, peer, incoming: key, outgoing, interface: interface.name.clone() });
    }
}

/// Tunnels with one tuple, on whatever bridges: ovs-vswitchd sets up only one of them. The ports that were told of.
fn duplicates(view: &View<'_>, found: &mut Found<'_>) -> HashSet<Uuid> {
    let rows = &view.snapshot.rows;
    let datapath = view.facts.topology.datapath().as_str();
    let own = view.host.underlay_ip();
    let mut first: HashMap<EffectiveTuple, (&BridgeRow, &PortRow)> =
        HashMap::with_capacity(rows.interfaces.len());
    let mut alike: HashMap<EffectiveTuple, Vec<(&BridgeRow, &PortRow)>> = HashMap::new();
    for (bridge, port, interface) in rows.placed_interfaces() {
        if bridge.datapath() != datapath {
            continue;
        }
        let Some(tuple) = interface.effective_tuple() else { continue };
        // Without an address of its own it takes what comes to any of ours.
        let tuple = EffectiveTuple { local: tuple.local.or(Some(own)), ..tuple };
        match first.get(&tuple) {
            Some(earlier) => alike.entry(tuple).or_insert_with(|| vec![*earlier]).push((bridge, port)),
            None => {
                first.insert(tuple, (bridge, port));
            }
        }
    }
    let mut told = HashSet::new();
    for mut group in alike.into_values() {
        group.sort_by(|a, b| (&a.1.name, &a.0.name).cmp(&(&b.1.name, &b.0.name)));
        let tenants: Vec<&TenantName> = group
            .iter()
            .filter(|(bridge, _)| bridge.is_owned_by(&view.plan.mesh))
            .filter_map(|(bridge, _)| view.facts.by_bridge.get(bridge.name.as_str()))
            .map(|tenant| tenant.name())
            .collect();
        let [(bridge, port), twins @ ..] = group.as_slice() else { continue };
        // A port on two bridges is another check's; two of somebody else's are somebody else's affair.
        if tenants.is_empty() || twins.iter().all(|(_, twin)| twin.uuid == port.uuid) {
            continue;
        }
        let one_bridge = twins.iter().all(|(other, _)| other.uuid == bridge.uuid);
        let severity = if one_bridge { Severity::Degraded } else { Severity::Breach };
        let named: Vec<String> = twins.iter().map(|(bridge, twin)| on(twin, bridge)).collect();
        let reason = format!("{} has the same tuple: only one gets the packets", named.join(" and "));
        let remedy = "remove all but one, or give the tenant another key";
        found.add(Check::TunnelDuplicate, severity, &tenants, on(port, bridge), reason, remedy);
        told.extend(group.iter().map(|(_, port)| port.uuid));
    }
    told
}
