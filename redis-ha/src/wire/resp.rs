//! RESP2, the protocol of Redis and Sentinel: commands out, replies in. Pure.
//!
//! What is read here was written by a tenant's container, so that every size is bounded before anything is kept: the maintained
//! parsers recurse as deep as the peer asks for, which ends the process.

use std::fmt;

/// The deepest array in arrays that is read; the agent's questions have flat answers.
const DEEPEST: usize = 4;
/// The largest reply in bytes; `INFO replication` of a node with a hundred replicas has 10 KiB.
pub const LARGEST: usize = 64 << 10;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A word, as `+OK`.
    Simple(String),
    /// A refusal, as `-ERR no such command`.
    Error(String),
    /// A number.
    Integer(i64),
    /// A text, or null.
    Bulk(Option<String>),
    /// More than one, or null.
    Array(Option<Vec<Reply>>),
}

/// Bytes that are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespError {
    /// A reply begins with none of `+-:$*`.
    #[error("a reply cannot begin with the byte 0x{0:02x}")]
    Kind(u8),
    /// A length or a number is none.
    #[error("a number was expected")]
    Number,
    /// A text is not followed by CR and LF.
    #[error("a text does not end where it says")]
    End,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// It is larger than any answer to our questions.
    #[error("a reply is larger than {LARGEST} bytes")]
    Large,
    /// Arrays are nested deeper than in any answer to our questions.
    #[error("a reply is nested more than {DEEPEST} deep")]
    Deep,
}

impl Reply {
    /// The first reply in the bytes and how many of them it takes; none where more bytes must come first.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, RespError> {
        let mut reader = Reader { bytes, at: 0 };
        match reader.reply(DEEPEST) {
            Ok(reply) if reader.at <= LARGEST => Ok(Some((reply, reader.at))),
            Err(Stop::Incomplete) if bytes.len() < LARGEST => Ok(None),
            Ok(_) | Err(Stop::Incomplete) => Err(RespError::Large),
            Err(Stop::Bad(why)) => Err(why),
        }
    }

    /// A text, however it was sent.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Simple(text) | Self::Bulk(Some(text)) => Some(text),
            Self::Error(_) | Self::Integer(_) | Self::Bulk(None) | Self::Array(_) => None,
        }
    }

    /// The members of an array that is there.
    pub fn array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(members) => members.as_deref(),
            Self::Simple(_) | Self::Error(_) | Self::Integer(_) | Self::Bulk(_) => None,
        }
    }
}

/// Why reading stopped.
enum Stop {
    Incomplete,
    Bad(RespError),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, depth: usize) -> Result<Reply, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
            return Err(Stop::Bad(RespError::Kind(kind)));
        }
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Reply::Simple(text(line)?)),
            b'-' => Ok(Reply::Error(text(line)?)),
            b':' => Ok(Reply::Integer(number(line)?)),
            b'$' => Ok(Reply::Bulk(match length(line)? {
                Some(length) => Some(self.bulk(length)?),
                None => None,
            })),
            _ => Ok(Reply::Array(match length(line)? {
                Some(length) => Some(self.members(length, depth)?),
                None => None,
            })),
        }
    }

    /// The bytes before the next CR and LF, which are passed over.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::Incomplete)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn bulk(&mut self, length: usize) -> Result<String, Stop> {
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..length).ok_or(Stop::Incomplete)?;
        match rest.get(length..length + 2) {
            None => Err(Stop::Incomplete),
            Some(b"\r\n") => {
                self.at += length + 2;
                text(bytes)
            }
            Some(_) => Err(Stop::Bad(RespError::End)),
        }
    }

    fn members(&mut self, length: usize, depth: usize) -> Result<Vec<Reply>, Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Bad(RespError::Deep))?;
        // Each member that is there took bytes: nothing is set aside for those that are only announced.
        let mut members = Vec::new();
        for _ in 0..length {
            members.push(self.reply(depth)?);
        }
        Ok(members)
    }
}

fn text(bytes: &[u8]) -> Result<String, Stop> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Stop::Bad(RespError::Text))
}

fn number(line: &[u8]) -> Result<i64, Stop> {
    let text = std::str::from_utf8(line).map_err(|_| Stop::Bad(RespError::Number))?;
    text.parse().map_err(|_| Stop::Bad(RespError::Number))
}

/// A length that is there, or null (-1).
fn length(line: &[u8]) -> Result<Option<usize>, Stop> {
    match number(line)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= LARGEST => Ok(Some(length)),
            Ok(_) => Err(Stop::Bad(RespError::Large)),
            Err(_) => Err(Stop::Bad(RespError::Number)),
        },
    }
}

