//! One host's switch, connected: its OVSDB, its ovs-vswitchd's control socket, its links.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::diff::{HostDevice, HostDevices};
use crate::link::{
    GatewayDiffers, GatewayError, GatewaySpec, Link, LinkError, Links, LinksOpenError, Netns, gateway_state,
};
use crate::ovsdb::{
    Client, Condition, ConnectError, ConnectOptions, Endpoint, Monitor, MonitorError, MonitorRequest,
    Mutation, Mutator, Operation, OperationError, OperationResult, TlsConfig, TransactError, Value,
};
use crate::plan::{GATEWAY_DEVICE, GatewayPort, Plan};
use crate::snapshot::{RELEASED, ReadError, Snapshot};
use crate::topology::Datapath;
use crate::unixctl::{
    self, FindError, ListedTunnel, ListedTunnelError, Unixctl, UnixctlError, parse_tunnels,
};

/// The database that ovs-vswitchd reads (ovs-vswitchd.conf.db(5)).
pub const DATABASE: &str = "Open_vSwitch";

/// Where a host's switch is.
#[derive(Debug, Clone)]
pub struct SwitchOptions {
    /// Its OVSDB.
    pub endpoint: Endpoint,
    /// Keys for an `ssl:` endpoint.
    pub tls: Option<TlsConfig>,
    /// The directory of ovs-vswitchd's pid file and control socket. By default that of a `unix:` endpoint's socket.
    pub rundir: Option<PathBuf>,
    /// The network namespace that the host's devices are in; by default the caller's.
    pub netns: Option<Netns>,
    /// The longest that any single wait may take.
    pub timeout: Duration,
    /// The moment at which every wait ends, however short it has been; none: there is none.
    pub until: Option<Instant>,
}

impl SwitchOptions {
    /// The switch behind this endpoint, in the caller's namespace, with 10 s for any wait.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, tls: None, rundir: None, netns: None, timeout: Duration::from_secs(10), until: None }
    }
}

/// Why a switch cannot be talked to, or what it says makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// OVSDB cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The host's links cannot be read.
    #[error(transparent)]
    Links(#[from] LinksOpenError),
    /// A transaction failed for another reason than a change by somebody else meanwhile.
    #[error(transparent)]
    Transact(#[from] TransactError),
    /// The monitor of the configuration number failed.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The monitor of the configuration number was refused.
    #[error("cannot watch the configuration number")]
    Watch {
        /// Why.
        #[source]
        source: crate::ovsdb::CallError,
    },
    /// The database's rows are not those of an Open vSwitch.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The host's devices are on another machine.
    #[error(
        "this host's gateways are network namespaces of its own, and {endpoint} is another machine's switch"
    )]
    Remote {
        /// The switch.
        endpoint: Endpoint,
    },
    /// A device cannot be read or set up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A gateway's link or namespace cannot be read or mended.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

