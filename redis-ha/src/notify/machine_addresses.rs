//! This machine's own addresses, in its network namespace.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;

/// All IPv4 addresses on any device.
pub(super) fn machine_addresses() -> nix::Result<BTreeSet<Ipv4Addr>> {
    let address = |address: nix::ifaddrs::InterfaceAddress| Some(address.address?.as_sockaddr_in()?.ip());
    Ok(getifaddrs()?.filter_map(address).collect())
}
