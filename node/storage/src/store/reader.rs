//! [`Reader`]: reads the applied state of a partition. Every call takes a new view, so a page is consistent.

use super::{
    codec,
    data_row::DataRow,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    staged_batch::block,
    state_db::{Error as DbError, Row, StateDb, View},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{
    event::RecordedEvent,
    ids::{GroupId, PartitionId, Position, Revision},
    names::StreamName,
    stream::{
        Block, StreamRow,
        visibility::{self, StreamLimits},
    },
};
use taffrail_store_api::{Direction, Page, PageBounds, ReadError, StoreReader, StoreTotals, StreamSummary};
use tokio_util::sync::CancellationToken;

/// The [`StoreReader`] of a replica.
pub struct Reader {
    db: Arc<StateDb>,
    group: GroupId,
    partition: PartitionId,
    stop: CancellationToken,
    /// Returns what a stream hides. The rows of streams hold no limits yet, so a page reads no row for the answer.
    limits: LimitsOf,
}

/// Collects the events of a page within the bounds.
struct Gather<'a> {
    bounds: PageBounds,
    bytes: usize,
    events: Vec<RecordedEvent>,
    wants: &'a dyn Fn(Revision, Position) -> bool,
    /// Returns what a stream hides.
    limits: LimitsOf,
    /// Clock of this node at the begin of the page, Unix time in microseconds.
    now_us: u64,
}

/// Returns what a stream hides.
type LimitsOf = fn(&StreamName) -> StreamLimits;

impl Gather<'_> {
    /// Adds the events of a block in reading order. Returns the place of the first event beyond the bounds, or `None`
    /// when all events fit.
    fn take(&mut self, block: Block, direction: Direction) -> Option<(Revision, Position)> {
        let limits = (self.limits)(&block.stream);
        let mut events: Vec<RecordedEvent> = visibility::recorded(block, limits, self.now_us).collect();
        if direction == Direction::Backward {
            events.reverse();
        }
        for event in events {
            let (revision, position) = (event.revision, event.position);
            if !(self.wants)(revision, position) {
                continue;
            }
            let size = event.event.size();
            let full = self.events.len() >= self.bounds.events_max || self.bytes + size > self.bounds.bytes_max;
            if full && !self.events.is_empty() {
                return Some((revision, position));
            }
            self.bytes += size;
            self.events.push(event);
        }
        None
    }
}

impl Reader {
    /// Makes a reader of the applied state of a partition.
    #[must_use]
    pub fn new(db: Arc<StateDb>, group: GroupId, partition: PartitionId) -> Self {
        Self { db, group, partition, stop: CancellationToken::new(), limits: |_| StreamLimits::default() }
    }

    /// Hides events of the streams for which `limits` returns limits.
    #[cfg(test)]
    pub(super) fn hiding(self, limits: LimitsOf) -> Self {
        Self { limits, ..self }
    }

