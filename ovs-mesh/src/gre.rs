//! What the tunnels' packets look like on the underlay. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A GRE packet (RFC 2784, RFC 2890) with an Ethernet frame in it, as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreFrame {
    /// The outer source.
    pub src: IpAddr,
    /// The outer destination.
    pub dst: IpAddr,
    /// The key, if it carries one.
    pub key: Option<u32>,
    /// The frame inside, from its Ethernet header on.
    pub inner: Vec<u8>,
}

// IEEE 802 and IANA numbers.
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_BRIDGED: u16 = 0x6558;
const PROTOCOL_GRE: u8 = 47;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

/// The GRE packet in an Ethernet frame, if it is one that carries an Ethernet frame and is no fragment.
///
/// Any bytes are accepted; those that are cut short or are something else are none.
pub fn parse_gre(frame: &[u8]) -> Option<GreFrame> {
    let mut kind = number(frame, 12)?;
    let mut packet = frame.get(14..)?;
    if kind == ETHERTYPE_VLAN {
        (kind, packet) = (number(packet, 2)?, packet.get(4..)?);
    }
    let (src, dst, gre) = match kind {
        ETHERTYPE_IPV4 => ipv4(packet)?,
        ETHERTYPE_IPV6 => ipv6(packet)?,
        _ => return None,
    };
    let flags = number(gre, 0)?;
    if flags & 7 != 0 || number(gre, 2)? != ETHERTYPE_BRIDGED {
        return None;
    }
    // RFC 2890 section 2: the fields that the flags announce follow in this order, four bytes each.
    let mut rest = gre.get(4..)?;
    if flags & 0x8000 != 0 {
        rest = rest.get(4..)?;
    }
    let mut key = None;
    if flags & 0x2000 != 0 {
        key = Some(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?));
        rest = rest.get(4..)?;
    }
    if flags & 0x1000 != 0 {
        rest = rest.get(4..)?;
    }
    Some(GreFrame { src, dst, key, inner: rest.to_vec() })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    let fragment = number(packet, 6)? & 0x3fff;
    if first >> 4 != 4 || header < 20 || fragment != 0 || *packet.get(9)? != PROTOCOL_GRE {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?)));
    // What follows the packet is padding of a short frame.
    let length = usize::from(number(packet, 2)?);
    Some((address(12)?, address(16)?, packet.get(header..length)?))
}

fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if *packet.first()? >> 4 != 6 {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..40 + usize::from(number(packet, 4)?))?;
    // RFC 8200 section 4: each extension header says what follows it, and its length in units of 8 bytes beyond the
    // first. Linux puts a tunnel encapsulation limit there (RFC 2473).
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
        next = *rest.first()?;
        rest = rest.get((usize::from(*rest.get(1)?) + 1) * 8..)?;
    }
    (next == PROTOCOL_GRE).then_some((address(8)?, address(24)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INNER: &[u8] = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x06arp";

    fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
        [&[2; 12], &kind.to_be_bytes()[..], payload].concat()
    }

    fn outer4(gre: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + gre.len()).unwrap().to_be_bytes();
        let header = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 47, 0, 0, 10, 0, 1, 11, 10, 0, 1, 12];
        [&header, gre].concat()
    }

    fn outer6(next: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
        packet.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(payload);
        packet
    }

    fn gre(flags: u16, fields: &[u8]) -> Vec<u8> {
        [&flags.to_be_bytes(), &[0x65, 0x58][..], fields, INNER].concat()
    }

    #[test]
    fn keys_are_read_whatever_stands_before_them() {
        for (flags, fields, key) in [
            (0x0000, &[][..], None),
            (0x2000, &[0, 0, 0, 101], Some(101)),
            (0xa000, &[1, 2, 0, 0, 0, 0, 0, 101], Some(101)),
            (0xb000, &[1, 2, 0, 0, 0xff, 0, 0, 1, 0, 0, 0, 9], Some(0xff00_0001)),
        ] {
            let frame = ethernet(ETHERTYPE_IPV4, &outer4(&gre(flags, fields)));
            let found = parse_gre(&frame).unwrap();
            assert_eq!((found.key, &found.inner[..]), (key, INNER));
            assert_eq!(
                (found.src.to_string(), found.dst.to_string()),
                ("10.0.1.11".to_owned(), "10.0.1.12".to_owned())
            );
        }
    }

    #[test]
    fn ipv6_vlan_and_padding_are_seen_through() {
        let plain = gre(0x2000, &[0, 0, 0, 7]);
        let limited = [&[47, 0, 4, 1, 4, 1, 0, 0][..], &plain].concat();
        let tagged = [&[0, 5][..], &ETHERTYPE_IPV4.to_be_bytes(), &outer4(&plain)].concat();
        for frame in [
            ethernet(ETHERTYPE_IPV6, &outer6(47, &plain)),
            ethernet(ETHERTYPE_IPV6, &outer6(60, &limited)),
            ethernet(ETHERTYPE_VLAN, &tagged),
            [ethernet(ETHERTYPE_IPV4, &outer4(&plain)), vec![0; 30]].concat(),
        ] {
            let found = parse_gre(&frame).unwrap();
            assert_eq!((found.key, &found.inner[..]), (Some(7), INNER));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let good = ethernet(ETHERTYPE_IPV4, &outer4(&gre(0x2000, &[0, 0, 0, 7])));
        for (at, byte) in [(12, 9), (14, 0x55), (14, 0x44), (20, 0x20), (21, 1), (23, 6), (35, 1), (36, 8)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(parse_gre(&bad), None, "byte {at} = {byte}");
        }
        for length in 0..good.len() {
            assert_eq!(parse_gre(&good[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_gre(&bytes);
        }

        #[test]
        fn nor_does_a_good_frame_with_bytes_changed(at in 0_usize..70, byte in any::<u8>(), six in any::<bool>()) {
            let inner = gre(0xb000, &[0; 12]);
            let mut frame = if six {
                ethernet(ETHERTYPE_IPV6, &outer6(60, &[&[47, 0, 4, 1, 4, 1, 0, 0][..], &inner].concat()))
            } else {
                ethernet(ETHERTYPE_IPV4, &outer4(&inner))
            };
            if let Some(target) = frame.get_mut(at) {
                *target = byte;
            }
            let _ = parse_gre(&frame);
        }
    }
}
