//! Daemons that live as long as the test that started them, also when it panics.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ovs_mesh::ovsdb::{
    Client, ConnectOptions, Endpoint, Mutation, Mutator, Operation, OperationResult, Row, Value,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub(crate) const DB: &str = "Open_vSwitch";

/// The moment by which what should happen has happened, also on a busy machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn after(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

pub(crate) fn row<const N: usize>(columns: [(&str, Value); N]) -> Row {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The path of a program that the tests cannot do without.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: install the Debian package {package}"))
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("the program was found");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A process that is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Self {
        let output = File::create(log).expect("the test's directory can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the program was found");
        Self { child, log: log.to_owned() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id is a positive int");
        kill(Pid::from_raw(pid), signal).expect("the daemon runs");
    }

    /// Kills it as a crash would.
    pub(crate) fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until a file or socket of the daemon is there.
    pub(crate) async fn wait_for(&mut self, path: &Path) {
        let deadline = soon();
        while !path.exists() {
            let ended = self.child.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("no {} ({ended:?}): {log}", path.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.crash();
    }
}

/// An ovsdb-server with an empty `Open_vSwitch` database and one `Open_vSwitch` row in it.
pub(crate) struct Ovsdb {
    pub(crate) daemon: Daemon,
    pub(crate) root: Uuid,
    extra: Vec<String>,
    directory: TempDir,
}

impl Ovsdb {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more arguments; `{dir}` in them is the server's directory.
    pub(crate) async fn start_with(extra: &[String]) -> Self {
        let directory = TempDir::with_prefix("ovs-mesh-").expect("there is a directory for temporary files");
        run(Command::new(program("ovsdb-tool", "openvswitch-common"))
            .arg("create")
            .arg(directory.path().join("conf.db"))
            .arg("/usr/share/openvswitch/vswitch.ovsschema"));
        let daemon = Self::launch(directory.path(), extra).await;
        let mut server = Self { daemon, root: Uuid::nil(), extra: extra.to_vec(), directory };
        let client = server.client().await;
        let inserted = client.transact(DB, &[Operation::insert("Open_vSwitch", Row::new())], soon()).await;
        let inserted = inserted.expect("a new database takes its first row");
        server.root = inserted[0].inserted().expect("an insert yields a uuid");
        server
    }

    async fn launch(directory: &Path, extra: &[String]) -> Daemon {
        let socket = directory.join("db.sock");
        let _ = std::fs::remove_file(&socket);
        let mut daemon = Daemon::spawn(
            Command::new(program("ovsdb-server", "openvswitch-switch"))
                .arg(directory.join("conf.db"))
                .arg(format!("--remote=punix:{}", socket.display()))
                .arg("--remote=db:Open_vSwitch,Open_vSwitch,manager_options")
                .arg("--pidfile")
                .args(extra)
                .envs(environment(directory)),
            &directory.join("ovsdb-server.log"),
        );
        daemon.wait_for(&socket).await;
        daemon
    }

    pub(crate) async fn restart(&mut self) {
        self.daemon.crash();
        self.daemon = Self::launch(self.directory.path(), &self.extra).await;
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path().join("db.sock"))
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.endpoint(), &ConnectOptions::default()).await.expect("the server listens")
    }

    /// Adds a bridge the way ovs-vsctl does, without the ports that ovs-vswitchd would need.
    pub(crate) async fn add_bridge(&self, client: &Client, name: &str) -> Vec<OperationResult> {
        client.transact(DB, &self.bridge(name), soon()).await.expect("a bridge can be added")
    }

    pub(crate) fn bridge(&self, name: &str) -> [Operation; 2] {
        let insert = Mutation::new("bridges", Mutator::Insert, Value::named_uuid("b"));
        [
            Operation::insert_named("Bridge", "b", row([("name", name.into())])),
            Operation::mutate_row("Open_vSwitch", self.root, vec![insert]),
        ]
    }

    /// Makes the server listen at another target, as ovs-vsctl's `set-manager` does, and yields the port it took.
    pub(crate) async fn listen(&self, target: &str, probe_ms: i64) -> u16 {
        let client = self.client().await;
        let insert = Mutation::new("manager_options", Mutator::Insert, Value::named_uuid("m"));
        let manager = row([("target", target.into()), ("inactivity_probe", probe_ms.into())]);
        let operations = [
            Operation::insert_named("Manager", "m", manager),
            Operation::mutate_row("Open_vSwitch", self.root, vec![insert]),
        ];
        client.transact(DB, &operations, soon()).await.expect("a manager can be added");
        let deadline = soon();
        loop {
            let select = [Operation::select_all("Manager", ["status"])];
            let results = client.transact(DB, &select, soon()).await.expect("a manager can be read");
            let rows = results
                .into_iter()
                .next()
                .and_then(OperationResult::into_rows)
                .expect("a select yields rows");
            let port = rows[0]["status"].string_at("bound_port").expect("status is a map of strings");
            if let Some(port) = port {
                return port.parse().expect("a port is a number");
            }
            assert!(Instant::now() < deadline, "ovsdb-server does not say which port {target} took");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn environment(directory: &Path) -> [(&'static str, &Path); 4] {
    ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"].map(|name| (name, directory))
}

/// An ovs-vswitchd with the dummy datapath: it has tunnels and no packets, and needs no privileges.
pub(crate) async fn start_vswitchd(server: &Ovsdb) -> Daemon {
    let mut daemon = Daemon::spawn(
        Command::new(program("ovs-vswitchd", "openvswitch-switch"))
            .arg(server.endpoint().to_string())
            // Not `=override`, which makes even tunnels dummies: `ofproto/list-tunnels` is empty then.
            .args(["--enable-dummy", "--disable-system", "--pidfile"])
            .envs(environment(server.path())),
        &server.path().join("ovs-vswitchd.log"),
    );
    daemon.wait_for(&server.path().join("ovs-vswitchd.pid")).await;
    let deadline = soon();
    while let Err(error) = ovs_mesh::unixctl::find(server.path(), "ovs-vswitchd") {
        assert!(Instant::now() < deadline, "{error}");
        sleep(Duration::from_millis(10)).await;
    }
    daemon
}
