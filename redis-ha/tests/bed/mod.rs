//! Real Redis, Sentinel, HAProxy and agent in network namespaces of one test, on a bridge that leads nowhere else.
//!
//! `ip netns` names are the machine's: the mesh's name, with which they begin, is the process's own. All ends with the value.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ovs_mesh::link::Netns;
use redis_ha::{
    Cluster, Config, Credentials, Layout, OPERATOR_USER, REDIS_PORT, Reply, Request, SENTINEL_PORT, Secrets,
    haproxy_cfg, redis_conf, sentinel_conf,
};
use tempfile::TempDir;

/// The containers, in order; each is a namespace.
pub(crate) const NODES: [&str; 3] = ["101", "102", "103"];
/// The tenant.
pub(crate) const TENANT: &str = "acme";
/// Where clients reach HAProxy, in its own namespace.
const VIP: &str = "10.0.1.100/32";

pub(crate) struct Bed {
    pub(crate) mesh: String,
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) credentials: Credentials,
    secrets: Secrets,
    processes: Vec<(String, Child)>,
    namespaces: Vec<String>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        for (_, process) in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        for name in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
        if std::thread::panicking() {
            for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|kind| kind == "log") {
                    eprintln!("--- {}\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
                }
            }
        }
    }
}

pub(crate) fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().expect("the program is installed");
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until something is so.
pub(crate) fn until(what: &str, patience: Duration, mut so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < patience, "{what} has not come about in {patience:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

impl Bed {
    /// The namespaces and files; nothing runs yet.
    pub(crate) fn new(profile: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mesh = format!("t{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("redis-ha-").tempdir().unwrap();
        write_files(dir.path(), &mesh, profile);
        let config = Config::read(&dir.path().join("redis-ha.toml")).unwrap();
        let secrets = Secrets::read(&config).unwrap();
        let credentials = secrets.of(&config).next().unwrap().1.clone();
        let mut bed = Self {
            mesh: mesh.clone(),
            dir,
            config,
            credentials,
            secrets,
            processes: Vec::new(),
            namespaces: Vec::new(),
        };
        bed.add_namespace(&format!("{mesh}-switch"));
        let switch = bed.name("switch");
        run("ip", &["-n", &switch, "link", "add", "br0", "up", "type", "bridge"]);
        for (index, node) in NODES.iter().enumerate() {
            bed.plug(node, &format!("192.168.10.{}/24", 11 + index));
        }
        bed.plug("p1-acme", "192.168.10.4/24");
        bed.plug("p2-acme", "192.168.10.5/24");
        bed.add_namespace(&format!("{mesh}-proxy"));
        run("ip", &["-n", &bed.name("proxy"), "link", "set", "lo", "up"]);
        // keepalived would.
        run("ip", &["-n", &bed.name("proxy"), "addr", "add", VIP, "dev", "lo"]);
        bed
    }

    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.mesh)
    }

    fn add_namespace(&mut self, name: &str) {
        run("ip", &["netns", "add", name]);
        self.namespaces.push(name.to_owned());
    }

    /// A namespace with one device, on the bridge.
    pub(crate) fn plug(&mut self, what: &str, address: &str) {
        let (name, switch) = (self.name(what), self.name("switch"));
        self.add_namespace(&name);
        run(
            "ip",
            &[
                "-n", &switch, "link", "add", what, "up", "type", "veth", "peer", "name", "eth0", "netns",
                &name,
            ],
        );
        run("ip", &["-n", &switch, "link", "set", what, "master", "br0"]);
        run("ip", &["-n", &name, "addr", "add", address, "dev", "eth0"]);
        run("ip", &["-n", &name, "link", "set", "eth0", "up"]);
        if !what.starts_with('p') {
            run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        }
    }

    /// Takes a namespace away, with its device.
    pub(crate) fn unplug(&mut self, what: &str) {
        let name = self.name(what);
        // The device goes with the namespace, and that only when no socket is left in it: the other end is here.
        run("ip", &["-n", &self.name("switch"), "link", "del", what]);
        run("ip", &["netns", "del", &name]);
        self.namespaces.retain(|known| *known != name);
    }

    /// What keepalived would read.
    pub(crate) fn track(&self) -> String {
        fs::read_to_string(self.path("haproxy.alive")).unwrap_or_default()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Starts a program in a namespace; it ends with the test, whatever happens. Its output is in `NAME.log`.
    pub(crate) fn spawn(&mut self, name: &str, namespace: &str, words: &[&str]) {
        let log = File::options().append(true).create(true).open(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "ip", "netns", "exec", &self.name(namespace)])
            .args(words)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.push((name.to_owned(), child));
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Ends a program at once.
    pub(crate) fn kill(&mut self, name: &str) {
        let at = self.processes.iter().position(|(known, _)| known == name).expect("it runs");
        let (_, mut child) = self.processes.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn signal(&mut self, name: &str, signal: &str) {
        let (_, child) = self.processes.iter().find(|(known, _)| known == name).expect("it runs");
        run("kill", &[signal, &child.id().to_string()]);
    }

    /// Waits for a program that ends by itself.
    pub(crate) fn ended(&mut self, name: &str) -> std::process::ExitStatus {
        let at = self.processes.iter().position(|(known, _)| known == name).expect("it runs");
        self.processes.remove(at).1.wait().unwrap()
    }

    pub(crate) fn ip(index: usize) -> IpAddr {
        format!("192.168.10.{}", 11 + index).parse().unwrap()
    }

    pub(crate) fn start_redis(&mut self, index: usize) {
        let (node, layout) = (NODES[index], self.layout(index));
        fs::create_dir_all(layout.state.join("redis")).unwrap();
        let path = layout.conf.join("redis.conf");
        let nodes: Vec<_> = self.config.nodes(self.cluster()).collect();
        fs::write(&path, redis_conf(&self.config, self.cluster(), &self.credentials, nodes[index], &layout))
            .unwrap();
        let words = ["redis-server", path.to_str().unwrap(), "--replicaof", "127.0.0.1", "1"];
        self.spawn(&format!("redis-{node}"), node, &words);
    }

    pub(crate) fn start_sentinel(&mut self, index: usize) {
        let (node, layout) = (NODES[index], self.layout(index));
        let path = layout.state.join("sentinel").join("sentinel.conf");
        if !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let nodes: Vec<_> = self.config.nodes(self.cluster()).collect();
            let text = sentinel_conf(&self.config, self.cluster(), &self.credentials, nodes[index], &layout);
            fs::write(&path, text).unwrap();
        }
        let words = ["redis-sentinel", path.to_str().unwrap()];
        self.spawn(&format!("sentinel-{node}"), node, &words);
    }

    fn cluster(&self) -> &Cluster {
        &self.config.clusters[0]
    }

    fn layout(&self, index: usize) -> Layout {
        let dir = self.path(&format!("node-{}", NODES[index]));
        Layout { conf: dir.clone(), state: dir.join("state"), run: dir }
    }

    pub(crate) fn start_nodes(&mut self) {
        for index in 0..NODES.len() {
            self.start_redis(index);
            self.start_sentinel(index);
        }
    }

    /// Gives the proxies a certificate for the VIP, which clients can trust.
    pub(crate) fn certify(&mut self) -> PathBuf {
        fs::create_dir(self.path("tls")).unwrap();
        let path = self.path(&format!("tls/{TENANT}.pem"));
        let pem = path.to_str().unwrap();
        let vip = self.cluster().listen.ip();
        run(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=redis",
                "-addext",
                &format!("subjectAltName=IP:{vip}"),
                "-keyout",
                pem,
                "-out",
                pem,
            ],
        );
        self.config.clusters[0].tls = Some(path.clone());
        path
    }

    /// HAProxy of the first proxy, in a namespace of its own.
    pub(crate) fn start_haproxy(&mut self) {
        let dir = self.dir.path();
        let layout = Layout { conf: dir.to_owned(), state: dir.to_owned(), run: dir.to_owned() };
        let text = haproxy_cfg(&self.config, &self.secrets, &"p1".parse().unwrap(), &layout);
        // One process, which can be stopped and killed as a whole; its unit has a second one above it.
        let path = self.path("haproxy.cfg");
        fs::write(&path, text).unwrap();
        self.spawn("haproxy", "proxy", &["haproxy", "-db", "-f", path.to_str().unwrap()]);
    }

    pub(crate) fn start_agent(&mut self) {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let (config, socket, track) = (file("redis-ha.toml"), file("haproxy.sock"), file("haproxy.alive"));
        let notify = file("notify");
        let program = env!("CARGO_BIN_EXE_redis-ha");
        let words = [
            program,
            "--config",
            &config,
            "agent",
            "--host",
            "p1",
            "--haproxy-socket",
            &socket,
            "--track-file",
            &track,
            "--notify-socket",
            &notify,
        ];
        self.spawn("agent", "proxy", &words);
    }

    /// Runs the program to its end.
    pub(crate) fn redis_ha(&self, words: &[&str]) -> std::process::Output {
        let config = self.path("redis-ha.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-ha"));
        command.arg("--config").arg(config).args(words).env("REDIS_HA_HOST", "p2").output().unwrap()
    }

    /// Waits until all nodes answer, and makes the first the master.
    pub(crate) fn bootstrap(&self) {
        until("a whole cluster", Duration::from_secs(20), || {
            let output = self.redis_ha(&["bootstrap"]);
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            output.status.success()
        });
    }

    /// A client's connection through HAProxy, logged in.
    pub(crate) fn client(&self) -> std::io::Result<Client> {
        let mut client = Client::connect(&self.name("proxy"), self.cluster().listen)?;
        client.ask(&["AUTH", self.credentials.client.expose()])?;
        Ok(client)
    }

    /// A connection to a Redis itself.
    pub(crate) fn redis(&self, index: usize) -> Client {
        let mut client =
            Client::connect(&self.name("p2-acme"), SocketAddr::new(Self::ip(index), REDIS_PORT)).unwrap();
        client.ask(&["AUTH", OPERATOR_USER, self.credentials.operator.expose()]).unwrap();
        client
    }

    /// A connection to a Sentinel.
    pub(crate) fn sentinel(&self, index: usize) -> Client {
        let mut client =
            Client::connect(&self.name("p2-acme"), SocketAddr::new(Self::ip(index), SENTINEL_PORT)).unwrap();
        client.ask(&["AUTH", self.credentials.sentinel.expose()]).unwrap();
        client
    }

    /// The agent's answer to a line.
    pub(crate) fn agent_says(&self, line: &str) -> std::io::Result<String> {
        let at = SocketAddr::from(([127, 0, 0, 1], redis_ha::AGENT_PORT));
        let mut stream = connect(&self.name("p1-acme"), at)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// HAProxy's states of the servers: up or not.
    pub(crate) fn servers(&self) -> Vec<bool> {
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(self.path("haproxy.sock")) else {
            return Vec::new();
        };
        stream.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        rows.filter(|row| NODES.contains(&row.get(1).copied().unwrap_or_default()))
            .map(|row| row[17].starts_with("UP"))
            .collect()
    }
}

