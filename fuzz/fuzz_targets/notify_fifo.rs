//! However what keepalived writes is cut into reads, the same notices come out of it; and a notice that is written as
//! keepalived writes it is read as the same notice.
//!
//! The first byte seeds the cuts, the rest is what is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_ha::notify::{Lines, Notice};

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = data.split_first() else { return };
    let (mut whole, mut expected) = (Lines::default(), Vec::new());
    whole.push(text, |line| expected.push(line.to_owned()));

    let (mut lines, mut found) = (Lines::default(), Vec::new());
    let (mut rest, mut step) = (text, u32::from(*seed) | 1);
    while !rest.is_empty() {
        step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (read, next) = rest.split_at(((step >> 27) as usize + 1).min(rest.len()));
        lines.push(read, |line| found.push(line.to_owned()));
        rest = next;
    }
    assert_eq!(found, expected);

    // A line that is skipped for its length is skipped alone.
    let ends = text.iter().filter(|byte| **byte == b'\n').count();
    let long = text.split(|byte| *byte == b'\n').take(ends).filter(|line| line.len() > Lines::MAX).count();
    assert_eq!(found.len(), ends - long);

    for line in found {
        if let Ok(notice) = line.parse::<Notice>() {
            assert_eq!(notice.to_string().parse(), Ok(notice));
        }
    }
});
