//! `redis-ha`: highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Everything it does is a library call; what is here reads arguments, prints results and sets the exit code.

mod command;
mod failure;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use failure::Failure;
use ovsmesh_lab::EndSignal;

/// Highly available Redis for many tenants, each on an isolated network of its own.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failure, 2 usage or a file that cannot be used, 3 not all is as it should be (check, \
status, lab status, lab up, drill), 129, 130 or 143 when SIGHUP, SIGINT or SIGTERM ended it (lab up, drill).";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The service's file, which names the topology file
    #[arg(
        long,
        global = true,
        env = "REDIS_HA_CONFIG",
        value_name = "FILE",
        default_value = "/etc/redis-ha/redis-ha.toml"
    )]
    config: PathBuf,
    /// How to print results
    #[arg(long, global = true, env = "REDIS_HA_FORMAT", value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write every configuration file, unit and command of the service below a directory
    Render(command::render::Render),
    /// Check what `render` wrote: by the daemons' own checks, and by ours
    Check(command::check::Check),
    Agent(command::agent::Options),
    Bootstrap(command::bootstrap::Options),
    /// Show every tenant's master and replicas, and what this proxy sees
    Status(command::status::Status),
    /// Make the VIP lead to this instance while keepalived is master, on AWS
    Notify(Box<command::notify::Notify>),
    /// The AWS side as code
    Stack(command::stack::Stack),
    /// Run the whole service on this machine, in network namespaces
    Lab(command::lab::Lab),
    /// Break something in a lab under a client that writes, and show what the client saw
    Drill(command::drill::Drill),
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Done, and all is well.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line or a file cannot be used.
    Usage = 2,
    /// Not all is as it should be.
    Wanting = 3,
    /// Ended by `SIGHUP`, as shells tell it.
    HungUp = 129,
    /// Ended by `SIGINT`.
    Interrupted = 130,
    /// Ended by `SIGTERM`.
    Terminated = 143,
}

impl From<EndSignal> for Exit {
    fn from(signal: EndSignal) -> Self {
        match signal {
            EndSignal::Hangup => Self::HungUp,
            EndSignal::Interrupt => Self::Interrupted,
            EndSignal::Terminate => Self::Terminated,
        }
    }
}

fn main() -> ExitCode {
    let Args { global, command } = Args::parse();
    let ended = match command {
        Command::Notify(options) => return command::notify::run(*options),
        Command::Stack(options) => return command::stack::run(options),
        Command::Render(options) => command::render::run(&global, &options),
        Command::Agent(options) => block(command::agent::run(&global, options)),
        Command::Bootstrap(options) => block(command::bootstrap::run(&global, options)),
        Command::Status(options) => block(command::status::run(&global, options)),
        Command::Check(options) => command::check::run(&global, &options),
        Command::Lab(options) => block(command::lab::run(&global, options)),
        Command::Drill(options) => block(command::drill::run(&global, options)),
    };
    match ended {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            progress::say(&failure.text());
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn block(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Failure::Runtime { source })?;
    let ended = runtime.block_on(work);
    // What still runs on a thread, a call that hangs say, does not keep from telling how it ended.
    runtime.shutdown_background();
    ended
}
