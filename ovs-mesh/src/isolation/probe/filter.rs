//! What the kernel hands to a probe: a classic BPF program (Documentation/networking/filter.rst), so that the traffic of
//! others costs no more than a few comparisons a frame, and fills no buffer.

use socket2::SockFilter;

use super::seen::{ARP, ICMP, ICMPV6, IPV4, IPV6, VLAN, VLAN_OUTER};

// linux/bpf_common.h
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_BYTE_AT_X: u16 = 0x50;
const X_IMMEDIATE: u16 = 0x01;
const X_HEADER_LENGTH: u16 = 0xb1;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const GRE: u8 = 47;
const UDP: u8 = 17;
const DESTINATION_OPTIONS: u8 = 60;
/// IANA: VXLAN, Geneve; and VXLAN as Linux had it first.
const TUNNEL_PORTS: [u16; 3] = [4789, 6081, 8472];

/// A step, with the names of where a comparison goes on; an unnamed one goes on behind it.
struct Step {
    code: u16,
    value: u32,
    then: &'static str,
}

struct Program {
    steps: Vec<Step>,
    labels: Vec<(&'static str, usize)>,
}

impl Program {
    fn label(&mut self, name: &'static str) -> &mut Self {
        self.labels.push((name, self.steps.len()));
        self
    }

    fn step(&mut self, code: u16, value: u32) -> &mut Self {
        self.steps.push(Step { code, value, then: "" });
        self
    }

    /// Goes to `then` if what was loaded is the value, and on if it is not.
    fn equal(&mut self, value: impl Into<u32>, then: &'static str) -> &mut Self {
        self.steps.push(Step { code: JUMP_EQUAL, value: value.into(), then });
        self
    }

