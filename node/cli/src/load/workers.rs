//! Workers that make calls until the run is over, or Ctrl-C ends it early.

use super::{
    Shape,
    pace::{Pace, Turn},
    report::Tally,
};
use crate::{GlobalArgs, failure::Failure};
use std::{future::Future, sync::Arc, time::Duration};
use taffrail_client::{Client, Error};
use taffrail_runtime as rt;
use tokio_util::sync::CancellationToken;

/// What a good call moved.
pub struct Moved {
    /// Events.
    pub events: u64,
    /// Payload bytes.
    pub bytes: u64,
}

/// One worker: makes a call when it is its turn.
pub trait Worker: Send + 'static {
    /// Makes one call.
    fn call(&mut self, turn: Turn) -> impl Future<Output = Result<Moved, Error>> + Send;
}

/// The connections of a run.
///
/// # Errors
/// When the endpoint cannot be used.
pub fn clients(shape: &Shape, globals: &GlobalArgs) -> Result<Vec<Client>, Failure> {
    (0..shape.connections.min(shape.concurrency)).map(|_| globals.client()).collect()
}

/// Runs all workers and adds up what they counted. Pauses a worker shortly after a failed call, so that an unreachable
/// server is not hammered.
///
/// # Errors
/// `Local` when a worker broke.
pub async fn run<W: Worker>(shape: &Shape, workers: Vec<W>) -> Result<(Tally, Duration), Failure> {
    const PAUSE: Duration = Duration::from_millis(10);
    let (pace, stop) = (Arc::new(Pace::new(shape)), CancellationToken::new());
    let mut tasks = Vec::with_capacity(workers.len());
    for mut worker in workers {
        let (pace, stop, mut tally) = (Arc::clone(&pace), stop.clone(), Tally::new()?);
        tasks.push(rt::spawn(async move {
            loop {
                let turn = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    turn = pace.turn() => turn,
                };
                let Some(turn) = turn else { break };
                match worker.call(turn).await {
                    Ok(moved) if turn.counted => tally.done(turn.start.elapsed(), moved.events, moved.bytes),
                    Ok(_) => {}
                    Err(error) => {
                        if turn.counted {
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
        total.add(&task.await.map_err(|e| Failure::Local(format!("a worker broke: {e}")))?);
    }
    interrupt.abort();
    Ok((total, pace.counted_for()))
}
