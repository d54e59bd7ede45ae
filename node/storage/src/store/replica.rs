//! [`Replica`]: a replica of a store on this node, as the gateway sees the replica. Appends are combined into few log
//! entries; reads come from applied state.

use super::{codec, planted, reader::Reader, state_db::StateDb};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use taffrail_core::{
    append::{Append, Appended, Outcome},
    event::NewEvent,
    ids::PartitionId,
    stream::{Command, Kind, RULES, Stamped},
};
use taffrail_raft::{
    group::Group,
    status::{ProposeError, ReadIndexError},
    types::Reply,
};
use taffrail_runtime::{self as rt, TaskKind, failpoint};
use taffrail_store_api::{
    AppendError, Applied, LeaderHint, ReadError, RequestMemory, StorageLow, StoreReader, StoreReplica,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Maximum number of queued appends.
const QUEUE_MAX: usize = 1024;
/// Encoded bytes combined into a single entry; a larger append gets a separate entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Bound of the encoded bytes around the appends of an entry: rules number, kind and lengths.
const COMMAND_OVERHEAD: usize = 32;
/// Bound of the encoded bytes around the events of an append, apart from the name of the stream: expectation,
/// stamp and lengths.
const APPEND_OVERHEAD: usize = 48;
/// Bound of the encoded bytes of a field's tag and length.
const FIELD_OVERHEAD: usize = 6;
/// Bound of the encoded bytes of an event without variable fields: the id, and a tag and length for the event, its id,
/// type, content type, data, metadata, correlation id and causation id; 11 bytes for the time of the application.
const EVENT_OVERHEAD: usize = 16 + 8 * FIELD_OVERHEAD + 11;
/// Maximum number of appends in an entry.
const ENTRY_APPENDS_MAX: usize = 256;
/// Longest wait of an append for room in the queue. The wait suffices for a burst. A queue that stays full for longer
/// does not empty before most deadlines, so the caller gets an early refusal.
const QUEUE_WAIT: Duration = Duration::from_millis(100);
/// Maximum number of entries in flight.
const IN_FLIGHT_MAX: usize = 8;

struct Waiting {
    append: Append,
    deadline: Instant,
    /// Counts the payload until the proposal ends.
    memory: RequestMemory,
    /// True once the append is taken for an entry, or given up by its caller; whoever sets the flag first decides.
    taken: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// The [`StoreReplica`] of a running [`Group`].
pub struct Replica {
    group: Arc<Group>,
    reader: Arc<Reader>,
    queue: mpsc::Sender<Waiting>,
}

impl Replica {
    /// Serves a running replica. The task proposing appends ends when the replica stops.
    #[must_use]
    pub fn start(group: Arc<Group>, db: Arc<StateDb>, partition: PartitionId) -> Arc<Self> {
        let (queue, rx) = mpsc::channel(QUEUE_MAX);
        let reader = Arc::new(Reader::new(db, group.group(), partition).until(group.stopping()));
        let served = Arc::clone(&group);
        let kind = TaskKind::Replica(Box::new(move |_| served.report_stopped()));
        rt::spawn_task("proposer", kind, propose(Arc::clone(&group), rx));
        Arc::new(Self { group, reader, queue })
    }

    /// Returns the group of the store.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

/// Combines queued appends into entries. More appends are queued while entries are in flight, so entries grow
/// with the load. Entries are handed over to consensus in turn, so appends enter the log in the order of the
/// queue; the outcomes are awaited side by side.
///
/// An entry keeps its place in flight until consensus has answered, also when all callers have given up: the payload is
/// in memory until then. At most [`IN_FLIGHT_MAX`] entries of the store are therefore in memory unsynced.
async fn propose(group: Arc<Group>, mut queue: mpsc::Receiver<Waiting>) {
    let stop = group.stopping();
    let slots = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT_MAX));
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            Some(first) => Some(first),
            None => tokio::select! {
                biased;
                () = stop.cancelled() => return,
                first = queue.recv() => first,
            },
        };
        let Some(first) = first else { return };
        failpoint::panic_at("proposer");
        let slot = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let batch = combine(first, &mut queue, &mut left_over);
        let Some((command, waiting, memory)) = entry(&group, batch) else { continue };
        // Not in the task of the entry: two tasks may hand over their entries in either order.
        match group.hand_in(command).await {
            Ok(proposal) => {
                let group = Arc::clone(&group);
                rt::spawn_task("proposal", TaskKind::Call, async move {
                    let outcome = group.outcome(proposal).await;
                    drop((memory, slot));
                    answer(waiting, outcome);
                });
            }
            Err(e) => answer(waiting, Err(e)),
        }
    }
}

/// Takes appends from the queue for the entry of `first`, as many as fit. The first append that does not fit is left
/// over for the next entry.
fn combine(first: Waiting, queue: &mut mpsc::Receiver<Waiting>, left_over: &mut Option<Waiting>) -> Vec<Waiting> {
    let mut bytes = COMMAND_OVERHEAD + encoded_len_max(&first.append);
    let mut batch = vec![first];
    while batch.len() < ENTRY_APPENDS_MAX && bytes < ENTRY_BYTES_MAX {
        let Ok(next) = queue.try_recv() else { break };
        bytes += encoded_len_max(&next.append);
        if bytes > ENTRY_BYTES_MAX {
            *left_over = Some(next);
            break;
        }
        batch.push(next);
    }
    batch
}

