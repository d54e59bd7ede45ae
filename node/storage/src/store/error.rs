//! [`Error`]: failures of the state machines and reads of this crate, and the class of each failure for
//! consensus and readers.

use super::{chunk_error::ChunkError, codec, schema::Family, state_db};
use std::fmt;
use taffrail_core::{
    ids::{PartitionId, Position},
    stream::ApplyError,
};
use taffrail_raft::{codec as raft_codec, machine::MachineError};
use taffrail_store_api::ReadError;

/// A key of the state database, displayed in hexadecimal like in RocksDB's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText(Vec<u8>);

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Failure of a state machine, a read or a catch-up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state database failed.
    #[error(transparent)]
    Db(#[from] state_db::Error),
    /// A value without a key (a command or a received row) does not decode.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// The value of a row does not decode.
    #[error("{family} row {key}: {source}")]
    Row {
        /// Column family of the row.
        family: &'static str,
        /// Key of the row.
        key: KeyText,
        /// Failure to decode the value.
        source: codec::Error,
    },
    /// The key of a row does not decode.
    #[error("{family} row {key}: the key does not decode")]
    Key {
        /// Column family of the row.
        family: &'static str,
        /// Key of the row.
        key: KeyText,
    },
    /// A stream key names a position, and no block exists at the position.
    #[error("partition {partition}: no block at position {position}, which a stream key names")]
    MissingBlock {
        /// Partition of the store.
        partition: PartitionId,
        /// Position in the stream key.
        position: Position,
    },
    /// The counters and the events disagree: each row belongs to a different write.
    #[error("partition {partition}: the counters name position {next} as the next one, the events end before {end}")]
    Counters {
        /// Partition of the store.
        partition: PartitionId,
        /// Next position by the counters.
        next: u64,
        /// Next position by the last block.
        end: u64,
    },
    /// The digest of the last block and the digest of the counters differ.
    #[error("partition {partition}: the digest of the last block differs from the digest of the counters")]
    Digest {
        /// Partition of the store.
        partition: PartitionId,
    },
    /// An entry does not follow the last applied entry: part of the log was purged before apply.
    #[error("log entry {index} cannot be applied: entry {expected} must follow the applied state")]
    Hole {
        /// Index of the entry.
        index: u64,
        /// Index of the next entry to apply.
        expected: u64,
    },
    /// A command cannot be applied.
    #[error("{0}")]
    Command(String),
    /// A log id or membership does not decode.
    #[error(transparent)]
    Raft(#[from] raft_codec::CodecError),
    /// A partition follows rules of a later version.
    #[error("partition {partition}: rules {rules} are not known to this version; upgrade this node")]
    UnknownRules {
        /// Rules number of the partition.
        rules: u32,
        /// Partition with the unknown rules.
        partition: PartitionId,
    },
    /// A value or command comes from a later version.
    #[error("{0}")]
    Unsupported(String),
    /// An install is in progress; until its end the replica has no complete state to read or to apply to.
    #[error("this replica is installing the state of another replica")]
    Installing,
    /// The state of the replica was deleted for an install that has not finished.
    #[error("this replica has no state until it has installed the state of another replica")]
    MustRefill,
    /// The source has fewer events than the receiver.
    #[error("the events of this source end before position {end}, the events of the replica that asks before {wanted}")]
    Behind {
        /// Next position of the source.
        end: u64,
        /// Next position of the receiver.
        wanted: u64,
    },
    /// The replica has applied nothing, or its rows were deleted.
    #[error("this replica has applied nothing yet, or was removed")]
    NothingApplied,
    /// The node stops or removes the replica.
    #[error("this replica has stopped")]
    Stopped,
    /// A chunk of another replica's state is refused.
    #[error("catch-up: {0}")]
    Chunk(#[from] ChunkError),
}

impl Error {
    /// Makes a [`MissingBlock`](Self::MissingBlock).
    #[must_use]
    pub(crate) fn missing_block(partition: PartitionId, position: Position) -> Self {
        Self::MissingBlock { partition, position }
    }

    /// Wraps a decoding error with the row that holds the value.
    pub fn row(family: Family, key: &[u8]) -> impl FnOnce(codec::Error) -> Self {
        move |source| Self::Row { family: family.name(), key: KeyText(key.to_vec()), source }
    }

    /// Makes a [`Key`](Self::Key).
    #[must_use]
    pub fn key(family: Family, key: &[u8]) -> Self {
        Self::Key { family: family.name(), key: KeyText(key.to_vec()) }
    }
}

impl From<ApplyError<Self>> for Error {
    fn from(e: ApplyError<Self>) -> Self {
        match e {
            ApplyError::UnknownRules(_) => Self::Unsupported(e.to_string()),
            ApplyError::EmptyAppend(_) => Self::Command(e.to_string()),
            ApplyError::State(e) => e,
        }
    }
}

/// Class of an error; determines the error for consensus and for readers.
enum Class {
    Storage,
    Corrupt,
    Unsupported,
    NotServing,
}

fn class(e: &Error) -> Class {
    match e {
        Error::Db(state_db::Error::Failed(_) | state_db::Error::MissingFamily(_)) => Class::Storage,
        Error::Codec(codec::Error::Unknown { .. })
        | Error::Row { source: codec::Error::Unknown { .. }, .. }
        | Error::UnknownRules { .. }
        | Error::Unsupported(_) => Class::Unsupported,
        Error::Db(state_db::Error::Corrupt(_))
        | Error::Codec(codec::Error::Malformed { .. })
        | Error::Row { source: codec::Error::Malformed { .. }, .. }
        | Error::Key { .. }
        | Error::MissingBlock { .. }
        | Error::Counters { .. }
        | Error::Digest { .. }
        | Error::Hole { .. }
        | Error::Command(_)
        | Error::Raft(_)
        | Error::Chunk(_) => Class::Corrupt,
        Error::Installing | Error::MustRefill | Error::Behind { .. } | Error::NothingApplied | Error::Stopped => {
            Class::NotServing
        }
    }
}

impl From<Error> for MachineError {
    fn from(e: Error) -> Self {
        match class(&e) {
            Class::Storage => Self::Storage(e.to_string()),
            Class::Corrupt => Self::Corrupt(e.to_string()),
            // A call in the wrong state stops the machine, like a command of an unknown kind.
            Class::Unsupported | Class::NotServing => Self::Unsupported(e.to_string()),
        }
    }
}

impl From<Error> for ReadError {
    fn from(e: Error) -> Self {
        match class(&e) {
            Class::Storage => Self::Storage(e.to_string()),
            Class::Corrupt | Class::Unsupported => Self::Corrupt(e.to_string()),
            Class::NotServing => Self::NotServing(e.to_string()),
        }
    }
}
