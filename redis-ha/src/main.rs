//! `redis-ha`: highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Everything it does is a library call; what is here reads arguments, prints results and sets the exit code.

mod command;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Make the VIP lead to this instance while keepalived is master, on AWS
    Notify(Box<command::notify::Notify>),
    /// The AWS side as code
    Stack(command::stack::Stack),
}

fn main() -> ExitCode {
    let Args { global: _, command } = Args::parse();
    match command {
        Command::Notify(notify) => command::notify::run(*notify),
        Command::Stack(stack) => command::stack::run(stack),
    }
}
