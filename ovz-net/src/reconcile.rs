//! Puts on their bridges the containers that no hook has: started while Open vSwitch was down, or before the mesh was.
//!
//! A container runs if its host-side device is there; whose device it is, its configuration says, or OpenVZ's own way of
//! naming devices. What the topology and the configurations say of it is decided as for a call of the hook.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ovs_mesh::link::{Link, Links};
use ovs_mesh::{
    AttachError, Attachment, BridgeName, Ctid, HostName, Plan, PortName, Switch, SwitchOptions, Topology,
};

use serde::Serialize;

use crate::call::Call;
use crate::conf::{Configuration, Generation};
use crate::decide::{Decision, Devices, Site, decide};
use crate::hook::{HookError, HookOptions, configuration, global_path, put};
use crate::networks;

/// A container's interface that belongs on a bridge of the mesh's and has no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unattached {
    /// What is to be attached.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// The bridge.
    pub bridge: BridgeName,
}

impl fmt::Display for Unattached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attachment { device, tenant, ctid, mac: _, iface_id: _ } = &self.attachment;
        write!(f, "{} {device}: tenant {tenant}", self.bridge)?;
        ctid.iter().try_for_each(|ctid| write!(f, ", CTID {ctid}"))
    }
}

/// What was found, and done.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The interfaces that are attached now and were not before.
    pub attached: Vec<Unattached>,
    /// The interfaces that could not be attached, and why.
    pub failed: Vec<String>,
    /// Those that may not be, and why, and what else should be known.
    pub problems: Vec<String>,
}

/// The containers' interfaces on this host that belong on a bridge of the mesh's and have no row; and, in words, those
/// that may not have one. Changes nothing.
pub async fn unattached(
    options: &HookOptions<'_>,
    switch: &Switch,
) -> Result<(Vec<Unattached>, Vec<String>), HookError> {
    let HookOptions { topology, host, switch: SwitchOptions { netns, .. } } = options;
    let taken = switch.device_interfaces().await?;
    let links = match netns {
        Some(netns) => Links::open_in(netns)?,
        None => Links::open()?,
    };
    let all = links.list().await?;
    let free = free_devices(&taken, &all);
    if free.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let global = configuration(&global_path(topology), Generation::Vzctl)?;
    let linux = all.iter().filter(|link| link.kind.as_deref() == Some("bridge"));
    let mut problems = Vec::new();
    let devices = Devices {
        bridges: linux.filter_map(|link| link.name.parse().ok()).collect(),
        networks: networks::read(&networks::directory(topology.openvz_conf_dir()), &mut problems),
        present: true,
    };
    let mut found = Vec::new();
    for (ctid, own) in &containers(topology, host, &mut problems) {
        let site = Site { topology, host, global: global.as_ref(), own: own.as_ref(), devices: &devices };
        for device in owned_devices(ctid, own.as_ref(), global.as_ref()).filter(|name| free.contains(name)) {
            match decide(&Call::init(ctid.clone(), device.clone()), &site) {
                Ok(Decision::Attach { attachment, bridge, by: _ }) => {
                    found.push(Unattached { attachment, bridge });
                }
                Ok(_) => {}
                Err(refusal) => problems.push(format!("`{device}` is on no bridge: {refusal}")),
            }
        }
    }
    Ok((found, problems))
}

/// Attaches what [`unattached`] finds.
pub async fn reconcile(
    options: &HookOptions<'_>,
    switch: &Switch,
    plan: &Plan,
) -> Result<Reconciled, HookError> {
    let (found, problems) = unattached(options, switch).await?;
    let mut done = Reconciled { problems, ..Reconciled::default() };
    for unattached in found {
        match put(switch, plan, &unattached.attachment, &mut done.problems).await {
            Ok(()) => done.attached.push(unattached),
            // It went while this was at work.
            Err(AttachError::NoDevice { .. }) => {}
            Err(error) => done.failed.push(error.to_string()),
        }
    }
    Ok(done)
}

/// The veths that are on no bridge, neither the switch's nor a Linux one.
fn free_devices(taken: &BTreeSet<String>, all: &[Link]) -> BTreeSet<PortName> {
    let free = all.iter().filter(|link| link.is_veth() && link.master.is_none());
    free.filter(|link| !taken.contains(&link.name)).filter_map(|link| link.name.parse().ok()).collect()
}

/// The containers that have a configuration here, and those that the topology places here without one.
fn containers(
    topology: &Topology,
    host: &HostName,
    problems: &mut Vec<String>,
) -> Vec<(Ctid, Option<Configuration>)> {
    let mut containers = Vec::new();
    for path in files(topology.openvz_conf_dir(), problems) {
        let Some(ctid) = ctid_of(&path) else { continue };
        match std::fs::read(&path) {
            Ok(text) => {
                let generation = Generation::of(&ctid, &text);
                containers.push((ctid, Some(Configuration::read(&path, &text, generation))));
            }
            Err(error) => problems.push(format!("cannot read {}: {error}", path.display())),
        }
    }
    let known: BTreeSet<Ctid> = containers.iter().map(|(ctid, _)| ctid.clone()).collect();
    let placed = topology.tenants().iter().flat_map(ovs_mesh::Tenant::containers);
    let here = placed.filter(|container| container.host() == host && !known.contains(container.ctid()));
    containers.extend(here.map(|container| (container.ctid().clone(), None)));
    containers
}

/// A directory's files; a host that has none of OpenVZ has no such directory.
fn files(directory: &Path, problems: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(format!("cannot read {}: {error}", directory.display()));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// `<CTID>.conf`; 0 is the host itself, and `ve-….conf-sample` no container's.
fn ctid_of(path: &Path) -> Option<Ctid> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".conf")?.parse().ok()
}

/// The host-side devices of a container, by its configuration, or of its first interface, by vzctl's own naming.
fn owned_devices(
    ctid: &Ctid,
    own: Option<&Configuration>,
    global: Option<&Configuration>,
) -> impl Iterator<Item = PortName> {
    let conf = Configuration::in_force(own, global);
    let named: Vec<String> =
        conf.into_iter().flat_map(|conf| conf.devices(ctid)).map(|(name, _)| name).collect();
    let named = if named.is_empty() { vec![format!("veth{ctid}.0")] } else { named };
    named.into_iter().filter_map(|name| name.parse().ok())
}
