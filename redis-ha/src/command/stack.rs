//! `redis-ha stack`: the AWS side as code.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::failure::chain;
use clap::{Args, Subcommand, ValueEnum};
use ipnetwork::Ipv4Network;
use ovs_mesh::{HostName, Topology, TopologyError};
use redis_ha::stack::{
    FillError, Outputs, StackError, StackOptions, VipPlacement, fill_service, fill_topology, template,
};

/// The largest template in bytes that `CloudFormation` takes in a request; a larger one it reads from S3.
const MAX_IN_REQUEST: usize = 51_200;

#[derive(Debug, Args)]
pub(crate) struct Stack {
    #[command(subcommand)]
    command: StackCommand,
}

#[derive(Debug, Subcommand)]
enum StackCommand {
    /// Print a CloudFormation template for the topology's hosts; touches nothing
    Template(Template),
    /// Put a stack's outputs into the topology file, and into the service's file
    Fill(Fill),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Placement {
    /// In the first subnet, with all proxies: moves in about a second, does not survive the zone
    Address,
    /// Outside the VPC, the proxies in two zones
    Route,
}

#[derive(Debug, Args)]
struct Template {
    /// Topology file
    #[arg(long, env = "OVSMESH_CONFIG", value_name = "FILE", default_value = "/etc/ovsmesh/mesh.toml")]
    topology: PathBuf,
    /// A proxy; may be repeated [default: all hosts with a tenant's gateway]
    #[arg(long, value_name = "HOST")]
    proxy: Vec<HostName>,
    /// The VIP
    #[arg(long, value_name = "ADDRESS")]
    vip: Ipv4Addr,
    /// keepalived's VRRP instance, whose master has the VIP
    #[arg(long, value_name = "NAME", default_value = "redis-ha")]
    instance: String,
    /// Where the VIP is
    #[arg(long, value_name = "WHERE", default_value = "address")]
    placement: Placement,
    /// The VPC's addresses
    #[arg(long, value_name = "RANGE", default_value = "10.0.0.0/16")]
    vpc: Ipv4Network,
    /// The first zone's subnet
    #[arg(long, value_name = "RANGE", default_value = "10.0.1.0/24")]
    subnet_a: Ipv4Network,
    /// The second zone's subnet
    #[arg(long, value_name = "RANGE", default_value = "10.0.2.0/24")]
    subnet_b: Ipv4Network,
    /// Who may reach the tenants' ports; may be repeated
    #[arg(long, value_name = "RANGE", required = true)]
    client: Vec<Ipv4Network>,
    /// A tenant's port on the proxies; may be repeated
    #[arg(long, value_name = "PORT", required = true, value_parser = clap::value_parser!(u16).range(1..))]
    client_port: Vec<u16>,
    /// Who may log in
    #[arg(long, value_name = "RANGE")]
    ssh: Ipv4Network,
}

#[derive(Debug, Args)]
struct Fill {
    /// What `aws cloudformation describe-stacks` printed
    #[arg(long, value_name = "FILE")]
    outputs: PathBuf,
    /// Topology file, whose hosts get the addresses that they have in the stack
    #[arg(long, env = "OVSMESH_CONFIG", value_name = "FILE", default_value = "/etc/ovsmesh/mesh.toml")]
    topology: PathBuf,
    /// The service's file, which gets `[proxy.aws]`
    #[arg(long, value_name = "FILE")]
    service: Option<PathBuf>,
    /// Print the files as they would be, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Stack(#[from] StackError),
    #[error("{} cannot be filled", path.display())]
    Fill { path: PathBuf, source: FillError },
    #[error("{} is not what a stack's outputs are", path.display())]
    Outputs { path: PathBuf, source: FillError },
    #[error("cannot print the result")]
    Print(#[source] std::io::Error),
}

impl Failure {
    fn exit(&self) -> u8 {
        match self {
            Self::Write { .. } | Self::Print(_) => 1,
            _ => 2,
        }
    }

    fn text(&self) -> String {
        if let Self::Topology(error) = self {
            // Shows its faults itself, each with its own `error:` line.
            return error.to_string();
        }
        let hint = match self {
            Self::Stack(error) => error.hint(),
            Self::Outputs { .. } => {
                Some("aws cloudformation describe-stacks --stack-name NAME > FILE".into())
            }
            Self::Fill { source: FillError::Missing { .. }, .. } => {
                Some("are these the outputs of the stack that was made from this topology?".into())
            }
            _ => None,
        };
        chain(self, hint.as_deref())
    }
}

pub(crate) fn run(stack: Stack) -> ExitCode {
    let result = match stack.command {
        StackCommand::Template(options) => print_template(options),
        StackCommand::Fill(options) => fill(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("{}", failure.text());
            ExitCode::from(failure.exit())
        }
    }
}

fn print_template(options: Template) -> Result<(), Failure> {
    let topology = Topology::parse(&read(&options.topology)?, &options.topology)?;
    let proxies =
        if options.proxy.is_empty() { StackOptions::gateway_hosts(&topology) } else { options.proxy };
    let options = StackOptions {
        vpc: options.vpc,
        subnets: [options.subnet_a, options.subnet_b],
        proxies,
        instance: options.instance,
        vip: options.vip,
        placement: match options.placement {
            Placement::Address => VipPlacement::Address,
            Placement::Route => VipPlacement::Route,
        },
        clients: options.client,
        client_ports: options.client_port,
        ssh: options.ssh,
    };
    let template = template(&topology, &options)?;
    if let Some(range) = options.clients.iter().find(|range| range.prefix() == 0) {
        anstream::eprintln!("note: --client {range} lets everyone reach the tenants' ports on the proxies");
    }
    if options.ssh.prefix() == 0 {
        anstream::eprintln!("note: --ssh {} lets everyone reach port 22 of every host", options.ssh);
    }
    // Indented, it would be larger by a third.
    let text = format!("{template}\n");
    let bytes = text.len();
    if bytes > MAX_IN_REQUEST {
        anstream::eprintln!(
            "note: the template has {bytes} bytes; `aws cloudformation deploy` takes more than {MAX_IN_REQUEST} with --s3-bucket alone"
        );
    }
    print(&text)
}

fn fill(options: &Fill) -> Result<(), Failure> {
    let Fill { outputs: path, topology: mesh, service, dry_run } = options;
    let outputs = Outputs::parse(&read(path)?);
    let outputs = outputs.map_err(|source| Failure::Outputs { path: path.clone(), source })?;
    let text = read(mesh)?;
    let topology = Topology::parse(&text, mesh)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Fill { path, source }
    };
    let filled = fill_topology(&text, &topology, &outputs).map_err(failed(mesh))?;
    // What is written is read again by every host.
    Topology::parse(&filled, mesh)?;
    let mut files = vec![(mesh, filled)];
    if let Some(service) = service {
        let filled = fill_service(&read(service)?, &topology, &outputs).map_err(failed(service))?;
        files.push((service, filled));
    }
    for (path, text) in files {
        if *dry_run {
            print(&format!("# {}\n{text}", path.display()))?;
        } else {
            replace(path, &text).map_err(|source| Failure::Write { path: path.clone(), source })?;
            anstream::eprintln!("{} has what the stack has come to be", path.display());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}

/// As a whole or not at all, with the file's own permissions; a link stays one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = path.canonicalize()?;
    let mut new = path.clone().into_os_string();
    new.push(".new");
    std::fs::write(&new, text)?;
    std::fs::set_permissions(&new, std::fs::metadata(&path)?.permissions())?;
    std::fs::rename(&new, &path)
}

fn print(text: &str) -> Result<(), Failure> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
        _ => Ok(()),
    }
}
