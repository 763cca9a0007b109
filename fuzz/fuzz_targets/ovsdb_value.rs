//! A value that can be read is written in a form that reads as an equal value, and that form is stable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_mesh::ovsdb::{Updates, Value};

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let wire = serde_json::to_vec(&value).expect("a value can be written");
        let again: Value = serde_json::from_slice(&wire).expect("what was written can be read");
        assert_eq!(again, value);
        assert_eq!(again.cmp(&value), std::cmp::Ordering::Equal);
        assert_eq!(serde_json::to_vec(&again).expect("a value can be written"), wire);
        // Whatever it is, it is at most one of these.
        let kinds = [
            value.integer().is_ok(),
            value.boolean().is_ok(),
            value.as_str().is_ok(),
            value.uuid().is_ok(),
            value.to_string_map().is_ok(),
        ];
        assert!(kinds.into_iter().filter(|kind| *kind).count() <= 1);
    }
    // Whatever a server sends as an update, reading it does not panic.
    let _ = serde_json::from_slice::<Updates>(data);
});
