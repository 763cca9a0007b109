//! The kernel's own GRE devices, as rtnetlink tells of them (`IFLA_GRE_…` of `linux/if_tunnel.h`).

use std::net::IpAddr;

use netlink_packet_route::link::{GreIOFlags, InfoData, InfoGre, InfoGre6};
use serde::{Deserialize, Serialize};

/// What a GRE device takes and sends (ip-link(8), `gretap`, `ip6gretap`, `gre`, `ip6gre`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GreDevice {
    /// Its own end; none is any address of the namespace that it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// The far end; none is anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// The key of what it takes; none is what has no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_key: Option<u32>,
    /// The key that it sends with; none is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_key: Option<u32>,
    /// Whether it takes from anybody, with any key, what no other device takes, and each packet says with what key and where
    /// to it is sent (`external`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
}

impl GreDevice {
    /// What a device's `IFLA_INFO_DATA` says; none if that is no GRE device's.
    pub(super) fn from_info(info: &InfoData) -> Option<Self> {
        match info {
            InfoData::GreTap(all) | InfoData::GreTun(all) => Some(Self::from_v4(all)),
            InfoData::GreTap6(all) | InfoData::GreTun6(all) => Some(Self::from_v6(all)),
            _ => None,
        }
    }

    fn from_v4(all: &[InfoGre]) -> Self {
        let mut read = Read::default();
        for info in all {
            match info {
                InfoGre::Local(address) => read.gre.local = known((*address).into()),
                InfoGre::Remote(address) => read.gre.remote = known((*address).into()),
                InfoGre::IFlags(flags) => read.has_in_key = flags.contains(GreIOFlags::Key),
                InfoGre::OFlags(flags) => read.has_out_key = flags.contains(GreIOFlags::Key),
                InfoGre::IKey(key) => read.gre.in_key = Some(*key),
                InfoGre::OKey(key) => read.gre.out_key = Some(*key),
                InfoGre::CollectMetadata => read.gre.external = true,
                _ => {}
            }
        }
        read.finish()
    }

    fn from_v6(all: &[InfoGre6]) -> Self {
        let mut read = Read::default();
        for info in all {
            match info {
                InfoGre6::Local(address) => read.gre.local = known((*address).into()),
                InfoGre6::Remote(address) => read.gre.remote = known((*address).into()),
                InfoGre6::IFlags(flags) => read.has_in_key = flags.contains(GreIOFlags::Key),
                InfoGre6::OFlags(flags) => read.has_out_key = flags.contains(GreIOFlags::Key),
                InfoGre6::IKey(key) => read.gre.in_key = Some(*key),
                InfoGre6::OKey(key) => read.gre.out_key = Some(*key),
                InfoGre6::CollectMetadata => read.gre.external = true,
                _ => {}
            }
        }
        read.finish()
    }
}

/// The kernel always tells a key; whether it is one, the flags say.
#[derive(Default)]
struct Read {
    gre: GreDevice,
    has_in_key: bool,
    has_out_key: bool,
}

impl Read {
    fn finish(self) -> GreDevice {
        let Self { gre: GreDevice { local, remote, in_key, out_key, external }, has_in_key, has_out_key } =
            self;
        GreDevice {
            local,
            remote,
            in_key: in_key.filter(|_| has_in_key),
            out_key: out_key.filter(|_| has_out_key),
            external,
        }
    }
}

/// The kernel writes "any" as the unspecified address.
fn known(address: IpAddr) -> Option<IpAddr> {
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;
    use rtnetlink::packet_core::Parseable;

    use super::super::Link;
    use super::*;

    /// A device of which the kernel says this in its `IFLA_LINKINFO` (rtnetlink(7)).
    fn link(info: &str) -> Link {
        let info: Vec<u8> =
            (0..info.len()).step_by(2).map(|at| u8::from_str_radix(&info[at..at + 2], 16).unwrap()).collect();
        let mut message = vec![0; 16];
        message.extend(u16::try_from(info.len() + 4).unwrap().to_ne_bytes());
        message.extend(18_u16.to_ne_bytes());
        message.extend(info);
        Link::from_message(LinkMessage::parse(&message).unwrap())
    }

    /// What Linux 6.1 (Debian 12, x86-64) said of devices, by the words that `ip link add type` made them with, but for the one
    /// that is always there.
    #[cfg(target_endian = "little")]
    #[test]
    fn devices_are_what_the_kernel_says_of_them() {
        let v4 = |last: u8| Some(IpAddr::from([10, 0, 1, last]));
        let v6 = |last: u16| Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]));
        let keyed = |local, remote, in_key, out_key| {
            let (in_key, out_key) = (Some(in_key), Some(out_key));
            Some(GreDevice { local, remote, in_key, out_key, external: false })
        };
        let external = || Some(GreDevice { external: true, ..GreDevice::default() });
        let wanted = [
            ("gretap", keyed(v4(11), v4(12), 7, 7)),
            ("gretap", keyed(None, v4(12), 7, 8)),
            ("gretap", keyed(v4(11), None, 7, 7)),
            ("gretap", external()),
            ("gretap", Some(GreDevice::default())),
            ("gre", keyed(v4(11), v4(12), 9, 9)),
            ("ip6gretap", keyed(v6(0x11), v6(0x12), 7, 7)),
            ("ip6gretap", external()),
            ("erspan", None),
        ];
        let samples: Vec<(&str, &str)> =
            include_str!("samples/gre.txt").lines().filter_map(|line| line.rsplit_once(": ")).collect();
        assert_eq!(samples.len(), wanted.len());
        for ((made, info), (kind, gre)) in samples.into_iter().zip(wanted) {
            let found = link(info);
            assert_eq!((found.kind.as_deref(), found.gre), (Some(kind), gre), "{made}");
        }
    }
}