/// Commands that are sent together; each gets one reply, in order.
#[derive(Clone, Default)]
pub struct Request {
    bytes: Vec<u8>,
    commands: usize,
}

impl Request {
    /// One command.
    pub fn of(words: &[&str]) -> Self {
        Self::default().and(words)
    }

    /// The same with one command more.
    #[must_use]
    pub fn and(mut self, words: &[&str]) -> Self {
        self.bytes.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            self.bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        self.commands += 1;
        self
    }

    /// What is written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many replies come.
    pub fn replies(&self) -> usize {
        self.commands
    }
}

impl fmt::Debug for Request {
    /// Without the words: some are passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} commands)", self.commands)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(Some(text.to_owned()))
    }

    #[test]
    fn reads_each_kind() {
        let table = [
            ("+OK\r\n", Ok(Reply::Simple("OK".to_owned()))),
            ("-ERR no\r\n", Ok(Reply::Error("ERR no".to_owned()))),
            (":-12\r\n", Ok(Reply::Integer(-12))),
            ("$-1\r\n", Ok(Reply::Bulk(None))),
            ("*-1\r\n", Ok(Reply::Array(None))),
            ("$4\r\na\r\nb\r\n", Ok(bulk("a\r\nb"))),
            ("*2\r\n$1\r\na\r\n:1\r\n", Ok(Reply::Array(Some(vec![bulk("a"), Reply::Integer(1)])))),
            ("?\r\n", Err(RespError::Kind(b'?'))),
            ("$x\r\n", Err(RespError::Number)),
            ("$-2\r\n", Err(RespError::Number)),
            ("$1\r\nab\r\n", Err(RespError::End)),
            ("$999999999999\r\n", Err(RespError::Large)),
            ("*999999999\r\n", Err(RespError::Large)),
            ("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", Err(RespError::Deep)),
        ];
        for (bytes, expected) in table {
            let read = Reply::parse(bytes.as_bytes());
            assert_eq!(read, expected.map(|reply| Some((reply, bytes.len()))), "{bytes:?}");
        }
        assert_eq!(Reply::parse(b"+\xff\r\n"), Err(RespError::Text));
    }

    #[test]
    fn an_endless_reply_is_refused() {
        assert_eq!(Reply::parse(&vec![b'+'; LARGEST - 1]), Ok(None));
        assert_eq!(Reply::parse(&vec![b'+'; LARGEST]), Err(RespError::Large));
    }

    #[test]
    fn a_request_is_not_shown() {
        let request = Request::of(&["AUTH", "secret"]).and(&["PING"]);
        assert_eq!(request.bytes(), b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*1\r\n$4\r\nPING\r\n");
        assert_eq!(format!("{request:?}"), "Request(2 commands)");
    }

    fn write(reply: &Reply, bytes: &mut Vec<u8>) {
        match reply {
            Reply::Simple(text) => bytes.extend(format!("+{text}\r\n").bytes()),
            Reply::Error(text) => bytes.extend(format!("-{text}\r\n").bytes()),
            Reply::Integer(number) => bytes.extend(format!(":{number}\r\n").bytes()),
            Reply::Bulk(None) => bytes.extend(b"$-1\r\n"),
            Reply::Bulk(Some(text)) => bytes.extend(format!("${}\r\n{text}\r\n", text.len()).bytes()),
            Reply::Array(None) => bytes.extend(b"*-1\r\n"),
            Reply::Array(Some(members)) => {
                bytes.extend(format!("*{}\r\n", members.len()).bytes());
                for member in members {
                    write(member, bytes);
                }
            }
        }
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            "[a-zA-Z0-9 ]{0,9}".prop_map(Reply::Simple),
            "[a-zA-Z0-9 ]{0,9}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Integer),
            any::<Option<String>>().prop_map(Reply::Bulk),
            Just(Reply::Array(None)),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(|members| Reply::Array(Some(members)))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_once_it_is_whole(reply in replies(), after in any::<Vec<u8>>()) {
            let mut bytes = Vec::new();
            write(&reply, &mut bytes);
            let length = bytes.len();
            for shorter in 0..length {
                prop_assert_eq!(Reply::parse(&bytes[..shorter]), Ok(None));
            }
            bytes.extend(after);
            prop_assert_eq!(Reply::parse(&bytes), Ok(Some((reply, length))));
        }

        #[test]
        fn no_bytes_are_too_bad(bytes in any::<Vec<u8>>()) {
            let _ = Reply::parse(&bytes);
        }
    }
}
