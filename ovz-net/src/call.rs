//! What OpenVZ asks of its hook: arguments and environment, as a [`Call`].

use std::ffi::{OsStr, OsString};

use ovs_mesh::link::Mac;
use ovs_mesh::{BridgeName, Ctid, NameError, PortName};

use crate::conf::{self, Generation, NetifKind, Vport};

/// The calls that are understood, for messages.
const ACCEPTED: &str = "accepted are `init veth DEV [BRIDGE]`, `addif DEV NETWORK` and `delif DEV`";

/// One call of the hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The container, from `VEID`.
    pub ctid: Ctid,
    /// The host-side device.
    pub device: PortName,
    /// What is to become of it.
    pub request: Request,
    /// What else the environment tells.
    pub environment: Environment,
    /// The id in the letters that OpenVZ names its files by.
    veid: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `init veth DEV [BRIDGE]`: vzctl made the device. Plain vzctl leaves the bridge to the configuration; Proxmox's
    /// names it.
    Init {
        /// The bridge, where the call names one.
        bridge: Option<BridgeName>,
    },
    /// `addif DEV NETWORK`: libvzctl wants the device on a network.
    AddIf {
        /// The network; `vznetcfg` hands over a name with spaces word by word, which are joined again with single
        /// spaces.
        network: String,
    },
    /// `delif DEV`: libvzctl wants the device off its network.
    DelIf,
}

/// What libvzctl says in the environment; vzctl says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `NETWORK_TYPE`: `bridge` says that the network is the name of a bridge.
    pub network_type: Option<NetifKind>,
    /// `VPORT_TYPE`.
    pub vport: Option<Vport>,
    /// `MAC`: the Ethernet address in the container.
    pub mac: Option<Mac>,
    /// `IFACEID`: the `iface-id` that the port should have.
    pub iface_id: Option<String>,
}

