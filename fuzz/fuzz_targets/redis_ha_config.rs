//! Any text is a service's file that reads the same when it is written again, or faults that can be shown.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ovs_mesh::Topology;
use redis_ha::Config;

/// The seed's five hosts and two tenants.
static MESH: LazyLock<Topology> =
    LazyLock::new(|| include_str!("../../examples/ha-redis.toml").parse().expect("the example is a topology"));

fuzz_target!(|text: &str| {
    let path = Path::new("/etc/redis-ha/redis-ha.toml");
    match Config::parse(text, path, MESH.clone()) {
        Ok(config) => {
            let written = config.to_toml(Path::new("mesh.toml"));
            let again = Config::parse(&written, path, MESH.clone());
            assert_eq!(again.as_ref().ok(), Some(&config), "{written}");
        }
        Err(error) => {
            assert!(!error.faults().is_empty());
            assert!(error.faults().iter().all(|fault| fault.span().end <= text.len()));
            assert!(!error.to_string().is_empty());
        }
    }
});
