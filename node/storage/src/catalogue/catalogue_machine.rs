//! [`CatalogueMachine`]: the state machine of the system group. The whole catalogue is in memory; a command writes the
//! changed rows and the applied log id in one batch.

use super::{codec, planted};
use crate::store::{
    catch_up::{self, Chunks},
    chunk_error::ChunkError,
    error::Error as StoreError,
    group_state::GroupState,
    schema::{self, Family},
    state_db::{Batch, StateDb},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{
    catalogue::Catalogue,
    ids::{Digest, GroupId, Position},
    stream::Settings,
};
use taffrail_proto::peer::{CatchUpChunk, Refusal, Row};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    machine::{CatchUpPoint, DetachedFlush, Machine, MachineError},
    types::{Entry, LogId, Payload, Reply, StoredMembership},
};
use taffrail_store_api::Applied;
use tokio::sync::watch;

/// Maximum number of rows in a chunk.
const CHUNK_ROWS_MAX: usize = 256;

impl From<codec::Error> for MachineError {
    fn from(e: codec::Error) -> Self {
        Self::Corrupt(e.to_string())
    }
}

/// The catalogue in memory and on disk. Each applied state is sent to `published`.
pub struct CatalogueMachine {
    db: Arc<StateDb>,
    state: GroupState,
    catalogue: Arc<Catalogue>,
    published: Arc<watch::Sender<Arc<Catalogue>>>,
    incoming: Option<Vec<(u8, Vec<u8>, Bytes)>>,
}

fn load(db: &StateDb) -> Result<Catalogue, MachineError> {
    let (from, to) = schema::catalogue_bounds();
    let view = db.view();
    let mut rows = Vec::new();
    for row in view.rising(Family::Meta, &from, &to).map_err(StoreError::from)? {
        let (key, value) = row.map_err(StoreError::from)?;
        let kind = key
            .get(1)
            .copied()
            .ok_or_else(|| MachineError::Corrupt("meta: the key of a catalogue row is too short".into()))?;
        rows.push((kind, value));
    }
    Ok(codec::from_rows(rows.iter().map(|(kind, value)| (*kind, value.as_ref())))?)
}

impl CatalogueMachine {
    /// Opens the catalogue. Publishes the current state, and every later state after apply.
    ///
    /// # Errors
    /// When rows do not decode or RocksDB fails.
    pub fn open(db: Arc<StateDb>, published: Arc<watch::Sender<Arc<Catalogue>>>) -> Result<Self, MachineError> {
        let row = db.get(Family::Meta, &schema::group_meta(GroupId::SYSTEM)).map_err(StoreError::from)?;
        let state = GroupState::decode(row.as_deref())?;
        let catalogue = Arc::new(load(&db)?);
        published.send_replace(Arc::clone(&catalogue));
        Ok(Self { db, state, catalogue, published, incoming: None })
    }

    fn stage(batch: &mut Batch, rows: Vec<codec::Row>) {
        for (kind, id, value) in rows {
            let key = schema::catalogue_row(kind, &id);
            match value {
                Some(value) => batch.put(Family::Meta, key, value),
                None => batch.delete(Family::Meta, key),
            }
        }
    }

    fn take_over(&mut self, group: &[u8]) -> Result<(), MachineError> {
        let rows = self.incoming.take().unwrap_or_default();
        let state = GroupState { installing: 0, ..GroupState::decode(Some(group))? };
        // A source may be behind this replica. The published catalogue never goes back: nodes create and remove
        // replicas by the catalogue, and a removed replica never returns.
        if state.next_index() < self.state.next_index() {
            let (source_index, index) = (state.applied_index(), self.state.applied_index());
            return Err(StoreError::from(ChunkError::Older { source_index, index }).into());
        }
        let catalogue = codec::from_rows(rows.iter().map(|(kind, _, value)| (*kind, value.as_ref())))?;
        let mut batch = Batch::default();
        let (from, to) = schema::catalogue_bounds();
        batch.delete_range(Family::Meta, from, to);
        for (kind, id, value) in rows {
            batch.put(Family::Meta, schema::catalogue_row(kind, &id), value.to_vec());
        }
        batch.put(Family::Meta, schema::group_meta(GroupId::SYSTEM), state.encode());
        self.db.write(batch).map_err(StoreError::from)?;
        self.db.flush().map_err(StoreError::from)?;
        (self.state, self.catalogue) = (state, Arc::new(catalogue));
        self.published.send_replace(Arc::clone(&self.catalogue));
        Ok(())
    }
}

/// Starts to send the catalogue to another replica: the source side of a catch-up of the system group.
///
/// # Errors
/// Refuses when this node sends the maximum number of catalogues already. The receiver tries another source, or again later.
pub fn send(db: Arc<StateDb>, limits: &Arc<CatchUpLimits>) -> Result<Chunks, Refusal> {
    let permit = limits.try_catalogue().ok_or_else(|| catch_up::too_many("catalogues"))?;
    Ok(catch_up::stream(move |sink| walk(&db, sink), permit))
}

