//! The command line (a contract, see ARCHITECTURE.md).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use ovs_mesh::isolation::Level;
use ovs_mesh::link::Mac;
use ovs_mesh::ovsdb::{Endpoint, TlsConfig};
use ovs_mesh::{Ctid, Datapath, HostName, MeshName, PortName, TenantName};

/// Isolated layer-2 networks for many tenants over plain Open vSwitch, without a controller.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done or converged, 1 failure, 2 usage or topology, 3 drift \
(--dry-run, status), degraded or not proved (verify), 4 isolation breach (verify), 5 OVSDB unreachable or protocol error, \
6 committed but not applied in time, 129, 130 or 143 SIGHUP, SIGINT or SIGTERM ended it (lab up).";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs; stable.
    Json,
    /// `plan` only: the equivalent commands.
    OvsVsctl,
    /// `verify` only: JUnit XML, for CI systems.
    Junit,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Topology file [default: /etc/ovsmesh/mesh.toml; for `lab up`, the built-in example]
    #[arg(long, global = true, env = "OVSMESH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// This host's name in the topology [default: this machine's host name]
    #[arg(long, global = true, env = "OVSMESH_HOST", value_name = "NAME")]
    pub(crate) host: Option<HostName>,
    /// OVSDB server: unix:PATH, tcp:IP:PORT or ssl:IP:PORT [default: `unix:/var/run/openvswitch/db.sock`];
    /// for `verify` also several, and HOST=ENDPOINT
    #[arg(long, global = true, env = "OVSMESH_DB", value_name = "ENDPOINT")]
    pub(crate) db: Vec<Database>,
    /// The longest that any single wait may take [default: 10s]
    #[arg(long, global = true, env = "OVSMESH_TIMEOUT", value_name = "TIME", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    /// How to print results
    #[arg(long, global = true, env = "OVSMESH_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// PEM file with the private key for an ssl: endpoint
    #[arg(long, global = true, env = "OVSMESH_PRIVATE_KEY", value_name = "FILE")]
    pub(crate) private_key: Option<PathBuf>,
    /// PEM file with the certificate for an ssl: endpoint
    #[arg(long, global = true, env = "OVSMESH_CERTIFICATE", value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file with the CA certificate that the server's certificate must be signed by
    #[arg(long, global = true, env = "OVSMESH_CA_CERT", value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
}

impl Global {
    /// The one database of this host.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let given = self.db.last().map(|database| database.endpoint.clone());
        given.unwrap_or_else(|| Endpoint::Unix("/var/run/openvswitch/db.sock".into()))
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }

    /// The three files of an ssl: endpoint, if all are given.
    pub(crate) fn tls(&self) -> Option<TlsConfig> {
        let (private_key, certificate) = self.private_key.clone().zip(self.certificate.clone())?;
        Some(TlsConfig { private_key, certificate, ca_certificate: self.ca_cert.clone()? })
    }
}

/// An OVSDB server, and which host's it is where that is said.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) host: Option<HostName>,
    pub(crate) endpoint: Endpoint,
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // No scheme has a `=`, and a path comes after its scheme.
        let named = text.split_once('=').filter(|(host, _)| !host.contains(':'));
        let host = named.map(|(host, _)| host.parse::<HostName>()).transpose();
        let endpoint = named.map_or(text, |(_, endpoint)| endpoint).parse::<Endpoint>();
        Ok(Self {
            host: host.map_err(|error| error.to_string())?,
            endpoint: endpoint.map_err(|error| error.to_string())?,
        })
    }
}

