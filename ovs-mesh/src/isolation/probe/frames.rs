//! The frames that are sent. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::util::{checksum, ipv6_checksum};

use super::cookie::MARK;
use super::seen::{
    ARP, ARP_REQUEST, ECHO_REQUEST, ECHO_REQUEST_V6, ETHERNET, ICMP, ICMPV6, IPV4, IPV6, SOLICITATION,
    SOURCE_LINK_LAYER,
};
use crate::link::Mac;

/// RFC 4727 section 2.7: an option of neighbour discovery that means nothing to anybody.
const EXPERIMENT: u8 = 253;
/// The longest such option: its length is a byte, in units of 8 (RFC 4861 section 4.6).
const OPTION_MAX: usize = 255 * 8;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Who is asked, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// The bridge's own MAC address.
    pub(super) from: Mac,
    /// The one that is asked alone; none: all.
    pub(super) to: Option<Mac>,
    /// The address asked for.
    pub(super) address: IpAddr,
}

/// Who has the address? An ARP probe (RFC 5227 section 2.1.1), which has no sender whom anybody could learn; or for IPv6 a
/// solicitation as of address resolution (RFC 4861 section 7.2.2), from the bridge's own link-local address: whoever is
/// just trying out an address takes one from `::` for another's who wants it too, and gives it up (RFC 4862 section 5.4.3).
/// `mtu` is the least length, in bytes behind the Ethernet header.
pub(super) fn question(asking: Asking, mark: [u8; MARK], mtu: u16) -> Vec<u8> {
    match asking.address {
        IpAddr::V4(address) => arp(asking, address, mark, mtu.into()),
        IpAddr::V6(address) => solicitation(asking, address, mark, mtu.into()),
    }
}

fn ethernet(to: [u8; 6], from: Mac, kind: u16) -> Vec<u8> {
    [&to[..], &from.octets(), &kind.to_be_bytes()].concat()
}

fn arp(Asking { from, to, .. }: Asking, address: Ipv4Addr, mark: [u8; MARK], mtu: usize) -> Vec<u8> {
    let mut frame = ethernet(to.map_or(BROADCAST, Mac::octets), from, ARP);
    // RFC 826: Ethernet, IPv4, lengths of 6 and 4.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(ARP_REQUEST.to_be_bytes());
    frame.extend(from.octets());
    frame.extend(Ipv4Addr::UNSPECIFIED.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame.extend(mark);
    frame.resize(frame.len().max(ETHERNET + mtu), 0);
    frame
}

fn solicitation(Asking { from, to, .. }: Asking, address: Ipv6Addr, mark: [u8; MARK], mtu: usize) -> Vec<u8> {
    // RFC 4291 section 2.7.1, and RFC 2464 section 7.
    let [.., x, y, z] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]);
    let to = to.map_or([0x33, 0x33, 0xff, x, y, z], Mac::octets);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    // So that whoever answers need not ask first.
    message.extend([SOURCE_LINK_LAYER, 1]);
    message.extend(from.octets());
    let first = 8 * (2 + MARK).div_ceil(8);
    // What is left over of 8 bytes follows the packet as Ethernet's padding does.
    let more = mtu.saturating_sub(40 + message.len() + first) / 8 * 8;
    option(&mut message, first, &mark);
    let mut left = more;
    while left > 0 {
        let one = left.min(OPTION_MAX);
        option(&mut message, one, &[]);
        left -= one;
    }
    let mut frame = packet6(ethernet(to, from, IPV6), link_local(from), group, message);
    frame.resize(frame.len().max(ETHERNET + mtu), 0);
    frame
}

/// The link-local address that a device of this MAC address gives itself (RFC 4291 appendix A, RFC 4862 section 5.3).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [first, second, third, rest @ ..] = mac.octets();
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, first ^ 2, second, third, 0xff, 0xfe, 0, 0, 0];
    octets[13..].copy_from_slice(&rest);
    octets.into()
}

#[expect(clippy::cast_possible_truncation, reason = "at most 255 times 8")]
fn option(message: &mut Vec<u8>, length: usize, content: &[u8]) {
    let end = message.len() + length;
    message.extend([EXPERIMENT, (length / 8) as u8]);
    message.extend(content);
    message.resize(end, 0);
}

/// An `ICMPv6` message in its packet, its checksum filled in.
fn packet6(mut frame: Vec<u8>, source: Ipv6Addr, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    use pnet::packet::ip::IpNextHeaderProtocols::Icmpv6;
    let sum = ipv6_checksum(&message, 1, &[], &source, &to, Icmpv6);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length(message.len()));
    frame.extend([ICMPV6, 255]);
    frame.extend(source.octets());
    frame.extend(to.octets());
    frame.extend(message);
    frame
}

#[expect(clippy::cast_possible_truncation, reason = "an MTU has 16 bits")]
fn length(bytes: usize) -> [u8; 2] {
    (bytes as u16).to_be_bytes()
}

/// One end of an echo: its MAC address and its IP address.
pub(super) type End = (Mac, IpAddr);

