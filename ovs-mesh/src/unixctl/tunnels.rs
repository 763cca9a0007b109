//! The reply of `ofproto/list-tunnels` (ovs-vswitchd(8)): the tunnels that the datapath really has. An Interface row can
//! have an `ofport` and no `error`, and yet its tunnel be missing here, where another port has the same tuple.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The remote end of a listed tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListedRemote {
    /// One host.
    Address(IpAddr),
    /// `options:remote_ip=flow`: each packet's flow says which.
    Flow,
}

/// A key of a listed tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListedKey {
    /// This key and no other; 0 is also how the absence of a key is listed.
    Exact(u64),
    /// `options:key=flow`: any key; each packet's flow says which.
    Flow,
    /// Only of what is sent: no key is.
    Absent,
}

/// One tunnel, as ovs-vswitchd's datapath has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListedTunnel {
    /// The Interface's name.
    pub name: String,
    /// The Interface's type: `gre`, `ip6gre`, `vxlan`…
    pub kind: String,
    /// The remote end.
    pub remote: ListedRemote,
    /// This host's end; `None` is any of its addresses, or with `local_ip=flow` the one that the flow says.
    pub local: Option<IpAddr>,
    /// The key of what is received.
    pub in_key: ListedKey,
    /// The key of what is sent, which is the same unless the Interface says otherwise.
    pub out_key: ListedKey,
    /// The datapath's port, which all tunnels of a kind share.
    pub datapath_port: u32,
}

/// A line of the reply is not one of the form that ovs-vswitchd 2.x and 3.x write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the tunnels' list has no {missing} that can be read: `{text}`")]
pub struct ListedTunnelError {
    /// The line, from 1.
    pub line: usize,
    /// What was looked for.
    pub missing: &'static str,
    /// The line's text.
    pub text: String,
}

/// Reads the reply of `ofproto/list-tunnels`.
///
/// ```
/// let reply = "port 1: g1 (gre: 10.0.0.1->10.0.0.2, key=0x5, legacy_l2, dp port=1, ttl=64)\n";
/// let tunnels = ovs_mesh::unixctl::parse_tunnels(reply)?;
/// assert_eq!(tunnels[0].name, "g1");
/// # Ok::<(), ovs_mesh::unixctl::ListedTunnelError>(())
/// ```
pub fn parse_tunnels(reply: &str) -> Result<Vec<ListedTunnel>, ListedTunnelError> {
    reply
        .lines()
        .enumerate()
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(index, text)| {
            tunnel(text).map_err(|missing| ListedTunnelError {
                line: index + 1,
                missing,
                text: text.to_owned(),
            })
        })
        .collect()
}

/// One line; what could not be found, if anything.
fn tunnel(text: &str) -> Result<ListedTunnel, &'static str> {
    let rest = text.strip_prefix("port ").ok_or("`port `")?;
    let (port, rest) = rest.split_once(": ").ok_or("datapath port")?;
    let datapath_port = port.parse().map_err(|_| "datapath port")?;
    // A name can have anything in it, even what follows it; what follows never has another ` (`.
    let (name, rest) = rest.rsplit_once(" (").ok_or("name")?;
    let rest = rest.strip_suffix(')').ok_or("closing bracket")?;
    let (kind, rest) = rest.split_once(": ").ok_or("type")?;
    let mut fields = rest.split(", ");
    let (local, remote) = fields.next().and_then(|ends| ends.split_once("->")).ok_or("pair of ends")?;
    let local = match local {
        "flow" => None,
        address => Some(end(address).ok_or("local end")?).filter(|address| !address.is_unspecified()),
    };
    let remote = match remote {
        "flow" => ListedRemote::Flow,
        address => ListedRemote::Address(end(address).ok_or("remote end")?),
    };
    let mut in_key = None;
    let mut out_key = None;
    for field in fields {
        match field.split_once('=') {
            Some(("key", text)) => in_key = Some(key(text).ok_or("key")?),
            Some(("out_key", text)) => out_key = Some(key(text).ok_or("out_key")?),
            _ => {}
        }
    }
    let in_key = in_key.ok_or("key")?;
    Ok(ListedTunnel {
        name: name.to_owned(),
        kind: kind.to_owned(),
        remote,
        local,
        in_key,
        out_key: out_key.unwrap_or(in_key),
        datapath_port,
    })
}

/// ovs-vswitchd keeps IPv4 addresses as IPv4-mapped ones, and any address as `::`.
fn end(text: &str) -> Option<IpAddr> {
    match text.parse().ok()? {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        address => Some(address.to_canonical()),
    }
}

