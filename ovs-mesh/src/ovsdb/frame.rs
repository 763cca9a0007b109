//! Messages out of a byte stream: JSON-RPC 1.0 as OVS speaks it puts JSON objects one after the other, with no length and
//! no separator (RFC 7047 section 4). No I/O happens here.

/// The longest message accepted unless told otherwise, in bytes: the initial reply of a monitor on 10,000 tunnels is
/// about 10 MB, so this leaves room and still keeps a broken peer from filling the memory.
pub const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// The deepest nesting accepted, in brackets; one less than what `serde_json` itself refuses. A schema nests 10 deep.
pub const MAX_DEPTH: u32 = 127;

/// Why a byte stream is not a sequence of messages. Nothing after it can be trusted: the connection has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something else than an object stands where a message should begin.
    #[error("a message begins with `{{`, not with the byte 0x{byte:02x}")]
    Garbage {
        /// The byte found.
        byte: u8,
    },
    /// A closing bracket closes one of the other kind.
    #[error("the closing byte 0x{byte:02x} does not match the bracket that is open")]
    Mismatched {
        /// The closing bracket found.
        byte: u8,
    },
    /// A message does not end within the limit.
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message has more open brackets than the limit.
    #[error("a message is nested more than {limit} deep")]
    TooDeep {
        /// The limit, in brackets.
        limit: u32,
    },
}

#[derive(Debug, Clone, Copy)]
enum State {
    Between,
    Plain,
    Text,
    Escape,
}

