//! `ovsmesh plan`

use ovs_mesh::Plan;

use crate::Exit;
use crate::args::{Format, Global, Plan as Options};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(global: &Global, options: &Options) -> Result<Exit, Failure> {
    if global.format == Format::Junit {
        return Err(Failure::Format { format: "junit", command: "verify" });
    }
    let topology = global.topology()?;
    if !options.all {
        let plan = Plan::new(&topology, &global.host_name()?)?;
        match global.format {
            Format::OvsVsctl => output::write(format_args!("{}", plan.ovs_vsctl().to_string().trim_end()))?,
            format => output::print(format, &plan, &plan)?,
        }
        return Ok(Exit::Done);
    }
    // Host by host, so that a large mesh needs no more memory than its largest host; as JSON, one line a host.
    for (at, host) in topology.hosts().iter().enumerate() {
        let plan = Plan::new(&topology, host.name())?;
        let gap = if at > 0 && global.format != Format::Json { "\n" } else { "" };
        match global.format {
            Format::Text | Format::Junit => {
                output::write(format_args!("{gap}{}", plan.to_string().trim_end()))?;
            }
            Format::OvsVsctl => {
                output::write(format_args!("{gap}{}", plan.ovs_vsctl().to_string().trim_end()))?;
            }
            Format::Json => {
                let json = serde_json::to_string(&plan)
                    .map_err(|source| Failure::Print { source: source.into() })?;
                output::write(format_args!("{json}"))?;
            }
        }
    }
    Ok(Exit::Done)
}
