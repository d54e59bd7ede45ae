//! [`Status`] of a replica, and the errors of its calls.

use super::types::StoredMembership;
use std::{collections::BTreeMap, time::Duration};
use taffrail_core::ids::Digest;
use taffrail_store_api::LeaderHint;

/// Failure of a proposal.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: this replica does not lead.
    #[error("this replica does not lead its group")]
    NotLeader(Option<LeaderHint>),
    /// Proposed; it may still commit.
    #[error("outcome unknown: {0}")]
    Unknown(&'static str),
    /// Not proposed: the replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
    /// Not proposed: refused by consensus (membership changed, change in flight, ...).
    #[error("consensus refused the change: {0}")]
    Refused(String),
}

/// Failure to get a read index.
#[derive(Debug, thiserror::Error)]
pub enum ReadIndexError {
    /// This replica knows no leader.
    #[error("this replica knows no leader")]
    NoLeader,
    /// No majority confirmed the leader in time.
    #[error("no majority confirmed the leader")]
    NoQuorum,
    /// The deadline passed.
    #[error("the deadline passed before the read index was applied")]
    Deadline,
    /// The replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
}

/// State of a replica as its openraft and its state machine report it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// True while the replica leads.
    pub leads: bool,
    /// The leader that the replica knows.
    pub leader: Option<LeaderHint>,
    /// Current term.
    pub term: u64,
    /// Index after the last entry.
    pub log_end: u64,
    /// Last committed index that the replica knows.
    pub committed: u64,
    /// Last applied index.
    pub applied: u64,
    /// Digest at `applied` (the two are taken together).
    pub digest: Digest,
    /// Digests at the last indexes at which every replica takes one.
    pub marks: Vec<(u64, Digest)>,
    /// Effective membership and the log id that set it.
    pub membership: StoredMembership,
    /// The leader only: how far each replica's log matches.
    pub matched: BTreeMap<u64, u64>,
    /// The leader only: how long ago a majority answered.
    pub quorum_acked_ago: Option<Duration>,
    /// Reason why the replica no longer runs.
    pub stopped: Option<String>,
}