/// Cuts a byte stream into messages, however the stream was cut into reads.
///
/// Every byte is looked at once, whatever the sizes of messages and reads. A message is checked as far as its brackets
/// and strings go; what is in it is for the JSON parser to judge.
///
/// ```
/// let mut scanner = ovs_mesh::ovsdb::frame::Scanner::new();
/// scanner.push(br#"{"id":1}{"id":"}"#);
/// assert_eq!(scanner.next()?, Some(&br#"{"id":1}"#[..]));
/// assert_eq!(scanner.next()?, None);
/// scanner.push(br#""}"#);
/// assert_eq!(scanner.next()?, Some(&br#"{"id":"}"}"#[..]));
/// # Ok::<(), ovs_mesh::ovsdb::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Scanner {
    buffer: Vec<u8>,
    /// Where the current message begins, or where the last one ended.
    start: usize,
    /// The first byte not looked at yet.
    at: usize,
    state: State,
    depth: u32,
    /// The kind of every open bracket, the innermost lowest: 1 is `{`, 0 is `[`.
    kinds: u128,
    max_message: usize,
    failed: Option<FrameError>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner that accepts messages of up to [`MAX_MESSAGE`] bytes.
    pub fn new() -> Self {
        Self::with_max_message(MAX_MESSAGE)
    }

    /// A scanner that accepts messages of up to `max_message` bytes.
    pub fn with_max_message(max_message: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            at: 0,
            state: State::Between,
            depth: 0,
            kinds: 0,
            max_message,
            failed: None,
        }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            // One long message must not keep its memory for the life of the connection.
            if self.buffer.capacity() > 1024 * 1024 {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            self.at = 0;
            self.start = 0;
        } else if self.start > self.buffer.len() / 2 {
            // At least as much was consumed as is moved, so that moving stays linear in what was read.
            self.buffer.drain(..self.start);
            self.at -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` if more has to be pushed first.
    ///
    /// # Errors
    ///
    /// Where the stream is not one of messages; every later call then fails in the same way.
    #[expect(
        clippy::should_implement_trait,
        reason = "an Iterator cannot lend the message, and would end at None"
    )]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.scan() {
            Ok(None) => Ok(None),
            Ok(Some(start)) => Ok(Some(&self.buffer[start..self.at])),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Whether the stream could end here: nothing but white space follows the last message.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Between)
            && self.buffer[self.at..].iter().all(u8::is_ascii_whitespace)
            && self.failed.is_none()
    }

    /// Finds the end of a message and returns its beginning; its end is then `self.at`.
    fn scan(&mut self) -> Result<Option<usize>, FrameError> {
        let too_long = FrameError::TooLong { limit: self.max_message };
        while let Some(&byte) = self.buffer.get(self.at) {
            // Before anything else, so that the verdict does not depend on how the stream was cut.
            if self.at - self.start >= self.max_message {
                return Err(too_long);
            }
            match self.state {
                State::Between => match byte {
                    b' ' | b'\t' | b'\n' | b'\r' => {
                        self.at += 1;
                        self.start = self.at;
                    }
                    b'{' => {
                        self.start = self.at;
                        self.at += 1;
                        self.depth = 1;
                        self.kinds = 1;
                        self.state = State::Plain;
                    }
                    _ => return Err(FrameError::Garbage { byte }),
                },
                State::Plain => {
                    self.at += 1;
                    match byte {
                        b'"' => self.state = State::Text,
                        b'{' | b'[' => self.open(byte)?,
                        b'}' | b']' if self.close(byte)? => {
                            let start = self.start;
                            self.start = self.at;
                            self.state = State::Between;
                            return Ok(Some(start));
                        }
                        _ => {}
                    }
                }
                State::Text => {
                    let rest = &self.buffer[self.at..];
                    match rest.iter().position(|b| matches!(b, b'"' | b'\\')) {
                        Some(found) => {
                            self.state = if rest[found] == b'"' { State::Plain } else { State::Escape };
                            self.at += found + 1;
                        }
                        None => self.at = self.buffer.len(),
                    }
                }
                State::Escape => {
                    // What follows `\u` are hexadecimal digits: as harmless as any other text.
                    self.at += 1;
                    self.state = State::Text;
                }
            }
        }
        if self.at - self.start > self.max_message { Err(too_long) } else { Ok(None) }
    }

    fn open(&mut self, byte: u8) -> Result<(), FrameError> {
        if self.depth == MAX_DEPTH {
            return Err(FrameError::TooDeep { limit: MAX_DEPTH });
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(byte == b'{');
        Ok(())
    }

    /// Closes a bracket; true if it was the message's own.
    fn close(&mut self, byte: u8) -> Result<bool, FrameError> {
        if (self.kinds & 1 == 1) != (byte == b'}') {
            return Err(FrameError::Mismatched { byte });
        }
        self.kinds >>= 1;
        self.depth -= 1;
        Ok(self.depth == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn messages(scanner: &mut Scanner) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut found = Vec::new();
        while let Some(message) = scanner.next()? {
            found.push(message.to_vec());
        }
        Ok(found)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            r#"[\\"{}\[\]é€😀]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_message() -> impl Strategy<Value = Value> {
        prop::collection::vec((any::<String>(), any_json()), 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
    }

    proptest! {
        #[test]
        fn every_split_yields_the_same_messages(
            sent in prop::collection::vec((any_message(), "[ \t\r\n]{0,3}", any::<bool>()), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            greedy in any::<bool>(),
        ) {
            let mut stream = Vec::new();
            for (message, space, pretty) in &sent {
                let text = if *pretty { serde_json::to_vec_pretty(message) } else { serde_json::to_vec(message) };
                stream.extend(text.unwrap());
                stream.extend(space.bytes());
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut scanner = Scanner::new();
            let mut found = Vec::new();
            let mut from = 0;
            for cut in cuts {
                scanner.push(&stream[from..cut]);
                from = cut;
                if greedy {
                    found.extend(messages(&mut scanner).unwrap());
                } else {
                    found.extend(scanner.next().unwrap().map(<[u8]>::to_vec));
                }
            }
            found.extend(messages(&mut scanner).unwrap());
            let found: Vec<Value> = found.iter().map(|m| serde_json::from_slice(m).unwrap()).collect();
            let sent: Vec<Value> = sent.into_iter().map(|(message, ..)| message).collect();
            prop_assert_eq!(found, sent);
            prop_assert!(scanner.is_between_messages());
        }

        #[test]
        fn no_bytes_make_it_panic(reads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut scanner = Scanner::with_max_message(64);
            for read in reads {
                scanner.push(&read);
                let _ = messages(&mut scanner);
            }
        }
    }

    #[test]
    fn bad_streams_are_refused_for_good() {
        let deep = "[".repeat(MAX_DEPTH as usize);
        for (stream, expected) in [
            ("x", FrameError::Garbage { byte: b'x' }),
            (r#"{"a":1},"#, FrameError::Garbage { byte: b',' }),
            ("[]", FrameError::Garbage { byte: b'[' }),
            (r#"{"a":[1}"#, FrameError::Mismatched { byte: b'}' }),
            ("{]", FrameError::Mismatched { byte: b']' }),
            (&format!(r#"{{"a":{deep}"#), FrameError::TooDeep { limit: MAX_DEPTH }),
            (&format!(r#"{{"a":"{}"}}"#, "x".repeat(1000)), FrameError::TooLong { limit: 1000 }),
            (&format!(r#"{{"a":"{}"#, "x".repeat(1000)), FrameError::TooLong { limit: 1000 }),
        ] {
            let mut scanner = Scanner::with_max_message(1000);
            scanner.push(stream.as_bytes());
            assert_eq!(messages(&mut scanner), Err(expected), "{stream}");
            scanner.push(b"{}");
            assert_eq!(scanner.next(), Err(expected), "{stream}");
        }
    }

    #[test]
    fn the_deepest_message_accepted_can_be_parsed() {
        let inner = MAX_DEPTH as usize - 1;
        let text = format!(r#"{{"a":{}{}}}"#, "[".repeat(inner), "]".repeat(inner));
        let mut scanner = Scanner::new();
        scanner.push(text.as_bytes());
        let message = scanner.next().unwrap().unwrap();
        assert!(serde_json::from_slice::<Value>(message).is_ok());
    }

    #[test]
    fn escaped_quotes_do_not_end_a_string() {
        let message = json!({"a": "\\\"}{\\", "b\"": "\\"}).to_string();
        let mut scanner = Scanner::new();
        for byte in message.as_bytes() {
            assert_eq!(scanner.next(), Ok(None));
            scanner.push(&[*byte]);
        }
        assert_eq!(scanner.next(), Ok(Some(message.as_bytes())));
    }

    #[test]
    fn a_long_message_costs_linear_time_and_gives_its_memory_back() {
        let message = format!(r#"{{"rows":[{}0]}}"#, r#"{"name":"gre\"0","ofport":1},"#.repeat(200_000));
        assert!(message.len() > 5_000_000);
        let mut scanner = Scanner::new();
        let started = std::time::Instant::now();
        for read in message.as_bytes().chunks(1000) {
            assert_eq!(scanner.next(), Ok(None));
            scanner.push(read);
        }
        assert_eq!(scanner.next().unwrap().map(<[u8]>::len), Some(message.len()));
        // Less than 0.1 s unoptimised; a scanner that began again with every read would take minutes.
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
        scanner.push(b"{}");
        assert!(scanner.buffer.capacity() < 1024 * 1024);
        assert_eq!(scanner.next(), Ok(Some(&b"{}"[..])));
    }
}
