//! The devices of a host by where they are.

use std::collections::HashMap;

use super::{Device, HostLinks};
use crate::isolation::links::{Forwarding, PeerNetns};

/// The host's own namespace in [`Places::spaces`].
pub(super) const HOST: usize = 0;

/// A namespace.
#[derive(Debug)]
pub(super) struct Space<'a> {
    /// None is the host's own.
    pub(super) name: Option<&'a str>,
    pub(super) devices: &'a [Device],
    pub(super) forwarding: Forwarding,
}

#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) spaces: Vec<Space<'a>>,
    by_name: HashMap<&'a str, usize>,
    at: HashMap<(usize, u32), &'a Device>,
}

impl<'a> Places<'a> {
    pub(super) fn new(links: &'a HostLinks) -> Self {
        let host = Space { name: None, devices: &links.devices, forwarding: links.forwarding };
        let named = links.netns.iter().map(|space| Space {
            name: Some(&space.name),
            devices: &space.devices,
            forwarding: space.forwarding,
        });
        let spaces: Vec<Space<'a>> = std::iter::once(host).chain(named).collect();
        let by_name = spaces.iter().enumerate().filter_map(|(at, space)| Some((space.name?, at)));
        let by_name = by_name.collect();
        let devices = spaces.iter().enumerate();
        let devices =
            devices.flat_map(|(at, space)| space.devices.iter().map(move |it| ((at, it.index), it)));
        let at = devices.collect();
        Self { spaces, by_name, at }
    }

    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The device that another one names: the other end of a veth, or what it stands on.
    pub(super) fn peer(&self, space: usize, device: &Device) -> Option<(usize, &'a Device)> {
        let index = device.peer_index.filter(|index| *index != 0)?;
        let there = match &device.peer_netns {
            PeerNetns::Same => space,
            PeerNetns::Host => HOST,
            PeerNetns::Named(name) => self.named(name)?,
            PeerNetns::Unknown => return None,
        };
        Some((there, *self.at.get(&(there, index))?))
    }

    /// The other end of a veth, if both say so.
    pub(super) fn far_end(&self, space: usize, device: &Device) -> Option<(usize, &'a Device)> {
        let (there, far) = self.peer(space, device)?;
        let both = device.is_kind("veth") && far.is_kind("veth") && far.peer_index == Some(device.index);
        both.then_some((there, far))
    }
}