fn key(text: &str) -> Option<ListedKey> {
    match (text, text.strip_prefix("0x")) {
        ("flow", _) => Some(ListedKey::Flow),
        ("none", _) => Some(ListedKey::Absent),
        // C's `%#x` writes zero without the prefix.
        ("0", _) => Some(ListedKey::Exact(0)),
        (_, Some(digits)) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok().map(ListedKey::Exact)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What ovs-vswitchd 3.1.0 wrote for interfaces of every sort.
    const REPLY: &str = "\
port 1: g1 (gre: 10.0.0.1->10.0.0.2, key=0x5, legacy_l2, dp port=1, ttl=64)
port 1: gc (gre: 10.0.0.1->10.0.0.77, key=0, legacy_l3, dp port=1, ttl=64)
port 6: g3 (ip6gre: fd00::1->fd00::2, key=0x7, legacy_l2, dp port=6, ttl=64)
port 6: gb (ip6gre: ::->10.0.0.9, key=0x9, legacy_l2, dp port=6, ttl=64)
port 1: g5 (gre: ::->10.0.0.4, key=0x5, legacy_l2, dp port=1, out_key=0x6, ttl=64)
port 1: p (x): y->z (gre: ::->10.0.0.79, key=0, legacy_l2, dp port=1, ttl=64)
port 1: g7 (gre: ::->10.0.0.5, key=0, legacy_l2, dp port=1, out_key=flow, ttl=inherit, tos=inherit, df=false, csum=true)
port 4789: g6 (vxlan: ::->10.0.0.4, key=flow, legacy_l2, dp port=4789, ttl=64)
port 1: g2 (gre: ::->flow, key=flow, legacy_l2, dp port=1, ttl=64)
port 4790: g8 (vxlan: flow->flow, key=flow, ptap, dp port=4790, ttl=64, tos=0x10)
";

    #[test]
    fn every_sort_of_tunnel_is_read() {
        let tunnels = parse_tunnels(REPLY).unwrap();
        let short: Vec<_> = tunnels
            .iter()
            .map(|t| {
                (t.name.as_str(), t.kind.as_str(), t.local, t.remote, t.in_key, t.out_key, t.datapath_port)
            })
            .collect();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let to = |text: &str| ListedRemote::Address(ip(text));
        let key = ListedKey::Exact;
        let flow = ListedKey::Flow;
        assert_eq!(
            short,
            [
                ("g1", "gre", Some(ip("10.0.0.1")), to("10.0.0.2"), key(5), key(5), 1),
                ("gc", "gre", Some(ip("10.0.0.1")), to("10.0.0.77"), key(0), key(0), 1),
                ("g3", "ip6gre", Some(ip("fd00::1")), to("fd00::2"), key(7), key(7), 6),
                ("gb", "ip6gre", None, to("10.0.0.9"), key(9), key(9), 6),
                ("g5", "gre", None, to("10.0.0.4"), key(5), key(6), 1),
                ("p (x): y->z", "gre", None, to("10.0.0.79"), key(0), key(0), 1),
                ("g7", "gre", None, to("10.0.0.5"), key(0), flow, 1),
                ("g6", "vxlan", None, to("10.0.0.4"), flow, flow, 4789),
                ("g2", "gre", None, ListedRemote::Flow, flow, flow, 1),
                ("g8", "vxlan", None, ListedRemote::Flow, flow, flow, 4790),
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (line, missing) in [
            ("tunnel 1", "`port `"),
            ("port 1", "datapath port"),
            ("port x: g (gre: ::->10.0.0.2, key=0)", "datapath port"),
            ("port 1: g", "name"),
            ("port 1: g (gre: ::->10.0.0.2, key=0", "closing bracket"),
            ("port 1: g (gre)", "type"),
            ("port 1: g (gre: 10.0.0.2, key=0)", "pair of ends"),
            ("port 1: g (gre: a->10.0.0.2, key=0)", "local end"),
            ("port 1: g (gre: ::->b, key=0)", "remote end"),
            ("port 1: g (gre: ::->10.0.0.2)", "key"),
            ("port 1: g (gre: ::->10.0.0.2, key=5)", "key"),
            ("port 1: g (gre: ::->10.0.0.2, key=0x+5)", "key"),
            ("port 1: g (gre: ::->10.0.0.2, key=0x)", "key"),
            ("port 1: g (gre: ::->10.0.0.2, key=0, out_key=)", "out_key"),
        ] {
            let error = parse_tunnels(&format!("\n{line}\n")).unwrap_err();
            assert_eq!(error, ListedTunnelError { line: 2, missing, text: line.to_owned() });
        }
        assert_eq!(parse_tunnels(""), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse_tunnels(&text);
        }

        #[test]
        fn no_change_to_a_reply_makes_it_panic(
            at in any::<prop::sample::Index>(),
            removed in 0..40usize,
            added in "[ -~é→\n]{0,6}",
        ) {
            let mut text: Vec<char> = REPLY.chars().collect();
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, added.chars());
            let _ = parse_tunnels(&text.into_iter().collect::<String>());
        }
    }
}
