//! Rules of a partition: execution of commands, determined by the rows of the partition and the command alone.

use super::{
    block::Block,
    command::{Command, Kind, RULES, Stamped},
    digest,
    state::{PartitionMeta, RepeatKey, RepeatRow, State, StreamRow},
};
use crate::{
    append::{Append, Appended, ExpectedRevision, Outcome, Rejected, Tail},
    ids::{Digest, EventId, Position, Revision, StreamNo},
    limits::{REPEAT_BUCKET_US, REPEAT_WINDOW_MAX_US},
    names::StreamName,
};

/// Reason why a command cannot be applied. The replica must stop, because skipping the command would cause divergence.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    /// The command uses or introduces rules unknown to this version.
    #[error("rules {0} of a command are not known to this version, which knows rules up to {RULES}; upgrade the node")]
    UnknownRules(u32),
    /// An append has no events. The gateway refuses such appends, so the log should not contain any.
    #[error("the log contains an append to stream {0} without events")]
    EmptyAppend(StreamName),
    /// The rows of the partition cannot be read.
    #[error(transparent)]
    State(E),
}

impl<E> From<E> for ApplyError<E> {
    fn from(e: E) -> Self {
        Self::State(e)
    }
}

/// Applies a command, and returns an outcome for each append of the command.
///
/// # Errors
/// [`ApplyError`] if the command cannot be applied. The caller must then discard all writes to `state` of this command.
pub fn apply<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    command: &Command,
) -> Result<Vec<Outcome>, ApplyError<S::Error>> {
    known(command.rules)?;
    match &command.kind {
        Kind::Appends(appends) => appends.iter().map(|a| append(meta, state, a)).collect(),
        Kind::Settings { repeat_window_us, closed } => {
            meta.repeat_window_us = (*repeat_window_us).min(REPEAT_WINDOW_MAX_US);
            meta.closed = *closed;
            meta.digest = digest::settings(&meta.digest, meta.repeat_window_us, *closed);
            Ok(Vec::new())
        }
        Kind::RaiseRules(rules) => {
            known(*rules)?;
            meta.rules = meta.rules.max(*rules);
            meta.digest = digest::rules(&meta.digest, meta.rules);
            Ok(Vec::new())
        }
    }
}

fn known<E>(rules: u32) -> Result<(), ApplyError<E>> {
    if (1..=RULES).contains(&rules) { Ok(()) } else { Err(ApplyError::UnknownRules(rules)) }
}

fn append<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    stamped: &Stamped,
) -> Result<Outcome, ApplyError<S::Error>> {
    let append = &stamped.append;
    let Some(first_id) = append.events.first().map(|e| e.id) else {
        return Err(ApplyError::EmptyAppend(append.stream.clone()));
    };
    let now = stamped.stamp_us.max(meta.last_recorded_at_us);
    let outcome = decide(meta, state, append, first_id, now)?;
    meta.digest = match &outcome {
        Ok(appended) => digest::accepted(&meta.digest, appended, &meta.event_digest),
        Err(why) => digest::rejected(&meta.digest, why),
    };
    Ok(outcome)
}

/// Decides the outcome of an append, and writes the events of an accepted append.
///
/// A repeat gets the first outcome before any other check: a retry of a stored append must not be refused because the
/// store was closed or the stream has grown in the meantime.
fn decide<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    append: &Append,
    first_id: EventId,
    now: u64,
) -> Result<Outcome, S::Error> {
    let row = state.stream(&append.stream)?;
    let repeat = match row {
        Some(row) => repeat(meta, state, append, first_id, row, now)?,
        None => Repeat::New,
    };
    match repeat {
        Repeat::Same(appended) => return Ok(Ok(appended)),
        Repeat::Different => return Ok(Err(Rejected::IdReused { stream: append.stream.clone(), id: first_id })),
        Repeat::New => {}
    }
    if meta.closed {
        return Ok(Err(Rejected::Closed));
    }
    if !is_expected(append.expected, row) {
        return Ok(Err(Rejected::WrongRevision {
            stream: append.stream.clone(),
            expected: append.expected,
            actual: row.map_or(Tail::Empty, |r| Tail::At(r.last)),
        }));
    }
    Ok(write(meta, state, append, first_id, row, now))
}

fn is_expected(expected: ExpectedRevision, row: Option<StreamRow>) -> bool {
    match (expected, row) {
        (ExpectedRevision::Any, _) | (ExpectedRevision::NoStream, None) | (ExpectedRevision::StreamExists, Some(_)) => {
            true
        }
        (ExpectedRevision::Exact(r), Some(row)) => r == row.last,
        (ExpectedRevision::NoStream, Some(_)) | (ExpectedRevision::StreamExists | ExpectedRevision::Exact(_), None) => {
            false
        }
    }
}

/// Comparison of a batch with earlier appends.
enum Repeat {
    /// No earlier append is known.
    New,
    /// The batch was stored before, with this outcome.
    Same(Appended),
    /// Another batch with the same first event id was stored before.
    Different,
}

