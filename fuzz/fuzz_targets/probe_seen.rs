//! Frames never panic who listens, and what a probe takes for its own says so itself: it carries the run's mark.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_mesh::isolation::{Content, Cookie, Seen};
use ovs_mesh::parse_gre;

fuzz_target!(|frame: &[u8]| {
    let cookie = Cookie::new(u64::from_be_bytes(*b"ovsmesh!"), 0);
    let gre = parse_gre(frame);
    let Some(seen) = Seen::parse(frame, cookie) else { return };
    assert_eq!(
        seen.outer.map(|outer| (outer.src, outer.dst, outer.key)),
        gre.map(|gre| (gre.src, gre.dst, gre.key))
    );
    // Each run takes for its own only what carries its own mark: not another run's, nor another host's.
    for mine in [cookie, Cookie::new(0, 0), Cookie::new(u64::from_be_bytes(*b"ovsmesh!"), 1)] {
        let content = Seen::parse(frame, mine).map(|seen| seen.content);
        if let Some(Content::Own { mark, .. } | Content::EchoReply(mark)) = content {
            let written = mine.write(mark);
            assert!(frame.windows(written.len()).any(|window| window == written));
        }
    }
});
