//! `ovsmesh vznet`: OpenVZ's network hook.

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;

use ovz_net::{Call, Decision, HookOptions, HookReport, hook};

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
                    // It is done, whether or not somebody can be told.
                    if let Err(failure) = output::write(format_args!("{text}")) {
                        log(&failure.text(), true);
                    }
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

/// To syslog(3), where there is one; nothing depends on it, and nothing waits for it: a log daemon that does not read must
/// not hold up a container.
fn log(text: &str, is_error: bool) {
    // RFC 3164, facility daemon, severity error or informational; the log daemon adds the time.
    let priority = if is_error { 3 << 3 | 3 } else { 3 << 3 | 6 };
    let message = format!("<{priority}>ovsmesh[{}]: {text}", std::process::id());
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(message.as_bytes(), "/dev/log");
    }
}
