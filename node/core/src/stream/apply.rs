//! The rules. Deterministic: the state, the command, nothing else.

use super::{
    Command, Kind, RULES, Stamped, digest,
    state::{Block, PartitionMeta, RepeatKey, RepeatRow, State, StreamRow},
};
use crate::{
    append::{Append, Appended, ExpectedRevision, Outcome, Rejected, Tail},
    ids::{Position, Revision, StreamNo},
};

/// Repeat rows are gathered in buckets of a quarter of the window, so that whole buckets can be dropped.
const BUCKETS_PER_WINDOW: u64 = 4;

/// Why a command cannot be applied. The replica stops: skipping it would make replicas differ.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    /// The command was proposed under rules that this version does not know.
    #[error("rules {0} are not known to this version (it knows {RULES})")]
    UnknownRules(u32),
    /// The partition's rows cannot be read.
    #[error(transparent)]
    State(E),
}

impl<E> From<E> for ApplyError<E> {
    fn from(e: E) -> Self {
        Self::State(e)
    }
}

/// Applies one command; one outcome for each append in it.
///
/// # Errors
/// See `ApplyError`; the batch must then be dropped whole.
pub fn apply<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    command: &Command,
) -> Result<Vec<Outcome>, ApplyError<S::Error>> {
    if command.rules > RULES || command.rules == 0 {
        return Err(ApplyError::UnknownRules(command.rules));
    }
    match &command.kind {
        Kind::Appends(appends) => appends.iter().map(|a| append(meta, state, a)).collect(),
        Kind::Settings { repeat_window_us, closed } => {
            meta.repeat_window_us = (*repeat_window_us).max(BUCKETS_PER_WINDOW);
            meta.closed = *closed;
            meta.digest = digest::settings(&meta.digest, meta.repeat_window_us, *closed);
            Ok(Vec::new())
        }
    }
}

fn append<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    stamped: &Stamped,
) -> Result<Outcome, ApplyError<S::Error>> {
    let outcome = decide(meta, state, stamped)?;
    meta.digest = match &outcome {
        Ok(appended) => digest::accepted(&meta.digest, appended, &meta.event_digest),
        Err(why) => digest::rejected(&meta.digest, why),
    };
    Ok(outcome)
}

/// What the stream must look like, given what it is.
fn decide<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    stamped: &Stamped,
) -> Result<Outcome, ApplyError<S::Error>> {
    if meta.closed {
        return Ok(Err(Rejected::Closed));
    }
    let append = &stamped.append;
    let row = state.stream(&append.stream)?;
    let now = stamped.stamp_us.max(meta.last_recorded_at_us);
    if let Some(row) = row {
        let repeated = match append.expected {
            ExpectedRevision::NoStream => repeat_at(state, append, row, Revision::default())?,
            ExpectedRevision::Exact(r) if r < row.last => match Revision::new(r.get() + 1) {
                Some(first) => repeat_at(state, append, row, first)?,
                None => None,
            },
            ExpectedRevision::Exact(_) => None,
            ExpectedRevision::Any | ExpectedRevision::StreamExists => match repeat_by_id(meta, state, append, row, now)? {
                Repeat::Same(appended) => Some(appended),
                Repeat::Different => {
                    let id = append.events[0].id;
                    return Ok(Err(Rejected::IdReused { stream: append.stream.clone(), id }));
                }
                Repeat::New => None,
            },
        };
        if let Some(appended) = repeated {
            return Ok(Ok(appended));
        }
    }
    let as_expected = match (append.expected, row) {
        (ExpectedRevision::Any, _)
        | (ExpectedRevision::NoStream, None)
        | (ExpectedRevision::StreamExists, Some(_)) => true,
        (ExpectedRevision::Exact(r), Some(row)) => r == row.last,
        (ExpectedRevision::NoStream, Some(_)) | (ExpectedRevision::StreamExists | ExpectedRevision::Exact(_), None) => false,
    };
    if !as_expected {
        return Ok(Err(Rejected::WrongRevision {
            stream: append.stream.clone(),
            expected: append.expected,
            actual: row.map_or(Tail::Empty, |r| Tail::At(r.last)),
        }));
    }
    Ok(write(meta, state, append, row, now))
}

/// Is this batch exactly what stands at `first`? Then it is a retry, of any age.
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

enum Repeat {
    New,
    Same(Appended),
    Different,
}

/// Was the first id appended to this stream within the window?
fn repeat_by_id<S: State>(
    meta: &PartitionMeta,
    state: &mut S,
    append: &Append,
    row: StreamRow,
    now: u64,
) -> Result<Repeat, S::Error> {
    let bucket_us = bucket_us(meta);
    let oldest = now.saturating_sub(meta.repeat_window_us);
    // Newest first: a retry follows its first try closely.
    for bucket in ((oldest / bucket_us).max(meta.repeat_floor)..=now / bucket_us).rev() {
        let key = RepeatKey { bucket, stream_no: row.no, first_id: append.events[0].id };
        let Some(found) = state.repeat(&key)? else { continue };
        // The window, not the bucket, decides: rows that merely were not dropped yet count as absent.
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

fn bucket_us(meta: &PartitionMeta) -> u64 {
    (meta.repeat_window_us / BUCKETS_PER_WINDOW).max(1)
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
    meta.event_digest = digest::events(&meta.event_digest, &append.stream, &appended, &append.events);
    state.put_block(Block {
        event_digest: meta.event_digest,
        stream_no: no,
        stream: append.stream.clone(),
        first_revision,
        first_position,
        recorded_at_us: now,
        events: append.events.clone(),
    });
    remember(meta, state, append, no, &appended);
    Ok(appended)
}

/// Every append is remembered, whatever it expected: a retry may expect something else.
fn remember<S: State>(meta: &mut PartitionMeta, state: &mut S, append: &Append, no: StreamNo, appended: &Appended) {
    let bucket_us = bucket_us(meta);
    let now = appended.recorded_at_us;
    let key = RepeatKey { bucket: now / bucket_us, stream_no: no, first_id: append.events[0].id };
    let row = RepeatRow {
        first_revision: appended.first_revision,
        count: u32::try_from(append.events.len()).unwrap_or(u32::MAX),
        first_position: appended.first_position,
        recorded_at_us: now,
        ids_hash: digest::ids(append.events.iter().map(|e| e.id)),
    };
    state.put_repeat(key, row);
    let floor = now.saturating_sub(meta.repeat_window_us) / bucket_us;
    if floor > meta.repeat_floor {
        state.drop_repeats(meta.repeat_floor, floor);
        meta.repeat_floor = floor;
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
