//! `taffrail load`: a load generator. Closed loop: each worker sends its next call when the last one is answered. Open
//! loop (`--rate`): calls start on a schedule whether or not the last ones were answered, and a latency counts from the
//! scheduled start, so that a stalled server is not flattered.

pub mod append;
pub mod pace;
pub mod read;
pub mod report;
pub mod workers;

use super::{
    args::{GlobalArgs, duration},
    failure::Failure,
    output::Printer,
};
use std::time::Duration;

/// Kinds of load.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Append batches.
    Append(append::Args),
    /// Read streams or the whole store.
    Read(read::Args),
}

/// How much, how fast, how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Shape {
    /// Calls under way at the same time.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,
    /// Connections that they share.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Calls started per second, answered or not (open loop). Without it each worker waits for its answer (closed loop).
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// How long.
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "TIME")]
    pub duration: Duration,
    /// End after this many calls, however long they take.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Calls of the first seconds are made but not counted.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub warmup: Option<Duration>,
}

/// Runs it.
///
/// # Errors
/// See `Failure`.
pub async fn run(command: Command, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    match command {
        Command::Append(args) => append::run(args, globals, printer).await,
        Command::Read(args) => read::run(args, globals, printer).await,
    }
}
