//! Probe of a node without a majority: sends appends and checks that no append is acknowledged.

use crate::workload;
use anyhow::ensure;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use taffrail_client::{Client, Error, Expected};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

/// Interval between two appends.
const EVERY: Duration = Duration::from_millis(200);
/// Time limit of an append.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The collected responses.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Acknowledged appends, with their positions.
    pub acknowledged: Vec<String>,
    /// Number of refused appends by reason.
    pub refused: BTreeMap<String, usize>,
    /// Refusals without a reason, as debug output of the error.
    pub unnamed: Vec<String>,
    /// Event ids of appends whose refusal proves that the events are not stored.
    pub absent: Vec<Uuid>,
}

impl Answers {
    fn record(&mut self, id: Uuid, answer: Result<taffrail_proto::v1::AppendResponse, Error>) {
        let error = match answer {
            Ok(stored) => return self.acknowledged.push(format!("{id} at position {}", stored.first_position())),
            Err(error) => error,
        };
        match workload::name(&error) {
            // The node is reachable and must name the reason; this message was created by the client.
            _ if is_client_wording(&error) => self.unnamed.push(format!("{error:?}")),
            Ok(name) => *self.refused.entry(name).or_default() += 1,
            Err(words) => self.unnamed.push(words),
        }
        if !matches!(error, Error::OutcomeUnknown { .. }) {
            self.absent.push(id);
        }
    }

    /// Returns whether any refusal says that no leader is reachable.
    fn knows_no_majority(&self) -> bool {
        self.refused.keys().any(|name| !["OUTCOME_UNKNOWN", "DEADLINE"].contains(&name.as_str()))
    }
}

/// Returns whether the message was created by the client from a bare status code, without the error details of a node.
fn is_client_wording(error: &Error) -> bool {
    let Error::OutcomeUnknown { message } = error else { return false };
    (0..=16).any(|code| message.starts_with(&format!("{}: ", tonic::Code::from_i32(code))))
}

/// Sends appends to a single pod at a fixed interval.
#[derive(Debug)]
pub struct MinorityProbe {
    answers: Arc<Mutex<Answers>>,
    stop: tokio_util::sync::CancellationToken,
    task: JoinHandle<()>,
}

impl MinorityProbe {
    /// Connects to the pod and starts the appends.
    ///
    /// # Errors
    /// When the pod cannot be reached.
    pub async fn start(endpoint: &str, store: &str) -> anyhow::Result<Self> {
        let client = Client::connect(endpoint).await?.with_store(store)?.with_timeout(TIMEOUT);
        let (answers, stop) = (Arc::new(Mutex::new(Answers::default())), tokio_util::sync::CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "no part of a simulation; `finish` awaits this task")]
        let task = tokio::spawn(run(client, Arc::clone(&answers), stop.clone()));
        Ok(Self { answers, stop, task })
    }

    /// Returns the responses so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the appends, waits for all pending responses and checks:
    ///
    /// - no append was acknowledged,
    /// - each refusal names a reason,
    /// - a refusal reports the missing majority.
    ///
    /// # Errors
    /// When a check fails.
    pub async fn finish(self) -> anyhow::Result<Answers> {
        self.stop.cancel();
        self.task.await?;
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(answers.acknowledged.is_empty(), "acknowledged without a majority: {:?}", answers.acknowledged);
        ensure!(answers.unnamed.is_empty(), "refused without a reason: {:?}", answers.unnamed);
        ensure!(answers.knows_no_majority(), "no refusal says that there is no majority: {:?}", answers.refused);
        Ok(answers)
    }

    /// Returns `Ok` if a refusal reported the missing majority.
    ///
    /// # Errors
    /// The responses so far, as text.
    pub fn has_refused(&self) -> Result<(), String> {
        let answers = self.answers();
        if answers.knows_no_majority() { Ok(()) } else { Err(format!("{answers:?}")) }
    }
}

#[expect(clippy::disallowed_methods, reason = "no part of a simulation; the set owns these tasks")]
async fn run(client: Client, answers: Arc<Mutex<Answers>>, stop: tokio_util::sync::CancellationToken) {
    let (mut turns, mut running) = (tokio::time::interval(EVERY), JoinSet::new());
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        let (client, answers, id) = (client.clone(), Arc::clone(&answers), taffrail_client::new_id());
        running.spawn(async move {
            let answer = client.append("lonely", Expected::Any, vec![workload::event(id)]).await;
            answers.lock().unwrap_or_else(PoisonError::into_inner).record(id, answer);
        });
    }
    // Every append has a time limit.
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_nodes_own_words_are_a_name() {
        let (id, mut answers) = (Uuid::from_u128(1), Answers::default());
        answers.record(id, Err(Error::OutcomeUnknown { message: "no majority within 2 s".into() }));
        assert_eq!((answers.refused.len(), answers.unnamed.len(), answers.absent.len()), (1, 0, 0));
        assert!(!answers.knows_no_majority());
        let late = format!("{}: Timeout expired", tonic::Code::Cancelled);
        answers.record(id, Err(Error::OutcomeUnknown { message: late }));
        assert_eq!(answers.unnamed.len(), 1);
        answers.record(id, Ok(taffrail_proto::v1::AppendResponse::default()));
        assert_eq!(answers.acknowledged.len(), 1);
    }
}
