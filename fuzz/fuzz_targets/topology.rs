//! Any text is a topology that reads the same when it is written again, or faults that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_mesh::Topology;

fuzz_target!(|text: &str| {
    match text.parse::<Topology>() {
        Ok(topology) => assert_eq!(topology.to_toml().parse::<Topology>().as_ref(), Ok(&topology)),
        Err(error) => {
            assert!(!error.faults().is_empty());
            assert!(error.faults().iter().all(|fault| fault.span().end <= text.len()));
            assert!(!error.to_string().is_empty());
        }
    }
});
