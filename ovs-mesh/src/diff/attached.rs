//! What becomes of attached interfaces: containers' veths, and whatever else was put on a tenant's bridge.
//!
//! A port whose device was made anew, or that is on the wrong bridge, must be let go of by ovs-vswitchd before it is given
//! back, or it passes no packets. Only its own row knows of it, so the row stays meanwhile: its interface gets a type that
//! no Open vSwitch has ([`RELEASED`]), and its own type back in the next step, on the bridge where it belongs.

use super::{Change, Differ, HostDevice, owned_ids};
use crate::plan::{Bridge, IFINDEX_ID};
use crate::snapshot::{BridgeRow, InterfaceRow, PortRow, RELEASED};

/// What the host says of a port's device.
enum Device<'a> {
    /// It cannot be seen from here.
    Unknown,
    /// There is none of that name.
    Gone,
    /// It is there.
    Here(&'a HostDevice),
}

impl Differ<'_> {
    /// A port without a device or a tenant goes; one that is not with its device or its tenant is put there.
    pub(super) fn attached(&mut self, on: &BridgeRow, port: &PortRow) {
        let placed = self.plan.placement(port.ctid());
        let tenant = placed.map_or_else(|| port.tenant().unwrap_or("nobody"), |tenant| tenant.as_str());
        let home = self.plan.bridges.iter().find(|bridge| bridge.tenant.as_str() == tenant);
        let device = match &self.devices.devices {
            None => Device::Unknown,
            Some(devices) => devices.get(&port.name).map_or(Device::Gone, Device::Here),
        };
        let Some(interface) = self.snapshot.only_interface(port) else {
            return self.remove(&on.name, port, "an attached interface's port has exactly one interface");
        };
        let (home, device) = match (home, device) {
            (_, Device::Gone) => return self.remove(&on.name, port, "its device is gone"),
            (_, Device::Here(HostDevice { linux_bridge: Some(other), .. })) => {
                return self.remove(&on.name, port, format!("its device is on the Linux bridge {other}"));
            }
            (None, _) => {
                let reason = format!("the topology has no tenant {tenant} on this host");
                return self.remove(&on.name, port, reason);
            }
            (Some(home), Device::Here(device)) => (home, Some(device)),
            (Some(home), Device::Unknown) => (home, None),
        };
        self.device(home, port, device);
        match device {
            Some(device) if interface.kind == RELEASED => self.take(home, on, port, interface, device.index),
            _ => match misfit(home, on, port, interface, device.map(|device| device.index)) {
                Some(reason) => self.push(Change::ReleasePort {
                    bridge: on.name.clone(),
                    port: port.name.clone(),
                    row: port.uuid,
                    interface: interface.uuid,
                    reason,
                }),
                None => self.port_columns(home, port, &owned_ids(self.plan, &home.tenant), false),
            },
        }
    }

    /// The device itself: up, with its tenant's MTU.
    fn device(&mut self, home: &Bridge, port: &PortRow, device: Option<&HostDevice>) {
        let Some(HostDevice { index: _, mtu, up, linux_bridge: _ }) = device else { return };
        let mut problems = Vec::new();
        if *mtu != u32::from(home.mtu) {
            problems.push(format!("MTU {mtu} → {}", home.mtu));
        }
        if !up {
            problems.push("down → up".to_owned());
        }
        let Ok(name) = port.name.parse() else { return };
        if !problems.is_empty() {
            self.push(Change::FixDevice {
                bridge: home.name.clone(),
                device: name,
                mtu: home.mtu,
                datapath: home.datapath,
                problems,
            });
        }
    }

    fn take(&mut self, home: &Bridge, on: &BridgeRow, port: &PortRow, interface: &InterfaceRow, index: u32) {
        let mut ids = owned_ids(self.plan, &home.tenant);
        ids.insert(IFINDEX_ID.to_owned(), index.to_string());
        self.push(Change::TakePort {
            from: on.name.clone(),
            bridge: home.name.clone(),
            tenant: home.tenant.clone(),
            port: port.name.clone(),
            row: port.uuid,
            interface: interface.uuid,
            ids,
        });
    }
}

/// Why ovs-vswitchd has to let go of a port, if it has to.
fn misfit(
    home: &Bridge,
    on: &BridgeRow,
    port: &PortRow,
    interface: &InterfaceRow,
    index: Option<u32>,
) -> Option<String> {
    if home.name.as_str() != on.name {
        return Some(format!("it belongs on {}, to tenant {}", home.name, home.tenant));
    }
    let index = index?;
    if port.ifindex().is_some_and(|known| known != index) {
        return Some("its device was made anew".to_owned());
    }
    // strerror(3) of ENODEV: ovs-vswitchd does not look again by itself.
    let absent = interface.error.as_deref().is_some_and(|error| error.contains("No such device"));
    absent.then(|| "its device came back".to_owned())
}
