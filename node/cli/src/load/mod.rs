//! `taffrail load`: a load generator.
//!
//! - Closed loop (default): each worker starts a call when its previous call has ended.
//! - Open loop (`--rate`): calls start on a fixed schedule, whether or not earlier calls have ended. The latency of a
//!   call counts from the scheduled start, so the time that calls wait behind a stalled server is part of the result.

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

/// Commands of `taffrail load`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Append batches of generated events.
    Append(append::Args),
    /// Read streams or the whole store repeatedly.
    Read(read::Args),
}

/// Flags of every load command: concurrency, rate and duration of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadProfile {
    /// Maximum number of calls in flight at the same time.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,
    /// Number of connections that the calls share.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Number of calls started per second on a fixed schedule (open loop). Default: each worker starts a call when its
    /// previous call has ended (closed loop).
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// Duration of the run after the warm-up; ignored with --count.
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "TIME")]
    pub duration: Duration,
    /// End the run after this number of calls instead of a duration.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Warm-up: calls that start within this time are made and not counted. Default: no warm-up.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub warmup: Option<Duration>,
}

/// Runs a command of `taffrail load`.
///
/// # Errors
/// The [`Failure`] reported by [`crate::run`].
pub async fn run(command: Command, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    match command {
        Command::Append(args) => append::run(args, globals, printer).await,
        Command::Read(args) => read::run(args, globals, printer).await,
    }
}
