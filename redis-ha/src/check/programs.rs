//! The daemons' own checks.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ovs_mesh::NetnsName;
use ovs_mesh::link::Netns;

use super::{CheckError, CheckReport, Finding, file, units};
use crate::render::RenderedFile;

/// How long a daemon may take to come up on an empty directory.
const DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Gives a file to its daemon, if it is one that a daemon reads.
pub(super) fn check(
    rendered: &RenderedFile,
    path: &Path,
    report: &mut CheckReport,
) -> Result<(), CheckError> {
    let name = rendered.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let said = match name {
        "haproxy.cfg" => haproxy(rendered, path, report)?,
        "keepalived.conf" => keepalived(path, report)?,
        "redis.conf" => daemon("redis-server", path, &redis)?,
        "sentinel.conf" => daemon("redis-sentinel", path, &sentinel)?,
        name if Path::new(name).extension().is_some_and(|kind| kind == "service") => {
            let Some(problems) = units::verify(path, report)? else { return Ok(()) };
            (!problems.is_empty()).then(|| problems.join("\n    "))
        }
        _ => return Ok(()),
    };
    match said {
        None => report.accepted += 1,
        Some(problem) => report.findings.push(Finding {
            check: "daemon",
            object: path.display().to_string(),
            problem,
            remedy: "see the daemon's manual; is it the version that will run (Redis 7, HAProxy 2.6, keepalived 2.2, systemd 252)?".to_owned(),
        }),
    }
    Ok(())
}

/// `keepalived --config-test`; it wants the VIPs' device, so where this machine has none of that name, it gets a network namespace with
/// one.
fn keepalived(path: &Path, report: &mut CheckReport) -> Result<Option<String>, CheckError> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let device = text.lines().find_map(|line| line.trim_start().strip_prefix("interface "));
    let absent = device.filter(|name| !Path::new("/sys/class/net").join(name).exists());
    let mut command = match absent {
        None => Command::new("keepalived"),
        Some(device) => {
            report.notes.push(format!(
                "{}: checked with a device {device} made for that, since this machine has none",
                path.display()
            ));
            let mut command = Command::new("unshare");
            // Who is not root is so in a namespace of users.
            if !nix::unistd::geteuid().is_root() {
                command.args(["--user", "--map-root-user"]);
            }
            let made = "PATH=$PATH:/usr/sbin:/sbin; ip link add \"$0\" type veth && exec keepalived \"$@\"";
            command.args(["--net", "sh", "-c", made, device]);
            command
        }
    };
    Ok(said(&run(command.args(["--config-test", "--use-file"]).arg(path), "keepalived")?))
}

/// `haproxy -c`; it opens the tenants' namespaces, so those that this machine does not have are left out, and certificates, which lie
/// below the configuration's directory.
fn haproxy(
    rendered: &RenderedFile,
    path: &Path,
    report: &mut CheckReport,
) -> Result<Option<String>, CheckError> {
    let there = |path: &Path| format!(" ssl crt {}/", path.parent().unwrap_or(Path::new("")).display());
    let (installed, below) = (there(&rendered.path), there(path));
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let mut absent = Vec::new();
    let here = |word: &str, absent: &mut Vec<String>| {
        let exists = word.parse::<NetnsName>().is_ok_and(|name| Netns::exists(&name));
        if !exists && !absent.iter().any(|name| name == word) {
            absent.push(word.to_owned());
        }
        exists
    };
    let mut copy = String::new();
    for line in text.lines() {
        let server =
            line.trim_start().starts_with("server ").then(|| line.split_once(" namespace ")).flatten();
        let line = match server {
            Some((before, after)) => {
                let (name, rest) = after.split_once(' ').unwrap_or((after, ""));
                if here(name, &mut absent) { line.to_owned() } else { format!("{before} {rest}") }
            }
            None => line.replace(&installed, &below),
        };
        copy.push_str(&line);
        copy.push('\n');
    }
    let dir = scratch()?;
    let checked = dir.path().join("haproxy.cfg");
    fs::write(&checked, copy).map_err(file("write", &checked))?;
    if !absent.is_empty() {
        report.notes.push(format!(
            "{}: checked without the namespaces {}, which are not on this machine",
            path.display(),
            absent.join(", ")
        ));
    }
    Ok(said(&run(Command::new("haproxy").args(["-c", "-f"]).arg(&checked), "haproxy")?))
}

/// A copy that listens on nothing but a socket in its directory and keeps everything there.
fn redis(line: &str) -> Option<String> {
    let keyword = line.split_whitespace().next().unwrap_or_default();
    match keyword {
        "bind" | "dir" | "replicaof" => None,
        "port" => Some("port 0".to_owned()),
        _ => Some(line.to_owned()),
    }
}

/// The same, with a master that nobody is.
fn sentinel(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["sentinel", "monitor", name, _, _, quorum] => {
            Some(format!("sentinel monitor {name} 127.0.0.1 1 {quorum}"))
        }
        _ => redis(line),
    }
}