/// Why a call is not understood; each says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There are no arguments.
    #[error("the call has no arguments; {ACCEPTED}")]
    Empty,
    /// The first argument is no action.
    #[error("`{}` is not an action; {ACCEPTED}", action.escape_debug())]
    Action {
        /// The argument.
        action: String,
    },
    /// `init` of something that is no veth.
    #[error("`init {}` is not known; {ACCEPTED}", kind.escape_debug())]
    Kind {
        /// The argument.
        kind: String,
    },
    /// An argument is missing.
    #[error("`{action}` has no {what}; {ACCEPTED}")]
    Missing {
        /// The action.
        action: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// There is one argument too many.
    #[error("`{}` is one argument too many for `{action}`; {ACCEPTED}", argument.escape_debug())]
    TooMany {
        /// The action.
        action: &'static str,
        /// The first that is too many.
        argument: String,
    },
    /// An argument or a variable is not UTF-8, and so is no name.
    #[error("{what} is not UTF-8: `{text}`; accepted are letters, digits and punctuation")]
    NotUtf8 {
        /// Which.
        what: &'static str,
        /// The text, with replacement characters.
        text: String,
    },
    /// The device's name cannot be a port's.
    #[error("DEV cannot be a port of a bridge")]
    Device(#[source] NameError),
    /// The bridge's name cannot be a bridge's.
    #[error("BRIDGE cannot be a bridge")]
    Bridge(#[source] NameError),
    /// The container is not known.
    #[error("VEID is not set; OpenVZ sets it to the container's id: by hand, run it as `VEID=101 …`")]
    NoVeid,
    /// `VEID` is no container id.
    #[error("VEID is not usable")]
    Veid(#[source] NameError),
    /// A variable has a value that is not known.
    #[error("{variable} is `{}`; accepted is {accepted}", value.escape_debug())]
    Variable {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
}

impl Call {
    /// Reads a call: the arguments after the program's name, and the environment.
    ///
    /// ```
    /// use ovz_net::{Call, Request};
    ///
    /// let call = Call::parse(["init", "veth", "veth101.0"], [("VEID", "101")])?;
    /// assert_eq!((call.ctid.as_str(), call.device.as_str()), ("101", "veth101.0"));
    /// assert_eq!(call.request, Request::Init { bridge: None });
    ///
    /// let unknown = Call::parse(["exec"], [("VEID", "101")]).unwrap_err();
    /// assert!(unknown.to_string().contains("accepted are `init veth DEV [BRIDGE]`"));
    /// # Ok::<(), ovz_net::CallError>(())
    /// ```
    pub fn parse<A, K, V>(
        arguments: impl IntoIterator<Item = A>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, CallError>
    where
        A: Into<OsString>,
        K: AsRef<OsStr>,
        V: Into<OsString>,
    {
        let (device, request) = arguments_of(arguments.into_iter().map(Into::into))?;
        let mut veid = None;
        let mut found = Environment::default();
        for (variable, value) in environment {
            let value = || value.into();
            match variable.as_ref().to_str() {
                Some("VEID") => veid = Some(text("VEID", value())?),
                Some("NETWORK_TYPE") => {
                    let accepted = "`bridge` or `routed`";
                    found.network_type =
                        set("NETWORK_TYPE", value(), accepted, |v| conf::kind(v.as_bytes()))?;
                }
                Some("VPORT_TYPE") => {
                    found.vport = set("VPORT_TYPE", value(), "`ovs`", |v| conf::vport(v.as_bytes()))?;
                }
                Some("MAC") => {
                    let accepted = "a MAC address, as 00:18:51:ab:cd:ef";
                    found.mac = set("MAC", value(), accepted, |v| v.parse().ok())?;
                }
                Some("IFACEID") => {
                    found.iface_id = Some(text("IFACEID", value())?).filter(|id| !id.is_empty());
                }
                _ => {}
            }
        }
        let veid = veid.filter(|veid| !veid.is_empty()).ok_or(CallError::NoVeid)?;
        let ctid = veid.parse().map_err(CallError::Veid)?;
        Ok(Self { ctid, device, request, environment: found, veid })
    }

    /// The call that vzctl makes when it starts a container: for what a missed one left undone.
    pub fn init(ctid: Ctid, device: PortName) -> Self {
        let veid = ctid.to_string();
        let request = Request::Init { bridge: None };
        Self { ctid, device, request, environment: Environment::default(), veid }
    }

    /// The program that calls so, and as which the configurations are to be read.
    pub fn generation(&self) -> Generation {
        match self.request {
            Request::Init { .. } => Generation::Vzctl,
            Request::AddIf { .. } | Request::DelIf => Generation::Libvzctl,
        }
    }

    /// The name of the container's configuration in OpenVZ's directory: `<VEID>.conf`.
    ///
    /// It is never a path: a `VEID` that was read has digits, letters and hyphens alone.
    pub fn configuration_name(&self) -> String {
        let plain = self.veid.trim_start_matches('{').trim_end_matches('}');
        // libvzctl keeps a UUID's letters as they were given.
        let name = if plain.contains('-') { plain } else { self.ctid.as_str() };
        format!("{name}.conf")
    }
}

fn text(what: &'static str, value: OsString) -> Result<String, CallError> {
    value
        .into_string()
        .map_err(|value| CallError::NotUtf8 { what, text: value.to_string_lossy().into_owned() })
}

/// A variable's value; an empty one is none.
fn set<T>(
    variable: &'static str,
    value: OsString,
    accepted: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, CallError> {
    let value = text(variable, value)?;
    if value.is_empty() {
        return Ok(None);
    }
    read(&value).map(Some).ok_or(CallError::Variable { variable, value, accepted })
}

fn arguments_of(mut arguments: impl Iterator<Item = OsString>) -> Result<(PortName, Request), CallError> {
    let action = text("the action", arguments.next().ok_or(CallError::Empty)?)?;
    match action.as_str() {
        "init" => {
            let kind =
                arguments.next().ok_or(CallError::Missing { action: "init", what: "kind of device" })?;
            let kind = text("the kind of device", kind)?;
            if kind != "veth" {
                return Err(CallError::Kind { kind });
            }
            let device = device("init veth", arguments.next())?;
            // A Proxmox interface without a bridge has an empty one.
            let bridge = arguments.next().filter(|bridge| !bridge.is_empty());
            let bridge = bridge.map(|bridge| text("BRIDGE", bridge)?.parse().map_err(CallError::Bridge));
            let bridge = bridge.transpose()?;
            no_more("init veth", arguments)?;
            Ok((device, Request::Init { bridge }))
        }
        "addif" => {
            let device = device("addif", arguments.next())?;
            let words = arguments.filter(|word| !word.is_empty()).map(|word| text("NETWORK", word));
            let network = words.collect::<Result<Vec<_>, _>>()?.join(" ");
            if network.trim().is_empty() {
                return Err(CallError::Missing { action: "addif", what: "NETWORK" });
            }
            Ok((device, Request::AddIf { network }))
        }
        "delif" => {
            let device = device("delif", arguments.next())?;
            no_more("delif", arguments)?;
            Ok((device, Request::DelIf))
        }
        _ => Err(CallError::Action { action }),
    }
}

fn device(action: &'static str, argument: Option<OsString>) -> Result<PortName, CallError> {
    let argument = argument.filter(|device| !device.is_empty());
    let argument = argument.ok_or(CallError::Missing { action, what: "DEV" })?;
    text("DEV", argument)?.parse().map_err(CallError::Device)
}

/// libvzctl hands `delif` an empty network along.
fn no_more(action: &'static str, mut rest: impl Iterator<Item = OsString>) -> Result<(), CallError> {
    match rest.find(|argument| !argument.is_empty()) {
        None => Ok(()),
        Some(argument) => {
            let argument = argument.to_string_lossy().into_owned();
            Err(CallError::TooMany { action, argument })
        }
    }
}

#[cfg(test)]
mod tests;
