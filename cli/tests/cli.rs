//! What the command line prints, where, and how it exits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write;
use std::process::Command;

/// Runs `ovsmesh` and shows its exit code, stdout and stderr.
fn shown(words: &[&str]) -> String {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("ovsmesh"))
        .args(words)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env_clear()
        .output()
        .unwrap();
    let mut text = String::new();
    let _ = writeln!(text, "exit {:?}", output.status.code());
    let _ = writeln!(text, "--- stdout\n{}", String::from_utf8_lossy(&output.stdout));
    let _ = writeln!(text, "--- stderr\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_plan_goes_to_stdout() {
    insta::assert_snapshot!(shown(&["--config", "examples/ha-redis.toml", "--host", "redis1", "plan"]));
}

#[test]
fn an_unknown_host_is_a_usage_error_with_a_hint() {
    insta::assert_snapshot!(shown(&["--config", "examples/ha-redis.toml", "--host", "redis9", "plan"]));
}

#[test]
fn a_missing_topology_is_named() {
    insta::assert_snapshot!(shown(&["--config", "examples/none.toml", "--host", "redis1", "sync"]));
}

#[test]
fn a_wrong_topology_shows_all_its_faults() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(
        file.path(),
        "[mesh]\nname = \"m\"\nunderlay_mtu = 70000\n\n[[host]]\nname = \"a b\"\nunderlay_ip = \"10.0.0.300\"\n",
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let text = shown(&["--config", path, "--host", "a", "plan"]).replace(path, "mesh.toml");
    insta::assert_snapshot!(text);
}

#[test]
fn no_ovsdb_is_an_exit_code_of_its_own() {
    let words = [
        "--config",
        "examples/ha-redis.toml",
        "--host",
        "redis1",
        "--db",
        "unix:/nonexistent/db.sock",
        "sync",
    ];
    insta::assert_snapshot!(shown(&words));
}

#[test]
fn a_wrong_endpoint_says_what_would_be_accepted() {
    insta::assert_snapshot!(shown(&["--db", "udp:10.0.0.1", "status"]));
}

#[test]
fn verify_tells_its_levels_and_exit_codes() {
    insta::assert_snapshot!(shown(&["verify", "--help"]));
}

#[test]
fn verify_takes_snapshots_as_a_shell_lists_them() {
    let words = [
        "verify",
        "--config",
        "examples/ha-redis.toml",
        "--snapshot",
        "none1.json",
        "none2.json",
        "--static",
    ];
    let told = shown(&words);
    assert!(told.contains("cannot read the snapshot none1.json"), "{told}");
}