    fn drop(&mut self) -> &mut Self {
        self.step(RETURN, 0)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the program has some sixty steps")]
    fn build(&self) -> Vec<(u16, u8, u32)> {
        let to = |name: &str, at: usize| {
            let found = self.labels.iter().find(|(label, _)| *label == name);
            found.map_or(0, |(_, place)| (place - at - 1) as u8)
        };
        self.steps.iter().enumerate().map(|(at, step)| (step.code, to(step.then, at), step.value)).collect()
    }
}

/// ARP, ICMP, `ICMPv6`, the same in GRE with a key or with nothing but a protocol, GRE of other forms whole, and VXLAN and
/// Geneve whole.
fn program() -> Vec<(u16, u8, u32)> {
    let mut program = Program { steps: Vec::new(), labels: Vec::new() };
    program.step(LOAD_HALF, 12);
    program.equal(ARP, "accept").equal(IPV4, "ipv4").equal(IPV6, "ipv6");
    program.equal(VLAN, "vlan").equal(VLAN_OUTER, "vlan").drop();
    program.label("vlan").step(LOAD_HALF, 16);
    program.equal(ARP, "accept").equal(IPV4, "vlan4").equal(IPV6, "vlan6").drop();
    program.label("vlan4").step(LOAD_BYTE, 18 + 9).equal(ICMP, "accept").equal(GRE, "accept").drop();
    program.label("vlan6").step(LOAD_BYTE, 18 + 6).equal(ICMPV6, "accept").equal(GRE, "accept").drop();
    program.label("ipv4").step(LOAD_BYTE, 14 + 9);
    program.equal(ICMP, "accept").equal(GRE, "gre4").equal(UDP, "udp4").drop();
    program.label("ipv6").step(LOAD_BYTE, 14 + 6).equal(ICMPV6, "accept").equal(GRE, "gre6");
    program.equal(UDP, "udp6").equal(DESTINATION_OPTIONS, "accept").drop();
    program.label("udp4").step(X_HEADER_LENGTH, 14).step(LOAD_HALF_AT_X, 14 + 2);
    ports(&mut program);
    program.label("udp6").step(LOAD_HALF, 14 + 40 + 2);
    ports(&mut program);
    program.label("gre4").step(X_HEADER_LENGTH, 14);
    gre(&mut program, ["keyed4", "bare4", "keyed4-4", "keyed4-6", "bare4-4", "bare4-6"]);
    program.label("gre6").step(X_IMMEDIATE, 40);
    gre(&mut program, ["keyed6", "bare6", "keyed6-4", "keyed6-6", "bare6-4", "bare6-6"]);
    program.label("accept").step(RETURN, 0x0004_0000);
    program.build()
}

fn ports(program: &mut Program) {
    for port in TUNNEL_PORTS {
        program.equal(port, "accept");
    }
    program.drop();
}

/// The outer IP header has X bytes.
fn gre(program: &mut Program, [keyed, bare, keyed4, keyed6, bare4, bare6]: [&'static str; 6]) {
    program.step(LOAD_HALF_AT_X, 14).equal(0x2000_u16, keyed).equal(0_u16, bare);
    program.step(RETURN, 0x0004_0000);
    inner(program, 8, [keyed, keyed4, keyed6]);
    inner(program, 4, [bare, bare4, bare6]);
}

fn inner(program: &mut Program, header: u32, [start, ipv4, ipv6]: [&'static str; 3]) {
    let frame = 14 + header;
    program.label(start).step(LOAD_HALF_AT_X, frame + 12);
    program.equal(ARP, "accept").equal(VLAN, "accept").equal(IPV4, ipv4).equal(IPV6, ipv6).drop();
    program.label(ipv4).step(LOAD_BYTE_AT_X, frame + 14 + 9).equal(ICMP, "accept").drop();
    program.label(ipv6).step(LOAD_BYTE_AT_X, frame + 14 + 6).equal(ICMPV6, "accept").drop();
}

/// The program for `SO_ATTACH_FILTER` (socket(7)).
pub(super) fn filter() -> Vec<SockFilter> {
    program().into_iter().map(|(code, then, value)| SockFilter::new(code, then, 0, value)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
        [&[2; 12], &kind.to_be_bytes()[..], rest].concat()
    }

    fn tagged(kind: u16, rest: &[u8]) -> Vec<u8> {
        ethernet(VLAN, &[&[0, 5], &kind.to_be_bytes()[..], rest].concat())
    }

    /// With `options` words of IP options.
    fn ipv4(options: usize, protocol: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 20 + 4 * options];
        header[0] = 0x45 + u8::try_from(options).unwrap();
        header[9] = protocol;
        [header, rest.to_vec()].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[6] = next;
        [header, rest.to_vec()].concat()
    }

    fn gre(flags: u16, fields: usize, inner: &[u8]) -> Vec<u8> {
        [&flags.to_be_bytes(), &[0x65, 0x58][..], &vec![0; fields], inner].concat()
    }

    fn udp(port: u16) -> Vec<u8> {
        [&[0x12, 0x34][..], &port.to_be_bytes(), &[0; 60]].concat()
    }

    /// The kernel runs it: a socket of any kind can have a filter (socket(7)).
    #[test]
    fn the_kernel_hands_on_what_a_probe_looks_for_and_nothing_else() {
        let some = [0; 60];
        let data = |kind: u16| ethernet(kind, &ipv4(0, 6, &some));
        let mut table = vec![
            (true, ethernet(ARP, &some)),
            (true, ethernet(IPV4, &ipv4(0, ICMP, &some))),
            (true, ethernet(IPV6, &ipv6(ICMPV6, &some))),
            (true, tagged(ARP, &some)),
            (true, tagged(IPV4, &ipv4(0, GRE, &some))),
            (true, tagged(IPV6, &ipv6(ICMPV6, &some))),
            (false, tagged(IPV4, &ipv4(0, 6, &some))),
            (false, tagged(IPV6, &ipv6(6, &some))),
            (false, data(IPV4)),
            (false, ethernet(IPV6, &ipv6(6, &some))),
            (false, ethernet(0x88cc, &some)),
            (true, ethernet(IPV4, &ipv4(2, UDP, &udp(4789)))),
            (true, ethernet(IPV6, &ipv6(UDP, &udp(6081)))),
            (false, ethernet(IPV4, &ipv4(0, UDP, &udp(53)))),
            (false, ethernet(IPV6, &ipv6(UDP, &udp(53)))),
            (true, ethernet(IPV6, &ipv6(DESTINATION_OPTIONS, &some))),
            (false, vec![2; 13]),
        ];
        for (passes, inner) in [
            (true, ethernet(ARP, &some)),
            (true, ethernet(IPV4, &ipv4(0, ICMP, &some))),
            (true, ethernet(IPV6, &ipv6(ICMPV6, &some))),
            (true, tagged(ARP, &some)),
            (false, data(IPV4)),
            (false, ethernet(IPV6, &ipv6(6, &some))),
            (false, ethernet(0x88cc, &some)),
        ] {
            for (flags, fields) in [(0x2000, 4), (0, 0)] {
                let gre = gre(flags, fields, &inner);
                table.push((passes, ethernet(IPV4, &ipv4(0, GRE, &gre))));
                table.push((passes, ethernet(IPV4, &ipv4(3, GRE, &gre))));
                table.push((passes, ethernet(IPV6, &ipv6(GRE, &gre))));
            }
            table.push((true, ethernet(IPV4, &ipv4(0, GRE, &gre(0xb000, 12, &inner)))));
        }
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        SockRef::from(&receiver).attach_filter(&filter()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        receiver.set_nonblocking(true).unwrap();
        for (passes, frame) in table {
            sender.send(&frame).unwrap();
            let mut read = [0; 2048];
            let length = receiver.recv(&mut read).ok();
            assert_eq!(length, passes.then_some(frame.len()), "{frame:02x?}");
        }
    }
}