fn repeat<S: State>(
    meta: &PartitionMeta,
    state: &mut S,
    append: &Append,
    first_id: EventId,
    row: StreamRow,
    now: u64,
) -> Result<Repeat, S::Error> {
    let place = match append.expected {
        ExpectedRevision::Any | ExpectedRevision::StreamExists => {
            return repeat_by_id(meta, state, append, first_id, row, now);
        }
        ExpectedRevision::NoStream => Some(Revision::default()),
        // The batch would start after the last event of the stream, so no earlier append can occupy the place.
        ExpectedRevision::Exact(r) if r >= row.last => None,
        ExpectedRevision::Exact(r) => Revision::new(r.get() + 1),
    };
    let found = match place {
        Some(first) => repeat_at(state, append, row, first)?,
        None => None,
    };
    Ok(found.map_or(Repeat::New, Repeat::Same))
}

/// Recognises a repeat by place: the events at revision `first` have the ids of the batch. The age does not matter.
fn repeat_at<S: State>(
    state: &mut S,
    append: &Append,
    row: StreamRow,
    first: Revision,
) -> Result<Option<Appended>, S::Error> {
    let Some(block) = state.block_at(row.no, first)? else { return Ok(None) };
    let same = block.first_revision == first
        && block.events.len() == append.events.len()
        && block.events.iter().zip(&append.events).all(|(a, b)| a.id == b.id);
    Ok(same.then(|| answer(block.first_revision, block.first_position, block.events.len(), block.recorded_at_us)))
}

/// Recognises a repeat by the first event id, among the appends to the stream within the window.
fn repeat_by_id<S: State>(
    meta: &PartitionMeta,
    state: &mut S,
    append: &Append,
    first_id: EventId,
    row: StreamRow,
    now: u64,
) -> Result<Repeat, S::Error> {
    let oldest = now.saturating_sub(meta.repeat_window_us);
    // Newest first, because a retry usually follows soon after the first attempt.
    for bucket in ((oldest / REPEAT_BUCKET_US).max(meta.repeat_floor)..=now / REPEAT_BUCKET_US).rev() {
        let key = RepeatKey { bucket, stream_no: row.no, first_id };
        let Some(found) = state.repeat(&key)? else { continue };
        // The window decides, not the bucket: expired rows that have not been dropped yet count as absent.
        if found.recorded_at_us < oldest {
            continue;
        }
        let same = found.count as usize == append.events.len()
            && found.ids_hash == digest::ids(append.events.iter().map(|e| e.id));
        return Ok(if same {
            Repeat::Same(answer(found.first_revision, found.first_position, append.events.len(), found.recorded_at_us))
        } else {
            Repeat::Different
        });
    }
    Ok(Repeat::New)
}

fn answer(first: Revision, position: Position, count: usize, recorded_at_us: u64) -> Appended {
    let more = (count as u64).saturating_sub(1);
    Appended {
        first_revision: first,
        last_revision: Revision::new(first.get() + more).unwrap_or(Revision::MAX),
        first_position: position,
        last_position: Position::new(position.get() + more).unwrap_or(Position::MAX),
        recorded_at_us,
        repeated: true,
    }
}

fn write<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    append: &Append,
    first_id: EventId,
    row: Option<StreamRow>,
    now: u64,
) -> Outcome {
    let count = append.events.len() as u64;
    let full = || Rejected::StreamFull { stream: append.stream.clone() };
    let first = row.map_or(0, |r| r.last.get() + 1);
    let first_revision = Revision::new(first).ok_or_else(full)?;
    let last_revision = Revision::new(first + count - 1).ok_or_else(full)?;
    let first_position = Position::new(meta.next_position).ok_or_else(full)?;
    let last_position = Position::new(meta.next_position + count - 1).ok_or_else(full)?;
    let no = row.map_or_else(
        || {
            let no = StreamNo::new(meta.next_stream_no);
            meta.next_stream_no += 1;
            no
        },
        |r| r.no,
    );
    let appended =
        Appended { first_revision, last_revision, first_position, last_position, recorded_at_us: now, repeated: false };
    meta.next_position += count;
    meta.events += count;
    meta.last_recorded_at_us = now;
    let mut block = Block {
        event_digest: Digest::default(),
        stream_no: no,
        stream: append.stream.clone(),
        first_revision,
        first_position,
        recorded_at_us: now,
        events: append.events.clone(),
    };
    block.event_digest = digest::events(&meta.event_digest, &block);
    meta.event_digest = block.event_digest;
    state.put_block(block);
    remember(meta, state, append, RepeatKey { bucket: now / REPEAT_BUCKET_US, stream_no: no, first_id }, &appended);
    Ok(appended)
}

/// Writes the repeat row of an append, and drops expired buckets.
///
/// Every append gets a row, regardless of its expected revision, because a retry may use another expected revision.
fn remember<S: State>(meta: &mut PartitionMeta, state: &mut S, append: &Append, key: RepeatKey, appended: &Appended) {
    let row = RepeatRow {
        first_revision: appended.first_revision,
        count: u32::try_from(append.events.len()).unwrap_or(u32::MAX),
        first_position: appended.first_position,
        recorded_at_us: appended.recorded_at_us,
        ids_hash: digest::ids(append.events.iter().map(|e| e.id)),
    };
    state.put_repeat(key, row);
    let floor = appended.recorded_at_us.saturating_sub(meta.repeat_window_us) / REPEAT_BUCKET_US;
    if floor > meta.repeat_floor {
        state.drop_repeats(meta.repeat_floor, floor);
        meta.repeat_floor = floor;
    }
}

#[cfg(test)]
mod tests;
