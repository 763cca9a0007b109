//! `redis-ha notify`: the VIP on AWS.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::failure::chain;
use clap::{Args, Subcommand};
use redis_ha::aws::{AwsEnvironment, Endpoint, InterfaceId, Region, RouteTableId};
use redis_ha::notify::{
    InterfaceChoice, Level, Notice, NotifyOptions, OnceError, OnceReport, ServeError, Subject, SubjectKind,
    SystemLog, Vip, VipMode, once, serve,
};

const EXIT_CODES: &str = "Exit codes: 0 done (once: the VIP leads here, or this machine is not master; else ended by a signal), \
1 failure, 2 usage, 6 tried until the deadline (once).";

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Notify {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<NotifyCommand>,
}

#[derive(Debug, Subcommand)]
enum NotifyCommand {
    /// Do what one notice asks for, and end: for keepalived's `notify`, which adds the four words
    #[command(after_help = EXIT_CODES)]
    Once {
        /// INSTANCE or GROUP
        kind: String,
        /// Its name
        name: String,
        /// What it has become: MASTER, BACKUP, FAULT and so on
        state: String,
        /// Its priority
        priority: String,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// keepalived's `notify_fifo`; made if it is not there
    #[arg(
        long,
        global = true,
        env = "REDIS_HA_NOTIFY_FIFO",
        value_name = "FILE",
        default_value = "/run/redis-ha/notify"
    )]
    fifo: PathBuf,
    /// An address that follows a VRRP instance's master; may be repeated
    #[arg(long, global = true, value_name = "INSTANCE=ADDRESS", value_parser = named_address)]
    vip: Vec<(String, Ipv4Addr)>,
    /// An address that follows a sync group's master; may be repeated
    #[arg(long, global = true, value_name = "GROUP=ADDRESS", value_parser = named_address)]
    group_vip: Vec<(String, Ipv4Addr)>,
    /// An interface that the address may be taken from; may be repeated [default: any of the subnet]
    #[arg(long, global = true, value_name = "ENI", conflicts_with = "route_table")]
    peer: Vec<InterfaceId>,
    /// Lead a route of this table here in place of an address, for proxies in different zones; may be repeated
    #[arg(long, global = true, value_name = "RTB")]
    route_table: Vec<RouteTableId>,
    /// The interface that the VIP is to lead to; the instance metadata is then not asked for it [default: the one whose
    /// subnet holds the VIP; with --route-table, the one that the instance was launched with]
    #[arg(long, global = true, value_name = "ENI")]
    interface: Option<InterfaceId>,
    /// The region [default: the instance's]
    #[arg(long, global = true, env = "AWS_REGION", value_name = "REGION")]
    region: Option<Region>,
    /// EC2's endpoint [default: the region's]
    #[arg(long, global = true, env = "AWS_ENDPOINT_URL_EC2", value_name = "URL")]
    ec2_endpoint: Option<Endpoint>,
    /// The instance metadata's endpoint [default: `http://169.254.169.254`]
    #[arg(long, global = true, env = "AWS_EC2_METADATA_SERVICE_ENDPOINT", value_name = "URL")]
    imds_endpoint: Option<Endpoint>,
    /// How long a move is tried
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = time)]
    deadline: Duration,
    /// How often a master makes sure that it still has the VIP
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = time)]
    reconcile: Duration,
    /// Take keepalived's word alone: the VIP is on no device of this network namespace
    #[arg(long, global = true)]
    no_local_check: bool,
    /// The log daemon's socket
    #[arg(long, global = true, value_name = "FILE", default_value = "/dev/log")]
    log_socket: PathBuf,
    /// Where systemd listens
    #[arg(long, global = true, hide = true, env = "NOTIFY_SOCKET")]
    notify_socket: Option<PathBuf>,
}

