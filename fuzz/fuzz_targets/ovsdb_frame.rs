//! However a byte stream is cut into reads, the same messages come out of it, and the same error ends it.
//!
//! The first byte seeds the cuts, the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_mesh::ovsdb::frame::{FrameError, Scanner};

const MAX_MESSAGE: usize = 4096;

fn drain(scanner: &mut Scanner, found: &mut Vec<Vec<u8>>) -> Option<FrameError> {
    loop {
        match scanner.next() {
            Ok(Some(message)) => found.push(message.to_vec()),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, stream)) = data.split_first() else { return };

    let mut whole = Scanner::with_max_message(MAX_MESSAGE);
    let mut expected = Vec::new();
    whole.push(stream);
    let error = drain(&mut whole, &mut expected);

    let mut split = Scanner::with_max_message(MAX_MESSAGE);
    let mut found = Vec::new();
    let mut ended = None;
    let mut rest = stream;
    let mut step = u32::from(*seed) | 1;
    while !rest.is_empty() && ended.is_none() {
        step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (read, next) = rest.split_at(((step >> 28) as usize + 1).min(rest.len()));
        split.push(read);
        ended = drain(&mut split, &mut found);
        rest = next;
    }
    assert_eq!(found, expected);
    assert_eq!(ended, error);
    assert_eq!(split.is_between_messages(), whole.is_between_messages());

    // What the JSON parser takes as one object, the scanner takes as one message.
    for message in &expected {
        assert!(message.len() <= MAX_MESSAGE && message.starts_with(b"{") && message.ends_with(b"}"));
    }
    let object = stream.starts_with(b"{") && stream.ends_with(b"}") && stream.len() <= MAX_MESSAGE;
    if object && serde_json::from_slice::<serde_json::Value>(stream).is_ok() {
        assert_eq!(expected, [stream]);
        assert_eq!(error, None);
    }
});
