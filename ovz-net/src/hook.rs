//! Carries out what [`decide`] decides: the thin part of the hook that touches the system.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ovs_mesh::link::{Link, LinkError, Links, LinksOpenError};
use ovs_mesh::{
    AttachError, Attachment, Ctid, HostName, Plan, PlanError, PortName, Switch, SwitchError, SwitchOptions,
    TenantName, Topology, attach_and_announce, attached_for, detach,
};
use tokio::time::{Instant, timeout};

use crate::call::Call;
use crate::conf::{Configuration, Generation};
use crate::decide::{Decision, Devices, Refusal, Site, decide};
use crate::networks;

/// Where a hook works.
#[derive(Debug, Clone)]
pub struct HookOptions<'a> {
    /// The mesh.
    pub topology: &'a Topology,
    /// The host that this is.
    pub host: &'a HostName,
    /// Its switch. `timeout` is the time that all of the hook may take.
    pub switch: SwitchOptions,
}

/// What a hook did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReport {
    /// What was decided, and is done.
    pub decision: Decision,
    /// What does not keep the interface from working, but should be known.
    pub warnings: Vec<String>,
}

/// Why an interface is not where it belongs. Nothing of it is left on the switch, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// No bridge may have it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The topology has no plan for this host.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A configuration is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host's devices cannot be read.
    #[error(transparent)]
    Links(#[from] LinksOpenError),
    /// A device cannot be read or set up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The switch cannot be reached.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Another interface of the container is in another tenant.
    #[error(
        "`{device}` of container {ctid} may not join tenant `{tenant}`: its `{other}` is in tenant `{others}`; take that \
         off with `ovsmesh detach {other}`, or place the container in the topology"
    )]
    TwoTenants {
        /// The container.
        ctid: Ctid,
        /// The interface.
        device: PortName,
        /// The tenant that it would join.
        tenant: TenantName,
        /// The interface that is attached.
        other: PortName,
        /// Its tenant.
        others: String,
    },
    /// The switch does not have it, or does not let it go.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The time is over. What was written may be left for the next sync.
    #[error("not done within {waited:?}")]
    Deadline {
        /// The time given.
        waited: Duration,
    },
}

/// Carries out a call: one interface of one container, when it starts or goes.
///
/// All of it takes at most the switch's `timeout`. A tenth of that is kept for taking back what did not come to work.
pub async fn hook(call: &Call, options: &HookOptions<'_>) -> Result<HookReport, HookError> {
    let waited = options.switch.timeout;
    let until = Instant::now() + waited - waited / 10;
    let switch = SwitchOptions { until: Some(until), ..options.switch.clone() };
    let options = HookOptions { switch, ..options.clone() };
    timeout(waited, carry_out(call, &options)).await.map_err(|_| HookError::Deadline { waited })?
}

