//! What ovs-vswitchd says it would do with a packet (`ofproto/trace`, ovs-vswitchd(8)), read and judged.
//!
//! A trace shows what the database does not: flows that somebody put there, addresses that were learned, mirrors as they
//! are carried out. It changes nothing and sends nothing.

mod actions;
mod cases;
mod ends;
mod flows;
mod judge;
mod learned;
mod others;
mod ports;

use std::net::IpAddr;
use std::str::FromStr;

pub use actions::{Action, DpPort, Push, TunnelKeySet, parse_actions};
pub use cases::{Expected, KnownMac, Packet, TraceCase};
pub use ends::End;
pub use flows::FlowTable;
pub use judge::Tracing;
pub use learned::{LearnedMac, parse_learned};
pub use ports::{DatapathPorts, DatapathPortsError, ListedPort};

/// The reply of `ofproto/trace`, of OVS 2.5 to 3.x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The packet's way through the datapath: once, and once more for each recirculation that was followed.
    pub rounds: Vec<Round>,
    /// Why ovs-vswitchd gave up, if it did; the packet is dropped then.
    pub failed: Vec<String>,
    /// What went wrong on the way, in its own words.
    pub problems: Vec<String>,
    /// Tunnels' far ends that ovs-vswitchd must first ask for on the underlay: the first packet to them is lost, also in a
    /// healthy mesh.
    pub unresolved: Vec<IpAddr>,
}

/// One way through the datapath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The recirculation that it goes on from; none for the packet as it came.
    pub recirculated: Option<u32>,
    /// What is done to it.
    pub actions: Vec<Action>,
}

/// A reply is no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ovs-vswitchd's trace names no datapath actions: {}", text.lines().next().unwrap_or("it is empty"))]
pub struct TraceError {
    /// The reply.
    pub text: String,
}

impl FromStr for Trace {
    type Err = TraceError;

    fn from_str(reply: &str) -> Result<Self, TraceError> {
        let mut trace =
            Self { rounds: Vec::new(), failed: Vec::new(), problems: Vec::new(), unresolved: Vec::new() };
        let mut recirculated = None;
        for line in reply.lines() {
            if let Some(text) = line.strip_prefix("Datapath actions: ") {
                trace.rounds.push(Round { recirculated, actions: parse_actions(text) });
            } else if let Some(id) = line.strip_prefix("recirc(").and_then(|rest| rest.split(')').next()) {
                recirculated = actions::number(id);
            } else if let Some(why) = line.strip_prefix("Translation failed (") {
                trace.failed.push(why.split(')').next().unwrap_or(why).to_owned());
            } else if let Some(address) = line.split("neighbor cache miss for ").nth(1) {
                let address = address.split([' ', ',']).next().and_then(|text| text.parse::<IpAddr>().ok());
                trace.unresolved.extend(address.map(|address| address.to_canonical()));
            } else if let Some(problem) = line.trim_start().strip_prefix(">>") {
                let problem = problem.trim_matches(['>', '<', ' ']);
                // That is what `protected` is for.
                if !problem.contains("between protected ports") {
                    trace.problems.push(problem.to_owned());
                }
            }
        }
        if trace.rounds.is_empty() { Err(TraceError { text: reply.to_owned() }) } else { Ok(trace) }
    }
}

#[cfg(test)]
mod tests;
