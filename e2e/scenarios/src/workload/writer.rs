//! A writer: appends batches and records every response.

use super::{Progress, Target};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use taffrail_client::{Error, EventBuilder, Expected, Rejection};
use taffrail_proto::v1;
use uuid::Uuid;

/// The expected revision in the appends of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// The exact revision, on a stream shared by all exact writers.
    Exact,
    /// No expectation, on a stream shared by all such writers, and occasionally on the stream of the exact writers.
    #[default]
    Any,
}

/// An `any` writer sends one in this number of appends to the stream of the exact writers. More would starve the exact
/// writers: an exact writer knows the tail only from its last response, while an `any` append succeeds at any revision.
/// With three `any` writers permanently on the stream, only 75 of 3,000 exact appends succeeded, too few for a
/// meaningful test of exact appends.
const AMONG_EXACT_ONE_IN: usize = 20;

impl Expect {
    /// Returns the stream for the `n`-th append of a writer.
    fn stream(self, n: usize) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Any if n.is_multiple_of(AMONG_EXACT_ONE_IN) => "exact",
            Self::Any => "any",
        }
    }
}

/// Returns the stable name of the reason for a failed call.
///
/// # Errors
/// The debug output of the error, if it has no reason.
pub fn name(error: &Error) -> Result<String, String> {
    let reason = match error {
        Error::Unavailable { reason, .. }
        | Error::NotFound { reason, .. }
        | Error::Invalid { reason: Some(reason), .. }
        | Error::Rejected(Rejection::Other { reason, .. }) => reason,
        Error::Rejected(Rejection::WrongRevision { .. }) => "WRONG_REVISION",
        Error::Deadline { .. } => "DEADLINE",
        Error::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
        Error::InvalidEndpoint { .. } | Error::Invalid { .. } | Error::Denied { .. } | Error::Failed(_) => "",
    };
    if reason.is_empty() { Err(format!("{error:?}")) } else { Ok(reason.to_owned()) }
}

pub(super) struct Settings {
    pub(super) number: usize,
    pub(super) expect: Expect,
    pub(super) appends: Option<usize>,
    pub(super) pause: Duration,
}

/// The final outcome of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The batch was stored.
    Acknowledged {
        /// Revision of the first event.
        revision: u64,
        /// Position of the first event.
        position: u64,
    },
    /// The batch was rejected.
    Rejected,
    /// No response arrived in any attempt.
    Unknown,
}

/// A batch and its outcome.
#[derive(Clone, Debug)]
pub struct Record {
    /// Name of the stream.
    pub stream: String,
    /// Event ids, in order.
    pub ids: Vec<Uuid>,
    /// Outcome of the batch.
    pub outcome: Outcome,
}

/// The record of a writer.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The writer's expected revision.
    pub expect: Expect,
    /// All batches, in order.
    pub records: Vec<Record>,
    /// Number of batches sent again through another pod after the response, with the same response.
    pub retried: usize,
    /// Descriptions of contradicting responses.
    pub contradictions: Vec<String>,
    /// Number of attempts without a response, by reason.
    pub waits: BTreeMap<String, usize>,
    /// Attempts without a response and without a reason, as debug output of the error.
    pub unnamed: Vec<String>,
}

impl History {
    /// Compares the response to a repeated batch with the first response. The batch was sent with the same ids
    /// through another pod.
    fn retry(&mut self, first: &Outcome, again: Answer, stream: &str) {
        if let Answer::Again(why) = &again {
            self.wait(why.clone());
        }
        let contradiction = match (first, again) {
            // The other pod could not respond, so there is no new information.
            (Outcome::Unknown, _) | (_, Answer::Again(_)) => return,
            (Outcome::Acknowledged { revision, position }, Answer::Stored(again))
                if (again.first_revision(), again.first_position()) == (*revision, *position) =>
            {
                None
            }
            // Revisions only rise, so a wrong expected revision stays wrong.
            (Outcome::Rejected, Answer::Wrong(_)) => None,
            (first, again) => Some(format!("{stream}: first {first:?}, sent again {again:?}")),
        };
        match contradiction {
            Some(text) => self.contradictions.push(text),
            None => self.retried += 1,
        }
    }

