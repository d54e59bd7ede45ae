//! The client commands of the binary `taffrail`, built on the public API of [`taffrail_client`].
//!
//! - [`args`]: flags of every command, and parsers of flag values. [`failure`]: error texts and exit codes.
//! - [`output`]: table, JSON or JSON lines. [`event_json`]: encodes and decodes events; [`json_text`] keeps payloads as text.
//! - One file per command; [`load`] is the load generator.

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

/// Runs a command, writes a failure to stderr, and returns the exit code:
///
/// | code | meaning |
/// |---|---|
/// | 0 | success |
/// | 1 | local failure, or a failure of the server without a class of its own |
/// | 2 | usage |
/// | 3 | rejected |
/// | 4 | not found |
/// | 5 | unavailable, or the deadline passed |
/// | 6 | outcome unknown |
/// | 7 | denied |
pub async fn run(command: Command, globals: &GlobalArgs) -> u8 {
    let mut printer = Printer::stdout(globals.output);
    let result = dispatch(command, globals, &mut printer).await;
    // Items that arrived before a failure are printed as well.
    let finished = printer.finish();
    match result.and_then(|()| finished.map_err(Failure::from)) {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(text) = failure.report() {
                use std::io::Write as _;
                // A failed write to stderr cannot be reported anywhere.
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
