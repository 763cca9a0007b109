//! `ovsmesh status`

use std::fmt;

use ovs_mesh::{Status, status};

use crate::Exit;
use crate::args::Global;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let plan = global.plan()?;
    let switch = global.switch().await?;
    let found = status(&switch, &plan).await?;
    output::print(global.format, &StatusText(&found), &found)?;
    Ok(if found.has_drift() {
        Exit::Drift
    } else if found.has_failures() {
        Exit::NotApplied
    } else {
        Exit::Done
    })
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