    fn wait(&mut self, why: Result<String, String>) {
        match why {
            Ok(name) => *self.waits.entry(name).or_default() += 1,
            Err(words) => self.unnamed.push(words),
        }
    }
}

/// Returns an event with its id as payload, so a reader can verify the payload.
#[must_use]
pub fn event(id: Uuid) -> v1::NewEvent {
    EventBuilder::new("Written").id(id).bytes("text/plain", id.to_string()).build()
}

/// Reasons for refusal by a store whose EventStore is deleted while its data is retained.
const AWAY: [&str; 2] = ["STORE_RETAINED", "STORE_CLOSED"];

#[derive(Debug)]
enum Answer {
    Stored(v1::AppendResponse),
    Wrong(Option<u64>),
    Refused(String),
    /// The reason, or the debug output of the error.
    Again(Result<String, String>),
}

async fn attempt(target: &Target, pod: usize, stream: &str, expected: Expected, events: &[v1::NewEvent]) -> Answer {
    let Some(client) = target.client(pod) else { return Answer::Again(Ok("NO_PODS".to_owned())) };
    match client.append(stream, expected, events.to_vec()).await {
        Ok(stored) => Answer::Stored(stored),
        Err(Error::Rejected(Rejection::WrongRevision { actual, .. })) => Answer::Wrong(actual.revision()),
        // The EventStore is deleted and may be created again.
        Err(Error::Rejected(Rejection::Other { reason, .. })) if AWAY.contains(&reason.as_str()) => {
            Answer::Again(Ok(reason))
        }
        Err(Error::Rejected(why)) => Answer::Refused(why.to_string()),
        Err(Error::Invalid { message, .. }) => Answer::Refused(message),
        Err(error) => Answer::Again(name(&error)),
    }
}

pub(super) async fn run(target: Target, settings: Settings, stop: Arc<AtomicBool>, progress: Progress) -> History {
    let mut history = History { expect: settings.expect, ..History::default() };
    let (mut tail, mut pod, mut done) = (None::<u64>, settings.number, 0_usize);
    while !stop.load(Ordering::Relaxed) && settings.appends.is_none_or(|n| done < n) {
        done += 1;
        let stream = settings.expect.stream(done);
        let size = 1 + done % 3;
        let ids: Vec<Uuid> = (0..size).map(|_| taffrail_client::new_id()).collect();
        let events: Vec<v1::NewEvent> = ids.iter().copied().map(event).collect();
        let expected = match (settings.expect, tail) {
            (Expect::Any, _) => Expected::Any,
            (Expect::Exact, None) => Expected::NoStream,
            (Expect::Exact, Some(r)) => Expected::Exact(r),
        };
        // Attempts with an unknown outcome are repeated with the same ids, through the next pod, until there
        // is a response.
        let mut tries = 0;
        let outcome = loop {
            match attempt(&target, pod, stream, expected, &events).await {
                Answer::Stored(a) => {
                    tail = Some(a.last_revision());
                    progress.acknowledge();
                    break Outcome::Acknowledged { revision: a.first_revision(), position: a.first_position() };
                }
                Answer::Wrong(actual) => {
                    tail = actual;
                    break Outcome::Rejected;
                }
                Answer::Refused(why) => {
                    history.contradictions.push(format!("{stream}: {why}"));
                    break Outcome::Rejected;
                }
                Answer::Again(why) => {
                    history.wait(why);
                    pod += 1;
                    tries += 1;
                    if tries > 1200 {
                        break Outcome::Unknown;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        if done % 10 == 0 {
            history.retry(&outcome, attempt(&target, pod + 1, stream, expected, &events).await, stream);
        }
        history.records.push(Record { stream: stream.to_owned(), ids, outcome });
        if !settings.pause.is_zero() {
            tokio::time::sleep(settings.pause).await;
        }
    }
    history
}
