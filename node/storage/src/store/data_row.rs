//! [`DataRow`]: a row of the family `data`.

use super::{
    codec,
    error::Error,
    schema::{self, Family},
    state_db::View,
};
use bytes::Bytes;
use taffrail_core::{
    ids::{Digest, PartitionId, Position},
    stream::{Block, Gap},
};

/// A row of `data`: the block of an append, or the gap that stands for removed blocks. The rows of a partition follow each
/// other without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DataRow {
    Block(Block),
    Gap(Gap),
}

impl DataRow {
    /// Returns the first position of the row.
    pub(super) fn first_position(&self) -> Position {
        match self {
            Self::Block(block) => block.first_position,
            Self::Gap(gap) => gap.first_position,
        }
    }

    /// Returns the position after the row.
    pub(super) fn next_position(&self) -> u64 {
        match self {
            Self::Block(block) => block.next_position(),
            Self::Gap(gap) => gap.next_position,
        }
    }

    /// Returns the digest of all events up to and including the row.
    pub(super) fn event_digest(&self) -> Digest {
        match self {
            Self::Block(block) => block.event_digest,
            Self::Gap(gap) => gap.event_digest,
        }
    }

    /// Returns the last row that begins before `next_position`; `None` if no row does.
    ///
    /// # Errors
    /// When the row does not decode, or RocksDB fails.
    pub(super) fn before(view: &View<'_>, partition: PartitionId, next_position: u64) -> Result<Option<Self>, Error> {
        let Some(last) = next_position.checked_sub(1).and_then(Position::new) else { return Ok(None) };
        let (from, _) = schema::partition_bounds(partition);
        let found = view.falling(Family::Data, &from, &schema::data(partition, last))?.next().transpose()?;
        let Some((key, value)) = found else { return Ok(None) };
        codec::decode_data_row(Bytes::from(value.into_vec())).map(Some).map_err(Error::row(Family::Data, &key))
    }

    /// Returns the digest of all events before `boundary`, if a row of the partition ends there.
    ///
    /// # Errors
    /// When a row does not decode, or RocksDB fails.
    pub(super) fn digest_at(view: &View<'_>, partition: PartitionId, boundary: u64) -> Result<Option<Digest>, Error> {
        if boundary <= 1 {
            return Ok(Some(Digest::default()));
        }
        let row = Self::before(view, partition, boundary)?.filter(|row| row.next_position() == boundary);
        Ok(row.map(|row| row.event_digest()))
    }
}
