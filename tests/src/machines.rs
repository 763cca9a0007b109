//! Hosts of a lab with a file system of their own, and containers on them that have a systemd.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ovsmesh_lab::MeshLab;
use tempfile::TempDir;

use crate::try_spawn;

/// Mounts and processes that the hosts of a lab share, and nobody else. All of it dies with its first process, and that with the
/// test; its containers are stopped, and, when the test fails, what they said last is shown. (A test that is killed leaves its containers'
/// control groups, empty.)
pub struct Machines<'a> {
    mesh: &'a MeshLab,
    dir: TempDir,
    first: Child,
    pid: String,
    variables: String,
    containers: Vec<(String, String)>,
}

impl<'a> Machines<'a> {
    /// `mount` is a shell's, and is run in `dir` first. `variables` are of every later one (`A=b C=d`). `containers` are (host, name).
    pub fn new(
        mesh: &'a MeshLab,
        dir: TempDir,
        mount: &str,
        variables: String,
        containers: &[(&str, &str)],
    ) -> Self {
        fs::create_dir_all(dir.path().join("lxc")).expect("a directory of the test");
        let unshare =
            ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let place = format!("mount --bind lxc /var/lib/lxc\n{mount}\necho; exec sleep infinity");
        let mut first = Command::new("setpriv")
            .args(unshare)
            .args(["sh", "-ec", &place])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux' setpriv");
        let stdout = first.stdout.take().expect("a pipe");
        let told = BufReader::new(stdout).read_line(&mut String::new()).expect("a line");
        assert_eq!(told, 1, "what is above failed: {place}");
        let children = format!("/proc/{0}/task/{0}/children", first.id());
        let pid = fs::read_to_string(children).expect("a process of ours").trim().to_owned();
        assert!(!pid.is_empty(), "util-linux' unshare started nothing");
        let containers = containers.iter().map(|(host, name)| ((*host).to_owned(), (*name).to_owned()));
        Self { mesh, dir, first, pid, variables, containers: containers.collect() }
    }

    /// Where its files are; scripts are run there.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a script on a host, with what it says in a file: a container's daemon must not hold this test's pipes.
    pub fn run(&self, host: &str, script: &str) -> bool {
        self.try_run(host, script).unwrap_or_else(|why| panic!("{host}: {script}: {why}"))
    }

    fn try_run(&self, host: &str, script: &str) -> Result<bool, Box<dyn Error>> {
        let script = format!(
            "export PATH=/usr/local/sbin:/usr/sbin:/usr/bin {}\ncd {}\n{script}",
            self.variables,
            self.path().display(),
        );
        let log = format!("exec > {} 2>&1; exec \"$@\"", self.path().join("log").display());
        let enter = ["nsenter", "--target", &self.pid, "--mount", "--pid", "sh", "-c", &log, "sh"];
        let limited = ["timeout", "-k", "5", "120", "sh", "-euc", &script];
        let mut child = try_spawn(self.mesh, host, &[&enter[..], &limited].concat())?;
        Ok(child.wait()?.success())
    }

    /// What the last script said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Runs a script that must succeed; what it said.
    pub fn done(&self, host: &str, script: &str) -> String {
        assert!(self.run(host, script), "{host}: {script}: {}", self.log());
        self.log()
    }

    /// Runs a script until it succeeds.
    pub fn wait(&self, host: &str, script: &str) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.run(host, script) {
            assert!(Instant::now() < end, "{host}: {script}: {}", self.log());
            std::thread::sleep(Duration::from_millis(300));
        }
        self.log()
    }
}

impl Drop for Machines<'_> {
    fn drop(&mut self) {
        for (host, name) in &self.containers {
            if std::thread::panicking() {
                let shown = self.try_run(host, &inside(name, "journalctl --no-pager -o cat -n 60"));
                eprintln!(
                    "== {name} {}\n{}",
                    shown.map_or_else(|why| why.to_string(), |_| String::new()),
                    self.log()
                );
            }
            if let Err(why) = self.try_run(host, &format!("lxc-stop --kill --name {name}")) {
                eprintln!("{name} is not stopped: {why}");
            }
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

/// A command inside a container, as its host runs it.
pub fn inside(container: &str, command: &str) -> String {
    format!("lxc-attach -n {container} --clear-env -- /bin/{command}")
}

/// A script that succeeds if all these units run. (`systemctl is-active` is content with one of them.)
pub fn all_active(container: &str, units: &[&str]) -> String {
    units.iter().map(|unit| inside(container, &format!("systemctl is-active {unit}\n"))).collect()
}

/// Writes a new file, with its directories.
pub fn put(path: &Path, text: &str, mode: u32) {
    let dir = path.parent().expect("a file in a directory");
    fs::create_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
