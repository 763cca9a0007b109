//! The program, with nothing of this machine's own AWS settings in its environment.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fake::{ENI_A, Fake, REGION};

/// `redis-ha notify`, to be run against a fake from the instance with the first interface.
pub(crate) fn notify(fake: &Fake) -> Command {
    notify_on(fake, &[ENI_A])
}

/// The same from the instance with these interfaces.
pub(crate) fn notify_on(fake: &Fake, enis: &[&'static str]) -> Command {
    let mut command = bare();
    command.args(["--imds-endpoint", &fake.imds(enis), "--ec2-endpoint", &fake.ec2]);
    command
}

/// The same without endpoints.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-ha"));
    command.env_clear().args(["notify", "--no-local-check"]);
    command
}

/// `once INSTANCE VI_1 STATE 100`, its end and its words.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

pub(crate) fn once(command: &mut Command, state: &str) -> Ended {
    let begun = Instant::now();
    let output = command.args(["once", "INSTANCE", "VI_1", state, "100"]).output().unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr), took: begun.elapsed() }
}

/// The daemon, with its FIFO and its log.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) fifo: PathBuf,
    log: UnixDatagram,
    told: Vec<String>,
    _directory: TempDir,
}

impl Daemon {
    /// Starts it with these arguments beside, and waits until it reads.
    pub(crate) fn start(mut command: Command, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (fifo, socket) = (directory.path().join("fifo"), directory.path().join("log"));
        let log = UnixDatagram::bind(&socket).unwrap();
        log.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        command.args(arguments).arg("--fifo").arg(&fifo).arg("--log-socket").arg(&socket);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut daemon = Self { child, fifo, log, told: Vec::new(), _directory: directory };
        daemon.wait_for("reads ");
        daemon
    }

    /// Writes as keepalived does.
    pub(crate) fn say(&self, text: &str) {
        let mut fifo = OpenOptions::new().write(true).open(&self.fifo).unwrap();
        fifo.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn master(&self) {
        self.say("INSTANCE \"VI_1\" MASTER 100\n");
    }

    pub(crate) fn backup(&self) {
        self.say("INSTANCE \"VI_1\" BACKUP 100\n");
    }

    /// Waits for a line of the log that has this text, after the last that was waited for; returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let line = self.next_line();
            if let Some(line) = line.filter(|line| line.contains(text)) {
                return line;
            }
            assert!(Instant::now() < end, "no line with `{text}`: {:#?}", self.told);
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        let size = self.log.recv(&mut buffer).ok()?;
        let line = String::from_utf8_lossy(&buffer[..size]).into_owned();
        self.told.push(line.clone());
        Some(line)
    }

    /// All lines until now.
    pub(crate) fn told(&mut self) -> &[String] {
        while self.next_line().is_some() {}
        &self.told
    }

    /// SIGTERM; returns the exit code, which must come soon.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With the user's key in the environment, and identity from the command line.
pub(crate) fn given(fake: &Fake) -> Command {
    let mut command = bare();
    command.args(["--ec2-endpoint", &fake.ec2, "--region", REGION, "--interface", ENI_A]);
    command.envs([("AWS_ACCESS_KEY_ID", "AKIAUSER"), ("AWS_SECRET_ACCESS_KEY", "user/secret")]);
    command
}
