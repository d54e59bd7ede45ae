//! [`Status`] of a replica, and the errors of its calls.

use super::types::StoredMembership;
use std::{collections::BTreeMap, time::Duration};
use taffrail_core::{ids::Digest, plan::Lineage};
use taffrail_store_api::LeaderHint;

/// Failure of a proposal.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: this replica does not lead the group.
    #[error("this replica does not lead its group")]
    NotLeader(Option<LeaderHint>),
    /// Proposed; the command may still commit.
    #[error("outcome unknown: {0}")]
    Unknown(&'static str),
    /// Not proposed: the replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
    /// Not proposed: consensus refused the change, for example because another change is in flight.
    #[error("consensus refused the change: {0}")]
    Refused(String),
}

/// Failure to get a read index.
#[derive(Debug, thiserror::Error)]
pub enum ReadIndexError {
    /// This replica knows no leader.
    #[error("this replica knows no leader")]
    NoLeader,
    /// No majority confirmed the leader before the deadline.
    #[error("no majority confirmed the leader")]
    NoQuorum,
    /// The deadline passed before the read index was applied.
    #[error("the deadline passed before the read index was applied")]
    Deadline,
    /// The replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
}

/// State of a replica as reported by openraft and the state machine.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// True while the replica leads its group.
    pub leads: bool,
    /// The leader, as far as the replica knows.
    pub leader: Option<LeaderHint>,
    /// Current term of the replica.
    pub term: u64,
    /// Index after the last entry of the log.
    pub log_end: u64,
    /// Last committed index known to the replica.
    pub committed: u64,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Digest at `applied`; both are read together.
    pub digest: Digest,
    /// Digests at the newest mark indexes, which are the same on every replica.
    pub marks: Vec<(u64, Digest)>,
    /// Origin of the state; `None` for a replica that applied the whole log itself.
    pub copied_from: Option<Lineage>,
    /// Effective membership, and the log id of the entry that set the membership.
    pub membership: StoredMembership,
    /// Last matching log index of each replica; only on the leader.
    pub matched: BTreeMap<u64, u64>,
    /// Time since a majority last answered; only on the leader.
    pub quorum_acked_ago: Option<Duration>,
    /// Reason why the replica has stopped; `None` while the replica runs.
    pub stopped: Option<String>,
}
