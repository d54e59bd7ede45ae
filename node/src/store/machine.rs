//! The state machine of a store group over one partition: events, keys, counters and the applied log id change in one
//! write.

use super::{
    codec,
    db::{self, Batch, StateDb},
    rows::{Staged, stage_block},
    schema::{self, Family},
};
use crate::{
    engine::{Applied, StoreTotals},
    raft::{
        codec as raft_codec,
        machine::{CatchUpPoint, Machine, MachineError},
        types::{Entry, LogId, Reply, StoredMembership},
    },
};
use openraft::EntryPayload;
use prost::Message;
use std::sync::Arc;
use taffrail_core::{
    ids::{Digest, GroupId, PartitionId, Position},
    stream::{self, ApplyError, PartitionMeta},
};
use taffrail_proto::{peer::CatchUpChunk, storage as pb};

/// Payload that one write gathers before it is carried out.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// Why a machine stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// A row or command does not decode.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// A stream key points at nothing.
    #[error("partition {partition}: no block at position {position}, where a stream key points")]
    MissingBlock {
        /// The partition.
        partition: PartitionId,
        /// The position.
        position: Position,
    },
    /// Consensus types that do not decode.
    #[error(transparent)]
    Raft(#[from] raft_codec::CodecError),
    /// Unknown rules or kinds.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// See `MissingBlock`.
    #[must_use]
    pub fn missing_block(partition: PartitionId, position: Position) -> Self {
        Self::MissingBlock { partition, position }
    }
}

impl From<Error> for MachineError {
    fn from(e: Error) -> Self {
        match e {
            Error::Db(e) => Self::Storage(e.to_string()),
            Error::Codec(_) | Error::MissingBlock { .. } | Error::Raft(_) => Self::Corrupt(e.to_string()),
            Error::Unsupported(why) => Self::Unsupported(why),
        }
    }
}

/// What a group has applied.
#[derive(Clone, Debug, Default)]
pub struct GroupState {
    /// Last applied log id.
    pub applied: Option<LogId>,
    /// Membership as of it.
    pub membership: StoredMembership,
    /// Current generation of the rows outside of `data` and `stream`.
    pub generation: u8,
    /// The generation that a catch-up fills; 0 while none runs.
    pub installing: u8,
}

impl GroupState {
    /// From its row; a group without a row has applied nothing.
    ///
    /// # Errors
    /// When the row does not decode.
    pub fn decode(row: Option<&[u8]>) -> Result<Self, Error> {
        let Some(row) = row else { return Ok(Self { generation: 1, ..Self::default() }) };
        let meta = codec::decode_group(row)?;
        let generation = |n: u32| u8::try_from(n).map_err(|_| Error::Unsupported(format!("generation {n}")));
        Ok(Self {
            applied: meta.applied.as_ref().map(raft_codec::log_id_from),
            membership: meta.membership.as_ref().map_or_else(|| Ok(StoredMembership::default()), raft_codec::stored_membership_from)?,
            generation: generation(meta.generation)?.max(1),
            installing: generation(meta.installing)?,
        })
    }

    /// To its row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        pb::GroupMeta {
            format: codec::FORMAT,
            applied: self.applied.as_ref().map(raft_codec::log_id_to),
            membership: Some(raft_codec::stored_membership_to(&self.membership)),
            generation: self.generation.into(),
            installing: self.installing.into(),
        }
        .encode_to_vec()
    }
}

/// See the module.
pub struct StoreMachine {
    db: Arc<StateDb>,
    group: GroupId,
    partition: PartitionId,
    state: GroupState,
    meta: PartitionMeta,
}

fn load_partition(db: &StateDb, partition: PartitionId) -> Result<PartitionMeta, Error> {
    let row = db.get(Family::Meta, &schema::partition_meta(partition))?;
    Ok(row.map_or_else(|| Ok(PartitionMeta::default()), |row| codec::decode_partition(&row))?)
}

