//! The source side of a catch-up: sends a consistent view of a partition in bounded chunks.

use super::{
    chunk_error::ChunkError,
    codec,
    data_row::DataRow,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    state_db::{Rows, StateDb, View},
};
use bytes::Bytes;
use futures::StreamExt;
use std::sync::Arc;
use taffrail_core::ids::{Digest, GroupId, PartitionId};
use taffrail_proto::peer::{CatchUpChunk, Refusal, RefusalKind, Row};
use taffrail_raft::{
    catch_up_limits::{CatchUpLimits, STEP_MAX, SourcePermit},
    peer::dispatch::refusal,
};
use taffrail_runtime::{self as rt, TaskKind};
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

/// Starts to send the state of a partition within the limits of the node; each chunk waits until the receiver has room.
///
/// # Errors
/// Refuses when this node sends the maximum number of states already. The receiver tries another source, or again later.
pub fn send(db: Arc<StateDb>, wanted: Wanted, limits: &Arc<CatchUpLimits>) -> Result<Chunks, Refusal> {
    let permit = limits.try_source().ok_or_else(|| too_many("states of stores"))?;
    Ok(stream(move |sink| walk(&db, wanted, CHUNK_BYTES_MAX, sink), permit))
}

/// Refusal of a node that sends the maximum number of states already.
pub(crate) fn too_many(what: &str) -> Refusal {
    refusal(RefusalKind::Unavailable, format!("this node already sends the maximum number of {what} at the same time"))
}

/// Runs `walk` on a thread of its own, with a function that sends a chunk. The function waits until the receiver has room,
/// and returns false when the receiver is gone or has had no room for [`STEP_MAX`]. The chunks keep to the rate of the
/// permit, which is given back after the last chunk.
pub fn stream<F>(walk: F, permit: SourcePermit) -> Chunks
where
    F: FnOnce(&mut dyn FnMut(CatchUpChunk) -> bool) -> Result<(), Error> + Send + 'static,
{
    let (out, rx) = mpsc::channel(CHUNKS_MAX);
    if rt::is_inline() {
        // A simulation runs on a single thread, so no other thread could make room while this thread waits.
        let mut chunks = Vec::new();
        let outcome = walk(&mut |chunk| {
            chunks.push(Ok(chunk));
            true
        });
        chunks.extend(outcome.err().map(|e| Err(failed(e))));
        rt::spawn_task("state sender", TaskKind::Call, pass_on(futures::stream::iter(chunks), out, permit));
        return rx;
    }
    // Waits for the receiver block neither a thread of the runtime nor a thread of the pool for blocking work, which
    // installs and applies need.
    let (tx, chunks) = mpsc::channel(1);
    let refuse = tx.clone();
    let work = move || {
        let walked = rt::catch(|| walk(&mut |chunk| tx.blocking_send(Ok(chunk)).is_ok()));
        let why = match walked {
            Ok(Ok(())) => return,
            Ok(Err(e)) => e.to_string(),
            Err(panic) => {
                tracing::error!(%panic, "the thread that sends a state panicked");
                format!("the thread that sends the state panicked: {panic}")
            }
        };
        // The send fails only when the receiver is gone.
        drop(tx.blocking_send(Err(failed(why))));
    };
    if let Err(e) = rt::thread("catch-up", work) {
        // The channel is empty, so the send fails only when the receiver is gone.
        drop(refuse.try_send(Err(failed(format!("no thread to send the state: {e}")))));
    }
    drop(refuse);
    let chunks = futures::stream::unfold(chunks, |mut chunks| async move { Some((chunks.recv().await?, chunks)) });
    rt::spawn_task("state sender", TaskKind::Call, pass_on(chunks, out, permit));
    rx
}

fn failed(e: impl ToString) -> Refusal {
    refusal(RefusalKind::Unavailable, e.to_string())
}

