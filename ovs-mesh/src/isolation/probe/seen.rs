//! What a frame that was met says to a probe. Pure; any bytes are accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cookie::{Cookie, Mark};
use crate::gre::parse_gre;
use crate::link::Mac;

// IEEE 802, RFC 826, RFC 792, RFC 4443 and RFC 4861.
pub(super) const ETHERNET: usize = 14;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const VLAN: u16 = 0x8100;
pub(super) const VLAN_OUTER: u16 = 0x88a8;
pub(super) const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;
const ECHO_REPLY: u8 = 0;
pub(super) const ECHO_REQUEST: u8 = 8;
pub(super) const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
pub(super) const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
pub(super) const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// The tunnel that a frame is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// The outer source.
    pub src: IpAddr,
    /// The outer destination.
    pub dst: IpAddr,
    /// The key, if it carries one.
    pub key: Option<u32>,
}

/// What a frame is to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One of its own.
    Own {
        /// Which.
        mark: Mark,
        /// Whether it is as it was sent, and not inside something else.
        plain: bool,
    },
    /// The answer to one of its echo requests.
    EchoReply(Mark),
    /// Somebody says that he has an address: an ARP reply or a neighbour advertisement.
    Answer {
        /// The address.
        address: IpAddr,
        /// The MAC address that has it.
        mac: Mac,
        /// Whom the frame goes to.
        to: Mac,
    },
    /// Somebody else's.
    Other,
}

/// Somebody says that he has an address: the sender of an ARP packet (RFC 826), of a solicitation, or of an advertisement
/// (RFC 4861).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The MAC address that has it.
    pub mac: Mac,
}

/// A frame that a probe has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The GRE tunnel that it is in, if it is in one.
    pub outer: Option<Outer>,
    /// The Ethernet source; inside the tunnel, if it is in one.
    pub source: Mac,
    /// What it says of who has which address.
    pub claim: Option<Claim>,
    /// What it is.
    pub content: Content,
}

impl Seen {
    /// What the frame is to the run of this cookie; none if it is no Ethernet frame.
    pub fn parse(frame: &[u8], cookie: Cookie) -> Option<Self> {
        let Some(gre) = parse_gre(frame) else { return Self::bare(frame, cookie) };
        let outer = Outer { src: gre.src, dst: gre.dst, key: gre.key };
        Some(Self { outer: Some(outer), ..Self::bare(&gre.inner, cookie)? })
    }

    fn bare(frame: &[u8], cookie: Cookie) -> Option<Self> {
        let (to, source) = (mac(frame, 0)?, mac(frame, 6)?);
        let message = message(frame).unwrap_or(Message::Other);
        let claim = match message {
            Message::Question { claim } => claim,
            Message::Answer(claim) => Some(claim),
            Message::EchoReply | Message::Error | Message::Other => None,
        };
        let own = |plain| cookie.find(frame).map(|mark| Content::Own { mark, plain });
        let content = match message {
            Message::Answer(Claim { address, mac }) => Some(Content::Answer { address, mac, to }),
            Message::EchoReply => cookie.find(frame).map(Content::EchoReply),
            Message::Error => None,
            Message::Question { .. } => own(true),
            Message::Other => own(false),
        };
        Some(Self { outer: None, source, claim, content: content.unwrap_or(Content::Other) })
    }
}

enum Message {
    Question {
        claim: Option<Claim>,
    },
    EchoReply,
    Answer(Claim),
    /// An error message quotes what it is about.
    Error,
    Other,
}

fn message(frame: &[u8]) -> Option<Message> {
    let mut kind = number(frame, 12)?;
    let mut packet = frame.get(ETHERNET..)?;
    if kind == VLAN || kind == VLAN_OUTER {
        (kind, packet) = (number(packet, 2)?, packet.get(4..)?);
    }
    match kind {
        ARP => arp(packet),
        IPV4 => {
            let first = *packet.first()?;
            if first >> 4 != 4 || *packet.get(9)? != ICMP {
                return None;
            }
            Some(match *packet.get(usize::from(first & 0x0f) * 4)? {
                ECHO_REPLY => Message::EchoReply,
                ECHO_REQUEST => Message::Question { claim: None },
                3 | 11 | 12 => Message::Error,
                _ => Message::Other,
            })
        }
        IPV6 => {
            if *packet.first()? >> 4 != 6 || *packet.get(6)? != ICMPV6 {
                return None;
            }
            let rest = packet.get(40..)?;
            match *rest.first()? {
                ECHO_REPLY_V6 => Some(Message::EchoReply),
                ECHO_REQUEST_V6 => Some(Message::Question { claim: None }),
                SOLICITATION => Some(Message::Question { claim: solicitation(packet, rest) }),
                ADVERTISEMENT => advertisement(frame, rest),
                1..=4 => Some(Message::Error),
                _ => Some(Message::Other),
            }
        }
        _ => None,
    }
}

