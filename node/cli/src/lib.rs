//! Client commands of the binary `taffrail`, built on the public API of [`taffrail_client`].
//!
//! [`run`] takes a parsed [`Command`] and the [`GlobalArgs`]. The arguments create the
//! [`Client`](taffrail_client::Client) of one endpoint and one store. The command calls the client and writes its
//! results through a [`Printer`]. A [`Failure`] goes to stderr and determines the exit code.
//!
//! - Commands about events: [`append`], [`read`] and [`subscribe`]. [`select`] chooses a stream or the whole store.
//! - Commands about the cluster: [`streams`], [`stores`], and [`cluster`] with [`bootstrap`] and its
//!   counterpart after an upgrade, [`finalize_upgrade`].
//! - [`load`]: a load generator with an open and a closed loop.
//! - [`args`]: flags of every command, and parsers of flag values.
//! - [`output`]: the output formats table, JSON and JSON lines.
//! - [`failure`]: error texts and exit codes.
//! - [`event_json`]: the JSON form of an event. [`json_text`]: functions on JSON that keep the text of payloads.

pub mod append;
pub mod args;
pub mod bootstrap;
pub mod cluster;
pub mod event_json;
pub mod failure;
pub mod finalize_upgrade;
pub mod free_replica;
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

/// A client command and the flags of the command.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Append an event to a stream, or with --jsonl an event per line of stdin, in atomic batches.
    Append(append::Args),
    /// Read the stored events of a stream or of the whole store, then exit.
    Read(read::Args),
    /// Follow a stream or the whole store: first the stored events, then new events after each append.
    Subscribe(subscribe::Args),
    /// Show the streams of a store.
    #[command(subcommand)]
    Streams(streams::Command),
    /// Show the stores of the cluster.
    #[command(subcommand)]
    Stores(stores::Command),
    /// Show the cluster and the nodes, or bootstrap a cluster.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Generate load, then report rates and latencies.
    #[command(subcommand)]
    Load(load::Command),
}

/// Runs a command, writes a failure to stderr, and returns the exit code:
///
/// | code | meaning |
/// |---|---|
/// | 0 | success |
/// | 1 | local failure, or a failure of the server that has no other class |
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
