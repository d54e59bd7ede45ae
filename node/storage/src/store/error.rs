//! Why a store's machine stops or a read has no answer, and what that means to consensus and to readers.

use super::{codec, schema::Family, snapshot_install::ChunkError, state_db};
use std::fmt;
use taffrail_core::{
    ids::{PartitionId, Position},
    stream::ApplyError,
};
use taffrail_raft::{codec as raft_codec, machine::MachineError};
use taffrail_store_api::ReadError;

/// A key in hexadecimal, as it is found with RocksDB's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText(Vec<u8>);

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB failed.
    #[error(transparent)]
    Db(#[from] state_db::Error),
    /// A value without a key of its own (a command, a row that travelled) does not decode.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// A row does not decode.
    #[error("{family} row {key}: {source}")]
    Row {
        /// Its column family.
        family: &'static str,
        /// Its key.
        key: KeyText,
        /// What is wrong.
        source: codec::Error,
    },
    /// A key that says something impossible.
    #[error("{family} row {key}: the key does not decode")]
    Key {
        /// Its column family.
        family: &'static str,
        /// Itself.
        key: KeyText,
    },
    /// A stream key points at nothing.
    #[error("partition {partition}: no block at position {position}, where a stream key points")]
    MissingBlock {
        /// The partition.
        partition: PartitionId,
        /// The position.
        position: Position,
    },
    /// Counters and events are not of the same write.
    #[error("partition {partition}: the counters say that position {next} is next, the events end before {end}")]
    Counters {
        /// The partition.
        partition: PartitionId,
        /// By the counters.
        next: u64,
        /// By the last block.
        end: u64,
    },
    /// The last block has another digest than the counters.
    #[error("partition {partition}: the digest of the last block is not that of the counters")]
    Digest {
        /// The partition.
        partition: PartitionId,
    },
    /// An entry does not follow the last applied one: part of the log was purged before it was applied.
    #[error("log entry {index} cannot be applied where {expected} must follow")]
    Hole {
        /// Of the entry.
        index: u64,
        /// What must come.
        expected: u64,
    },
    /// A command that cannot be applied.
    #[error("{0}")]
    Command(String),
    /// Consensus types that do not decode.
    #[error(transparent)]
    Raft(#[from] raft_codec::CodecError),
    /// Something of another version.
    #[error("{0}")]
    Unsupported(String),
    /// Another replica's state is being taken over; until that ends there is nothing whole to read or apply to.
    #[error("this replica is taking over the state of another one")]
    Installing,
    /// A source has less than the replica that asks.
    #[error("this replica ends before position {end}, the one that asks before {wanted}")]
    Behind {
        /// Of the source.
        end: u64,
        /// Of the replica that asks.
        wanted: u64,
    },
    /// A replica that has not applied anything, or whose rows are gone.
    #[error("this replica has no state")]
    NothingApplied,
    /// The replica was told to stop.
    #[error("this replica has stopped")]
    Stopped,
    /// A part of another replica's state is not what must come.
    #[error("catch-up: {0}")]
    Chunk(#[from] ChunkError),
}

impl Error {
    /// See `MissingBlock`.
    #[must_use]
    pub fn missing_block(partition: PartitionId, position: Position) -> Self {
        Self::MissingBlock { partition, position }
    }

    /// Names the row of a value that does not decode.
    pub fn row(family: Family, key: &[u8]) -> impl FnOnce(codec::Error) -> Self {
        move |source| Self::Row { family: family.name(), key: KeyText(key.to_vec()), source }
    }

    /// See `Key`.
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

/// What an error means, for all who have to tell.
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
        Error::Installing | Error::Behind { .. } | Error::NothingApplied | Error::Stopped => Class::NotServing,
    }
}

impl From<Error> for MachineError {
    fn from(e: Error) -> Self {
        match class(&e) {
            Class::Storage => Self::Storage(e.to_string()),
            Class::Corrupt => Self::Corrupt(e.to_string()),
            // A machine that is asked for what it cannot do now was asked out of turn: it must stop, like for an unknown kind.
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
