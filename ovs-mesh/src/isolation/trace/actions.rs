//! The datapath's actions, in the form of ovs-vswitchd's `format_odp_actions` (lib/odp-util.c).
//!
//! The parser is total: whatever it does not know is an [`Action::Unknown`], never left out.

use std::fmt;
use std::net::IpAddr;

/// The deepest nesting that is read; ovs-vswitchd's own translation ends at 64, and its actions at far less.
const DEPTH: usize = 64;

/// A port's number in the datapath, not in `OpenFlow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DpPort(pub u32);

impl fmt::Display for DpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sends a copy out by a port. A tunnel's port encapsulates it as the last [`Action::SetTunnel`] says (kernel).
    Output(DpPort),
    /// Goes on with a copy, then with the packet as it was.
    Clone(Vec<Action>),
    /// Goes on with a copy, now and then.
    Sample(Vec<Action>),
    /// Goes on by one of these ways.
    Branch(Vec<Vec<Action>>),
    /// Encapsulates the packet (userspace); what follows is done to the packet outside.
    Push(Push),
    /// Takes the packet out of its tunnel, as if it had come by this port.
    Pop(DpPort),
    /// Says how the next tunnel's port encapsulates.
    SetTunnel(TunnelKeySet),
    /// Changes the packet.
    Change(String),
    /// Cuts the next copy to a length in bytes.
    Truncate(String),
    /// Looks the packet up anew, as a later round.
    Recirculate(u32),
    /// Sends a copy to ovs-vswitchd: for a controller, a collector, or itself.
    Userspace(String),
    /// Does nothing that matters to where copies end, as connection tracking.
    Neutral(String),
    /// Ends here.
    Drop,
    /// Something that this parser does not know.
    Unknown(String),
}

/// An encapsulation by the userspace datapath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The tunnels' port.
    pub port: DpPort,
    /// The tunnel's header: `gre`, `vxlan`, `geneve`…; empty if there is none that can be read.
    pub kind: String,
    /// This host's end.
    pub local: Option<IpAddr>,
    /// The far end.
    pub remote: Option<IpAddr>,
    /// The key, or the VNI.
    pub key: Option<u64>,
    /// The port that leads to the far end.
    pub out: Option<DpPort>,
}

/// How the kernel's datapath is told to encapsulate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelKeySet {
    /// This host's end.
    pub local: Option<IpAddr>,
    /// The far end.
    pub remote: Option<IpAddr>,
    /// The key, or the VNI.
    pub key: Option<u64>,
}

/// Reads a list of actions.
///
/// ```
/// use ovs_mesh::isolation::{Action, DpPort, parse_actions};
///
/// let actions = parse_actions("push_vlan(vid=7,pcp=0),3,frobnicate(2)");
/// assert_eq!(actions[1], Action::Output(DpPort(3)));
/// assert_eq!(actions[2], Action::Unknown("frobnicate(2)".to_owned()));
/// ```
pub fn parse_actions(text: &str) -> Vec<Action> {
    list(text, 0)
}

fn list(text: &str, depth: usize) -> Vec<Action> {
    if depth > DEPTH {
        return vec![Action::Unknown(text.to_owned())];
    }
    parts(text).map(|part| action(part, depth)).collect()
}

/// The parts between commas that are in no bracket. Brackets that do not match leave all of the rest in one part.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut open = 0_usize;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'(' | b'{' => open += 1,
                b')' | b'}' => open = open.saturating_sub(1),
                b',' if open == 0 => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

/// `name(inside)`, whose brackets match.
fn call(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let inside = rest.strip_suffix(')')?;
    let mut open = 0_usize;
    for byte in inside.bytes() {
        match byte {
            b'(' => open += 1,
            b')' => open = open.checked_sub(1)?,
            _ => {}
        }
    }
    (open == 0).then_some((name, inside))
}

/// `%u`, `0x%x`.
pub(super) fn number(text: &str) -> Option<u32> {
    long(text).and_then(|number| number.try_into().ok())
}

pub(super) fn long(text: &str) -> Option<u64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