async fn carry_out(call: &Call, options: &HookOptions<'_>) -> Result<HookReport, HookError> {
    let HookOptions { topology, host, switch } = options;
    let own = topology.openvz_conf_dir().join(call.configuration_name());
    let own = configuration(&own, call.generation())?;
    let global = configuration(&global_path(topology), call.generation())?;
    let links = match &switch.netns {
        Some(netns) => Links::open_in(netns)?,
        None => Links::open()?,
    };
    let all = links.list().await?;
    let found = all.iter().find(|link| link.name == call.device.as_str());
    let linux = |link: &&Link| link.kind.as_deref() == Some("bridge");
    let mut warnings: Vec<String> =
        own.iter().flat_map(Configuration::warnings).map(ToString::to_string).collect();
    let devices = Devices {
        bridges: all.iter().filter(linux).filter_map(|link| link.name.parse().ok()).collect(),
        networks: networks::read(&networks::directory(topology.openvz_conf_dir()), &mut warnings),
        present: found.is_some(),
    };
    let site = Site { topology, host, global: global.as_ref(), own: own.as_ref(), devices: &devices };
    let decision = decide(call, &site)?;
    let master = found.and_then(|link| link.master);
    let enslaved = all.iter().filter(linux).find(|bridge| Some(bridge.index) == master);
    let enslaved = enslaved.map(|bridge| bridge.name.as_str());
    match &decision {
        Decision::Attach { attachment, bridge: _, by: _ } => {
            let plan = Plan::new(topology, host)?;
            let switch = Switch::connect(switch).await?;
            if topology.container(&call.ctid).is_none() {
                in_no_other_tenant(&switch, &plan, attachment, &all).await?;
            }
            if enslaved.is_some() {
                links.set_master(call.device.as_str(), None).await?;
            }
            if let Err(error) = put(&switch, &plan, attachment, &mut warnings).await {
                // Where it was, it worked.
                if enslaved.is_some() {
                    links.set_master(call.device.as_str(), enslaved).await?;
                }
                return Err(error.into());
            }
        }
        Decision::Enslave { device, bridge, by: _, instead_of } => {
            warnings.extend(instead_of.iter().map(|tenant| {
                format!(
                    "container {} belongs to tenant `{tenant}`, but no interface of it goes there",
                    call.ctid
                )
            }));
            // A row of the mesh's for a device that is elsewhere now. A host that only has Linux bridges need not have
            // Open vSwitch running.
            if let Err(error) = release(topology, switch, device).await {
                warnings.push(format!("not looked for on the switch: {error}"));
            }
            links.set_up(device.as_str()).await?;
            links.set_master(device.as_str(), Some(bridge.as_str())).await?;
        }
        Decision::Detach { device } => {
            if enslaved.is_some() {
                links.set_master(device.as_str(), None).await?;
            }
            match release(topology, switch, device).await {
                // It was on a Linux bridge, on a host that need not have Open vSwitch running.
                Err(error) if enslaved.is_some() => {
                    warnings.push(format!("not looked for on the switch: {error}"));
                }
                released => released?,
            }
        }
        Decision::Routed { .. } => {}
    }
    Ok(HookReport { decision, warnings })
}

/// A container that the topology does not place is in the tenant that its first interface joined, and in no other: two
/// calls before its configuration is saved must not join what must never meet.
async fn in_no_other_tenant(
    switch: &Switch,
    plan: &Plan,
    attachment: &Attachment,
    all: &[Link],
) -> Result<(), HookError> {
    let Some(ctid) = &attachment.ctid else { return Ok(()) };
    let mut others = attached_for(switch, &plan.mesh, ctid).await?;
    // A row of the interface itself, or of one that is gone, says where the container was.
    others.retain(|(other, _)| {
        *other != attachment.device && all.iter().any(|link| link.name == other.as_str())
    });
    match others.into_iter().find(|(_, tenant)| tenant.as_ref() != Some(&attachment.tenant)) {
        None => Ok(()),
        Some((other, tenant)) => Err(HookError::TwoTenants {
            ctid: ctid.clone(),
            device: attachment.device.clone(),
            tenant: attachment.tenant.clone(),
            other,
            others: tenant.map_or_else(|| "unknown".to_owned(), |tenant| tenant.to_string()),
        }),
    }
}

/// Attaches and announces.
pub(crate) async fn put(
    switch: &Switch,
    plan: &Plan,
    attachment: &Attachment,
    warnings: &mut Vec<String>,
) -> Result<(), AttachError> {
    let (_, silent) = attach_and_announce(switch, plan, attachment).await?;
    let device = &attachment.device;
    warnings
        .extend(silent.map(|error| format!("the MAC address behind `{device}` is not announced: {error}")));
    Ok(())
}

async fn release(topology: &Topology, switch: &SwitchOptions, device: &PortName) -> Result<(), AttachError> {
    let switch = Switch::connect(switch).await?;
    detach(&switch, topology.name(), device).await.map(drop)
}

/// `vz.conf` is beside the directory of the containers' configurations.
pub(crate) fn global_path(topology: &Topology) -> PathBuf {
    let conf_dir = topology.openvz_conf_dir();
    conf_dir.parent().unwrap_or(conf_dir).join("vz.conf")
}

/// The configuration in a file; none if there is no file.
pub(crate) fn configuration(path: &Path, generation: Generation) -> Result<Option<Configuration>, HookError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(Configuration::read(path, &text, generation))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HookError::Configuration { path: path.to_owned(), source }),
    }
}
