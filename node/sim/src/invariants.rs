//! [`Invariants`]: conditions for every moment of a run, checked at each event.
//!
//! - All replicas apply the same entry at an index, and have the same digest after the entry.
//! - A granted vote is synced and survives a crash.
//! - A replica id of a group is used once.
//! - An acknowledged append is on the disks of a majority. [`crate::clients`] checks this condition.

use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::{
    append::Appended,
    ids::{Digest, EventId, GroupId, NodeId, Position, ReplicaId},
    names::StreamName,
};
use taffrail_raft::{
    log::LogKey,
    types::{LogId, Vote},
};

/// Sets of voters of a membership; two sets in a joint membership.
pub type Voters = Vec<BTreeSet<u64>>;

/// An acknowledged append.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Stream of the append.
    pub stream: StreamName,
    /// Ids of the appended events.
    pub ids: Vec<EventId>,
    /// Answer to the client.
    pub answer: Appended,
}

/// Record of a run. Each event is checked against the record.
#[derive(Default)]
pub struct Invariants {
    /// Acknowledged appends, in the order of the answers.
    pub acknowledged: Vec<Acknowledged>,
    /// Refused events, never allowed to appear.
    pub refused: BTreeSet<EventId>,
    /// Voters and their nodes, in place of a catalogue.
    pub roster: BTreeMap<ReplicaId, NodeId>,
    leaders: BTreeSet<(u64, ReplicaId)>,
    chosen: BTreeMap<(GroupId, u64), (LogId, u32)>,
    digests: BTreeMap<(GroupId, u64), Digest>,
    persisted: BTreeMap<ReplicaId, u64>,
    votes: BTreeMap<ReplicaId, Vote>,
    entry_of: BTreeMap<(GroupId, Position), LogId>,
    memberships: BTreeMap<GroupId, BTreeMap<u64, Voters>>,
    highest: Position,
    created: BTreeMap<LogKey, (NodeId, u64)>,
}

impl Invariants {
    /// Records that a replica leads a term; true for the first record. Several replicas may lead the same term in sequence:
    /// votes and log ids are ordered by term and replica.
    pub fn leads(&mut self, term: u64, replica: ReplicaId) -> bool {
        self.leaders.insert((term, replica))
    }

    /// Records an entry applied by a replica.
    ///
    /// # Errors
    /// When another replica has applied another entry at the same index.
    pub fn applied(&mut self, LogKey { group, replica }: LogKey, id: LogId, content: u32) -> Result<(), String> {
        match self.chosen.entry((group, id.index)).or_insert((id, content)) {
            (i, c) if *i == id && *c == content => Ok(()),
            (i, c) => {
                Err(format!("replica {replica} of group {group} applied {id} ({content:08x}), another {i} ({c:08x})"))
            }
        }
    }

    /// Records the digest of a replica after an index.
    ///
    /// # Errors
    /// When another replica has another digest after the same index.
    pub fn digest(&mut self, LogKey { group, replica }: LogKey, index: u64, digest: Digest) -> Result<(), String> {
        if *self.digests.entry((group, index)).or_insert(digest) == digest {
            return Ok(());
        }
        Err(format!("replica {replica} has another digest than others after entry {index}"))
    }

    /// Records the creation of a replica on the disk of a host, with the number of the disk.
    ///
    /// # Errors
    /// When a replica with the same id was created on another disk before: the new replica has forgotten the votes of the
    /// earlier replica.
    pub fn created(&mut self, key: LogKey, host: NodeId, disk: u64) -> Result<(), String> {
        let (first, first_disk) = *self.created.entry(key).or_insert((host, disk));
        if (first, first_disk) == (host, disk) {
            return Ok(());
        }
        let LogKey { group, replica } = key;
        Err(format!(
            "replica {replica} of group {group} is created on disk {disk} of n{host}, but was on disk {first_disk} of n{first}"
        ))
    }

    /// Records a synced vote of a replica.
    pub fn voted(&mut self, replica: ReplicaId, vote: Vote) {
        self.votes.insert(replica, vote);
    }

    /// Checks a vote granted by a replica.
    ///
    /// # Errors
    /// When the vote would not survive a crash.
    pub fn granted(&self, replica: ReplicaId, vote: Vote) -> Result<(), String> {
        match self.votes.get(&replica) {
            Some(synced) if *synced >= vote => Ok(()),
            synced => Err(format!("r{replica} granted vote {vote}, but only {synced:?} is synced")),
        }
    }

    /// Records the log entry of an append, by the last position of the append.
    pub fn placed(&mut self, group: GroupId, last: Position, id: LogId) {
        self.entry_of.insert((group, last), id);
    }

    /// Records an applied membership of a group: the set of voters, or both sets of a joint membership.
    pub fn membership(&mut self, group: GroupId, index: u64, voters: Voters) {
        self.memberships.entry(group).or_default().insert(index, voters);
    }

    /// The last applied membership of a group, with its index.
    #[must_use]
    pub fn last_membership(&self, group: GroupId) -> Option<(u64, &Voters)> {
        self.memberships.get(&group)?.last_key_value().map(|(index, voters)| (*index, voters))
    }

    /// Records the first log index that is missing in the flushed state of a replica.
    pub fn persisted(&mut self, replica: ReplicaId, next_index: u64) {
        self.persisted.insert(replica, next_index);
    }

    /// Index of the first entry to apply again after a crash of the replica.
    #[must_use]
    pub fn persisted_next(&self, replica: ReplicaId) -> u64 {
        self.persisted.get(&replica).copied().unwrap_or(0)
    }

    /// The log entry of an acknowledged append, by the last position of the append.
    #[must_use]
    pub fn entry(&self, group: GroupId, last: Position) -> Option<LogId> {
        self.entry_of.get(&(group, last)).copied()
    }

    /// Records the acknowledgement of an append.
    pub fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.highest = self.highest.max(acknowledged.answer.last_position);
        self.acknowledged.push(acknowledged);
    }

    /// The highest acknowledged position.
    #[must_use]
    pub fn highest(&self) -> Position {
        self.highest
    }
}