    fn gather<'a>(&self, bounds: PageBounds, wants: &'a dyn Fn(Revision, Position) -> bool) -> Gather<'a> {
        let now_us = taffrail_runtime::now_us();
        Gather { bounds, bytes: 0, events: Vec::new(), wants, limits: self.limits, now_us }
    }

    /// Refuses every read after `stop` is cancelled, even while rows of this replica remain. A paged read then
    /// continues on another replica.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    fn group(&self, view: &View<'_>) -> Result<GroupState, Error> {
        let row = view.get(Family::Meta, &schema::group_meta(self.group))?;
        GroupState::decode(row.as_deref())
    }

    /// Returns the current generation of the group's rows.
    ///
    /// The call fails in three cases:
    ///
    /// - An install is in progress or has failed: the rows are neither the old nor the new state, or a state that the
    ///   group has left far behind.
    /// - The state was deleted for an install that did not finish: the rows look like an empty store.
    /// - The group has no row: the rows of a removed replica are deleted between two pages, and must not look like the
    ///   end of the store.
    fn generation(&self, view: &View<'_>) -> Result<u8, Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let row = view.get(Family::Meta, &schema::group_meta(self.group))?;
        let group = GroupState::decode(Some(row.as_deref().ok_or(Error::NothingApplied)?))?;
        group.check_complete()?;
        Ok(group.generation)
    }

    fn stream_row(&self, view: &View<'_>, name: &StreamName) -> Result<Option<StreamRow>, Error> {
        let key = schema::name(self.partition, self.generation(view)?, name.as_str());
        let row = view.get(Family::Names, &key)?;
        row.map(|row| codec::decode_name(&row).map_err(Error::row(Family::Names, &key))).transpose()
    }

    /// Reads the block of a row in `stream`.
    fn indexed(&self, view: &View<'_>, row: Result<Row, DbError>) -> Result<Block, Error> {
        let (key, value) = row?;
        let row = codec::decode_append_row(&value).map_err(Error::row(Family::Stream, &key))?;
        block(view, self.partition, row.first_position)
    }

    fn stream_page(
        &self,
        view: &View<'_>,
        row: StreamRow,
        from: Revision,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Revision>, Error> {
        let wants = |r: Revision, _| match direction {
            Direction::Forward => r >= from && r <= row.last,
            Direction::Backward => r <= from,
        };
        let mut gather = self.gather(bounds, &wants);
        let (lower, upper) = schema::stream_bounds(self.partition, row.no);
        let at = schema::stream(self.partition, row.no, from);
        let mut next = None;
        match direction {
            Direction::Forward => {
                // The block with `from` may begin at a lower revision.
                let start = match view.falling(Family::Stream, &lower, &at)?.next() {
                    Some(found) => found?.0.to_vec(),
                    None => at.to_vec(),
                };
                for found in view.rising(Family::Stream, &start, &upper)? {
                    next = gather.take(self.indexed(view, found)?, direction);
                    if next.is_some() {
                        break;
                    }
                }
            }
            Direction::Backward => {
                for found in view.falling(Family::Stream, &lower, &at)? {
                    next = gather.take(self.indexed(view, found)?, direction);
                    if next.is_some() {
                        break;
                    }
                }
            }
        }
        Ok(Page { events: gather.events, next: next.map(|(revision, _)| revision) })
    }

    fn all_page(
        &self,
        view: &View<'_>,
        from: Position,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Position>, Error> {
        let wants = |_, p: Position| match direction {
            Direction::Forward => p >= from,
            Direction::Backward => p <= from,
        };
        self.generation(view)?;
        let mut gather = self.gather(bounds, &wants);
        let (lower, upper) = schema::partition_bounds(self.partition);
        let at = schema::data(self.partition, from);
        let decode = |row: Result<Row, DbError>| {
            let (key, value) = row?;
            match codec::decode_data_row(Bytes::from(value.into_vec())).map_err(Error::row(Family::Data, &key))? {
                DataRow::Block(block) => Ok::<_, Error>(Some(block)),
                DataRow::Gap(_) => Ok(None),
            }
        };
        let mut next = None;
        match direction {
            Direction::Forward => {
                let start = match view.falling(Family::Data, &lower, &at)?.next() {
                    Some(found) => found?.0.to_vec(),
                    None => at.to_vec(),
                };
                for found in view.rising(Family::Data, &start, &upper)? {
                    next = decode(found)?.and_then(|block| gather.take(block, direction));
                    if next.is_some() {
                        break;
                    }
                }
            }
            Direction::Backward => {
                for found in view.falling(Family::Data, &lower, &at)? {
                    next = decode(found)?.and_then(|block| gather.take(block, direction));
                    if next.is_some() {
                        break;
                    }
                }
            }
        }
        Ok(Page { events: gather.events, next: next.map(|(_, position)| position) })
    }

    fn list(&self, prefix: &str, after: Option<&StreamName>, limit: usize) -> Result<Vec<StreamSummary>, Error> {
        let view = self.db.view();
        let generation = self.generation(&view)?;
        let lower = schema::name(self.partition, generation, prefix);
        let upper = schema::successor(&lower);
        let start = after.map_or_else(
            || lower.clone(),
            |name| {
                let mut key = schema::name(self.partition, generation, name.as_str());
                key.push(0);
                key.max(lower.clone())
            },
        );
        let mut out = Vec::new();
        for found in view.rising(Family::Names, &start, &upper)?.take(limit) {
            let (key, value) = found?;
            let stream = schema::name_of(&key).ok_or_else(|| Error::key(Family::Names, &key))?;
            let row = codec::decode_name(&value).map_err(Error::row(Family::Names, &key))?;
            out.push(StreamSummary { stream, last_revision: row.last });
        }
        Ok(out)
    }

    fn read_totals(&self) -> Result<StoreTotals, Error> {
        let view = self.db.view();
        let group = self.group(&view)?;
        if group.must_refill {
            return Err(Error::MustRefill);
        }
        let key = schema::partition_meta(self.partition);
        let Some(row) = view.get(Family::Meta, &key)? else { return Ok(StoreTotals::default()) };
        let meta = codec::decode_partition(&row).map_err(Error::row(Family::Meta, &key))?;
        Ok(StoreTotals {
            events: meta.events,
            last_position: meta.last_position(),
            digest: meta.digest,
            applied_index: group.applied_index(),
        })
    }
}

impl StoreReader for Reader {
    fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<Revision>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Revision>, ReadError> {
        let view = self.db.view();
        let row = self.stream_row(&view, stream)?.ok_or_else(|| ReadError::StreamNotFound(stream.clone()))?;
        let from = match (from, direction) {
            (Some(r), Direction::Forward) if r > row.last => return Ok(Page { events: Vec::new(), next: None }),
            (Some(r), Direction::Backward) => r.min(row.last),
            (Some(r), Direction::Forward) => r,
            (None, Direction::Forward) => Revision::default(),
            (None, Direction::Backward) => row.last,
        };
        Ok(self.stream_page(&view, row, from, direction, bounds)?)
    }

    fn read_all(
        &self,
        from: Option<Position>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Position>, ReadError> {
        let from = from.unwrap_or(match direction {
            Direction::Forward => Position::START,
            Direction::Backward => Position::MAX,
        });
        Ok(self.all_page(&self.db.view(), from, direction, bounds)?)
    }

    fn list_streams(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamSummary>, ReadError> {
        Ok(self.list(prefix, after, limit)?)
    }

    fn stream_tail(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        let view = self.db.view();
        Ok(self.stream_row(&view, stream)?.map(|row| row.last))
    }

    fn totals(&self) -> Result<StoreTotals, ReadError> {
        Ok(self.read_totals()?)
    }
}