/// An ICMP echo request (RFC 792, RFC 4443) that no router may cut, of `mtu` bytes behind the Ethernet header; none
/// between two address families.
pub(super) fn echo(
    from: End,
    to: End,
    id: u16,
    sequence: u16,
    mark: [u8; MARK],
    mtu: u16,
) -> Option<Vec<u8>> {
    let kind = if to.1.is_ipv4() { ECHO_REQUEST } else { ECHO_REQUEST_V6 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(mark);
    match (from.1, to.1) {
        (IpAddr::V4(source), IpAddr::V4(address)) => {
            message.resize(message.len().max(usize::from(mtu).saturating_sub(20)), 0);
            let sum = checksum(&message, 1);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let mut header = vec![0x45, 0];
            header.extend(length(20 + message.len()));
            // Do not fragment (RFC 791).
            header.extend([0, 0, 0x40, 0, 64, ICMP, 0, 0]);
            header.extend(source.octets());
            header.extend(address.octets());
            let sum = checksum(&header, 5);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            Some([ethernet(to.0.octets(), from.0, IPV4), header, message].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(address)) => {
            message.resize(message.len().max(usize::from(mtu).saturating_sub(40)), 0);
            Some(packet6(ethernet(to.0.octets(), from.0, IPV6), source, address, message))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cookie::{Cookie, Mark, Stage};
    use super::super::seen::{Content, Seen};
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    fn mac(last: u8) -> Mac {
        Mac::from([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn an_arp_probe_is_that_of_the_rfc_and_has_no_sender() {
        let asking = Asking { from: mac(1), to: None, address: "192.168.0.9".parse().unwrap() };
        let frame = question(asking, [0xee; MARK], 0);
        assert_eq!(
            hex(&frame),
            format!(
                "{}{}",
                "ffffffffffff0200000000010806\
                 00010800060400010200000000010000000000000000 0000c0a80009"
                    .replace(' ', ""),
                "ee".repeat(18)
            )
        );
        assert_eq!(frame.len(), 60, "Ethernet's shortest");
        let long = question(Asking { to: Some(mac(2)), ..asking }, [0xee; MARK], 1458);
        assert_eq!((long.len(), &long[..6]), (14 + 1458, &mac(2).octets()[..]));
        assert_eq!(long[6..60], frame[6..60]);
    }

    #[test]
    fn a_solicitation_has_a_sender_who_can_be_answered() {
        let asking = Asking { from: mac(1), to: None, address: "fd07::1:2:3".parse().unwrap() };
        let frame = question(asking, [0xee; MARK], 0);
        assert_eq!(hex(&frame[..14]), "3333ff020003\u{0}02000000000186dd".replace('\u{0}', ""));
        assert_eq!(hex(&frame[14..22]), "6000000000383aff");
        assert_eq!(hex(&frame[22..38]), "fe80000000000000000000fffe000001");
        assert_eq!(hex(&frame[38..54]), "ff0200000000000000000001ff020003");
        assert_eq!(hex(&frame[54..56]), "8700");
        assert_eq!(hex(&frame[78..86]), "0101020000000001", "whom to answer");
        assert_eq!(hex(&frame[86..88]), "fd03", "an option of 24 bytes");
        assert_eq!(frame.len(), 14 + 40 + 24 + 8 + 24);
        let long = question(Asking { to: Some(mac(2)), ..asking }, [0xee; MARK], 1458);
        assert_eq!((long.len(), &long[..6]), (14 + 1458, &mac(2).octets()[..]));
        assert_eq!(long[22..54], frame[22..54]);
    }

    /// A checksum over all that it covers, itself among it, is 0 (RFC 1071).
    fn holds(frame: &[u8]) -> bool {
        use pnet::packet::ip::IpNextHeaderProtocols::Icmpv6;
        let v6 = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
        if frame[12..14] == IPV6.to_be_bytes() {
            let length = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
            let message = &frame[54..54 + length];
            return ipv6_checksum(message, usize::MAX, &[], &v6(22), &v6(38), Icmpv6) == 0;
        }
        checksum(&frame[14..34], usize::MAX) == 0 && checksum(&frame[34..], usize::MAX) == 0
    }

    proptest! {
        /// Of every length, every frame is whole, sums up, and is known again.
        #[test]
        fn every_frame_is_known_again(mtu in 96_u16..9300, six: bool, run: u64, stage in 0_usize..4, ask: u16) {
            let address = |last: u8| -> IpAddr {
                if six { format!("fd00::{last}") } else { format!("10.0.0.{last}") }.parse().unwrap()
            };
            let cookie = Cookie::new(run, 5);
            let mark = Mark { tenant: 3, ask, stage: Stage::ALL[stage], attempt: 1 };
            let own = Some(Content::Own { mark, plain: true });
            let content = |frame: &[u8], cookie| Seen::parse(frame, cookie).map(|seen| seen.content);
            let asking = Asking { from: mac(1), to: Some(mac(2)), address: address(9) };
            let asked = question(asking, cookie.write(mark), mtu);
            prop_assert_eq!(asked.len(), 14 + usize::from(mtu));
            prop_assert!(!six || holds(&asked));
            prop_assert_eq!(content(&asked, cookie), own);
            prop_assert_eq!(content(&asked, Cookie::new(run, 6)), Some(Content::Other));
            let ends = ((mac(1), address(1)), (mac(2), address(9)));
            let echoed = echo(ends.0, ends.1, 1, 2, cookie.write(mark), mtu).unwrap();
            prop_assert_eq!(echoed.len(), 14 + usize::from(mtu));
            prop_assert!(holds(&echoed));
            prop_assert_eq!(content(&echoed, cookie), own);
        }
    }

    #[test]
    fn there_is_no_echo_between_two_families() {
        let (four, six) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        assert_eq!(echo((mac(1), four), (mac(2), six), 1, 1, [0; MARK], 1458), None);
    }
}