fn datapath(text: &str) -> Result<Datapath, String> {
    [Datapath::Netdev, Datapath::System]
        .into_iter()
        .find(|datapath| datapath.as_str() == text)
        .ok_or_else(|| "accepted are netdev and system".to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; accepted are times as 10s or 500ms"))?;
    if time.is_zero() {
        Err("a wait cannot be of no time; accepted are times as 10s or 500ms".to_owned())
    } else {
        Ok(time)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the desired rows of one host, or of every host; touches nothing
    Plan(Plan),
    /// Make Open vSwitch match the topology, and print what changed
    Sync(Sync),
    /// Show each bridge, tunnel, gateway and container: configured, applied, failing or drifted
    Status,
    /// Prove that tenants are kept apart and that each one's mesh works, or say what is wrong and where
    #[command(after_help = VERIFY_EXIT_CODES)]
    Verify(Verify),
    /// Write all that `verify --static` reads of this host to a file, to be verified elsewhere
    Snapshot(Snapshot),
    /// Put an interface on its tenant's bridge
    Attach(Attach),
    /// Take an interface off its tenant's bridge
    Detach(Detach),
    /// OpenVZ's network hook, also when this program is called `vznetaddbr`: `init veth DEV [BRIDGE]`, `addif DEV NETWORK…`,
    /// `delif DEV`, with the container in VEID
    Vznet(Vznet),
    /// Run a whole mesh on this machine, in network namespaces
    Lab(Lab),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Every host's rows
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sync {
    /// Print what would change, change nothing; exit 3 if there is something
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    /// Stay, and sync again whenever the topology file or the switch changes
    #[arg(long)]
    pub(crate) watch: bool,
}

const VERIFY_EXIT_CODES: &str = "\
Without a level, all are run that a host can have: a --snapshot has no traces, and a --db elsewhere no live packets and over TCP \
no traces either. Without --snapshot and --db, this host is checked. A level that cannot be run is named in the report.

Exit codes: 0 proved, or notices only; 4 a breach: tenants are not, or not provably, kept apart; 3 no breach, but a tenant's \
own mesh is degraded, or a level, one that was named or with none named any that the host can have, was not made in full; 1, 2, 5 as ever.";

/// The levels to run.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Levels {
    /// Check what is configured: OVSDB's rows and the kernel's devices
    #[arg(long = "static")]
    pub(crate) is_static: bool,
    /// Check what ovs-vswitchd would do with packets from every port (`ofproto/trace`); sends none
    #[arg(long)]
    pub(crate) trace: bool,
    /// Check what becomes of live packets
    #[arg(long)]
    pub(crate) probe: bool,
    /// The longest that all traces together may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = timeout)]
    pub(crate) trace_time: Duration,
    /// The longest that a host's probe may take [default: 15s, and what it takes to ask three times where nobody answers]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(crate) probe_time: Option<Duration>,
}

impl Levels {
    /// Those that were asked for.
    pub(crate) fn asked(self) -> BTreeSet<Level> {
        let all = [(self.is_static, Level::Static), (self.trace, Level::Trace), (self.probe, Level::Probe)];
        all.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, level)| level).collect()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) levels: Levels,
    /// Check a host by a file of `ovsmesh snapshot`, instead of this host; with --db on the command line, beside it
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) snapshot: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Snapshot {
    /// The file [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// The device
    pub(crate) device: PortName,
    /// The tenant whose bridge it goes on
    #[arg(long)]
    pub(crate) tenant: TenantName,
    /// The container behind it
    #[arg(long)]
    pub(crate) ctid: Option<Ctid>,
    /// The MAC address behind it, which is then announced into the tenant's network
    #[arg(long)]
    pub(crate) mac: Option<Mac>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Detach {
    /// The device; it may be gone already
    pub(crate) device: Option<PortName>,
    /// Every device of this container, as when it is unmounted
    #[arg(long)]
    pub(crate) ctid: Option<Ctid>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Vznet {
    #[command(subcommand)]
    pub(crate) command: VznetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VznetCommand {
    /// Make this program OpenVZ's hook on this host, and print what changed
    ///
    /// Writes /etc/vz/vznet.conf, the script that OpenVZ runs when it unmounts a container, and the order at boot. The options
    /// that are given here, or in OVSMESH_ variables, are those that the hook will have: OpenVZ clears its environment.
    Install(VznetInstall),
    /// Put back what was there before `install`
    Uninstall(VznetUninstall),
    /// What OpenVZ calls: `init veth DEV [BRIDGE]`, `addif DEV NETWORK` or `delif DEV`, with the container in VEID
    #[command(external_subcommand)]
    Call(Vec<OsString>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct VznetInstall {
    /// The directory that stands for the host's `/`, as an image's
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// The program that is to be the hook, as the host knows it [default: this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
    /// Print what would change, change nothing; exit 3 if there is something
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VznetUninstall {
    /// The directory that stands for the host's `/`, as an image's
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Print what would change, change nothing; exit 3 if there is something
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LabName {
    /// The lab's name; also its mesh's [default: the topology's mesh name]
    #[arg(long, env = "OVSMESH_LAB")]
    pub(crate) name: Option<MeshName>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Build the topology on this machine: hosts, switches, mesh and containers
    Up {
        #[command(flatten)]
        name: LabName,
        /// The hosts' datapath: `netdev` is the userspace one, `system` the kernel's, which needs its module
        #[arg(long, default_value = "netdev", value_parser = datapath)]
        datapath: Datapath,
    },
    /// Remove all of it, also what a crash left
    Down(LabName),
    /// Show hosts, daemons and tunnels
    Status(LabName),
    /// Verify every host, alone and against the others, in one report
    #[command(after_help = VERIFY_EXIT_CODES)]
    Verify {
        #[command(flatten)]
        name: LabName,
        #[command(flatten)]
        levels: Levels,
    },
    /// Run a command inside a host, a tenant's gateway or a container
    Exec {
        #[command(flatten)]
        name: LabName,
        /// HOST, HOST/TENANT (its gateway), CTID or `underlay`
        target: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}
