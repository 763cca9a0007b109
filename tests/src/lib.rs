//! Labs for the end-to-end tests: each test has its own, with real daemons, and leaves nothing behind.

#![expect(clippy::missing_panics_doc, reason = "test support: whatever is not as it should be panics")]

pub mod faults;
pub mod machines;
pub mod service;
pub mod traffic;
pub mod vzctl;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ovs_mesh::link::Netns;
use ovs_mesh::{Chain, Datapath, HostName, MeshName, Snapshot, Topology};
use ovsmesh_lab::capture::{Capture, GreFrame};
use ovsmesh_lab::{Lab, LabOptions, MeshLab};

/// The seed's five hosts and two tenants with equal addresses.
pub const FIVE_HOSTS: &str = include_str!("../../examples/ha-redis.toml");

/// A lab of one test, gone with it, also when the test panics.
pub struct TestLab {
    /// The lab.
    pub mesh: MeshLab,
    _down: Down,
}

struct Down(MeshName);

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(error) = Lab::down(&self.0) {
            eprintln!("lab {} did not go down: {error}", self.0);
        }
        // What a test has made beside the lab is named after it.
        let prefix = format!("{}-", self.0);
        for netns in Netns::list().unwrap_or_default() {
            if netns.as_str().starts_with(&prefix) {
                let _ = Netns::delete(&netns);
            }
        }
    }
}

/// The datapath that the labs run on: the userspace one unless `OVSMESH_TEST_DATAPATH` says `system`.
pub fn datapath() -> Datapath {
    match std::env::var("OVSMESH_TEST_DATAPATH").as_deref() {
        Ok("system") => Datapath::System,
        Ok(other) if other != "netdev" => panic!("OVSMESH_TEST_DATAPATH is `{other}`: netdev or system"),
        _ => Datapath::Netdev,
    }
}

/// A name that no other test, and no other run, has now.
pub fn unique_name() -> MeshName {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    name.parse().expect("letters and digits")
}

/// Parses a topology that must be good.
pub fn topology(text: &str) -> Topology {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// A topology of hosts h1, h2, … with one container each in every tenant; tenants are (name, key).
pub fn simple(hosts: usize, tenants: &[(&str, u32)], ipv6_underlay: bool) -> Topology {
    use std::fmt::Write as _;
    let mut text = "[mesh]\nname = \"x\"\nunderlay_mtu = 1500\ndatapath = \"netdev\"\n".to_owned();
    for host in 1..=hosts {
        let ip = if ipv6_underlay { format!("fd00::1{host}") } else { format!("10.0.1.1{host}") };
        let _ = writeln!(text, "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"{ip}\"");
    }
    for (at, (tenant, key)) in tenants.iter().enumerate() {
        let _ = writeln!(text, "[[tenant]]\nname = \"{tenant}\"\nkey = {key}\nsubnet = \"192.168.7.0/24\"");
        let container = |host| {
            format!(
                "{{ ctid = \"{}\", host = \"h{host}\", ip = \"192.168.7.1{host}\" }}",
                (at + 1) * 100 + host
            )
        };
        let containers: Vec<String> = (1..=hosts).map(container).collect();
        let _ = writeln!(text, "containers = [{}]", containers.join(", "));
        let _ = writeln!(text, "gateways = {{ h1 = \"192.168.7.1\" }}");
    }
    topology(&text)
}

/// A host's name.
pub fn host(name: &str) -> HostName {
    name.parse().expect("a host's name")
}

/// The `ovsmesh` binary of this build.
pub fn ovsmesh() -> PathBuf {
    binary("ovsmesh")
}

/// A binary of this build.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this test's path");
    let binary = own.parent().and_then(std::path::Path::parent).expect("target/<profile>").join(name);
    assert!(binary.exists(), "{} is missing: run `cargo build --workspace` first", binary.display());
    binary
}

fn netns(mesh: &MeshLab, place: &str) -> Netns {
    let target = mesh.lab().plan().target(place).unwrap_or_else(|error| panic!("{error}"));
    Netns::open(target.netns).unwrap_or_else(|error| panic!("{error}"))
}

fn spawn(mesh: &MeshLab, place: &str, command: &[&str]) -> Child {
    try_spawn(mesh, place, command).unwrap_or_else(|why| panic!("{place}: {command:?}: {why}"))
}

/// The same for where nothing may panic.
fn try_spawn(mesh: &MeshLab, place: &str, command: &[&str]) -> Result<Child, Box<dyn Error>> {
    let target = mesh.lab().plan().target(place)?;
    let program = if command[0] == "ovsmesh" { ovsmesh() } else { PathBuf::from(command[0]) };
    let mut process = Command::new(&program);
    process.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(host) = target.host {
        process.env("OVS_RUNDIR", &host.dir);
        process.env("OVSMESH_DB", format!("unix:{}", host.db_socket().display()));
        process.env("OVSMESH_HOST", host.name.as_str());
        process.env("OVSMESH_CONFIG", mesh.lab().topology_path());
    }
    Ok(Netns::open(target.netns)?.run(move || process.spawn())??)
}

impl TestLab {
    /// Brings a topology up under a name of its own.
    pub async fn up(topology: Topology) -> Self {
        let name = unique_name();
        let down = Down(name.clone());
        let mesh = MeshLab::up(topology, LabOptions { name, datapath: datapath(), hook: &ovsmesh() }, &())
            .await
            .unwrap_or_else(|error| panic!("{}", Chain(&error)));
        Self { mesh, _down: down }
    }