fn walk(db: &StateDb, sink: &mut dyn FnMut(CatchUpChunk) -> bool) -> Result<(), StoreError> {
    let view = db.view();
    let group = view.get(Family::Meta, &schema::group_meta(GroupId::SYSTEM))?;
    let group = group.ok_or(StoreError::NothingApplied)?;
    let (from, to) = schema::catalogue_bounds();
    let mut chunk = empty_chunk();
    for row in view.rising(Family::Meta, &from, &to)? {
        let (key, value) = row?;
        chunk.rows.push(Row { key: Bytes::from(key.into_vec()), value: Bytes::from(value.into_vec()) });
        if chunk.rows.len() == CHUNK_ROWS_MAX && !sink(std::mem::replace(&mut chunk, empty_chunk())) {
            return Ok(());
        }
    }
    chunk.group_meta = group;
    sink(chunk);
    Ok(())
}

fn empty_chunk() -> CatchUpChunk {
    CatchUpChunk { family: Family::Meta as u32, ..CatchUpChunk::default() }
}

impl Machine for CatalogueMachine {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        (self.state.applied, self.state.membership.clone())
    }

    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        let row =
            self.db.get_persisted(Family::Meta, &schema::group_meta(GroupId::SYSTEM)).map_err(StoreError::from)?;
        let state = GroupState::decode(row.as_deref())?;
        Ok((state.applied, state.membership))
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        let (mut catalogue, mut state) = (Catalogue::clone(&self.catalogue), self.state.clone());
        let (mut replies, mut touched) = (Vec::with_capacity(entries.len()), std::collections::BTreeSet::new());
        for entry in entries {
            // openraft does not check the index: if the log was purged beyond the surviving state, entries would be
            // applied with a gap.
            let (index, expected) = (entry.log_id.index, state.next_index());
            if index != expected {
                return Err(StoreError::Hole { index, expected }.into());
            }
            replies.push(match &entry.payload {
                Payload::Blank => Reply::None,
                Payload::Membership(m) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), m.clone());
                    Reply::None
                }
                Payload::Normal(command) => {
                    let command = codec::decode_command(command.0.clone())?;
                    let (outcome, rows) = planted::apply(&mut catalogue, &command)
                        .map_err(|e| MachineError::Unsupported(e.to_string()))?;
                    touched.extend(rows);
                    Reply::Catalogue(outcome)
                }
            });
            state.applied = Some(entry.log_id);
        }
        let mut batch = Batch::default();
        Self::stage(&mut batch, codec::rows(&catalogue, &touched));
        batch.put(Family::Meta, schema::group_meta(GroupId::SYSTEM), state.encode());
        self.db.write(batch).map_err(StoreError::from)?;
        self.state = state;
        if !touched.is_empty() {
            self.catalogue = Arc::new(catalogue);
            self.published.send_replace(Arc::clone(&self.catalogue));
        }
        Ok(replies)
    }

    fn flush(&mut self) -> Result<(), MachineError> {
        Ok(self.db.flush().map_err(StoreError::from)?)
    }

    fn detached_flush(&self) -> Option<DetachedFlush> {
        let db = Arc::clone(&self.db);
        Some(Box::new(move || Ok(db.flush().map_err(StoreError::from)?)))
    }

    fn progress(&self) -> Applied {
        Applied {
            index: self.state.applied_index(),
            position: Position::START,
            rules: self.catalogue.rules.catalogue,
            settings: Settings::default(),
            recorded_us: 0,
        }
    }

    fn digest(&self) -> Digest {
        self.catalogue.digest
    }

    fn catch_up_point(&self) -> CatchUpPoint {
        CatchUpPoint::default()
    }

    fn must_refill(&self) -> bool {
        // An install replaces the catalogue in one write.
        false
    }

    fn begin_install(&mut self) -> Result<(), MachineError> {
        self.incoming = Some(Vec::new());
        Ok(())
    }

    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        let incoming = self.incoming.get_or_insert_default();
        for row in chunk.rows {
            let Some((kind, id)) = row.key.get(1).zip(row.key.get(2..)) else {
                return Err(MachineError::Corrupt("meta: the key of a catalogue row is too short".into()));
            };
            incoming.push((*kind, id.to_vec(), row.value));
        }
        if !chunk.group_meta.is_empty() {
            self.take_over(&chunk.group_meta)?;
        }
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), MachineError> {
        match self.incoming {
            None => Ok(()),
            Some(_) => Err(MachineError::Corrupt("the catch-up ended without its last chunk".into())),
        }
    }

    fn abort_install(&mut self) -> Result<(), MachineError> {
        self.incoming = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
