//! The type configuration of openraft for every group, and names for openraft's types.

use crate::runtime::Runtime;
use bytes::Bytes;
use openraft::alias;
use std::fmt;
use taffrail_core::{append::Outcome, ids::NodeId};

/// An encoded command of a group's state machine. The proposer encodes and the state machine decodes; consensus never
/// decodes a command.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Answer of the state machine to the proposer of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reply {
    /// A blank or membership entry, or a command without an answer.
    #[default]
    None,
    /// One outcome for each append of the entry.
    Appends(Vec<Outcome>),
    /// Outcome of a catalogue command.
    Catalogue(taffrail_core::catalogue::CatalogueOutcome),
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Appends(_) => "appends",
            Self::Catalogue(_) => "catalogue",
        })
    }
}

/// The node of a replica. Part of the membership, so that a group finds its replicas without the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host(pub NodeId);

/// The types that openraft is instantiated with.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Command;
    type R = Reply;
    /// The number of a [`ReplicaId`](taffrail_core::ids::ReplicaId).
    type NodeId = u64;
    type Node = Host;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = Payload;
    type Entry = openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Payload of an entry: blank, a command or a membership.
pub type Payload = openraft::EntryPayload<Command, u64, Host>;
/// A log entry: log id and payload.
pub type Entry = alias::EntryOf<TypeConfig>;
/// Term, leader and index of an entry.
pub type LogId = alias::LogIdOf<TypeConfig>;
/// A vote: term, candidate, and whether a majority has granted the vote.
pub type Vote = alias::VoteOf<TypeConfig>;
/// Voters and learners, and the log id of the entry that set the membership.
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
/// Log id and membership as of a snapshot.
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
/// Voters and learners, with the node of each replica.
pub type Membership = openraft::Membership<u64, Host>;
/// Term and replica of the leader that proposed an entry.
pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
