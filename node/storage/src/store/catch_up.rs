//! The source side of a catch-up: sends a consistent view of a partition in bounded chunks.

use super::{
    codec,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    state_db::{Rows, StateDb, View},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::ids::{Digest, GroupId, PartitionId, Position};
use taffrail_proto::peer::{CatchUpChunk, Refusal, RefusalKind, Row};
use taffrail_runtime as rt;
use tokio::sync::mpsc;

/// Bytes of one chunk; a larger row is sent alone.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Maximum number of chunks in memory, when the network is slow.
const CHUNKS_MAX: usize = 4;

/// The requested partition, and the extent of the receiver's events.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Group of the store.
    pub group: GroupId,
    /// Partition of the group.
    pub partition: PartitionId,
    /// Next position of the receiver.
    pub next_position: u64,
    /// Digest of the receiver's events before `next_position`.
    pub digest: Digest,
}

/// Receives the chunks of a state, or the reason for an early end.
pub type Chunks = mpsc::Receiver<Result<CatchUpChunk, Refusal>>;

/// Starts to send the state of a partition; each chunk waits until the receiver has room.
#[must_use]
pub fn send(db: Arc<StateDb>, wanted: Wanted) -> Chunks {
    stream(move |sink| walk(&db, wanted, CHUNK_BYTES_MAX, sink))
}

/// Runs `walk` away from the runtime's threads, with a function that sends a chunk. The function waits until the
/// receiver has room, and returns false when the receiver is gone.
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
        // A simulation runs on a single thread, so no other thread could make room while this thread waits.
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
                // The send fails only when the receiver is gone.
                drop(tx.blocking_send(failed(e)));
            }
        });
    }
    rx
}

/// Returns true when both replicas have the same events before the receiver's next position.
fn agrees(view: &View<'_>, wanted: &Wanted) -> Result<bool, Error> {
    if wanted.next_position <= 1 {
        return Ok(true);
    }
    let Some(last) = Position::new(wanted.next_position - 1) else { return Ok(false) };
    let (from, _) = schema::partition_bounds(wanted.partition);
    let at = schema::data(wanted.partition, last);
    let Some(found) = view.falling(Family::Data, &from, &at)?.next() else { return Ok(false) };
    let (key, value) = found?;
    let block = codec::decode_block(Bytes::from(value.into_vec())).map_err(Error::row(Family::Data, &key))?;
    Ok(block.next_position() == wanted.next_position && block.event_digest == wanted.digest)
}

/// Passes a single view of the partition to `sink`, until `sink` returns `false`: first the events from the receiver's
/// next position, then the other column families completely, then the counters.
pub(super) fn walk(
    db: &StateDb,
    wanted: Wanted,
    chunk_bytes_max: usize,
    sink: &mut dyn FnMut(CatchUpChunk) -> bool,
) -> Result<(), Error> {
    let view = db.view();
    let group_row = view.get(Family::Meta, &schema::group_meta(wanted.group))?;
    let group = GroupState::decode(group_row.as_deref())?;
    if group.installing != 0 {
        return Err(Error::Installing);
    }
    let partition_key = schema::partition_meta(wanted.partition);
    let partition_row = view.get(Family::Meta, &partition_key)?;
    let (Some(group_meta), Some(partition_meta)) = (group_row, partition_row) else {
        return Err(Error::NothingApplied);
    };
    let counters = codec::decode_partition(&partition_meta).map_err(Error::row(Family::Meta, &partition_key))?;
    // Both replicas have applied only committed entries, so fewer events are no sign of a divergence.
    if wanted.next_position > counters.next_position {
        return Err(Error::Behind { end: counters.next_position, wanted: wanted.next_position });
    }
    let from = if agrees(&view, &wanted)? {
        wanted.next_position.max(1)
    } else {
        // One of the two replicas has diverged from the group. The install replaces the receiver's events, so this log
        // line is the last trace of the replaced events.
        let (group, partition, upto) = (wanted.group, wanted.partition, wanted.next_position - 1);
        tracing::error!(
            %group, %partition, upto, theirs = %wanted.digest, reason = "ReplicaInconsistent",
            "a replica that catches up has other events than this replica up to the same position; all events are sent again"
        );
        1
    };
    let mut sender = Sender { chunk_bytes_max, sink };
    let (start, end) = schema::data_from(wanted.partition, from);
    if !sender.rows(Family::Data, schema::PARTITION_LEN, from, view.scan(Family::Data, &start, &end)?)? {
        return Ok(());
    }
    for family in Family::GENERATIONS {
        let (start, end) = schema::generation_bounds(wanted.partition, group.generation);
        if !sender.rows(family, schema::GENERATION_LEN, 0, view.scan(family, &start, &end)?)? {
            return Ok(());
        }
    }
    (sender.sink)(CatchUpChunk { group_meta, partition_meta, ..empty(Family::Meta, 0) });
    Ok(())
}

fn empty(family: Family, from_position: u64) -> CatchUpChunk {
    CatchUpChunk {
        family: family as u32,
        rows: Vec::new(),
        from_position,
        group_meta: Bytes::new(),
        partition_meta: Bytes::new(),
    }
}

struct Sender<'a> {
    chunk_bytes_max: usize,
    sink: &'a mut dyn FnMut(CatchUpChunk) -> bool,
}

impl Sender<'_> {
    /// Sends rows without the first `prefix` bytes of their keys. Returns `false` when the receiver is gone. A chunk
    /// with a start position is sent even without rows.
    fn rows(&mut self, family: Family, prefix: usize, from_position: u64, rows: Rows<'_>) -> Result<bool, Error> {
        let (mut chunk, mut bytes) = (empty(family, from_position), 0);
        for row in rows {
            let (key, value) = row?;
            if family == Family::Data {
                // Check the block before sending, so that damage is reported on the damaged node and not
                // by the receiver.
                codec::check_block(&value).map_err(Error::row(family, &key))?;
            }
            let size = key.len() + value.len();
            if bytes > 0 && bytes + size > self.chunk_bytes_max {
                if !(self.sink)(std::mem::replace(&mut chunk, empty(family, 0))) {
                    return Ok(false);
                }
                bytes = 0;
            }
            bytes += size;
            let stripped = key.get(prefix..).ok_or_else(|| Error::key(family, &key))?;
            chunk.rows.push(Row { key: Bytes::copy_from_slice(stripped), value: Bytes::from(value.into_vec()) });
        }
        if chunk.rows.is_empty() && chunk.from_position == 0 {
            return Ok(true);
        }
        Ok((self.sink)(chunk))
    }
}
