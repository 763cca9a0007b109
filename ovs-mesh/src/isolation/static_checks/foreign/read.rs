//! Where others' GRE tunnels are read from: Open vSwitch's rows and the kernel's devices.

use std::collections::HashSet;

use uuid::Uuid;

use super::super::places::{HOST, Places};
use super::super::{Check, Device, View, on};
use super::{Foreign, Gets, Key};
use crate::isolation::links::{HostLinks, PeerNetns};
use crate::link::GreDevice;
use crate::snapshot::{BridgeRow, EffectiveTuple, InterfaceRow, Opening, PortRow, TunnelClass};

/// The kernel's devices by which its Open vSwitch datapath sends and takes GRE: what they carry is in Open vSwitch's rows.
const DATAPATH: [&str; 2] = ["gre_sys", "ip6gre_sys"];

/// The kinds of GRE devices: whether their underlay is IPv4, and whether they send Ethernet frames. Those that do not take
/// frames all the same.
const KINDS: [(&str, bool, bool); 4] =
    [("gretap", true, true), ("gre", true, false), ("ip6gretap", false, true), ("ip6gre", false, false)];

/// All of a host's. `told` are the ports of which it has been said already that a tenant's tunnel has their tuple.
pub(super) fn all(view: &View<'_>, told: &HashSet<Uuid>) -> Vec<Foreign> {
    let mut all = interfaces(view, told);
    all.extend(view.places.iter().flat_map(|places| devices(view, places)));
    all
}

/// Whether some of a host's devices are GRE tunnels of which nothing more is known, as in the snapshot of an older ovsmesh.
pub(in super::super) fn is_unread(links: &HostLinks) -> bool {
    let named = links.netns.iter().flat_map(|space| &space.devices);
    let mut all = links.devices.iter().chain(named);
    all.any(|device| device.gre.is_none() && KINDS.iter().any(|(kind, ..)| device.is_kind(kind)))
}

/// Open vSwitch's, on bridges that are no tenant's: what is on a tenant's, or the mesh's own, is another check's.
fn interfaces(view: &View<'_>, told: &HashSet<Uuid>) -> Vec<Foreign> {
    let others = view.snapshot.rows.placed_interfaces().filter(|(bridge, port, _)| {
        !view.is_owned(port) && !view.bridges.iter().any(|(_, _, row)| row.uuid == bridge.uuid)
    });
    let mut placed: Vec<_> = others.collect();
    placed.sort_by(|a, b| (&a.0.name, &a.1.name, &a.2.name).cmp(&(&b.0.name, &b.1.name, &b.2.name)));
    let all = placed.into_iter().filter_map(|(bridge, port, row)| {
        Some(Foreign { is_told: told.contains(&port.uuid), ..interface(view, bridge, port, row)? })
    });
    all.collect()
}

fn interface(view: &View<'_>, bridge: &BridgeRow, port: &PortRow, row: &InterfaceRow) -> Option<Foreign> {
    let EffectiveTuple { class, remote, local, key } = row.effective_tuple()?;
    let is_ipv4 = view.host.underlay_ip().is_ipv4();
    // Where there is no far end at all, ovs-vswitchd opens nothing.
    let is_flow = row.options.get("remote_ip").is_some_and(|remote| remote == "flow");
    if (class == TunnelClass::Ip6Gre && is_ipv4) || (remote.is_none() && !is_flow) {
        return None;
    }
    let gets = match (view.facts.topology.datapath().as_str(), bridge.datapath()) {
        (ours, theirs) if ours == theirs => Gets::Rest,
        // The kernel gets a copy of what the userspace datapath reads from the underlay's device, and answers to it.
        (_, "system") => Gets::All,
        _ => Gets::Nothing,
    };
    Some(Foreign {
        check: Check::TunnelForeign,
        object: on(port, bridge),
        remedy: format!(
            "give it a key that is no tenant's, or `ovs-vsctl del-port {} {}`",
            bridge.name, port.name
        ),
        is_on: row.opening != Opening::Failed,
        local,
        remote,
        incoming: key.map_or(Key::Any, Key::Exact),
        outgoing: row.outgoing_key().map_or(Key::Any, Key::Exact),
        gets,
        is_told: false,
    })
}