impl StoreMachine {
    /// Opens the machine as of the last flush before a crash, or as of the last write while the process lives. A catch-up
    /// that was cut short is cleared away.
    ///
    /// # Errors
    /// When rows do not decode or RocksDB fails.
    pub fn open(db: Arc<StateDb>, group: GroupId, partition: PartitionId) -> Result<Self, Error> {
        let row = db.get(Family::Meta, &schema::group_meta(group))?;
        let state = GroupState::decode(row.as_deref())?;
        let meta = load_partition(&db, partition)?;
        let mut this = Self { db, group, partition, state, meta };
        if this.state.installing != 0 {
            this.clear_install()?;
        }
        Ok(this)
    }

    fn apply_slice(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, Error> {
        let db = Arc::clone(&self.db);
        let mut staged = Staged::new(&db, self.partition, self.state.generation);
        let (mut meta, mut state) = (self.meta.clone(), self.state.clone());
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(match &entry.payload {
                EntryPayload::Blank => Reply::None,
                EntryPayload::Membership(m) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), m.clone());
                    Reply::None
                }
                EntryPayload::Normal(command) => {
                    let command = codec::decode_command(command.0.clone())?;
                    let outcomes = stream::apply(&mut meta, &mut staged, &command).map_err(|e| match e {
                        ApplyError::UnknownRules(_) => Error::Unsupported(e.to_string()),
                        ApplyError::State(e) => e,
                    })?;
                    Reply::Appends(outcomes)
                }
            });
            state.applied = Some(entry.log_id);
        }
        let mut batch = staged.into_batch();
        batch.put(Family::Meta, schema::partition_meta(self.partition), codec::encode_partition(&meta));
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
        db.write(batch)?;
        (self.meta, self.state) = (meta, state);
        Ok(replies)
    }

    /// Counters of the applied state.
    #[must_use]
    pub fn totals(&self) -> StoreTotals {
        StoreTotals {
            events: self.meta.events,
            last_position: self.meta.last_position(),
            digest: self.meta.digest,
            applied_index: self.state.applied.map_or(0, |a| a.index),
        }
    }

    /// Removes what an unfinished catch-up left: its generation, and events above the counters.
    fn clear_install(&mut self) -> Result<(), Error> {
        let mut batch = Batch::default();
        for family in Family::GENERATIONS {
            let (from, to) = schema::generation_bounds(self.partition, self.state.installing);
            batch.delete_range(family, from, to);
        }
        let view = self.db.view();
        let next = Position::new(self.meta.next_position).unwrap_or(Position::MAX);
        let from = schema::data(self.partition, next);
        let (_, to) = schema::partition_bounds(self.partition);
        for row in view.rising(Family::Data, &from, &to)? {
            let block = codec::decode_block(row?.1.into_vec().into())?;
            batch.delete(Family::Stream, schema::stream(self.partition, block.stream_no, block.first_revision));
        }
        drop(view);
        batch.delete_range(Family::Data, from, to);
        self.state.installing = 0;
        batch.put(Family::Meta, schema::group_meta(self.group), self.state.encode());
        self.db.write(batch)?;
        self.db.flush()?;
        Ok(())
    }

    fn install_rows(&mut self, chunk: CatchUpChunk) -> Result<(), Error> {
        let family = Family::from_number(chunk.family)
            .ok_or_else(|| Error::Unsupported(format!("column family {}", chunk.family)))?;
        let mut batch = Batch::default();
        for row in chunk.rows {
            match family {
                Family::Data => {
                    let block = codec::decode_block(row.value)?;
                    stage_block(&mut batch, self.partition, &block);
                }
                Family::Names | Family::Dedup | Family::Index | Family::Subs | Family::Snap => {
                    let mut key = schema::generation(self.partition, self.state.installing).to_vec();
                    key.extend_from_slice(&row.key);
                    batch.put(family, key, row.value);
                }
                Family::Meta | Family::Stream => {
                    return Err(Error::Unsupported(format!("rows of {} in a catch-up", family.name())));
                }
            }
        }
        self.db.write(batch)?;
        Ok(())
    }

    /// The source's history is another one before our next position: everything of ours goes, and all of theirs comes.
    fn start_over(&mut self) -> Result<(), Error> {
        self.meta = PartitionMeta::default();
        let mut batch = Batch::default();
        let (from, to) = schema::partition_bounds(self.partition);
        batch.delete_range(Family::Data, from.clone(), to.clone());
        batch.delete_range(Family::Stream, from, to);
        batch.put(Family::Meta, schema::partition_meta(self.partition), codec::encode_partition(&self.meta));
        self.db.write(batch)?;
        self.db.flush()?;
        Ok(())
    }

    fn finish(&mut self, group: &[u8], partition: &[u8]) -> Result<(), Error> {
        let theirs = GroupState::decode(Some(group))?;
        let meta = codec::decode_partition(partition)?;
        let old = self.state.generation;
        let state = GroupState { generation: self.state.installing, installing: 0, ..theirs };
        let mut batch = Batch::default();
        batch.put(Family::Meta, schema::partition_meta(self.partition), codec::encode_partition(&meta));
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
        for family in Family::GENERATIONS {
            let (from, to) = schema::generation_bounds(self.partition, old);
            batch.delete_range(family, from, to);
        }
        self.db.write(batch)?;
        self.db.flush()?;
        (self.meta, self.state) = (meta, state);
        Ok(())
    }
}

