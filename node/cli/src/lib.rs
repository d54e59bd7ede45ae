//! The client commands of the binary `taffrail`. They use the Rust client as any application would.
//!
//! - `args`: flags that every command has, and the values they take. `failure`: what went wrong, and the exit code.
//! - `output`: table, JSON or JSON lines. `event_json`: an event as JSON, both ways, without touching its numbers.
//! - one file a command; `load/` is the load generator.

pub mod append;
pub mod args;
pub mod bootstrap;
pub mod cluster;
pub mod event_json;
pub mod failure;
pub mod json_text;
pub mod load;
pub mod output;
pub mod read;
pub mod select;
pub mod stores;
pub mod streams;
pub mod subscribe;

pub use args::GlobalArgs;

use failure::Failure;
use output::Printer;

/// The commands of a client.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Append one event, or with --jsonl one event per line of stdin, in atomic batches.
    Append(append::Args),
    /// Read a stream or the whole store, and end.
    Read(read::Args),
    /// Follow a stream or the whole store: what is stored, then what is being stored.
    Subscribe(subscribe::Args),
    /// Streams of a store.
    #[command(subcommand)]
    Streams(streams::Command),
    /// Stores of a cluster.
    #[command(subcommand)]
    Stores(stores::Command),
    /// The cluster and its nodes.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Generate load and report rates and latencies.
    #[command(subcommand)]
    Load(load::Command),
}

/// Runs one command and answers its exit code: 0 done, 1 failed here, 2 usage, 3 rejected, 4 not found, 5 unavailable,
/// 6 outcome unknown, 7 denied. Says on stderr what went wrong.
pub async fn run(command: Command, globals: &GlobalArgs) -> u8 {
    let mut printer = Printer::stdout(globals.output);
    let result = dispatch(command, globals, &mut printer).await;
    // What was received before a failure is shown too.
    let finished = printer.finish();
    match result.and_then(|()| finished.map_err(Failure::from)) {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(text) = failure.report() {
                use std::io::Write as _;
                // Nothing is left to tell when stderr is gone as well.
                drop(writeln!(std::io::stderr(), "{text}"));
            }
            failure.exit_code()
        }
    }
}

async fn dispatch(command: Command, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    match command {
        Command::Append(args) => append::run(&args, globals, printer).await,
        Command::Read(args) => read::run(&args, globals, printer).await,
        Command::Subscribe(args) => subscribe::run(&args, globals, printer).await,
        Command::Streams(command) => streams::run(&command, globals, printer).await,
        Command::Stores(command) => stores::run(&command, globals, printer).await,
        Command::Cluster(command) => cluster::run(&command, globals, printer).await,
        Command::Load(command) => load::run(command, globals, printer).await,
    }
}
