//! The detach point, run by a shell as OpenVZ runs it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::super::content::Content;
use super::super::files::Texts;

struct Ran {
    output: Output,
    took: Duration,
    /// What the program was given: its arguments and its variables.
    told: String,
}

/// Writes a program by another process: a child that another test is starting would hold our descriptor for a moment, and
/// execve(2) refuses what is open for writing (ETXTBSY).
fn write(path: &Path, text: &str, mode: u32) {
    let mut command = Command::new("install");
    command.arg("-m").arg(format!("{mode:o}")).arg("/dev/stdin").arg(path).stdin(Stdio::piped());
    let mut install = command.spawn().unwrap();
    install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success(), "{}", path.display());
}

/// Runs it with a program that does `body`, and in front of a script that does `kept`.
fn run(body: &str, kept: Option<(&str, u32)>, veid: &str) -> Ran {
    let place = tempfile::Builder::new().prefix("it's a place").tempdir().unwrap();
    let (program, told, script) =
        (place.path().join("ovsmesh"), place.path().join("told"), place.path().join("vps.umount"));
    let record = "printf '%s|' \"$@\" \"$OVSMESH_HOST\" \"$OVSMESH_CONFIG\" > \"${0%/*}/told\"";
    write(&program, &format!("#!/bin/sh\n{record}\necho on stdout; echo on stderr >&2\n{body}\n"), 0o755);
    let kept_path = place.path().join("vps.umount.before-ovsmesh");
    if let Some((text, mode)) = kept {
        write(&kept_path, text, mode);
    }
    let variables = [("OVSMESH_HOST", "redis1".to_owned()), ("OVSMESH_CONFIG", "/a b/it's".to_owned())];
    let texts = Texts {
        program: program.to_str().unwrap(),
        variables: &variables,
        timeout: Duration::from_millis(900),
    };
    let Content::File { text, .. } = texts.umount(kept.map(|_| kept_path.as_path())) else { panic!() };
    write(&script, &text, 0o755);
    let start = Instant::now();
    let mut command = Command::new(&script);
    // OpenVZ 7's PATH can end so.
    command.env_clear().envs([("VEID", veid), ("VE_CONFFILE", "/etc/vz/conf/101.conf"), ("PATH", "/none:")]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let took = start.elapsed();
    Ran { output, took, told: fs::read_to_string(told).unwrap_or_default() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_container_is_detached_and_the_script_says_nothing() {
    let Ran { output, took: _, told } = run("exit 0", None, "101");
    assert_eq!(told, "detach|--ctid|101|redis1|/a b/it's|");
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(0), String::new(), "on stderr\n".to_owned())
    );
}

#[test]
fn whatever_the_program_does_the_container_is_unmounted() {
    for body in ["exit 1", "exit 5", "kill -9 $$", "kill -TERM $$"] {
        let Ran { output, took: _, told } = run(body, None, "101");
        assert_eq!(output.status.code(), Some(0), "{body}: {output:?}");
        assert!(told.starts_with("detach|"), "{body}");
        let said = text(&output.stderr);
        assert!(
            said.contains("container 101 is not detached") && said.contains("`ovsmesh sync`"),
            "{body}: {said}"
        );
    }
}

/// Also one that withstands signals, and one whose child goes on holding the output, which OpenVZ 7 reads to its end.
#[test]
fn a_program_that_hangs_is_ended_in_time() {
    for body in
        ["/bin/sleep 30", "trap '' TERM INT HUP; while :; do /bin/sleep 30; done", "/bin/sleep 30 & wait"]
    {
        let Ran { output, took, told } = run(body, None, "101");
        assert_eq!(output.status.code(), Some(0), "{body}: {output:?}");
        assert!(told.starts_with("detach|"), "{body}");
        assert!(took < Duration::from_secs(5), "{body}: {took:?}");
        assert!(text(&output.stderr).contains("not detached"), "{body}: {output:?}");
    }
}

#[test]
fn a_script_that_was_there_runs_afterwards_and_decides() {
    let kept = "#!/bin/sh\necho \"kept: $VEID $VE_CONFFILE $PATH [$OVSMESH_HOST]\"\nexit 7\n";
    for (body, veid) in [("exit 0", "101"), ("exit 5", "101"), ("/bin/sleep 30", "101")] {
        let Ran { output, took, .. } = run(body, Some((kept, 0o755)), veid);
        assert_eq!(output.status.code(), Some(7), "{body}: {output:?}");
        assert_eq!(text(&output.stdout), "kept: 101 /etc/vz/conf/101.conf /none: []\n", "{body}");
        assert!(took < Duration::from_secs(5), "{body}: {took:?}");
    }
    let Ran { output, .. } = run("exit 5", Some(("#!/bin/sh\nexit 0\n", 0o755)), "101");
    assert_eq!(output.status.code(), Some(0));
    // One that cannot be run would keep every container mounted.
    let Ran { output, .. } = run("exit 0", Some((kept, 0o644)), "101");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
}

#[test]
fn a_container_is_a_number_or_a_uuid_and_never_words() {
    for (veid, told) in [
        ("{c2b4d6a8-1111-2222-3333-444455556666}", "detach|--ctid|{c2b4d6a8-1111-2222-3333-444455556666}|"),
        ("1 2; touch /x", "detach|--ctid|1 2; touch /x|"),
        ("", "detach|--ctid||"),
    ] {
        assert!(run("exit 0", None, veid).told.starts_with(told), "{veid}");
    }
}
