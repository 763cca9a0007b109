//! The reply of `fdb/show` (ovs-vswitchd(8)): the addresses that a bridge has learned, and behind which port.

use super::ports::DatapathPorts;
use crate::link::Mac;

/// A learned address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedMac {
    /// The address.
    pub mac: Mac,
    /// The port that it is behind; none if that is not one that `dpif/show` had.
    pub port: Option<String>,
}

/// Reads the reply for a bridge. Addresses in a VLAN are left out, as no port of a tenant's is in one, and so is every line
/// that is none of an address: an address that is not traced is not a finding.
pub fn parse_learned(reply: &str, bridge: &str, ports: &DatapathPorts) -> Vec<LearnedMac> {
    let mut learned: Vec<LearnedMac> = Vec::new();
    for line in reply.lines() {
        let mut words = line.split_whitespace();
        let (Some(port), Some("0"), Some(mac)) = (words.next(), words.next(), words.next()) else { continue };
        let Ok(mac) = mac.parse::<Mac>() else { continue };
        let ofport = port.parse::<u32>().ok();
        let port = match port {
            "LOCAL" => ports.on(bridge).find(|port| port.is_local()),
            _ => ports.on(bridge).find(|port| Some(port.ofport) == ofport),
        };
        learned.push(LearnedMac { mac, port: port.map(|port| port.name.clone()) });
    }
    learned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_behind_ports() {
        let ports = "netdev@ovs-netdev: hit:0 missed:0\n  br-acme:\n    br-acme 65534/3: (tap)\n    veth101.0 2/5: (system)\n";
        let ports = DatapathPorts::parse(ports).unwrap();
        let reply = " port  VLAN  MAC                Age\n    2     0  02:00:00:00:00:01    5\nLOCAL     0  02:00:00:00:00:02    0\n    2    \
                     7  02:00:00:00:00:03    1\n    9     0  02:00:00:00:00:04  static\n";
        let found: Vec<_> = parse_learned(reply, "br-acme", &ports)
            .into_iter()
            .map(|learned| (learned.mac.to_string(), learned.port))
            .collect();
        let wanted = [
            ("02:00:00:00:00:01", Some("veth101.0")),
            ("02:00:00:00:00:02", Some("br-acme")),
            ("02:00:00:00:00:04", None),
        ];
        assert_eq!(found, wanted.map(|(mac, port)| (mac.to_owned(), port.map(str::to_owned))));
        assert_eq!(parse_learned("", "br-acme", &ports), []);
    }
}