    /// The namespace of a place.
    pub fn netns(&self, place: &str) -> Netns {
        netns(&self.mesh, place)
    }

    /// Runs a command in a place and returns its output, whatever its status.
    pub fn output(&self, place: &str, command: &[&str]) -> Output {
        spawn(&self.mesh, place, command).wait_with_output().expect("the command's output")
    }

    /// Starts a command in a place. On a host, `ovsmesh`, `ovs-vsctl` and `ovs-appctl` talk to its own daemons.
    pub fn command(&self, place: &str, command: &[&str]) -> Child {
        spawn(&self.mesh, place, command)
    }

    /// Runs a command in a place that must succeed; its stdout.
    pub fn run(&self, place: &str, command: &[&str]) -> String {
        let output = self.output(place, command);
        assert!(output.status.success(), "{place}: {command:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `ovs-vsctl` on a host, words separated by spaces.
    pub fn vsctl(&self, host: &str, words: &str) -> String {
        let mut command = vec!["ovs-vsctl", "--timeout=10"];
        command.extend(words.split(' '));
        self.run(host, &command)
    }

    /// Makes a bridge of somebody else's on a host, on the lab's datapath.
    pub fn add_bridge(&self, host: &str, bridge: &str) {
        let kind = self.mesh.topology().datapath().as_str();
        let ids = "external_ids:agent=other";
        self.vsctl(host, &format!("add-br {bridge} -- set Bridge {bridge} datapath_type={kind} {ids}"));
    }

    /// Lets forwarding come first (`SCHED_FIFO`), on a machine that others use too.
    pub fn forward_first(&self) {
        for host in self.mesh.topology().hosts() {
            let first = "chrt --all-tasks --fifo --pid 10 $(cat $OVS_RUNDIR/ovs-vswitchd.pid)";
            self.run(host.name().as_str(), &["sh", "-ec", first]);
        }
    }

    /// Whether one ping is answered, with so many bytes of IP packet and the don't-fragment bit.
    pub fn pings(&self, from: &str, to: &str, bytes: usize) -> bool {
        let headers = if to.contains(':') { 48 } else { 28 };
        let size = (bytes - headers).to_string();
        self.output(from, &["ping", "-q", "-c1", "-W2", "-Mdo", "-s", &size, to]).status.success()
    }

    /// What a host's OVSDB holds.
    pub async fn snapshot(&self, name: &str) -> Snapshot {
        let switch = self.mesh.switch(&host(name)).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
        switch.snapshot().await.unwrap_or_else(|error| panic!("{}", Chain(&error)))
    }

    /// The GRE frames that pass the underlay within `time`, in which `act` runs.
    pub fn captured(&self, time: Duration, act: impl FnOnce()) -> Vec<GreFrame> {
        let mut capture =
            Capture::open(&self.netns("underlay"), "underlay").unwrap_or_else(|error| panic!("{error}"));
        let deadline = Instant::now() + time;
        // Read while it happens: the socket's buffer holds less than a busy second.
        std::thread::scope(|scope| {
            let frames = scope.spawn(move || capture.collect_until(deadline, |frames| frames.len() >= 5000));
            act();
            let frames = frames.join().expect("the capture");
            frames.unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// Sends one broadcast from a place; the frames on the underlay that carry it within `time`.
    pub fn broadcast(&self, from: &str, to: &str, time: Duration) -> Vec<GreFrame> {
        let frames = self.captured(time, || {
            self.output(from, &["ping", "-b", "-q", "-c1", "-W0.2", to]);
        });
        // Ethernet broadcast, IPv4, ICMP: nothing else of this lab is.
        let is_it = |frame: &GreFrame| {
            frame.inner.len() > 24
                && frame.inner[..6] == [0xff; 6]
                && frame.inner[12..14] == [8, 0]
                && frame.inner[23] == 1
        };
        frames.into_iter().filter(is_it).collect()
    }
}

/// Answers every connection with a word, then all that was sent, until dropped.
pub fn serve(netns: &Netns, port: u16, word: &str) {
    let listener = netns
        .run(|| TcpListener::bind((IpAddr::from([0, 0, 0, 0]), port)))
        .expect("the namespace")
        .expect("a listener");
    let word = word.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let word = word.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let mut received = Vec::new();
                let _ = stream.read_to_end(&mut received);
                let _ = stream.write_all(format!("{word:16}").as_bytes());
                let _ = stream.write_all(&received);
            });
        }
    });
}

/// Sends bytes to a [`serve`]; the word it answered with, if it sent back the same.
pub fn ask(netns: &Netns, to: &str, port: u16, bytes: &[u8]) -> Result<String, String> {
    let address = SocketAddr::new(to.parse().map_err(|error| format!("{error}"))?, port);
    let limit = Duration::from_secs(5);
    let stream =
        netns.run(|| TcpStream::connect_timeout(&address, limit)).map_err(|error| error.to_string())?;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let say = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(limit)).map_err(say)?;
    stream.set_write_timeout(Some(limit)).map_err(say)?;
    stream.write_all(bytes).map_err(say)?;
    stream.shutdown(std::net::Shutdown::Write).map_err(say)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(say)?;
    let (word, same) = answer.split_at_checked(16).ok_or("a short answer")?;
    if same != bytes {
        return Err(format!("sent {} bytes, got {} others back", bytes.len(), same.len()));
    }
    Ok(String::from_utf8_lossy(word).trim().to_owned())
}
