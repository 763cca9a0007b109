//! How a probe knows its own frames, wherever it meets them.

/// Bytes of a mark: what the padding of the shortest ARP frame has room for.
pub(super) const MARK: usize = 18;
/// What is the same in all marks of one run.
const NEEDLE: usize = 12;
const MAGIC: [u8; 2] = *b"oP";
/// How far into a frame a mark is looked for, in bytes: behind two tunnels' headers, and no further.
const DEPTH: usize = 320;

/// What a run of the probe is told apart by, from other hosts' and from earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    run: u64,
    host: u16,
}

/// What a question asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Who has the address? Short, and to all.
    Question,
    /// The same with the tenant's MTU, to the one who answered.
    Full,
    /// An ICMP echo with the tenant's MTU, from the gateway.
    Echo,
    /// A short one, to tell a path that is too narrow from a host that does not answer ICMP.
    Short,
}

impl Stage {
    /// All stages, in their order.
    pub(super) const ALL: [Self; 4] = [Self::Question, Self::Full, Self::Echo, Self::Short];
}

/// Which frame of a run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The tenant whose network it was given to: its place in the topology.
    pub tenant: u16,
    /// The question's number.
    pub ask: u16,
    /// What it asks.
    pub stage: Stage,
    /// How often it was asked before.
    pub attempt: u8,
}

impl Cookie {
    /// The cookie of a run on the host that is at this place in the topology.
    pub fn new(run: u64, host: u16) -> Self {
        Self { run, host }
    }

    fn needle(self) -> [u8; NEEDLE] {
        let mut needle = [0; NEEDLE];
        needle[..2].copy_from_slice(&MAGIC);
        needle[2..10].copy_from_slice(&self.run.to_be_bytes());
        needle[10..].copy_from_slice(&self.host.to_be_bytes());
        needle
    }

    /// The mark as it stands in a frame.
    pub fn write(self, mark: Mark) -> [u8; MARK] {
        let Mark { tenant, ask, stage, attempt } = mark;
        let mut bytes = [0; MARK];
        bytes[..NEEDLE].copy_from_slice(&self.needle());
        bytes[12..14].copy_from_slice(&tenant.to_be_bytes());
        bytes[14..16].copy_from_slice(&ask.to_be_bytes());
        bytes[16] = stage as u8;
        bytes[17] = attempt;
        bytes
    }

    /// The mark in a frame, whatever it is wrapped in.
    pub fn find(self, frame: &[u8]) -> Option<Mark> {
        let needle = self.needle();
        let near = &frame[..frame.len().min(DEPTH)];
        let at = near.windows(NEEDLE).position(|window| window == needle)?;
        let [tenant_high, tenant_low, ask_high, ask_low, stage, attempt] =
            *frame.get(at + NEEDLE..at + MARK)?.first_chunk()?;
        Some(Mark {
            tenant: u16::from_be_bytes([tenant_high, tenant_low]),
            ask: u16::from_be_bytes([ask_high, ask_low]),
            stage: *Stage::ALL.get(usize::from(stage))?,
            attempt,
        })
    }

    /// The low bits, for what has room for no more.
    pub(super) fn short(self) -> u16 {
        (self.run & 0xffff) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again_and_no_others_is() {
        let cookie = Cookie::new(0x0123_4567_89ab_cdef, 3);
        for stage in Stage::ALL {
            let mark = Mark { tenant: 7, ask: 4711, stage, attempt: 2 };
            for before in [0, 42, 200] {
                let frame = [&vec![b'o'; before][..], &cookie.write(mark), &[0; 40]].concat();
                assert_eq!(cookie.find(&frame), Some(mark));
                assert_eq!(cookie.find(&frame[..before + MARK - 1]), None);
                assert_eq!(Cookie::new(0x0123_4567_89ab_cdef, 4).find(&frame), None);
                assert_eq!(Cookie::new(1, 3).find(&frame), None);
            }
        }
        let mut odd = cookie.write(Mark { tenant: 0, ask: 0, stage: Stage::Short, attempt: 0 });
        odd[16] = 4;
        assert_eq!(cookie.find(&odd), None);
    }
}
