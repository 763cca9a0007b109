//! `redis-ha`: highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Everything it does is a library call; what is here reads arguments, prints results and sets the exit code.

mod command;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use command::Failure;

/// Highly available Redis for many tenants, each on an isolated network of its own.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Args)]
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
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(command::agent::Options),
    Bootstrap(command::bootstrap::Options),
}

fn main() -> ExitCode {
    let Args { global, command } = Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return report(&Failure::Runtime { source }),
    };
    let done = runtime.block_on(async {
        match command {
            Command::Agent(options) => command::agent::run(&global, options).await,
            Command::Bootstrap(options) => command::bootstrap::run(&global, options).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Prints a failure with all that it comes from.
fn report(failure: &Failure) -> ExitCode {
    anstream::eprintln!("error: {failure}");
    let mut source = failure.source();
    while let Some(error) = source {
        anstream::eprintln!("  because: {error}");
        source = error.source();
    }
    ExitCode::FAILURE
}