/// Passes chunks on to the receiver at the rate of the node. Ends when the receiver has had no room for [`STEP_MAX`].
async fn pass_on(
    chunks: impl futures::Stream<Item = Result<CatchUpChunk, Refusal>>,
    out: mpsc::Sender<Result<CatchUpChunk, Refusal>>,
    permit: SourcePermit,
) {
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        if let Ok(chunk) = &chunk {
            permit.pace(chunk.rows.iter().map(|row| row.key.len() + row.value.len()).sum()).await;
        }
        if !matches!(tokio::time::timeout(STEP_MAX, out.send(chunk)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Returns the place from which the receiver needs this replica's rows, with the digest of the events before; `None`
/// when both replicas have different events before the receiver's end.
///
/// The place is the end of the receiver, or the start of the gap with that end: within a gap, no digest of this
/// replica is left to compare.
fn common_start(view: &View<'_>, wanted: &Wanted) -> Result<Option<(u64, Digest)>, Error> {
    let end = wanted.next_position;
    if end <= 1 {
        return Ok(Some((1, Digest::default())));
    }
    match DataRow::before(view, wanted.partition, end)? {
        Some(row) if row.next_position() == end && row.event_digest() == wanted.digest => {
            Ok(Some((end, wanted.digest)))
        }
        Some(DataRow::Gap(gap)) if gap.next_position > end => {
            let start = gap.first_position.get();
            Ok(DataRow::digest_at(view, wanted.partition, start)?.map(|digest| (start, digest)))
        }
        Some(_) | None => Ok(None),
    }
}

/// Passes a single view of the partition to `sink`, until `sink` returns `false`: first the events from the receiver's
/// next position, then the other column families completely, then the counters.
pub(super) fn walk(
    db: &StateDb,
    wanted: Wanted,
    chunk_bytes_max: usize,
    sink: &mut dyn FnMut(CatchUpChunk) -> bool,
) -> Result<(), Error> {
    // Held before the view is taken: compaction must not remove a row that still counts in the view.
    let _hold = db.hold_repeats(wanted.partition);
    let view = db.view();
    let group_row = view.get(Family::Meta, &schema::group_meta(wanted.group))?;
    let group = GroupState::decode(group_row.as_deref())?;
    group.check_complete()?;
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
    let (from, digest) = if let Some(common) = common_start(&view, &wanted)? {
        common
    } else {
        // One of the two replicas has diverged from the group. The install replaces the receiver's events, so this log
        // line is the last trace of the replaced events.
        let (group, partition, upto) = (wanted.group, wanted.partition, wanted.next_position - 1);
        tracing::error!(
            %group, %partition, upto, theirs = %wanted.digest, reason = "ReplicaInconsistent",
            "a replica that catches up has other events than this replica up to the same position; all events are sent again"
        );
        (1, Digest::default())
    };
    let mut sender = Sender { chunk_bytes_max, sink };
    let (start, end) = schema::data_from(wanted.partition, from);
    let first =
        CatchUpChunk { from_digest: Bytes::copy_from_slice(&digest.0), from_position: from, ..empty(Family::Data) };
    if !sender.rows(first, schema::PARTITION_LEN, view.scan(Family::Data, &start, &end)?)? {
        return Ok(());
    }
    for family in Family::GENERATIONS {
        let (start, end) = schema::generation_bounds(wanted.partition, group.generation);
        if !sender.rows(empty(family), schema::GENERATION_LEN, view.scan(family, &start, &end)?)? {
            return Ok(());
        }
    }
    (sender.sink)(CatchUpChunk { group_meta, partition_meta, ..empty(Family::Meta) });
    Ok(())
}

fn empty(family: Family) -> CatchUpChunk {
    CatchUpChunk { family: family as u32, ..CatchUpChunk::default() }
}

struct Sender<'a> {
    chunk_bytes_max: usize,
    sink: &'a mut dyn FnMut(CatchUpChunk) -> bool,
}

impl Sender<'_> {
    /// Sends rows without the first `prefix` bytes of their keys, beginning with the empty chunk `first`. Returns `false`
    /// when the receiver is gone. A chunk with a start position is sent even without rows.
    fn rows(&mut self, first: CatchUpChunk, prefix: usize, rows: Rows<'_>) -> Result<bool, Error> {
        let family = Family::from_number(first.family).ok_or(ChunkError::Family(first.family))?;
        let (mut chunk, mut bytes) = (first, 0);
        for row in rows {
            let (key, value) = row?;
            if family == Family::Data {
                // Check the row before sending, so that damage is reported on the damaged node and not
                // by the receiver.
                codec::check_data_row(&value).map_err(Error::row(family, &key))?;
            }
            let size = key.len() + value.len();
            if bytes > 0 && bytes + size > self.chunk_bytes_max {
                if !(self.sink)(std::mem::replace(&mut chunk, empty(family))) {
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