fn arp(packet: &[u8]) -> Option<Message> {
    if packet.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let address = Ipv4Addr::from(*packet.get(14..18)?.first_chunk::<4>()?);
    let claim = Claim { address: address.into(), mac: mac(packet, 8)? };
    Some(match number(packet, 6)? {
        // Whoever only looks whether somebody has it does not say that he has (RFC 5227).
        ARP_REQUEST => Message::Question { claim: (!address.is_unspecified()).then_some(claim) },
        ARP_REPLY => Message::Answer(claim),
        _ => Message::Other,
    })
}

/// Who asks. Without the option he says nothing of where he is.
fn solicitation(packet: &[u8], message: &[u8]) -> Option<Claim> {
    let address = Ipv6Addr::from(*packet.get(8..24)?.first_chunk::<16>()?);
    let mac = option(message, SOURCE_LINK_LAYER)?.filter(|_| !address.is_unspecified())?;
    Some(Claim { address: address.into(), mac })
}

fn advertisement(frame: &[u8], message: &[u8]) -> Option<Message> {
    let address = Ipv6Addr::from(*message.get(8..24)?.first_chunk::<16>()?);
    // Without the option, the one who sends is the one who has it.
    let mac = option(message, TARGET_LINK_LAYER)?.or(mac(frame, 6))?;
    Some(Message::Answer(Claim { address: address.into(), mac }))
}

/// The MAC address in the option of this type behind a target (RFC 4861 section 4.6.1); none at all if the message is cut
/// short.
#[expect(clippy::option_option, reason = "what is cut short is not what lacks an option")]
fn option(message: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut options = message.get(24..)?;
    while let [kind, length, ..] = options {
        let length = usize::from(*length) * 8;
        // RFC 4861 section 4.6: what has no length ends it.
        if length == 0 {
            break;
        }
        if *kind == wanted {
            return mac(options, 2).map(Some);
        }
        options = options.get(length..)?;
    }
    Some(None)
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    bytes.get(at..)?.first_chunk::<6>().copied().map(Mac::from)
}

#[cfg(test)]
mod tests {
    use super::super::cookie::Stage;
    use super::*;

    fn cookie() -> Cookie {
        Cookie::new(7, 1)
    }

    fn mark() -> Mark {
        Mark { tenant: 1, ask: 2, stage: Stage::Echo, attempt: 0 }
    }

