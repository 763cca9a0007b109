//! No bytes make the reader panic, read beyond what came, or change its mind: a reply that is whole is the same whatever follows, and
//! is awaited while it is not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_ha::{LARGEST, Reply};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((reply, length))) = Reply::parse(bytes) {
        assert!(0 < length && length <= bytes.len() && length <= LARGEST);
        assert_eq!(Reply::parse(&bytes[..length]), Ok(Some((reply, length))));
        // Not all lengths: that is quadratic.
        for shorter in [length - 1, length / 2, length / 3] {
            assert_eq!(Reply::parse(&bytes[..shorter]), Ok(None));
        }
    }
});
