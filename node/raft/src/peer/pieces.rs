//! Cuts large requests into pieces at the sender ([`call`]), and joins the pieces at the receiver (`Assembly`).
//!
//! All requests from a node to another share the connection of the control lane, and a frame leaves the connection only
//! after the frames before. A sender has a single piece of a request in flight, so a heartbeat waits for a few pieces
//! and never for a whole request of many mebibytes, even on a slow link.

use super::{
    CallError, Request,
    dispatch::{bad_frame, unavailable},
};
use bytes::{Bytes, BytesMut};
use prost::Message;
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    peer::{FrameKind, Piece, Refusal},
};
use taffrail_runtime as rt;
use tokio::time::Instant;

/// Largest payload of a single frame, bytes. A larger payload travels in pieces of this size.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// Largest payload of a request in pieces, bytes: the largest append of a client with the ids and lengths around it.
pub const REQUEST_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (1 << 20);
/// Memory for the incomplete requests of a node, bytes: three of the largest requests, or many common ones.
const ASSEMBLY_BYTES_MAX: usize = 3 * REQUEST_BYTES_MAX;
/// Longest wait for the answer to a piece before the last: 20 times the duration of a piece at the minimum rate of an
/// append. A frozen peer is found out long before the limit of the whole request.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without a piece after which an incomplete request may be dropped: the sender has given up.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Sends a request through `send`, in pieces if the payload is larger than [`PIECE_BYTES_MAX`], within `ttl` for the
/// whole request. The answer to the last piece is the answer to the request.
///
/// # Errors
/// Returns the error of the first failed piece; the receiver then drops the request.
pub async fn call<F, R>(request: Request, ttl: Duration, send: F) -> Result<Bytes, CallError>
where
    F: Fn(Request, Duration) -> R,
    R: Future<Output = Result<Bytes, CallError>>,
{
    let total = request.payload.len();
    if total <= PIECE_BYTES_MAX {
        return send(request, ttl).await;
    }
    let deadline = Instant::now() + ttl;
    let (transfer, checksum) = (rt::random_u64(), crc32c::crc32c(&request.payload));
    let mut offset = 0;
    loop {
        let end = (offset + PIECE_BYTES_MAX).min(total);
        let piece = Piece {
            kind: request.kind.into(),
            transfer,
            offset: offset as u64,
            total: total as u64,
            checksum,
            data: request.payload.slice(offset..end),
        };
        let frame = Request { kind: FrameKind::Piece, payload: piece.encode_to_vec().into(), ..request.clone() };
        let left = deadline.saturating_duration_since(Instant::now());
        if end == total {
            return send(frame, left).await;
        }
        send(frame, left.min(PIECE_TIMEOUT)).await?;
        offset = end;
    }
}

/// Sender and receiver of a request. A replica sends one request of a kind at a time to another replica, so a new
/// request replaces an incomplete earlier request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    node: NodeId,
    group: GroupId,
    from: ReplicaId,
    to: ReplicaId,
    kind: i32,
}

/// An incomplete request.
struct Partial {
    transfer: u64,
    total: usize,
    checksum: u32,
    data: BytesMut,
    last: Instant,
}

impl Partial {
    /// Adds the data of a piece. A repeated piece changes nothing.
    fn add(&mut self, piece: &Piece) -> Result<(), Refusal> {
        let (offset, have) = (piece.offset, self.data.len() as u64);
        let end = offset.saturating_add(piece.data.len() as u64);
        if piece.total != self.total as u64 || piece.checksum != self.checksum {
            return Err(bad_frame("Piece: total and checksum differ from those of the first piece"));
        }
        if end <= have {
            return Ok(());
        }
        if offset != have {
            return Err(bad_frame(format!("Piece: offset {offset} was sent where {have} must follow")));
        }
        if end > piece.total {
            return Err(bad_frame(format!("Piece: ends at {end}, beyond the total of {}", piece.total)));
        }
        self.data.extend_from_slice(&piece.data);
        self.last = Instant::now();
        Ok(())
    }
}

/// Joins the pieces of requests, each in order, within [`ASSEMBLY_BYTES_MAX`] for all requests of the node.
#[derive(Default)]
pub(super) struct Assembly {
    partials: Mutex<BTreeMap<Path, Partial>>,
}

impl Assembly {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Path, Partial>> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a piece of a request. Returns the whole request with the last piece, and `None` before.
    ///
    /// # Errors
    /// Refuses a piece that does not decode or does not follow its predecessor, a request whose checksum differs, and a
    /// first piece while the memory for incomplete requests is in use.
    pub(super) fn take(&self, node: NodeId, request: &Request) -> Result<Option<Request>, Refusal> {
        let piece = Piece::decode(request.payload.clone()).map_err(bad_frame)?;
        let kind = piece.kind();
        if matches!(kind, FrameKind::Unspecified | FrameKind::Piece) {
            return Err(bad_frame(format!("Piece: kind {} cannot be cut into pieces", piece.kind)));
        }
        let path =
            Path { node, group: request.group, from: request.from_replica, to: request.to_replica, kind: piece.kind };
        let mut partials = self.lock();
        if partials.get(&path).is_none_or(|p| p.transfer != piece.transfer) {
            let partial = begin(&mut partials, path, &piece)?;
            partials.insert(path, partial);
        }
        let Some(partial) = partials.get_mut(&path) else { return Ok(None) };
        if let Err(no) = partial.add(&piece) {
            partials.remove(&path);
            return Err(no);
        }
        if partial.data.len() < partial.total {
            return Ok(None);
        }
        let Some(whole) = partials.remove(&path) else { return Ok(None) };
        drop(partials);
        let payload = whole.data.freeze();
        if crc32c::crc32c(&payload) != whole.checksum {
            return Err(bad_frame("Piece: the checksum of the joined request differs"));
        }
        Ok(Some(Request { kind, payload, ..request.clone() }))
    }
}

/// Begins a request with the first piece, in place of an incomplete earlier request of the same path.
fn begin(partials: &mut BTreeMap<Path, Partial>, path: Path, piece: &Piece) -> Result<Partial, Refusal> {
    if piece.offset != 0 {
        return Err(bad_frame(format!("Piece: offset {} is not of the request in progress", piece.offset)));
    }
    let total = usize::try_from(piece.total).ok().filter(|total| (1..=REQUEST_BYTES_MAX).contains(total));
    let total = total.ok_or_else(|| {
        bad_frame(format!("Piece: total must be between 1 and {REQUEST_BYTES_MAX} bytes, is {}", piece.total))
    })?;
    partials.remove(&path);
    let in_use = |partials: &BTreeMap<Path, Partial>| partials.values().map(|p| p.total).sum::<usize>();
    if in_use(partials) + total > ASSEMBLY_BYTES_MAX {
        partials.retain(|_, p| p.last.elapsed() < IDLE_MAX);
    }
    let used = in_use(partials);
    if used + total > ASSEMBLY_BYTES_MAX {
        return Err(unavailable(format!("incomplete requests already use {used} of {ASSEMBLY_BYTES_MAX} bytes")));
    }
    Ok(Partial {
        transfer: piece.transfer,
        total,
        checksum: piece.checksum,
        data: BytesMut::with_capacity(total),
        last: Instant::now(),
    })
}

#[cfg(test)]
mod tests;