/// Returns a bound of the encoded size of an append in a command, close to the size. Tags, types and ids count: in an
/// append of many small events they outweigh the data.
fn encoded_len_max(append: &Append) -> usize {
    let event = |e: &NewEvent| {
        let fields = [e.event_type.as_str(), &e.content_type, &e.correlation_id, &e.causation_id];
        let strings: usize = fields.iter().map(|field| field.len()).sum();
        let tags: usize = e.tags.iter().map(|tag| tag.len() + FIELD_OVERHEAD).sum();
        EVENT_OVERHEAD + e.size() + strings + tags
    };
    APPEND_OVERHEAD + append.stream.as_str().len() + append.events.iter().map(event).sum::<usize>()
}

/// Callers of the appends of an entry, in the order of the appends.
type Callers = Vec<oneshot::Sender<Result<Appended, AppendError>>>;

/// Encodes the entry of a batch. Appends whose deadline has passed are answered and left out, and appends that their callers have
/// given up are left out; `None` without an append.
fn entry(group: &Group, batch: Vec<Waiting>) -> Option<(Bytes, Callers, Vec<RequestMemory>)> {
    let now = Instant::now();
    let stamp_us = rt::now_us();
    let (mut appends, mut waiting, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for w in batch {
        if w.deadline <= now {
            drop(w.answer.send(Err(AppendError::DeadlineBeforeProposal)));
            continue;
        }
        if w.taken.swap(true, Ordering::AcqRel) {
            continue;
        }
        appends.push(Stamped { append: w.append, stamp_us });
        waiting.push(w.answer);
        memory.push(w.memory);
    }
    if appends.is_empty() {
        return None;
    }
    let rules = rules(RULES, group.progress().borrow().rules);
    Some((codec::encode_command(&Command { rules, kind: Kind::Appends(appends) }), waiting, memory))
}

/// Answers the callers of an entry with the outcome of the entry. No caller's deadline ends the wait for the outcome,
/// because the entry occupies memory until consensus answers.
fn answer(waiting: Callers, outcome: Result<Reply, ProposeError>) {
    let outcomes = match outcome {
        Ok(Reply::Appends(outcomes)) if outcomes.len() == waiting.len() => outcomes,
        Ok(reply) => {
            tracing::error!(%reply, "the state machine gave an unexpected reply to appends");
            return answer_all(waiting, || AppendError::Unknown("the state machine gave an unexpected reply"));
        }
        Err(ProposeError::NotLeader(hint)) => return answer_all(waiting, || AppendError::NotLeader(hint)),
        Err(ProposeError::Unknown(why)) => return answer_all(waiting, || AppendError::Unknown(why)),
        Err(ProposeError::Stopped(why) | ProposeError::Refused(why)) => {
            return answer_all(waiting, || AppendError::NotServing(why.clone()));
        }
    };
    for (answer, outcome) in waiting.into_iter().zip(outcomes) {
        let outcome: Outcome = outcome;
        // A failed send means that the caller no longer waits; the outcome is then dropped.
        drop(answer.send(outcome.map_err(AppendError::from)));
    }
}

/// Chooses the rules number of a proposal: the rules in force, which every member knows, but never more than
/// this binary knows.
fn rules(known: u32, in_force: u32) -> u32 {
    in_force.min(known)
}

/// Queues an append; waits at most [`QUEUE_WAIT`] for room.
async fn enqueue(queue: &mpsc::Sender<Waiting>, waiting: Waiting) -> Result<(), AppendError> {
    let end = waiting.deadline.min(Instant::now() + QUEUE_WAIT);
    match tokio::time::timeout_at(end, queue.send(waiting)).await {
        Err(_) => Err(AppendError::Overloaded),
        Ok(Err(_)) => Err(AppendError::NotServing("the replica is stopping".into())),
        Ok(Ok(())) => Ok(()),
    }
}

fn answer_all(waiting: Callers, error: impl Fn() -> AppendError) {
    for answer in waiting {
        drop(answer.send(Err(error())));
    }
}

#[async_trait::async_trait]
impl StoreReplica for Replica {
    async fn append(&self, append: Append, memory: RequestMemory, deadline: Instant) -> Result<Appended, AppendError> {
        if !self.group.leads() || self.group.has_lost_quorum() {
            let leader = self.group.leader().filter(|l| l.replica != self.group.key().replica);
            return Err(AppendError::NotLeader(leader));
        }
        if !self.group.voters_have_room() {
            return Err(AppendError::StorageLow(StorageLow::Voters));
        }
        let append = planted::before_proposal(&self.reader, append);
        let ((answer, rx), taken) = (oneshot::channel(), Arc::new(AtomicBool::new(false)));
        enqueue(&self.queue, Waiting { append, deadline, memory, taken: Arc::clone(&taken), answer }).await?;
        match tokio::time::timeout_at(deadline, rx).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AppendError::Unknown("the replica stopped")),
            // Otherwise the append is taken out of the queue later and dropped.
            Err(_) if taken.swap(true, Ordering::AcqRel) => Err(AppendError::Unknown("the deadline passed")),
            Err(_) => Err(AppendError::DeadlineBeforeProposal),
        }
    }

    async fn read_index(&self, deadline: Instant) -> Result<(), ReadError> {
        self.group.read_index(deadline).await.map_err(|e| match e {
            ReadIndexError::NoLeader => ReadError::NoReadIndex("no leader is known"),
            ReadIndexError::NoQuorum => ReadError::NoReadIndex("no majority confirmed the leader"),
            ReadIndexError::Deadline => ReadError::NoReadIndex("not confirmed within the deadline"),
            ReadIndexError::Stopped(why) => ReadError::NotServing(why),
        })
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::clone(&self.reader) as Arc<dyn StoreReader>
    }

    fn applied(&self) -> watch::Receiver<Applied> {
        self.group.progress()
    }

    fn leader(&self) -> Option<LeaderHint> {
        self.group.leader()
    }

    fn is_leader(&self) -> bool {
        self.group.leads()
    }
}

#[cfg(test)]
mod tests;
