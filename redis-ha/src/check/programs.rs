//! The daemons' own checks.

use std::fmt::Write;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ovs_mesh::NetnsName;
use ovs_mesh::link::Netns;

use super::{CheckError, CheckReport, Finding, file};
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
        "haproxy.cfg" => haproxy(path, report)?,
        "keepalived.conf" => said(&run(
            Command::new("keepalived").args(["--config-test", "--use-file"]).arg(path),
            "keepalived",
        )?),
        "redis.conf" => daemon("redis-server", path, &redis)?,
        "sentinel.conf" => daemon("redis-sentinel", path, &sentinel)?,
        _ => return Ok(()),
    };
    match said {
        None => report.accepted += 1,
        Some(problem) => report.findings.push(Finding {
            check: "daemon",
            object: path.display().to_string(),
            problem,
            remedy: "see the daemon's manual; is it the version that will run (Redis 7, HAProxy 2.6, keepalived 2.2)?".to_owned(),
        }),
    }
    Ok(())
}

/// `haproxy -c`; it opens the tenants' namespaces, so those that this machine does not have are left out.
fn haproxy(path: &Path, report: &mut CheckReport) -> Result<Option<String>, CheckError> {
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
            None => line.to_owned(),
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
    let failed = |source| CheckError::Program { program, source };
    let mut child = Command::new(program)
        .arg(&conf)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let answers = wait(&mut child, &socket).map_err(failed)?;
    if answers {
        child.kill().map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    Ok(if answers { None } else { Some(text_of(&output)) })
}

/// Whether the daemon came to listen; if not, it ended or was ended.
fn wait(child: &mut Child, socket: &Path) -> std::io::Result<bool> {
    let started = Instant::now();
    loop {
        if UnixStream::connect(socket).is_ok() {
            return Ok(true);
        }
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if started.elapsed() > DEADLINE {
            child.kill()?;
            return Ok(false);
        }
        sleep(PAUSE);
    }
}

fn scratch() -> Result<tempfile::TempDir, CheckError> {
    // Of mode 0700: the copies hold passwords.
    tempfile::Builder::new()
        .prefix("redis-ha-check")
        .tempdir()
        .map_err(file("create a directory in", &std::env::temp_dir()))
}

fn run(command: &mut Command, program: &'static str) -> Result<Output, CheckError> {
    command.stdin(Stdio::null()).output().map_err(|source| CheckError::Program { program, source })
}

/// What a check that failed said.
fn said(output: &Output) -> Option<String> {
    (!output.status.success()).then(|| text_of(output))
}

/// The last lines of what a program said.
fn text_of(output: &Output) -> String {
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(6);
    if lines.is_empty() { format!("it ended with {}", output.status) } else { lines[last..].join("\n    ") }
}