fn action(text: &str, depth: usize) -> Action {
    let unknown = || Action::Unknown(text.to_owned());
    let Some((name, inside)) = call(text) else {
        return match text {
            "drop" => Action::Drop,
            "pop_vlan" | "pop_eth" => Action::Change(text.to_owned()),
            "ct" | "ct_clear" => Action::Neutral(text.to_owned()),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                number(text).map_or_else(unknown, |port| Action::Output(DpPort(port)))
            }
            _ => unknown(),
        };
    };
    let nested = |inside| list(inside, depth + 1);
    match name {
        "clone" => Action::Clone(nested(inside)),
        "sample" => match field(inside, "actions") {
            Some(actions) => Action::Sample(nested(actions)),
            None => unknown(),
        },
        "check_pkt_len" => match (field(inside, "gt"), field(inside, "le")) {
            (Some(more), Some(less)) => Action::Branch(vec![nested(more), nested(less)]),
            _ => unknown(),
        },
        "dec_ttl" => match field(inside, "le_1") {
            Some(expired) => Action::Branch(vec![nested(expired)]),
            None => unknown(),
        },
        "tnl_push" => push(inside).map_or_else(unknown, Action::Push),
        "tnl_pop" => number(inside).map_or_else(unknown, |port| Action::Pop(DpPort(port))),
        "set" => match field(inside, "tunnel") {
            Some(tunnel) => Action::SetTunnel(tunnel_key(tunnel)),
            // What only the host's own queues and tables see.
            None if ["skb_priority(", "skb_mark(", "ct_"].iter().any(|own| inside.starts_with(own)) => {
                Action::Neutral(text.to_owned())
            }
            None => Action::Change(text.to_owned()),
        },
        "push_vlan" | "push_mpls" | "pop_mpls" | "push_eth" | "add_mpls" | "push_nsh" | "pop_nsh" => {
            Action::Change(text.to_owned())
        }
        "trunc" => Action::Truncate(inside.to_owned()),
        "recirc" => number(inside).map_or_else(unknown, Action::Recirculate),
        "userspace" => Action::Userspace(inside.to_owned()),
        "ct" | "hash" | "meter" => Action::Neutral(text.to_owned()),
        _ => unknown(),
    }
}

/// What is in the brackets of the part of that name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    parts(text).filter_map(call).find(|(found, _)| *found == name).map(|(_, inside)| inside)
}

/// What follows `name=`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    parts(text)
        .filter_map(|part| part.split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// `tnl_port(4),header(size=42,type=3,eth(…),ipv4(src=…,dst=…,…),gre((flags=0x2000,proto=0x6558),key=0x65)),out_port(2)`
fn push(text: &str) -> Option<Push> {
    let port = DpPort(number(field(text, "tnl_port")?)?);
    let header = field(text, "header")?;
    let outer = field(header, "ipv4").or_else(|| field(header, "ipv6"));
    let end = |name| outer.and_then(|outer| value(outer, name)).and_then(|text| text.parse::<IpAddr>().ok());
    // The tunnel's own header is the last.
    let (kind, inside) = parts(header).filter_map(call).last().unwrap_or_default();
    let (kind, key) = match kind {
        "gre" => (kind, value(inside, "key")),
        "vxlan" | "geneve" => (kind, value(inside, "vni")),
        "erspan" => (kind, value(inside, "sid")),
        "gtpu" => (kind, value(inside, "teid")),
        "eth" | "ipv4" | "ipv6" | "udp" => ("", None),
        _ => (kind, None),
    };
    let out = field(text, "out_port").and_then(number).map(DpPort);
    let key = key.and_then(long);
    Some(Push { port, kind: kind.to_owned(), local: end("src"), remote: end("dst"), key, out })
}

/// `tun_id=0x5,src=2.2.2.2,dst=1.1.1.1,ttl=64,flags(df|key)`; IPv6 has `ipv6_src` and `ipv6_dst`.
fn tunnel_key(text: &str) -> TunnelKeySet {
    let end = |four, six| {
        let found = value(text, four).or_else(|| value(text, six))?;
        found.parse::<IpAddr>().ok()
    };
    TunnelKeySet {
        local: end("src", "ipv6_src"),
        remote: end("dst", "ipv6_dst"),
        key: value(text, "tun_id").and_then(long),
    }
}
