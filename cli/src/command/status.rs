//! `ovsmesh status`

use std::fmt;

use ovs_mesh::{Object, ObjectKind, State, Status, status};
use ovz_net::{Unattached, unattached};

use crate::Exit;
use crate::args::Global;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let goal = global.goal()?;
    let switch = global.switch().await?;
    let mut found = status(&switch, &goal.plan).await?;
    let (missing, problems) = unattached(&goal.hook(global), &switch).await?;
    for unattached in missing {
        let after = found.objects.iter().rposition(|object| object.bridge == unattached.bridge.as_str());
        found.objects.insert(after.map_or(found.objects.len(), |at| at + 1), missing_container(&unattached));
    }
    found.warnings.extend(problems);
    output::print(global.format, &StatusText(&found), &found)?;
    Ok(if found.has_drift() {
        Exit::Drift
    } else if found.has_failures() {
        Exit::NotApplied
    } else {
        Exit::Done
    })
}

/// A container that runs and that no hook has attached.
fn missing_container(unattached: &Unattached) -> Object {
    let Unattached { attachment, bridge } = unattached;
    Object {
        kind: ObjectKind::Container,
        tenant: attachment.tenant.to_string(),
        bridge: bridge.to_string(),
        name: attachment.device.to_string(),
        detail: attachment.ctid.as_ref().map(|ctid| format!("CTID {ctid}")).unwrap_or_default(),
        state: State::Missing,
        traffic: None,
    }
}

pub(crate) struct StatusText<'a>(pub(crate) &'a Status);

impl fmt::Display for StatusText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { mesh, host, objects, conflicts, kept, warnings } = self.0;
        writeln!(f, "mesh {mesh}, host {host}")?;
        let mut bridge = "";
        for object in objects {
            if object.bridge != bridge {
                bridge = &object.bridge;
                writeln!(f, "\nbridge {bridge}: tenant {}", object.tenant)?;
            }
            let traffic = match object.traffic {
                Some(traffic) if traffic.rx_packets > 0 => {
                    format!(
                        ", carrying traffic (rx {}, tx {} packets)",
                        traffic.rx_packets, traffic.tx_packets
                    )
                }
                Some(traffic) if traffic.tx_packets > 0 => {
                    format!(", nothing received (tx {} packets)", traffic.tx_packets)
                }
                Some(_) => ", no traffic yet".to_owned(),
                None => String::new(),
            };
            let detail =
                if object.detail.is_empty() { String::new() } else { format!(" {},", object.detail) };
            writeln!(
                f,
                "  {:9} {:15} {detail} {}{traffic}",
                object.kind.as_str(),
                object.name,
                object.state
            )?;
        }
        for conflict in conflicts {
            writeln!(f, "conflict: {conflict}")?;
        }
        for kept in kept {
            writeln!(
                f,
                "kept: bridge {} has ports of others: {}",
                kept.bridge,
                kept.foreign_ports.join(", ")
            )?;
        }
        for warning in warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
