//! Workers, which make calls until the end of the run or Ctrl-C.

use super::{
    LoadProfile,
    pace::{Pace, ScheduledCall},
    report::Tally,
};
use crate::{GlobalArgs, failure::Failure};
use std::{future::Future, sync::Arc, time::Duration};
use taffrail_client::{Client, Error};
use taffrail_runtime as rt;
use tokio_util::sync::CancellationToken;

/// Volume of a successful call.
pub struct Transferred {
    /// Number of events.
    pub events: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// A source of calls with at most a single call in flight.
pub trait Worker: Send + 'static {
    /// Makes a call and returns the volume of the call.
    fn call(&mut self, call: ScheduledCall) -> impl Future<Output = Result<Transferred, Error>> + Send;
}

/// Creates the clients of a run, each with a connection.
///
/// # Errors
/// [`Failure::Client`] if the endpoint or the name of the store is not valid.
pub fn clients(profile: &LoadProfile, globals: &GlobalArgs) -> Result<Vec<Client>, Failure> {
    (0..profile.connections.min(profile.concurrency)).map(|_| globals.client()).collect()
}

/// Runs all workers and returns the sum of their tallies with the duration of the counted part. A worker pauses for 10
/// ms after a failed call, so that the run does not flood an unreachable server.
///
/// # Errors
/// [`Failure::Local`] if a worker panicked.
pub async fn run<W: Worker>(profile: &LoadProfile, workers: Vec<W>) -> Result<(Tally, Duration), Failure> {
    const PAUSE: Duration = Duration::from_millis(10);
    let (pace, stop) = (Arc::new(Pace::new(profile)), CancellationToken::new());
    let mut tasks = Vec::with_capacity(workers.len());
    for mut worker in workers {
        let (pace, stop, mut tally) = (Arc::clone(&pace), stop.clone(), Tally::new()?);
        tasks.push(rt::spawn(async move {
            loop {
                let call = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    call = pace.next_call() => call,
                };
                let Some(call) = call else { break };
                match worker.call(call).await {
                    Ok(transferred) if call.counted => {
                        tally.done(call.start.elapsed(), transferred.events, transferred.bytes)
                    }
                    Ok(_) => {}
                    Err(error) => {
                        if call.counted {
                            tally.failed(&error);
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            tally
        }));
    }
    let ended_early = stop.clone();
    let interrupt = rt::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            ended_early.cancel();
        }
    });
    let mut total = Tally::new()?;
    for task in tasks {
        total.add(&task.await.map_err(|e| Failure::Local(format!("a load worker panicked: {e}")))?);
    }
    interrupt.abort();
    Ok((total, pace.counted_for()))
}
