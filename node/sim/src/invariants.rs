//! [`Invariants`]: conditions that hold at every moment of a run, checked at each event.
//!
//! - All replicas apply the same entry at an index, and have the same digest after it.
//! - A granted vote is synced, so that a crash does not forget it.
//! - An acknowledged append is on the disks of a majority. [`crate::clients`] checks this from the record kept here.

use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::{
    append::Appended,
    ids::{Digest, EventId, NodeId, Position, ReplicaId},
    names::StreamName,
};
use taffrail_raft::types::{LogId, Vote};

/// An acknowledged append.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Stream of the append.
    pub stream: StreamName,
    /// Ids of its events.
    pub ids: Vec<EventId>,
    /// Answer to the client.
    pub answer: Appended,
}

/// Record of a run, against which each event is checked.
#[derive(Default)]
pub struct Invariants {
    /// Acknowledged appends.
    pub acknowledged: Vec<Acknowledged>,
    /// Events that were refused and must never appear.
    pub refused: BTreeSet<EventId>,
    /// Voters and their nodes, as a catalogue would name them.
    pub roster: BTreeMap<ReplicaId, NodeId>,
    leaders: BTreeSet<(u64, ReplicaId)>,
    chosen: BTreeMap<u64, (LogId, u32)>,
    digests: BTreeMap<u64, Digest>,
    persisted: BTreeMap<ReplicaId, u64>,
    votes: BTreeMap<ReplicaId, Vote>,
    entry_of: BTreeMap<Position, LogId>,
    highest: Position,
}

impl Invariants {
    /// A replica leads a term; true when that is news. Several may lead the same term one after the other: votes are ordered
    /// by term and replica, and so are log ids.
    pub fn leads(&mut self, term: u64, replica: ReplicaId) -> bool {
        self.leaders.insert((term, replica))
    }

    /// A replica has applied an entry.
    ///
    /// # Errors
    /// When another replica has applied something else at that index.
    pub fn applied(&mut self, replica: ReplicaId, id: LogId, content: u32) -> Result<(), String> {
        match self.chosen.entry(id.index).or_insert((id, content)) {
            (i, c) if *i == id && *c == content => Ok(()),
            (i, c) => Err(format!("replica {replica} applied {id} ({content:08x}), elsewhere it is {i} ({c:08x})")),
        }
    }

    /// A replica has a digest after applying up to an index.
    ///
    /// # Errors
    /// When another replica has another one there.
    pub fn digest(&mut self, replica: ReplicaId, index: u64, digest: Digest) -> Result<(), String> {
        if *self.digests.entry(index).or_insert(digest) == digest {
            return Ok(());
        }
        Err(format!("replica {replica} has another digest than others after entry {index}"))
    }

    /// A replica's vote is synced.
    pub fn voted(&mut self, replica: ReplicaId, vote: Vote) {
        self.votes.insert(replica, vote);
    }

    /// A replica has granted a vote.
    ///
    /// # Errors
    /// When a crash would make it forget.
    pub fn granted(&self, replica: ReplicaId, vote: Vote) -> Result<(), String> {
        match self.votes.get(&replica) {
            Some(synced) if *synced >= vote => Ok(()),
            synced => Err(format!("r{replica} granted vote {vote}, and only {synced:?} is synced")),
        }
    }

    /// Where an append ended up in the log.
    pub fn placed(&mut self, last: Position, id: LogId) {
        self.entry_of.insert(last, id);
    }

    /// What a crash would leave of a replica's state.
    pub fn persisted(&mut self, replica: ReplicaId, next_index: u64) {
        self.persisted.insert(replica, next_index);
    }

    /// Index of the first entry that a crash of the replica would apply again.
    #[must_use]
    pub fn persisted_next(&self, replica: ReplicaId) -> u64 {
        self.persisted.get(&replica).copied().unwrap_or(0)
    }

    /// The entry that an acknowledged append is in.
    #[must_use]
    pub fn entry(&self, answer: &Appended) -> Option<LogId> {
        self.entry_of.get(&answer.last_position).copied()
    }

    /// A client was told that its append is stored.
    pub fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.highest = self.highest.max(acknowledged.answer.last_position);
        self.acknowledged.push(acknowledged);
    }

    /// The highest position that any client was told.
    #[must_use]
    pub fn highest(&self) -> Position {
        self.highest
    }
}
