//! `ovsmesh`: isolated layer-2 networks for many tenants over plain Open vSwitch.
//!
//! Everything it does is a library call; this crate reads arguments, prints results and sets the exit code.

mod args;
mod command;
mod failure;
mod output;
mod progress;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

use args::{Args, Command, Format, Lab, LabCommand};
use failure::Failure;
use ovsmesh_lab::EndSignal;

/// The exit codes of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Done, or converged.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line or the topology is wrong.
    Usage = 2,
    /// The switch is not as planned, or not all is as it should be.
    Drift = 3,
    /// Tenants are not, or not provably, kept apart.
    Breach = 4,
    /// OVSDB is unreachable, or does not speak its protocol.
    Ovsdb = 5,
    /// Committed, but not applied in time.
    NotApplied = 6,
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
    let matches = Args::command().get_matches_from(words(std::env::args_os().collect()));
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let is_db_given = matches.value_source("db") == Some(ValueSource::CommandLine);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return report(&Failure::Runtime { source }),
    };
    let ended = runtime.block_on(run(args, is_db_given));
    // What still runs on a thread, a call that hangs say, does not keep from telling how it ended.
    runtime.shutdown_background();
    match ended {
        Ok(Outcome::Exit(exit)) => ExitCode::from(exit as u8),
        Ok(Outcome::Command(code)) => ExitCode::from(code),
        Err(failure) => report(&failure),
    }
}

/// OpenVZ calls its hook by a name of its own; everything else that it may need comes from the environment.
fn words(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().and_then(|word| Path::new(word).file_name());
    if name.is_some_and(|name| name == "vznetaddbr") {
        words.splice(..1, ["ovsmesh", "vznet"].map(OsString::from));
    }
    words
}

/// How a command ended that did not fail.
enum Outcome {
    /// By the contract.
    Exit(Exit),
    /// With the exit code of the command that `lab exec` ran.
    Command(u8),
}

async fn run(args: Args, is_db_given: bool) -> Result<Outcome, Failure> {
    let Args { global, command } = args;
    // Before anything is done that could then not be told.
    let only = |format, command| Err(Failure::Format { format, command });
    match (global.format, &command) {
        (Format::OvsVsctl, command) if !matches!(command, Command::Plan(_)) => {
            return only("ovs-vsctl", "plan");
        }
        (Format::Junit, command) if !verifies(command) => return only("junit", "verify"),
        _ => {}
    }
    // What is said of other hosts' databases is for verification alone.
    if !matches!(command, Command::Verify(_))
        && (global.db.len() > 1 || global.db.iter().any(|db| db.host.is_some()))
    {
        return Err(Failure::Databases);
    }
    match command {
        Command::Plan(options) => command::plan::run(&global, &options).map(Outcome::Exit),
        Command::Sync(options) => command::sync::run(&global, &options).await.map(Outcome::Exit),
        Command::Status => command::status::run(&global).await.map(Outcome::Exit),
        Command::Verify(options) => {
            command::verify::run(&global, &options, is_db_given).await.map(Outcome::Exit)
        }
        Command::Snapshot(options) => command::snapshot::run(&global, &options).await.map(Outcome::Exit),
        Command::Attach(options) => command::attach::run(&global, options).await.map(Outcome::Exit),
        Command::Detach(options) => command::attach::detach(&global, options).await.map(Outcome::Exit),
        Command::Vznet(options) => command::vznet::run(&global, options).await.map(Outcome::Exit),
        Command::Lab(options) => command::lab::run(&global, options).await,
    }
}

/// Whether a command's result is a verification's report.
fn verifies(command: &Command) -> bool {
    matches!(command, Command::Verify(_) | Command::Lab(Lab { command: LabCommand::Verify { .. } }))
}

/// Prints the chain of causes once, and what to do.
fn report(failure: &Failure) -> ExitCode {
    progress::say(&failure.text());
    ExitCode::from(failure.exit() as u8)
}
