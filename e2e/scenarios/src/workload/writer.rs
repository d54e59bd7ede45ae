//! One writer: appends batches, remembers every answer.

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

/// What a writer expects of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// The exact revision, on the one stream that all such writers share.
    Exact,
    /// Nothing: all such writers on one stream, and now and then on that of the exact ones.
    #[default]
    Any,
}

/// Of this many appends of an `any` writer one goes to the stream of the exact ones. Not all of them: an exact writer knows
/// the tail from its last answer, and an `any` writer, who needs to know nothing, is always there first. With three of them
/// on the stream all the time 75 of 3,000 exact appends came through, so that next to nothing was shown of those.
const AMONG_EXACT_ONE_IN: usize = 20;

impl Expect {
    /// The stream of a writer's `n`-th append.
    fn stream(self, n: usize) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Any if n.is_multiple_of(AMONG_EXACT_ONE_IN) => "exact",
            Self::Any => "any",
        }
    }
}

/// The stable name of what kept a call from an answer.
///
/// # Errors
/// The error in words when it has none.
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

/// The answer that a batch got in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, the first event at this revision and position.
    Acknowledged {
        /// Of the first event.
        revision: u64,
        /// Of the first event.
        position: u64,
    },
    /// Refused by the rules.
    Rejected,
    /// No answer ever came.
    Unknown,
}

/// A batch and its answer.
#[derive(Clone, Debug)]
pub struct Record {
    /// The stream.
    pub stream: String,
    /// The ids, in order.
    pub ids: Vec<Uuid>,
    /// The answer.
    pub outcome: Outcome,
}

/// Everything a writer was told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What the writer expected.
    pub expect: Expect,
    /// In order.
    pub records: Vec<Record>,
    /// Batches that were sent again through another pod after they had been answered, and got the same answer.
    pub retried: usize,
    /// Answers that contradict an earlier one.
    pub contradictions: Vec<String>,
    /// Why attempts got no answer, and how many.
    pub waits: BTreeMap<String, usize>,
    /// Attempts that got no answer and no name for the reason either, in words.
    pub unnamed: Vec<String>,
}

impl History {
    /// Holds the answer to a batch that was sent once more, with the same ids and through another pod, against the first.
    fn retry(&mut self, first: &Outcome, again: Answer, stream: &str) {
        if let Answer::Again(why) = &again {
            self.wait(why.clone());
        }
        let contradiction = match (first, again) {
            // The other pod could not answer: nothing is known that was not known before.
            (Outcome::Unknown, _) | (_, Answer::Again(_)) => return,
            (Outcome::Acknowledged { revision, position }, Answer::Stored(again))
                if (again.first_revision, again.first_position) == (*revision, *position) =>
            {
                None
            }
            // Revisions only rise, so what was wrong once is wrong for ever.
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

/// An event whose payload is its id, so that whoever reads it can tell that it is whole.
#[must_use]
pub fn event(id: Uuid) -> v1::NewEvent {
    EventBuilder::new("Written").id(id).bytes("text/plain", id.to_string()).build()
}

/// Refusals of a store that is kept without a declaration.
const AWAY: [&str; 2] = ["STORE_RETAINED", "STORE_CLOSED"];

#[derive(Debug)]
enum Answer {
    Stored(v1::AppendResponse),
    Wrong(Option<u64>),
    Refused(String),
    /// The name of the reason, or the error in words.
    Again(Result<String, String>),
}

async fn attempt(target: &Target, pod: usize, stream: &str, expected: Expected, events: &[v1::NewEvent]) -> Answer {
    let Some(client) = target.client(pod) else { return Answer::Again(Ok("NO_PODS".to_owned())) };
    match client.append(stream, expected, events.to_vec()).await {
        Ok(stored) => Answer::Stored(stored),
        Err(Error::Rejected(Rejection::WrongRevision { actual, .. })) => Answer::Wrong(actual.parse().ok()),
        // The store's declaration is gone, and may come back.
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
        // Unknown outcomes are tried again with the same ids, through the next pod, until there is an answer.
        let mut tries = 0;
        let outcome = loop {
            match attempt(&target, pod, stream, expected, &events).await {
                Answer::Stored(a) => {
                    tail = Some(a.last_revision);
                    progress.acknowledge();
                    break Outcome::Acknowledged { revision: a.first_revision, position: a.first_position };
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