    fn frame(to: u8, kind: u16, rest: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, 9][..], &kind.to_be_bytes(), rest].concat()
    }

    fn arp(operation: u16) -> Vec<u8> {
        let start =
            [&[0, 1, 8, 0, 6, 4][..], &operation.to_be_bytes(), &[2, 0, 0, 0, 0, 7, 10, 0, 0, 7]].concat();
        [start, vec![0; 10]].concat()
    }

    fn icmp(kind: u8) -> Vec<u8> {
        let mut header = vec![0x45; 1];
        header.extend([0; 8]);
        header.push(ICMP);
        header.resize(20, 0);
        [header, vec![kind; 8], cookie().write(mark()).to_vec()].concat()
    }

    fn icmp6(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut header = vec![0x60; 1];
        header.resize(40, 0);
        header[6] = ICMPV6;
        [header, vec![kind, 0, 0, 0, 0, 0, 0, 0], body.to_vec()].concat()
    }

    fn mac_of(last: u8) -> Mac {
        Mac::from([2, 0, 0, 0, 0, last])
    }

    fn found(frame: &[u8]) -> Option<Content> {
        Seen::parse(frame, cookie()).map(|seen| seen.content).filter(|content| *content != Content::Other)
    }

    #[test]
    fn answers_say_who_has_which_address() {
        let four = Content::Answer { address: "10.0.0.7".parse().unwrap(), mac: mac_of(7), to: mac_of(1) };
        assert_eq!(found(&frame(1, ARP, &arp(2))), Some(four));
        let tagged = [&[0, 5][..], &ARP.to_be_bytes(), &arp(2)].concat();
        assert_eq!(found(&frame(1, VLAN, &tagged)), Some(four));
        assert_eq!(found(&frame(1, ARP, &arp(1))), None, "somebody else's question");
        let target = "fd00::7".parse::<Ipv6Addr>().unwrap();
        let answered = |options: &[u8]| {
            let body = [&target.octets()[..], options].concat();
            match found(&frame(1, IPV6, &icmp6(ADVERTISEMENT, &body))) {
                Some(Content::Answer { address, mac, .. }) => (address == IpAddr::V6(target)).then_some(mac),
                _ => None,
            }
        };
        assert_eq!(answered(&[2, 1, 2, 0, 0, 0, 0, 5]), Some(mac_of(5)));
        assert_eq!(answered(&[9, 1, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 5]), Some(mac_of(5)));
        assert_eq!(answered(&[]), Some(mac_of(9)), "the one who sends it");
        assert_eq!(answered(&[9, 0, 2, 1, 2, 0, 0, 0, 0, 5]), Some(mac_of(9)));
        assert_eq!(answered(&[2, 1, 2, 0]), None);
    }

    #[test]
    fn whoever_asks_says_who_he_is() {
        let claim = |frame: &[u8]| Seen::parse(frame, cookie()).and_then(|seen| seen.claim);
        let four = Claim { address: "10.0.0.7".parse().unwrap(), mac: mac_of(7) };
        assert_eq!(claim(&frame(1, ARP, &arp(1))), Some(four));
        assert_eq!(claim(&frame(1, ARP, &arp(2))), Some(four));
        let mut probe = arp(1);
        probe[14..18].fill(0);
        assert_eq!(claim(&frame(1, ARP, &probe)), None, "only looks whether somebody has it");
        assert_eq!(claim(&frame(1, IPV4, &icmp(ECHO_REQUEST))), None, "it may come from behind a router");
        let solicited = |from: &str, options: &[u8]| {
            let mut packet = icmp6(SOLICITATION, &[&[0; 16], options].concat());
            packet[8..24].copy_from_slice(&from.parse::<Ipv6Addr>().unwrap().octets());
            claim(&frame(1, IPV6, &packet))
        };
        let six = Claim { address: "fd00::7".parse().unwrap(), mac: mac_of(5) };
        assert_eq!(solicited("fd00::7", &[1, 1, 2, 0, 0, 0, 0, 5]), Some(six));
        assert_eq!(solicited("fd00::7", &[]), None);
        assert_eq!(solicited("::", &[1, 1, 2, 0, 0, 0, 0, 5]), None, "it is being tried out");
        let seen = Seen::parse(&frame(1, ARP, &arp(1)), cookie()).unwrap();
        assert_eq!((seen.source, seen.content), (mac_of(9), Content::Other));
    }

    #[test]
    fn own_frames_are_known_in_any_wrapping() {
        let plain = |plain| Some(Content::Own { mark: mark(), plain });
        assert_eq!(found(&frame(1, IPV4, &icmp(ECHO_REQUEST))), plain(true));
        assert_eq!(found(&frame(1, IPV4, &icmp(ECHO_REPLY))), Some(Content::EchoReply(mark())));
        assert_eq!(found(&frame(1, IPV4, &icmp(3))), None, "an error that quotes it");
        let six = |kind| frame(1, IPV6, &icmp6(kind, &cookie().write(mark())));
        assert_eq!(found(&six(ECHO_REQUEST_V6)), plain(true));
        assert_eq!(found(&six(ECHO_REPLY_V6)), Some(Content::EchoReply(mark())));
        assert_eq!(found(&six(1)), None);
        let mut vxlan = vec![0x45];
        vxlan.resize(36, 17);
        vxlan.extend(frame(1, IPV4, &icmp(ECHO_REQUEST)));
        assert_eq!(found(&frame(1, IPV4, &vxlan)), plain(false));
        // In a tunnel of the mesh's kind it is plain, and where it is is told.
        let inner = frame(1, IPV4, &icmp(ECHO_REQUEST));
        let mut outer = vec![0x45, 0];
        outer.extend(u16::try_from(28 + inner.len()).unwrap().to_be_bytes());
        outer.extend([0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x20, 0, 0x65, 0x58, 0, 0, 0, 7]);
        let seen = Seen::parse(&frame(1, IPV4, &[outer, inner].concat()), cookie()).unwrap();
        assert_eq!(Some(seen.content), plain(true));
        assert_eq!(
            seen.outer.map(|outer| (outer.dst.to_string(), outer.key)),
            Some(("10.0.0.2".to_owned(), Some(7)))
        );
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        for whole in [frame(1, ARP, &arp(2)), frame(1, IPV4, &icmp(ECHO_REPLY))] {
            let least = if whole[12..14] == ARP.to_be_bytes() { 14 + 18 } else { whole.len() };
            for length in 0..least {
                assert_eq!(found(&whole[..length]), None, "{length} bytes");
            }
        }
    }
}