/// A simple client.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

fn connect(namespace: &str, at: SocketAddr) -> std::io::Result<TcpStream> {
    let netns = Netns::open(&namespace.parse().unwrap()).map_err(std::io::Error::other)?;
    let stream = netns
        .run(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)))
        .map_err(std::io::Error::other)??;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

impl Client {
    fn connect(namespace: &str, at: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { stream: connect(namespace, at)?, read: Vec::new() })
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> std::io::Result<Reply> {
        self.stream.write_all(Request::of(words).bytes())?;
        loop {
            if let Some((reply, length)) = Reply::parse(&self.read).map_err(std::io::Error::other)? {
                self.read.drain(..length);
                return Ok(reply);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => self.read.extend(&bytes[..length]),
            }
        }
    }
}

fn write_files(dir: &Path, mesh: &str, profile: &str) {
    let hosts: String = [("r1", 11), ("r2", 12), ("r3", 13), ("p1", 21), ("p2", 22)]
        .map(|(host, at)| format!("[[host]]\nname = \"{host}\"\nunderlay_ip = \"10.0.1.{at}\"\n"))
        .concat();
    let topology = format!(
        "[mesh]\nname = \"{mesh}\"\nunderlay_mtu = 9001\n{hosts}[[tenant]]\nname = \"{TENANT}\"\nkey = 101\n\
         subnet = \"192.168.10.0/24\"\ngateways = {{ p1 = \"192.168.10.4\", p2 = \"192.168.10.5\" }}\ncontainers = [\n  \
         {{ ctid = \"101\", host = \"r1\", ip = \"192.168.10.11\" }},\n  {{ ctid = \"102\", host = \"r2\", ip = \"192.168.10.12\" }},\n  \
         {{ ctid = \"103\", host = \"r3\", ip = \"192.168.10.13\" }},\n]\n"
    );
    let service = format!(
        "mesh = \"mesh.toml\"\nsecret_file = \"service.secret\"\n[proxy]\nhosts = [\"p1\", \"p2\"]\ninterface = \"eth0\"\n\
         vips = [\"10.0.1.100/24\"]\nrouter_id = 51\n[[cluster]]\ntenant = \"{TENANT}\"\nnodes = [\"101\", \"102\", \"103\"]\n\
         listen = \"10.0.1.100:6379\"\nmax_memory = \"64MiB\"\nprofile = \"{profile}\"\npassword_file = \"{TENANT}.secret\"\n"
    );
    let files = [
        ("mesh.toml", topology.as_str()),
        ("redis-ha.toml", &service),
        ("service.secret", "the-operators-secret\n"),
        ("acme.secret", "the-clients-password\n"),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}