/// The kernel's, in every namespace: where its packets are on the underlay is where a device was made, not where it is.
fn devices(view: &View<'_>, places: &Places<'_>) -> Vec<Foreign> {
    let mut all = Vec::new();
    for (at, space) in places.spaces.iter().enumerate() {
        for device in space.devices {
            let Some(gre) = &device.gre else { continue };
            let is_master = |it: &Device| Some(it.index) == device.master && it.is_kind("openvswitch");
            let is_datapath = gre.external
                && DATAPATH.contains(&device.name.as_str())
                && space.devices.iter().any(is_master);
            let underlay = match &device.peer_netns {
                PeerNetns::Same => Some(at),
                PeerNetns::Host => Some(HOST),
                PeerNetns::Named(name) => places.named(name),
                PeerNetns::Unknown => None,
            };
            let device = (!is_datapath).then(|| self::device(view, space.name, device, gre)).flatten();
            all.extend(match underlay {
                // It cannot be told to be elsewhere than on the host's.
                Some(HOST) | None => device,
                Some(there) => device.and_then(|device| elsewhere(view, places, there, device)),
            });
        }
    }
    all
}

/// A device whose packets are on another namespace's underlay. Nobody of the mesh takes what comes from there, unless the
/// host gives it its own address on the way.
fn elsewhere(view: &View<'_>, places: &Places<'_>, space: usize, device: Foreign) -> Option<Foreign> {
    let mut addresses = places.spaces[space].devices.iter().flat_map(|device| &device.addresses);
    // Another host's of a lab: its own report tells.
    let is_host = addresses.any(|own| view.facts.host_at(own.ip()).is_some());
    let is_aimed = device.remote.is_some() && matches!(device.outgoing, Key::Exact(_));
    let moved = Foreign { is_on: false, local: None, incoming: Key::No, gets: Gets::Nothing, ..device };
    (is_aimed && !is_host).then_some(moved)
}

fn device(view: &View<'_>, space: Option<&str>, device: &Device, gre: &GreDevice) -> Option<Foreign> {
    let GreDevice { local, remote, in_key, out_key, external } = gre;
    let (kind, is_ipv4, is_tap) = KINDS.into_iter().find(|(kind, ..)| device.is_kind(kind))?;
    // One of each kind is there from the start, as `gretap0`: down, it is nobody's.
    let is_fallback = *gre == GreDevice::default();
    if is_ipv4 != view.host.underlay_ip().is_ipv4() || (is_fallback && !device.up) {
        return None;
    }
    let exact = |key: &Option<u32>| key.map_or(Key::No, Key::Exact);
    let is_any = *external || is_fallback;
    // Those come after the device of Open vSwitch's datapath, where the kernel's is the mesh's.
    let is_last = is_any || kind == "gre";
    let is_kernel = view.facts.topology.datapath().as_str() == "system";
    let (place, ip) = match space {
        None => (String::new(), "ip".to_owned()),
        Some(name) => (format!(" in {name}"), format!("ip -n {name}")),
    };
    Some(Foreign {
        check: Check::DeviceTunnel,
        object: format!("device {}{place}", device.name),
        remedy: format!("give it a key that is no tenant's, or `{ip} link set {} down`", device.name),
        is_on: device.up,
        local: *local,
        remote: *remote,
        incoming: if is_any { Key::Any } else { exact(in_key) },
        outgoing: match (is_tap, external) {
            (false, _) => Key::No,
            (true, true) => Key::Any,
            (true, false) => exact(out_key),
        },
        gets: if is_last && is_kernel { Gets::Rest } else { Gets::All },
        is_told: false,
    })
}
