//! The reply of `dpif/show` (ovs-vswitchd(8)): which port of which bridge is which number in the datapath.

use std::collections::HashMap;

use super::actions::DpPort;

/// A port as ovs-vswitchd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPort {
    /// The datapath, whose numbers are its own: `system@ovs-system`, `netdev@ovs-netdev`.
    pub datapath: String,
    /// The bridge.
    pub bridge: String,
    /// The Interface's name.
    pub name: String,
    /// Its number in `OpenFlow`, on its bridge.
    pub ofport: u32,
    /// Its number in the datapath, which all tunnels of a kind share; patch ports have none.
    pub number: Option<DpPort>,
    /// The Interface's type; `system` for a device, `tap` or `internal` for a bridge's own.
    pub kind: String,
}

impl ListedPort {
    /// Whether it is the device of its bridge's name.
    pub fn is_local(&self) -> bool {
        self.name == self.bridge
    }

    /// Whether it is a tunnel.
    pub fn is_tunnel(&self) -> bool {
        crate::snapshot::is_tunnel_type(&self.kind)
    }
}

/// All ports of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatapathPorts {
    ports: Vec<ListedPort>,
    by_bridge: HashMap<String, Vec<usize>>,
    by_number: HashMap<(String, DpPort), Vec<usize>>,
}

/// A line of the reply is not one of the form that ovs-vswitchd 2.x and 3.x write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the datapath's ports has no {missing} that can be read: `{text}`")]
pub struct DatapathPortsError {
    /// The line, from 1.
    pub line: usize,
    /// What was looked for.
    pub missing: &'static str,
    /// The line's text.
    pub text: String,
}

impl DatapathPorts {
    /// Reads the reply of `dpif/show`.
    pub fn parse(reply: &str) -> Result<Self, DatapathPortsError> {
        let mut found = Self::default();
        let (mut datapath, mut bridge) = (String::new(), String::new());
        for (index, text) in reply.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let failed = |missing| DatapathPortsError { line: index + 1, missing, text: text.to_owned() };
            let trimmed = text.trim_start();
            // A tab a level up to 2.5, two spaces since.
            let level = match &text[..text.len() - trimmed.len()] {
                "" => 0,
                "\t" | "  " => 1,
                "\t\t" | "    " => 2,
                _ => return Err(failed("indentation")),
            };
            match level {
                0 => trimmed.split(": ").next().unwrap_or(trimmed).clone_into(&mut datapath),
                1 => trimmed.strip_suffix(':').ok_or_else(|| failed("bridge"))?.clone_into(&mut bridge),
                _ => {
                    let port = port(&datapath, &bridge, trimmed).map_err(failed)?;
                    if let Some(number) = port.number {
                        let at = found.by_number.entry((datapath.clone(), number)).or_default();
                        at.push(found.ports.len());
                    }
                    found.by_bridge.entry(bridge.clone()).or_default().push(found.ports.len());
                    found.ports.push(port);
                }
            }
        }
        Ok(found)
    }

    /// All ports.
    pub fn ports(&self) -> &[ListedPort] {
        &self.ports
    }

    /// The ports of a bridge.
    pub fn on(&self, bridge: &str) -> impl Iterator<Item = &ListedPort> {
        let found = self.by_bridge.get(bridge);
        found.into_iter().flatten().map(|at| &self.ports[*at])
    }

    /// The ports of that number in a datapath: one, or all tunnels of a kind.
    pub fn numbered(&self, datapath: &str, number: DpPort) -> impl Iterator<Item = &ListedPort> {
        let found = self.by_number.get(&(datapath.to_owned(), number));
        found.into_iter().flatten().map(|at| &self.ports[*at])
    }
}

/// `gre-5epzyhnzp52 2/4: (gre: key=101, local_ip=10.0.1.11, remote_ip=10.0.1.12)`, `pa 6/none: (patch: peer=pb)`
fn port(datapath: &str, bridge: &str, text: &str) -> Result<ListedPort, &'static str> {
    let (head, tail) = text.split_once(": (").ok_or("type")?;
    let (name, numbers) = head.rsplit_once(' ').ok_or("name")?;
    let (ofport, number) = numbers.split_once('/').ok_or("port number")?;
    let number = match number {
        "none" => None,
        digits => Some(DpPort(digits.parse().map_err(|_| "datapath port number")?)),
    };
    let kind = tail.split([':', ')']).next().unwrap_or_default();
    Ok(ListedPort {
        datapath: datapath.to_owned(),
        bridge: bridge.to_owned(),
        name: name.to_owned(),
        ofport: ofport.parse().map_err(|_| "port number")?,
        number,
        kind: kind.to_owned(),
    })
}
