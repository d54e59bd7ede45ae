//! The source side of a catch-up: one consistent view of a partition, sent in bounded chunks.

use super::{
    codec,
    db::{StateDb, View},
    machine::Error,
    schema::{self, Family},
};
use crate::rt;
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::ids::{Digest, GroupId, PartitionId, Position};
use taffrail_proto::peer::{CatchUpChunk, Refusal, RefusalKind, Row};
use tokio::sync::mpsc;

/// Bytes of one chunk; a single larger row is sent alone.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Chunks that wait for the network.
const CHUNKS_MAX: usize = 4;

/// What is sent, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The group.
    pub group: GroupId,
    /// Its partition.
    pub partition: PartitionId,
    /// The receiver's next position.
    pub next_position: u64,
    /// The receiver's digest of the events before it.
    pub digest: Digest,
}

/// Chunks of a state, or the reason why they end early.
pub type Chunks = mpsc::Receiver<Result<CatchUpChunk, Refusal>>;

/// Starts to send; the receiver's pace is the sender's.
#[must_use]
pub fn send(db: Arc<StateDb>, wanted: Wanted) -> Chunks {
    stream(move |sink| walk(&db, wanted, sink))
}

/// Runs `walk` away from the runtime's threads; each chunk waits until there is room.
pub fn stream<F>(walk: F) -> Chunks
where
    F: FnOnce(&mut dyn FnMut(CatchUpChunk) -> bool) -> Result<(), Error> + Send + 'static,
{
    let (tx, rx) = mpsc::channel(CHUNKS_MAX);
    let failed = |e: Error| {
        Err(Refusal {
            kind: RefusalKind::Unavailable.into(),
            message: e.to_string(),
            leader_node: 0,
            leader_replica: 0,
        })
    };
    if rt::is_inline() {
        // One thread, as in a simulation: nobody would make room while this one waits for it.
        let mut chunks = Vec::new();
        let outcome = walk(&mut |chunk| {
            chunks.push(Ok(chunk));
            true
        });
        if let Err(e) = outcome {
            chunks.push(failed(e));
        }
        rt::spawn(async move {
            for chunk in chunks {
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
        });
    } else {
        rt::blocking_detached(move || {
            if let Err(e) = walk(&mut |chunk| tx.blocking_send(Ok(chunk)).is_ok()) {
                // the receiver may be gone by now, which is as good
                drop(tx.blocking_send(failed(e)));
            }
        });
    }
    rx
}

/// True when the receiver has exactly our events before its next position.
fn agrees(view: &View<'_>, wanted: &Wanted) -> Result<bool, Error> {
    if wanted.next_position <= 1 {
        return Ok(true);
    }
    let Some(last) = Position::new(wanted.next_position - 1) else { return Ok(false) };
    let (from, _) = schema::partition_bounds(wanted.partition);
    let at = schema::data(wanted.partition, last);
    let Some(found) = view.falling(Family::Data, &from, &at)?.next() else { return Ok(false) };
    let block = codec::decode_block(Bytes::from(found?.1.into_vec()))?;
    let end = block.first_position.get() + block.events.len() as u64;
    Ok(end == wanted.next_position && block.event_digest == wanted.digest)
}

fn walk(db: &StateDb, wanted: Wanted, sink: &mut dyn FnMut(CatchUpChunk) -> bool) -> Result<(), Error> {
    let view = db.view();
    let from = if agrees(&view, &wanted)? { wanted.next_position.max(1) } else { 1 };
    let row = view.get(Family::Meta, &schema::group_meta(wanted.group))?;
    let row = row.ok_or_else(|| Error::Unsupported("this replica has applied nothing yet".into()))?;
    let generation = super::machine::GroupState::decode(Some(&row))?.generation;
    let partition = view.get(Family::Meta, &schema::partition_meta(wanted.partition))?.unwrap_or_else(|| {
        Bytes::from(codec::encode_partition(&taffrail_core::stream::PartitionMeta::default()))
    });
    let start = schema::data(wanted.partition, Position::new(from).unwrap_or(Position::MAX));
    let (_, end) = schema::partition_bounds(wanted.partition);
    let rows = view.rising(Family::Data, &start, &end)?;
    // `data` keys travel whole: the receiver makes its own from the block.
    if !send_rows(Family::Data, 0, from, rows, sink)? {
        return Ok(());
    }
    for family in Family::GENERATIONS {
        let (start, end) = schema::generation_bounds(wanted.partition, generation);
        let rows = view.rising(family, &start, &end)?;
        if !send_rows(family, start.len(), 0, rows, sink)? {
            return Ok(());
        }
    }
    sink(CatchUpChunk { family: Family::Meta as u32, rows: Vec::new(), from_position: 0, group_meta: row, partition_meta: partition });
    Ok(())
}

/// Sends rows in chunks; `false` when the receiver is gone. The first chunk is sent even without rows when it has a
/// position to tell.
fn send_rows(
    family: Family,
    prefix: usize,
    from_position: u64,
    rows: impl Iterator<Item = Result<super::db::Row, super::db::Error>>,
    sink: &mut dyn FnMut(CatchUpChunk) -> bool,
) -> Result<bool, Error> {
    let empty = |from_position| CatchUpChunk {
        family: family as u32,
        rows: Vec::new(),
        from_position,
        group_meta: Bytes::new(),
        partition_meta: Bytes::new(),
    };
    let (mut chunk, mut bytes) = (empty(from_position), 0);
    for row in rows {
        let (key, value) = row?;
        let size = key.len() + value.len();
        if bytes > 0 && bytes + size > CHUNK_BYTES_MAX {
            if !sink(std::mem::replace(&mut chunk, empty(0))) {
                return Ok(false);
            }
            bytes = 0;
        }
        bytes += size;
        chunk.rows.push(Row { key: Bytes::from(key[prefix..].to_vec()), value: Bytes::from(value.into_vec()) });
    }
    if chunk.rows.is_empty() && chunk.from_position == 0 {
        return Ok(true);
    }
    Ok(sink(chunk))
}