fn named_address(text: &str) -> Result<(String, Ipv4Addr), String> {
    let accepted = "accepted is NAME=ADDRESS, as VI_1=10.0.1.100";
    let (name, address) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or(accepted)?;
    let address = address.parse().map_err(|_| format!("`{address}` is no IPv4 address; {accepted}"))?;
    Ok((name.to_owned(), address))
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("no time at all; accepted are times as 10s or 500ms".to_owned()),
        Err(error) => Err(format!("{error}; accepted are times as 10s or 500ms")),
    }
}

impl Options {
    fn into_library(self) -> NotifyOptions {
        let vips = |kind, named: Vec<(String, Ipv4Addr)>| {
            named.into_iter().map(move |(name, address)| Vip { subject: Subject { kind, name }, address })
        };
        let vips = vips(SubjectKind::Instance, self.vip).chain(vips(SubjectKind::Group, self.group_vip));
        let mode = if self.route_table.is_empty() {
            VipMode::Address { peers: self.peer }
        } else {
            VipMode::Route { tables: self.route_table }
        };
        NotifyOptions {
            fifo: self.fifo,
            vips: vips.collect(),
            mode,
            interface: self.interface.map_or(InterfaceChoice::BySubnet, InterfaceChoice::Id),
            region: self.region,
            ec2_endpoint: self.ec2_endpoint,
            imds_endpoint: self.imds_endpoint.unwrap_or_else(Endpoint::imds),
            deadline: self.deadline,
            reconcile: self.reconcile,
            has_local_addresses: !self.no_local_check,
            log_socket: self.log_socket,
            notify_socket: self.notify_socket,
        }
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no VIP: name at least one with --vip or --group-vip")]
    NoVip,
    #[error("`{0}` is no notice of keepalived's")]
    Words(String),
    #[error(transparent)]
    Once(#[from] OnceError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot print the result")]
    Print(#[source] std::io::Error),
}

impl Failure {
    fn exit(&self) -> u8 {
        match self {
            Self::NoVip | Self::Words(_) | Self::Once(OnceError::Unknown { .. }) => 2,
            Self::Once(OnceError::Late { .. }) => 6,
            Self::Once(_) | Self::Serve(_) | Self::Print(_) => 1,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoVip => Some("as --vip VI_1=10.0.1.100"),
            Self::Words(_) => Some("accepted are four words, as INSTANCE VI_1 MASTER 100"),
            Self::Once(OnceError::Failed(error) | OnceError::Late { source: Some(error), .. }) => {
                error.hint()
            }
            Self::Serve(ServeError::Fifo(_)) => Some("its directory must be there, and writable"),
            _ => None,
        }
    }

    fn text(&self) -> String {
        chain(self, self.hint())
    }
}

pub(crate) fn run(notify: Notify) -> ExitCode {
    let Notify { options, command } = notify;
    let options = options.into_library();
    // What keepalived's scripts print, nobody reads.
    let mut log = SystemLog::new(options.log_socket.clone());
    let result = match command {
        _ if options.vips.is_empty() => Err(Failure::NoVip),
        None => serve(&options, AwsEnvironment::read(), &mut log).map_err(Failure::from),
        Some(NotifyCommand::Once { kind, name, state, priority }) => {
            run_once(&options, &mut log, [&kind, &name, &state, &priority])
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log.only_daemon(Level::Error, &failure.text());
            anstream::eprintln!("{}", failure.text());
            ExitCode::from(failure.exit())
        }
    }
}

fn run_once(options: &NotifyOptions, log: &mut SystemLog, words: [&str; 4]) -> Result<(), Failure> {
    let [kind, name, state, priority] = words;
    let notice = Notice::from_words(kind, name, state, priority);
    let notice = notice.ok_or_else(|| Failure::Words(words.join(" ")))?;
    let text = match once(options, AwsEnvironment::read(), &notice)? {
        OnceReport::NotMaster => format!("{notice}: nothing to do"),
        OnceReport::Held { addresses, interface, is_moved, took } => {
            let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let now = if is_moved { "now leads" } else { "leads" };
            format!("{addresses} {now} to {interface} ({} ms)", took.as_millis())
        }
    };
    log.only_daemon(Level::Info, &text);
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
        _ => Ok(()),
    }
}
