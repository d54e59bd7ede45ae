//! `taffrail load append`: appends batches of generated events.

use super::{
    LoadProfile,
    pace::ScheduledCall,
    report::Report,
    workers::{self, Transferred, Worker},
};
use crate::{GlobalArgs, failure::Failure, output::Printer};
use bytes::Bytes;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use taffrail_client::{Client, Error, Expected, Rejection, RetryPolicy, v1};
use taffrail_runtime as rt;

/// Expected state of the stream of each append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Expect {
    /// Any state of the stream.
    Any,
    /// The last revision of the stream known to the worker. Each stream then belongs to a single worker.
    Exact,
}

/// Flags of `load append`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    profile: LoadProfile,
    /// Number of streams; the appends go to the streams in turn.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,
    /// Prefix of the names of the streams; a number from 0 follows.
    #[arg(long, default_value = "load-", value_name = "PREFIX")]
    prefix: String,
    /// Number of events of an append, 1 to 16384.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    batch: u32,
    /// Size of the payload of an event in bytes, at most 67108864.
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=67_108_864))]
    size: u32,
    /// Expected state of the stream of each append. exact needs at least as many --streams as --concurrency.
    #[arg(long, value_enum, default_value = "any")]
    expect: Expect,
    /// Retry a failed append with the same event ids for at most this time. All attempts count as a single call.
    /// Default: no retry.
    #[arg(long, value_parser = crate::args::duration, value_name = "TIME")]
    retry: Option<Duration>,
}

/// Runs `taffrail load append`.
///
/// # Errors
/// The [`Failure`] reported by [`crate::run`].
pub async fn run(args: Args, globals: &GlobalArgs, printer: &mut Printer) -> Result<(), Failure> {
    let concurrency = u64::from(args.profile.concurrency);
    if args.expect == Expect::Exact && args.streams < concurrency {
        let rule =
            format!("with --expect exact, --streams ({}) must be at least --concurrency ({concurrency})", args.streams);
        return Err(Failure::Usage(rule));
    }
    let settings = json!({
        "load": "append", "loop": if args.profile.rate.is_some() { "open" } else { "closed" }, "rate": args.profile.rate,
        "concurrency": concurrency, "connections": args.profile.connections, "streams": args.streams, "batch": args.batch,
        "size": args.size, "expect": if args.expect == Expect::Exact { "exact" } else { "any" },
    });
    let clients = workers::clients(&args.profile, globals)?;
    let args = Arc::new(args);
    let data: Bytes = (0..args.size).map(|i| b'a' + u8::try_from(i % 26).unwrap_or(0)).collect::<Vec<u8>>().into();
    let workers = (0..concurrency).zip(clients.iter().cycle()).map(|(index, client)| AppendWorker {
        client: client.clone(),
        args: Arc::clone(&args),
        data: data.clone(),
        assigned: assigned_streams(index, concurrency, args.streams),
        next: 0,
    });
    let (tally, time) = workers::run(&args.profile, workers.collect()).await?;
    let report = Report { settings, tally, time };
    Ok(printer.one(|| report.text(), || report.json())?)
}

/// Returns the numbers of the streams of worker `index` of `workers`, each with the state expected by the next append.
fn assigned_streams(index: u64, workers: u64, streams: u64) -> Vec<(u64, Expected)> {
    let step = usize::try_from(workers).unwrap_or(usize::MAX);
    (index..streams).step_by(step).map(|stream| (stream, Expected::NoStream)).collect()
}

struct AppendWorker {
    client: Client,
    args: Arc<Args>,
    data: Bytes,
    assigned: Vec<(u64, Expected)>,
    next: usize,
}

impl Worker for AppendWorker {
    async fn call(&mut self, call: ScheduledCall) -> Result<Transferred, Error> {
        let slot = self.next % self.assigned.len().max(1);
        self.next += 1;
        let (stream, expected) = match self.args.expect {
            Expect::Any => (call.number % self.args.streams, Expected::Any),
            Expect::Exact => self.assigned.get(slot).copied().unwrap_or((0, Expected::Any)),
        };
        let name = format!("{}{stream}", self.args.prefix);
        let events: Vec<v1::NewEvent> = (0..self.args.batch).map(|_| self.event()).collect();
        let answer = match self.args.retry {
            None => self.client.append(&name, expected, events).await,
            Some(total) => {
                let policy = RetryPolicy { total, ..RetryPolicy::default() };
                self.client.append_retrying(&name, expected, events, policy).await
            }
        };
        let known = match &answer {
            Ok(a) => Some(Expected::Exact(a.last_revision())),
            // Another writer, such as an earlier run, has appended: the next append expects the actual revision.
            Err(Error::Rejected(Rejection::WrongRevision { actual, .. })) => {
                Some(actual.revision().map_or(Expected::NoStream, Expected::Exact))
            }
            Err(_) => None,
        };
        if let (Some(known), Some(assigned)) = (known, self.assigned.get_mut(slot)) {
            assigned.1 = known;
        }
        answer.map(|_| Transferred {
            events: u64::from(self.args.batch),
            bytes: u64::from(self.args.batch) * u64::from(self.args.size),
        })
    }
}

impl AppendWorker {
    fn event(&self) -> v1::NewEvent {
        v1::NewEvent {
            id: rt::new_uuid().to_string(),
            r#type: "Load".to_owned(),
            data: self.data.clone(),
            ..v1::NewEvent::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_belongs_to_one_worker() {
        let mut all: Vec<u64> = (0..3).flat_map(|w| assigned_streams(w, 3, 10)).map(|(stream, _)| stream).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
