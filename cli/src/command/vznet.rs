//! `ovsmesh vznet`: OpenVZ's network hook.

use std::ffi::OsString;

use ovz_net::{Call, Decision, HookOptions, HookReport, hook};
use syslog::Facility;

use super::vznet_install;
use crate::args::{Global, Vznet, VznetCommand};
use crate::failure::Failure;
use crate::{Exit, output};

pub(crate) async fn run(global: &Global, options: Vznet) -> Result<Exit, Failure> {
    match options.command {
        VznetCommand::Install(options) => vznet_install::install(global, options),
        VznetCommand::Uninstall(options) => vznet_install::uninstall(global, &options),
        VznetCommand::Call(words) => {
            let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
            match call(global, words).await {
                Ok(text) => {
                    log(&format!("{shown}: {text}"), false);
                    output::write(format_args!("{text}"))?;
                    Ok(Exit::Done)
                }
                Err(failure) => {
                    // OpenVZ shows what is said on stderr to who started the container, and to nobody later.
                    log(&format!("{shown}: {}", failure.text().replace('\n', " ")), true);
                    Err(failure)
                }
            }
        }
    }
}

async fn call(global: &Global, words: Vec<OsString>) -> Result<String, Failure> {
    let call = Call::parse(words, std::env::vars_os())?;
    let topology = global.topology()?;
    let host = global.host_name()?;
    let options = HookOptions { topology: &topology, host: &host, switch: global.switch_options() };
    let HookReport { decision, warnings } = hook(&call, &options).await?;
    for warning in warnings {
        log(&warning, false);
        anstream::eprintln!("warning: {warning}");
    }
    let ctid = &call.ctid;
    Ok(match decision {
        Decision::Attach { attachment, bridge, by } => {
            format!("{} of CT {ctid} is on {bridge}, tenant {} ({by})", attachment.device, attachment.tenant)
        }
        Decision::Enslave { device, bridge, by, instead_of: _ } => {
            format!("{device} of CT {ctid} is on the Linux bridge {bridge} ({by})")
        }
        Decision::Detach { device } => format!("{device} of CT {ctid} is on no bridge"),
        Decision::Routed { device } => format!("{device} of CT {ctid} is routed, on no bridge"),
    })
}

/// To syslog(3), where there is one; nothing depends on it.
fn log(text: &str, is_error: bool) {
    let formatter = syslog::Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "ovsmesh".to_owned(),
        pid: std::process::id(),
    };
    if let Ok(mut logger) = syslog::unix(formatter) {
        let _ = if is_error { logger.err(text) } else { logger.info(text) };
    }
}
