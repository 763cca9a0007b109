//! `ovsmesh attach` and `ovsmesh detach`

use ovs_mesh::{Attachment, Decision, attach, detach as take_off};
use serde::Serialize;

use crate::Exit;
use crate::args::{Attach, Detach, Global};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global, options: Attach) -> Result<Exit, Failure> {
    let plan = global.plan()?;
    let switch = global.switch().await?;
    let Attach { device, tenant, ctid } = options;
    let wanted = Attachment { device, tenant, ctid, mac: None };
    let decision = attach(&switch, &plan, &wanted).await?;
    let text = match &decision {
        Decision::Nothing => format!("{} is on its bridge already", wanted.device),
        Decision::Add { bridge } => format!("{} is on {bridge}", wanted.device),
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
        detached: bool,
    }
    let topology = global.topology()?;
    let switch = global.switch().await?;
    let detached = take_off(&switch, topology.name(), &options.device).await?;
    let text = if detached {
        format!("{} is off its bridge", options.device)
    } else {
        format!("{} has no row of this mesh's", options.device)
    };
    output::print(global.format, &text, &Detached { detached })?;
    Ok(Exit::Done)
}
