//! [`Replica`]: a replica of a store on this node, as the gateway sees the replica. Appends are combined into few log
//! entries; reads come from applied state.

use super::{codec, reader::Reader, state_db::StateDb};
use std::{sync::Arc, time::Duration};
use taffrail_core::{
    append::{Append, Appended, Outcome},
    ids::PartitionId,
    stream::{Command, Kind, RULES, Stamped},
};
use taffrail_raft::{
    group::Group,
    status::{ProposeError, ReadIndexError},
    types::Reply,
};
use taffrail_runtime as rt;
use taffrail_store_api::{AppendError, Applied, LeaderHint, ReadError, StoreReader, StoreReplica};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Maximum number of queued appends.
const QUEUE_MAX: usize = 1024;
/// Payload bytes combined into one entry; a larger append gets a separate entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Maximum number of appends in one entry.
const ENTRY_APPENDS_MAX: usize = 256;
/// Longest wait of an append for room in the queue. The wait suffices for a burst. A queue that stays full for longer
/// does not empty before most deadlines, so the caller gets an early refusal.
const QUEUE_WAIT: Duration = Duration::from_millis(100);
/// Maximum number of entries in flight.
const IN_FLIGHT_MAX: usize = 8;

struct Waiting {
    append: Append,
    deadline: Instant,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// The [`StoreReplica`] of a running [`Group`].
pub struct Replica {
    group: Arc<Group>,
    reader: Arc<Reader>,
    queue: mpsc::Sender<Waiting>,
}

impl Replica {
    /// Serves a running replica. The task that proposes appends ends when the replica stops.
    #[must_use]
    pub fn start(group: Arc<Group>, db: Arc<StateDb>, partition: PartitionId) -> Arc<Self> {
        let (queue, rx) = mpsc::channel(QUEUE_MAX);
        let reader = Arc::new(Reader::new(db, group.group(), partition).until(group.stopping()));
        rt::spawn(propose(Arc::clone(&group), rx));
        Arc::new(Self { group, reader, queue })
    }

    /// Returns the group of the store.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

/// Combines queued appends into entries. More appends are queued while entries are in flight, so entries grow
/// with the load.
async fn propose(group: Arc<Group>, mut queue: mpsc::Receiver<Waiting>) {
    let stop = group.stopping();
    let slots = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT_MAX));
    loop {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            first = queue.recv() => first,
        };
        let Some(first) = first else { return };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let mut bytes: usize = size(&first);
        let mut batch = vec![first];
        while batch.len() < ENTRY_APPENDS_MAX && bytes < ENTRY_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes += size(&next);
            batch.push(next);
        }
        let group = Arc::clone(&group);
        rt::spawn(async move {
            propose_entry(&group, batch).await;
            drop(slot);
        });
    }
}

fn size(w: &Waiting) -> usize {
    w.append.events.iter().map(taffrail_core::event::NewEvent::size).sum()
}

async fn propose_entry(group: &Group, batch: Vec<Waiting>) {
    let now = Instant::now();
    let stamp_us = rt::now_us();
    let (mut appends, mut waiting, mut deadline) = (Vec::new(), Vec::new(), now);
    for w in batch {
        if w.deadline <= now {
            drop(w.answer.send(Err(AppendError::DeadlineBeforeProposal)));
            continue;
        }
        deadline = deadline.max(w.deadline);
        appends.push(Stamped { append: w.append, stamp_us });
        waiting.push((w.deadline, w.answer));
    }
    if appends.is_empty() {
        return;
    }
    let rules = rules(RULES, group.progress().borrow().rules);
    let command = codec::encode_command(&Command { rules, kind: Kind::Appends(appends) });
    let outcomes = match group.propose(command, deadline).await {
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
    for ((_, answer), outcome) in waiting.into_iter().zip(outcomes) {
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

fn answer_all(
    waiting: Vec<(Instant, oneshot::Sender<Result<Appended, AppendError>>)>,
    error: impl Fn() -> AppendError,
) {
    for (_, answer) in waiting {
        drop(answer.send(Err(error())));
    }
}

#[async_trait::async_trait]
impl StoreReplica for Replica {
    async fn append(&self, append: Append, deadline: Instant) -> Result<Appended, AppendError> {
        if !self.group.leads() {
            let leader = self.group.leader().filter(|l| l.replica != self.group.key().replica);
            return Err(AppendError::NotLeader(leader));
        }
        let (answer, rx) = oneshot::channel();
        enqueue(&self.queue, Waiting { append, deadline, answer }).await?;
        match tokio::time::timeout_at(deadline, rx).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AppendError::Unknown("the replica stopped")),
            Err(_) => Err(AppendError::Unknown("the deadline passed")),
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
mod tests {
    use super::*;
    use taffrail_core::{append::ExpectedRevision, names::StreamName};

    fn waiting(deadline: Instant) -> Waiting {
        let append =
            Append { stream: StreamName::new("orders").unwrap(), expected: ExpectedRevision::Any, events: Vec::new() };
        Waiting { append, deadline, answer: oneshot::channel().0 }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_long_before_the_deadline() {
        let (queue, rx) = mpsc::channel(1);
        let deadline = Instant::now() + Duration::from_secs(3600);
        assert!(enqueue(&queue, waiting(deadline)).await.is_ok());
        let refused = tokio::time::timeout(QUEUE_WAIT * 100, enqueue(&queue, waiting(deadline))).await;
        assert!(matches!(refused, Ok(Err(AppendError::Overloaded))), "{refused:?}");
        drop(rx);
        assert!(matches!(enqueue(&queue, waiting(deadline)).await, Err(AppendError::NotServing(_))));
    }

    #[test]
    fn appends_are_proposed_under_the_rules_in_force() {
        assert_eq!(rules(3, 2), 2, "not the rules of the newest binary");
        assert_eq!(rules(3, 3), 3);
        assert_eq!(rules(1, 2), 1, "never rules unknown to this binary");
    }
}