/// Starts a daemon on a copy of its configuration, and ends it when it answers; what it said if it did not come up.
fn daemon(
    program: &'static str,
    path: &Path,
    copied: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, CheckError> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let dir = scratch()?;
    let socket = dir.path().join("sock");
    let mut copy: String = text.lines().filter_map(copied).map(|line| line + "\n").collect();
    // Writing into a string cannot fail.
    let _ = writeln!(copy, "dir {}\nunixsocket {}", dir.path().display(), socket.display());
    let conf = dir.path().join("copy.conf");
    fs::write(&conf, copy).map_err(file("write", &conf))?;
    let mut answered = false;
    let output = run_until(Command::new(program).arg(&conf), program, || {
        answered = UnixStream::connect(&socket).is_ok();
        answered
    })?;
    Ok(if answered { None } else { Some(text_of(&output)) })
}

/// Waits until a program has ended by itself, or something is so, and ends it then, or when it takes too long. Whether it was in time.
fn until(child: &mut Child, mut so: impl FnMut() -> bool) -> io::Result<bool> {
    let started = Instant::now();
    loop {
        if so() {
            child.kill()?;
            return Ok(true);
        }
        match child.try_wait() {
            Ok(None) if started.elapsed() <= DEADLINE => sleep(PAUSE),
            Ok(None) => {
                child.kill()?;
                return Ok(false);
            }
            Ok(Some(_)) => return Ok(true),
            Err(error) => {
                child.kill()?;
                return Err(error);
            }
        }
    }
}

fn scratch() -> Result<tempfile::TempDir, CheckError> {
    // Of mode 0700: the copies hold passwords.
    tempfile::Builder::new()
        .prefix("redis-ha-check")
        .tempdir()
        .map_err(file("create a directory in", &std::env::temp_dir()))
}

/// Runs a daemon's check to its end, or ends it: what it says goes into files, so that it never waits for a reader.
pub(super) fn run(command: &mut Command, program: &'static str) -> Result<Output, CheckError> {
    run_until(command, program, || false)
}

/// The same, and ends it as soon as something is so.
fn run_until(
    command: &mut Command,
    program: &'static str,
    so: impl FnMut() -> bool,
) -> Result<Output, CheckError> {
    let failed = |source| CheckError::Program { program, source };
    let mut said = tempfile::tempfile().map_err(failed)?;
    let clone = || said.try_clone().map_err(failed);
    let mut child = command.stdin(Stdio::null()).stdout(clone()?).stderr(clone()?).spawn().map_err(failed)?;
    let ended = until(&mut child, so).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    let mut stdout = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut stdout)).map_err(failed)?;
    if !ended {
        // Writing into a vector cannot fail.
        let _ = writeln!(stdout, "it did not end in {} s", DEADLINE.as_secs());
    }
    Ok(Output { status, stdout, stderr: Vec::new() })
}

/// What a check that failed said.
fn said(output: &Output) -> Option<String> {
    (!output.status.success()).then(|| text_of(output))
}

/// The last lines of what a program said.
pub(super) fn text_of(output: &Output) -> String {
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(6);
    if lines.is_empty() { format!("it ended with {}", output.status) } else { lines[last..].join("\n    ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_is_told_unless_it_is_content() {
        let sh = |script: &str| said(&run(Command::new("sh").args(["-c", script]), "sh").unwrap());
        assert_eq!(sh("echo fine"), None);
        assert_eq!(sh("echo one; echo two >&2; exit 1").as_deref(), Some("one\n    two"));
        assert_eq!(sh("exit 3").as_deref(), Some("it ended with exit status: 3"));
        // More than a pipe holds, and no more than the last of it is told.
        let told = sh("yes line | head -n 100000; exit 1").unwrap();
        assert_eq!(told.lines().count(), 6);
    }

    #[test]
    fn a_program_is_ended_once_it_answers() {
        let mut asked = 0;
        let started = Instant::now();
        let output = run_until(Command::new("sleep").arg("60"), "sleep", || {
            asked += 1;
            asked == 3
        });
        assert!(!output.unwrap().status.success());
        assert!(started.elapsed() < DEADLINE);
    }

    #[test]
    fn keepalived_takes_a_configuration_of_another_machines_devices() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = |more: &str| {
            let text = format!(
                "vrrp_instance x {{\n    interface absent0\n    virtual_router_id 7\n    virtual_ipaddress {{\n        \
                 10.0.0.1/24 dev absent0\n    }}\n{more}}}\n"
            );
            fs::write(file.path(), text).unwrap();
            let mut report = CheckReport::default();
            let said = keepalived(file.path(), &mut report).unwrap();
            assert!(report.notes[0].contains("a device absent0 made for that"), "{:?}", report.notes);
            said
        };
        assert_eq!(said(""), None);
        assert!(said("    nonsense\n").unwrap().contains("nonsense"));
    }

    #[test]
    fn copies_touch_nothing_that_runs() {
        let lines =
            ["bind 10.0.0.1", "port 6379", "dir /var/lib/x", "replicaof 10.0.0.2 6379", "maxmemory 1"];
        let copied: Vec<String> = lines.into_iter().filter_map(redis).collect();
        assert_eq!(copied, ["port 0", "maxmemory 1"]);
        assert_eq!(
            sentinel("sentinel monitor acme 10.0.0.1 6379 2").as_deref(),
            Some("sentinel monitor acme 127.0.0.1 1 2")
        );
        assert_eq!(
            sentinel("sentinel deny-scripts-reconfig yes").as_deref(),
            Some("sentinel deny-scripts-reconfig yes")
        );
    }
}