/// Why ovs-vswitchd's own view cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The control socket is not known: a database on another machine, or no run directory.
    #[error("ovs-vswitchd's control socket is on the switch's own machine; {endpoint} is not")]
    Remote {
        /// The database's endpoint.
        endpoint: Endpoint,
    },
    /// The control socket cannot be found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// ovs-vswitchd does not answer.
    #[error(transparent)]
    Call(#[from] UnixctlError),
    /// The list of tunnels is not one.
    #[error(transparent)]
    Tunnels(#[from] ListedTunnelError),
}

/// A transaction that was committed.
pub(crate) struct Committed {
    /// The configuration number to wait for.
    pub(crate) number: i64,
    /// The rows that it made, in the order of its inserts.
    pub(crate) inserted: Vec<Uuid>,
}

/// A connected switch.
#[derive(Debug)]
pub struct Switch {
    pub(crate) client: Client,
    pub(crate) links: Links,
    rundir: Option<PathBuf>,
    netns: Option<Netns>,
    pub(crate) timeout: Duration,
    until: Option<Instant>,
}

impl Switch {
    /// Connects to OVSDB and to the kernel.
    pub async fn connect(options: &SwitchOptions) -> Result<Self, SwitchError> {
        let SwitchOptions { endpoint, tls, rundir, netns, timeout, until } = options;
        let left =
            until.map_or(*timeout, |until| until.saturating_duration_since(Instant::now()).min(*timeout));
        let connect = ConnectOptions { tls: tls.clone(), deadline: left, ..ConnectOptions::default() };
        let client = Client::connect(endpoint, &connect).await?;
        let links = match netns {
            Some(netns) => Links::open_in(netns)?,
            None => Links::open()?,
        };
        let beside = match endpoint {
            Endpoint::Unix(path) => path.parent().map(Path::to_path_buf),
            Endpoint::Tcp(_) | Endpoint::Ssl(_) => None,
        };
        let rundir = rundir.clone().or(beside);
        let links = links.with_deadline(left);
        Ok(Self { client, links, rundir, netns: netns.clone(), timeout: *timeout, until: *until })
    }

    /// The end of a wait that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        let end = Instant::now() + self.timeout;
        self.until.map_or(end, |until| end.min(until))
    }

    pub(crate) async fn transact(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<OperationResult>, TransactError> {
        self.client.transact(DATABASE, operations, self.deadline()).await
    }

    /// Commits operations and asks ovs-vswitchd to apply them; none if somebody else has changed what they were computed
    /// from, so that nothing was committed.
    pub(crate) async fn commit(
        &self,
        root: Uuid,
        mut operations: Vec<Operation>,
    ) -> Result<Option<Committed>, SwitchError> {
        let next = Mutation::new("next_cfg", Mutator::Add, 1);
        operations.push(Operation::mutate_row("Open_vSwitch", root, vec![next]));
        operations.push(Operation::select_all("Open_vSwitch", ["next_cfg"]));
        let results = match self.transact(&operations).await {
            Ok(results) => results,
            Err(TransactError::Refused {
                error:
                    OperationError::WaitTimedOut
                    | OperationError::ConstraintViolation
                    | OperationError::ReferentialIntegrityViolation,
                ..
            }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let inserted = results.iter().filter_map(|result| match result {
            OperationResult::Inserted(uuid) => Some(*uuid),
            _ => None,
        });
        let inserted = inserted.collect();
        let rows = results.into_iter().last().and_then(OperationResult::into_rows).unwrap_or_default();
        match rows.first().and_then(|row| row.get("next_cfg")).map(Value::integer) {
            Some(Ok(number)) => Ok(Some(Committed { number, inserted })),
            _ => Err(ReadError::Shape.into()),
        }
    }

    /// What OVSDB holds now, in one consistent read.
    pub async fn snapshot(&self) -> Result<Snapshot, SwitchError> {
        Ok(Snapshot::from_results(self.transact(&Snapshot::operations()).await?)?)
    }

    /// The ports and interfaces that meet a condition, and the one bridge of that name, in one consistent read.
    pub(crate) async fn part(&self, ports: Condition, bridge: &str) -> Result<Snapshot, SwitchError> {
        Ok(Snapshot::from_results(self.transact(&Snapshot::part(ports, bridge)).await?)?)
    }

    /// The names of the switch's interfaces that are devices of the kernel's, as containers' are.
    pub async fn device_interfaces(&self) -> Result<BTreeSet<String>, SwitchError> {
        let of_kind = |kind: &str| Operation::Select {
            table: "Interface".to_owned(),
            r#where: vec![Condition::equal("type", Value::string(kind))],
            columns: Some(vec!["name".to_owned()]),
        };
        // A released one is the mesh's still.
        let results = self.transact(&[of_kind(""), of_kind("system"), of_kind(RELEASED)]).await?;
        let rows = results.into_iter().filter_map(OperationResult::into_rows).flatten();
        Ok(rows.filter_map(|row| row.get("name")?.as_str().ok().map(str::to_owned)).collect())
    }

    /// The host's devices, and what the plan's gateways look like.
    ///
    /// Read them after the snapshot that they are compared with: a row is only stale if its device is missing later. Of a
    /// switch on another machine, or in another network namespace, they are not known.
    pub async fn devices(&self, plan: &Plan, snapshot: &Snapshot) -> Result<HostDevices, SwitchError> {
        if self.is_remote() {
            let gateways = plan.bridges.iter().any(|bridge| bridge.gateway.is_some());
            let endpoint = self.client.endpoint().clone();
            return if gateways { Err(SwitchError::Remote { endpoint }) } else { Ok(HostDevices::default()) };
        }
        let all = self.links.list().await?;
        // Every bridge has a device of its name. If none of the mesh's has, ovs-vswitchd is in another network namespace
        // than this, or down; what its ports' devices are cannot be told from here.
        let mut bridges = snapshot.bridges.values().filter(|row| row.is_owned_by(&plan.mesh)).peekable();
        let elsewhere =
            bridges.peek().is_some() && !bridges.any(|row| all.iter().any(|link| link.name == row.name));
        let linux: HashMap<u32, String> = all
            .iter()
            .filter(|link| link.kind.as_deref() == Some("bridge"))
            .map(|link| (link.index, link.name.clone()))
            .collect();
        let all: HashMap<String, HostDevice> = all
            .into_iter()
            .map(|Link { name, index, mtu, up, master, .. }| {
                let linux_bridge = master.and_then(|master| linux.get(&master).cloned());
                (name, HostDevice { index, mtu, up, linux_bridge })
            })
            .collect();
        let mut links = HostDevices::default();
        for bridge in &plan.bridges {
            let Some(gateway) = &bridge.gateway else { continue };
            let state =
                gateway_state(&self.links, &gateway_spec(gateway, bridge.mtu, bridge.datapath)).await?;
            let problems = state.differs.iter().map(ToString::to_string).collect();
            links.problems.insert(gateway.port.clone(), problems);
            let whole = !state.differs.iter().any(|differs| {
                use GatewayDiffers::{NetnsAbsent, PairAbsent, PairBroken};
                matches!(differs, NetnsAbsent | PairAbsent | PairBroken)
            });
            if let Some(device) = all.get(gateway.port.as_str()).filter(|_| whole) {
                links.ifindex.insert(gateway.port.clone(), device.index);
            }
        }
        Ok(HostDevices { devices: (!elsewhere).then_some(all), ..links })
    }

    /// Whether the switch is on another machine.
    fn is_remote(&self) -> bool {
        match self.client.endpoint() {
            Endpoint::Unix(_) => false,
            Endpoint::Tcp(address) | Endpoint::Ssl(address) => !address.ip().is_loopback(),
        }
    }

    /// The endpoint of its OVSDB.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// The network namespace of the host's devices; none: that of the process.
    pub(crate) fn netns(&self) -> Option<&Netns> {
        self.netns.as_ref()
    }

    /// The directory of ovs-vswitchd's sockets, where it is known.
    pub(crate) fn rundir(&self) -> Option<&Path> {
        self.rundir.as_deref()
    }

    /// A connection to ovs-vswitchd's control socket, for many commands.
    pub(crate) async fn control_socket(&self) -> Result<Unixctl, ControlError> {
        let remote = || ControlError::Remote { endpoint: self.client.endpoint().clone() };
        let path = unixctl::find(self.rundir.as_deref().ok_or_else(remote)?, "ovs-vswitchd")?;
        Ok(Unixctl::connect(path, self.deadline()).await?)
    }

    /// Runs a command of ovs-vswitchd's control socket (ovs-appctl(8)).
    pub async fn control(&self, command: &str, arguments: &[&str]) -> Result<String, ControlError> {
        let deadline = self.deadline();
        let mut control = self.control_socket().await?;
        Ok(control.call(command, arguments, deadline).await?)
    }

    /// The tunnels that ovs-vswitchd really has, whatever their rows say.
    pub async fn listed_tunnels(&self) -> Result<Vec<ListedTunnel>, ControlError> {
        Ok(parse_tunnels(&self.control("ofproto/list-tunnels", &[]).await?)?)
    }

    /// Watches what a sync reads, for a reason to sync again.
    pub async fn watch_rows(&self) -> Result<RowWatch, SwitchError> {
        let request = MonitorRequest::new()
            .table("Bridge", ["name", "ports", "datapath_type", "fail_mode", "external_ids", "other_config"])
            .table("Port", ["name", "interfaces", "external_ids", "protected", "tag", "trunks", "vlan_mode"])
            .table("Interface", ["name", "type", "options", "mtu_request", "ofport", "error", "ifindex"])
            .changes_only();
        let monitor = self.client.monitor(DATABASE, &request, self.deadline()).await;
        Ok(RowWatch { monitor: monitor.map_err(|source| SwitchError::Watch { source })?.1 })
    }

    /// Watches `cur_cfg`.
    pub(crate) async fn watch(&self) -> Result<Watch, SwitchError> {
        let request = MonitorRequest::new().table("Open_vSwitch", ["cur_cfg"]);
        let (initial, monitor) = self
            .client
            .monitor(DATABASE, &request, self.deadline())
            .await
            .map_err(|source| SwitchError::Watch { source })?;
        let mut watch = Watch { monitor, reached: 0 };
        watch.note(&initial);
        Ok(watch)
    }
}

/// What [`crate::link`] has to know of a planned gateway.
pub(crate) fn gateway_spec(gateway: &GatewayPort, mtu: u16, datapath: Datapath) -> GatewaySpec {
    let GatewayPort { port, netns, address } = gateway;
    GatewaySpec {
        host_device: port.clone(),
        netns: netns.clone(),
        device: GATEWAY_DEVICE.to_owned(),
        address: *address,
        mtu: u32::from(mtu),
        checksum_offload: datapath != Datapath::Netdev,
    }
}

/// Tells when rows change that a sync reads, see [`Switch::watch_rows`].
#[derive(Debug)]
pub struct RowWatch {
    monitor: Monitor,
}

impl RowWatch {
    /// Waits for a change; false if there was none by the deadline.
    pub async fn changed(&mut self, deadline: Instant) -> Result<bool, SwitchError> {
        match self.monitor.next(deadline).await {
            Ok(_) => Ok(true),
            Err(MonitorError::Deadline { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets what has changed so far.
    pub fn settle(&mut self) -> Result<(), SwitchError> {
        while self.monitor.try_next()?.is_some() {}
        Ok(())
    }
}

/// Follows the configuration number that ovs-vswitchd has reached.
pub(crate) struct Watch {
    monitor: Monitor,
    pub(crate) reached: i64,
}

impl Watch {
    fn note(&mut self, updates: &crate::ovsdb::Updates) {
        for (_, update) in updates.table("Open_vSwitch") {
            let number = update.current().and_then(|row| row.get("cur_cfg")).map(Value::integer);
            if let Some(Ok(number)) = number {
                self.reached = number;
            }
        }
    }

    /// Waits until ovs-vswitchd has come to this configuration; false if it has not by the deadline.
    pub(crate) async fn wait(&mut self, wanted: i64, deadline: Instant) -> Result<bool, MonitorError> {
        while self.reached < wanted {
            match self.monitor.next(deadline).await {
                Ok(updates) => self.note(&updates),
                Err(MonitorError::Deadline { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
