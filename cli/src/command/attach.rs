//! `ovsmesh attach` and `ovsmesh detach`

use ovs_mesh::{Attachment, Decision, PortName, attach_and_announce, attached_for, detach as take_off};
use serde::Serialize;

use crate::Exit;
use crate::args::{Attach, Detach, Global};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global, options: Attach) -> Result<Exit, Failure> {
    let plan = global.plan()?;
    let switch = global.switch().await?;
    let Attach { device, tenant, ctid, mac } = options;
    let wanted = Attachment { device, tenant, ctid, mac, iface_id: None };
    let (decision, silent) = attach_and_announce(&switch, &plan, &wanted).await?;
    if let Some(error) = silent {
        anstream::eprintln!("warning: the MAC address is not announced: {error}");
    }
    let text = match &decision {
        Decision::Nothing => format!("{} is on its bridge already", wanted.device),
        Decision::Add { bridge } | Decision::Await { bridge } => format!("{} is on {bridge}", wanted.device),
        Decision::Replace { bridge, reason } => {
            format!("{} is on {bridge}; its old row was replaced: {reason}", wanted.device)
        }
    };
    output::print(global.format, &text, &decision)?;
    Ok(Exit::Done)
}

pub(crate) async fn detach(global: &Global, options: Detach) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Detached {
        detached: Vec<PortName>,
    }
    let topology = global.topology()?;
    let switch = global.switch().await?;
    let Detach { device, ctid } = options;
    let whose = device.as_ref().map(ToString::to_string);
    let whose = whose.or(ctid.as_ref().map(|ctid| format!("container {ctid}"))).unwrap_or_default();
    let devices: Vec<PortName> = match ctid {
        Some(ctid) => {
            let found = attached_for(&switch, topology.name(), &ctid).await?;
            found.into_iter().map(|(device, _)| device).collect()
        }
        None => device.into_iter().collect(),
    };
    let mut detached = Vec::new();
    for device in devices {
        if take_off(&switch, topology.name(), &device).await? {
            detached.push(device);
        }
    }
    let text = if detached.is_empty() {
        format!("{whose} has no row of this mesh's")
    } else {
        let names: Vec<&str> = detached.iter().map(PortName::as_str).collect();
        format!("off the bridge: {}", names.join(", "))
    };
    output::print(global.format, &text, &Detached { detached })?;
    Ok(Exit::Done)
}
