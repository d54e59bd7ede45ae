//! `taffrail load read`: reads streams or the whole store repeatedly.

use super::{
    LoadProfile,
    pace::ScheduledCall,
    report::Report,
    workers::{self, Transferred, Worker},
};
use crate::{GlobalArgs, failure::Failure, output::Printer};
use serde_json::json;
use std::sync::Arc;
use taffrail_client::{Client, Error, v1};

/// Flags of `load read`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    profile: LoadProfile,
    /// Number of streams to read in turn, as written by `taffrail load append`.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,
    /// Prefix of the names of the streams; a number from 0 follows.
    #[arg(long, default_value = "load-", value_name = "PREFIX")]
    prefix: String,
    /// Read the whole store in commit order instead of single streams.
    #[arg(long, conflicts_with_all = ["streams", "prefix"])]
    all: bool,
    /// Maximum number of events of one read; 0 means all.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// Read from later to earlier events.
    #[arg(long)]
    backward: bool,
    /// Read the replica of the answering node without asking the leader. The result may lack the latest events.
    #[arg(long)]
    stale: bool,
}

/// Runs `taffrail load read`.
///
/// # Errors
/// The [`Failure`] reported by [`crate::run`].
pub async fn run(args: Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let settings = json!({
        "load": "read", "loop": if args.profile.rate.is_some() { "open" } else { "closed" }, "rate": args.profile.rate,
        "concurrency": args.profile.concurrency, "connections": args.profile.connections,
        "streams": if args.all { None } else { Some(args.streams) }, "all": args.all, "limit": args.limit,
        "direction": if args.backward { "backward" } else { "forward" }, "stale": args.stale,
    });
    let clients = workers::clients(&args.profile, globals)?;
    let args = Arc::new(args);
    let workers = (0..args.profile.concurrency)
        .zip(clients.iter().cycle())
        .map(|(_, client)| ReadWorker { client: client.clone(), args: Arc::clone(&args) });
    let (tally, time) = workers::run(&args.profile, workers.collect()).await?;
    let report = Report { settings, tally, time };
    Ok(printer.one(|| report.text(), || report.json())?)
}

struct ReadWorker {
    client: Client,
    args: Arc<Args>,
}

impl Worker for ReadWorker {
    async fn call(&mut self, call: ScheduledCall) -> Result<Transferred, Error> {
        let kind = if self.args.all {
            v1::selector::Kind::All(v1::Unit {})
        } else {
            v1::selector::Kind::Stream(format!("{}{}", self.args.prefix, call.number % self.args.streams))
        };
        let direction = if self.args.backward { v1::Direction::Backward } else { v1::Direction::Forward };
        let consistency = if self.args.stale { v1::Consistency::Stale } else { v1::Consistency::Linearizable };
        let request = v1::ReadRequest {
            selector: Some(v1::Selector { kind: Some(kind) }),
            direction: direction.into(),
            limit: self.args.limit,
            consistency: consistency.into(),
            ..v1::ReadRequest::default()
        };
        let mut events = self.client.read(request).await?;
        let mut transferred = Transferred { events: 0, bytes: 0 };
        while let Some(event) = events.next().await? {
            transferred.events += 1;
            transferred.bytes += (event.data.len() + event.metadata.len()) as u64;
        }
        Ok(transferred)
    }
}