impl Machine for StoreMachine {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        (self.state.applied, self.state.membership.clone())
    }

    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        let row = self.db.get_persisted(Family::Meta, &schema::group_meta(self.group)).map_err(Error::from)?;
        let state = GroupState::decode(row.as_deref())?;
        Ok((state.applied, state.membership))
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        let mut replies = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let (mut bytes, mut n) = (0, 0);
            while n < rest.len() && (n == 0 || bytes < WRITE_BYTES_MAX) {
                bytes += crate::raft::log::store::payload_len(&rest[n]);
                n += 1;
            }
            let (now, later) = rest.split_at(n);
            replies.extend(self.apply_slice(now)?);
            rest = later;
        }
        Ok(replies)
    }

    fn flush(&mut self) -> Result<(), MachineError> {
        Ok(self.db.flush().map_err(Error::from)?)
    }

    fn progress(&self) -> Applied {
        Applied { index: self.state.applied.map_or(0, |a| a.index), position: self.meta.last_position() }
    }

    fn digest(&self) -> Digest {
        self.meta.digest
    }

    fn catch_up_point(&self) -> CatchUpPoint {
        CatchUpPoint { next_position: self.meta.next_position, digest: self.meta.event_digest }
    }

    fn begin_install(&mut self) -> Result<(), MachineError> {
        if self.state.installing != 0 {
            self.clear_install()?;
        }
        self.state.installing = if self.state.generation == u8::MAX { 1 } else { self.state.generation + 1 };
        let mut batch = Batch::default();
        batch.put(Family::Meta, schema::group_meta(self.group), self.state.encode());
        self.db.write(batch).map_err(Error::from)?;
        Ok(self.db.flush().map_err(Error::from)?)
    }

    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        if chunk.from_position != 0 && chunk.from_position < self.meta.next_position {
            self.start_over()?;
        }
        let last = (!chunk.group_meta.is_empty()).then(|| (chunk.group_meta.clone(), chunk.partition_meta.clone()));
        if !chunk.rows.is_empty() {
            self.install_rows(chunk)?;
        }
        if let Some((group, partition)) = last {
            self.finish(&group, &partition)?;
        }
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), MachineError> {
        if self.state.installing == 0 {
            return Ok(());
        }
        Err(MachineError::Corrupt("the catch-up ended without its last chunk".into()))
    }

    fn abort_install(&mut self) -> Result<(), MachineError> {
        if self.state.installing == 0 {
            return Ok(());
        }
        Ok(self.clear_install()?)
    }
}

/// Removes everything of a group and its partition. Call only under a synced tombstone of the replica.
///
/// # Errors
/// When RocksDB fails.
pub fn delete_group(db: &StateDb, group: GroupId, partition: PartitionId) -> Result<(), Error> {
    let mut batch = Batch::default();
    for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
        let (from, to) = schema::partition_bounds(partition);
        batch.delete_range(family, from, to);
    }
    batch.delete(Family::Meta, schema::group_meta(group));
    batch.delete(Family::Meta, schema::partition_meta(partition));
    db.write(batch)?;
    db.flush()?;
    Ok(())
}
