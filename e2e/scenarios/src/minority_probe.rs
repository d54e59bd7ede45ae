//! Appends that must not be acknowledged: what a node answers while it is cut off from the majority.

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

/// How often one is sent.
const EVERY: Duration = Duration::from_millis(200);
/// How long each may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What was answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Acknowledged appends, with where.
    pub acknowledged: Vec<String>,
    /// Refused, by the name of the reason.
    pub refused: BTreeMap<String, usize>,
    /// Refused without a name, in words.
    pub unnamed: Vec<String>,
    /// Those whose refusal proves that they are not stored.
    pub absent: Vec<Uuid>,
}

impl Answers {
    fn record(&mut self, id: Uuid, answer: Result<taffrail_proto::v1::AppendResponse, Error>) {
        let error = match answer {
            Ok(stored) => return self.acknowledged.push(format!("{id} at position {}", stored.first_position)),
            Err(error) => error,
        };
        match workload::name(&error) {
            // The node is there and must say so itself; these words are made up by the client.
            _ if is_client_wording(&error) => self.unnamed.push(format!("{error:?}")),
            Ok(name) => *self.refused.entry(name).or_default() += 1,
            Err(words) => self.unnamed.push(words),
        }
        if !matches!(error, Error::OutcomeUnknown { .. }) {
            self.absent.push(id);
        }
    }

    /// Whether the node has said that it knows of no leader that it could reach.
    fn knows_no_majority(&self) -> bool {
        self.refused.keys().any(|name| !["OUTCOME_UNKNOWN", "DEADLINE"].contains(&name.as_str()))
    }
}

/// A status without our error details: the client reports its code in words.
fn is_client_wording(error: &Error) -> bool {
    let Error::OutcomeUnknown { message } = error else { return false };
    (0..=16).any(|code| message.starts_with(&format!("{}: ", tonic::Code::from_i32(code))))
}

/// Appends through one pod again and again.
#[derive(Debug)]
pub struct MinorityProbe {
    answers: Arc<Mutex<Answers>>,
    stop: tokio_util::sync::CancellationToken,
    task: JoinHandle<()>,
}

impl MinorityProbe {
    /// Begins.
    ///
    /// # Errors
    /// When the pod cannot be reached at all.
    pub async fn start(endpoint: &str, store: &str) -> anyhow::Result<Self> {
        let client = Client::connect(endpoint).await?.with_store(store)?.with_timeout(TIMEOUT);
        let (answers, stop) = (Arc::new(Mutex::new(Answers::default())), tokio_util::sync::CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "the seam is the node's; `finish` awaits this task")]
        let task = tokio::spawn(run(client, Arc::clone(&answers), stop.clone()));
        Ok(Self { answers, stop, task })
    }

    /// What was answered so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends, waits for every answer that is due, and holds: none is an acknowledgement, each has a name, and there are some.
    ///
    /// # Errors
    /// When it is not so.
    pub async fn finish(self) -> anyhow::Result<Answers> {
        self.stop.cancel();
        self.task.await?;
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(answers.acknowledged.is_empty(), "acknowledged without a majority: {:?}", answers.acknowledged);
        ensure!(answers.unnamed.is_empty(), "refused without a name: {:?}", answers.unnamed);
        ensure!(answers.knows_no_majority(), "no refusal says that there is no majority: {:?}", answers.refused);
        Ok(answers)
    }

    /// Whether a refusal has said that there is no majority.
    ///
    /// # Errors
    /// What was answered instead.
    pub fn has_refused(&self) -> Result<(), String> {
        let answers = self.answers();
        if answers.knows_no_majority() { Ok(()) } else { Err(format!("{answers:?}")) }
    }
}

#[expect(clippy::disallowed_methods, reason = "the seam is the node's; the set owns these tasks")]
async fn run(client: Client, answers: Arc<Mutex<Answers>>, stop: tokio_util::sync::CancellationToken) {
    let (mut turns, mut running) = (tokio::time::interval(EVERY), JoinSet::new());
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        let (client, answers, id) = (client.clone(), Arc::clone(&answers), taffrail_client::new_id());
        running.spawn(async move {
            let answer = client.append("lonely", Expected::Any, vec![workload::event(id)]).await;
            answers.lock().unwrap_or_else(PoisonError::into_inner).record(id, answer);
        });
    }
    // Each of them has its timeout.
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
