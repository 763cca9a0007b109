//! The list of tunnels never panics its parser, and what is read of it, written in ovs-vswitchd's form, reads the same.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use ovs_mesh::unixctl::{ListedKey, ListedRemote, ListedTunnel, parse_tunnels};

fn key(key: ListedKey) -> String {
    match key {
        ListedKey::Exact(0) => "0".to_owned(),
        ListedKey::Exact(key) => format!("{key:#x}"),
        ListedKey::Flow => "flow".to_owned(),
        ListedKey::Absent => "none".to_owned(),
    }
}

fn line(tunnel: &ListedTunnel) -> String {
    let ListedTunnel { name, kind, remote, local, in_key, out_key, datapath_port } = tunnel;
    let local = local.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let remote = match remote {
        ListedRemote::Flow => "flow".to_owned(),
        ListedRemote::Address(address) => address.to_string(),
    };
    let (in_key, out_key) = (key(*in_key), key(*out_key));
    format!("port {datapath_port}: {name} ({kind}: {local}->{remote}, key={in_key}, out_key={out_key}, ttl=64)\n")
}

fuzz_target!(|text: &str| {
    if let Ok(tunnels) = parse_tunnels(text) {
        assert_eq!(tunnels.len(), text.lines().filter(|line| !line.trim().is_empty()).count());
        let again: String = tunnels.iter().map(line).collect();
        assert_eq!(parse_tunnels(&again).as_ref(), Ok(&tunnels), "{again}");
    }
});
