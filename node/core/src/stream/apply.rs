//! Rules of a partition: execution of commands, determined by the rows of the partition and the command alone.

use super::{
    block::Block,
    command::{Command, Kind, RULES, Settings, Stamped},
    digest::{self, IdsHash},
    state::{AppendRow, PartitionMeta, RepeatKey, RepeatRow, State, StreamRow},
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
/// The rules in force in `meta` judge every command. The number of the command only stops a version that does not know
/// the number; a command above the rules in force is refused.
///
/// # Errors
/// [`ApplyError`] if the command cannot be applied. The caller must then discard all writes to `state` of this command.
pub fn apply<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    command: &Command,
) -> Result<Vec<Outcome>, ApplyError<S::Error>> {
    apply_knowing(RULES, meta, state, command)
}

/// Same as [`apply()`], by a version that knows the rules up to `newest`.
fn apply_knowing<S: State>(
    newest: u32,
    meta: &mut PartitionMeta,
    state: &mut S,
    command: &Command,
) -> Result<Vec<Outcome>, ApplyError<S::Error>> {
    let known = |rules: u32| if (1..=newest).contains(&rules) { Ok(()) } else { Err(ApplyError::UnknownRules(rules)) };
    known(command.rules)?;
    // Proposers use the rules of their applied state, which is never ahead of this entry. The check keeps the outcome
    // independent of a faulty proposer.
    let premature = command.rules > meta.rules;
    match &command.kind {
        Kind::Appends(appends) if premature => Ok(appends.iter().map(|_| refuse_rules(meta, command.rules)).collect()),
        Kind::Appends(appends) => appends.iter().map(|a| append(meta, state, a)).collect(),
        Kind::Settings(settings) => {
            if !premature && settings.version > meta.settings_version {
                set(meta, settings);
            }
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

fn refuse_rules(meta: &mut PartitionMeta, rules: u32) -> Outcome {
    let why = Rejected::UpgradePending { rules, in_force: meta.rules };
    meta.digest = digest::rejected(&meta.digest, &why);
    Err(why)
}

fn set(meta: &mut PartitionMeta, settings: &Settings) {
    let settings = Settings { repeat_window_us: settings.repeat_window_us.min(REPEAT_WINDOW_MAX_US), ..*settings };
    meta.settings_version = settings.version;
    meta.repeat_window_us = settings.repeat_window_us;
    meta.closed = settings.closed;
    raise_repeat_floor(meta);
    meta.digest = digest::settings(&meta.digest, &settings);
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
        Some(row) => repeat(meta, state, append, first_id, row)?,
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

/// Compares a batch with earlier appends: by the first event id as long as the repeat row counts, then by place.
fn repeat<S: State>(
    meta: &PartitionMeta,
    state: &mut S,
    append: &Append,
    first_id: EventId,
    row: StreamRow,
) -> Result<Repeat, S::Error> {
    // Computed only for a candidate, because most appends repeat nothing.
    let is_same = |count: u32, ids_hash: IdsHash| {
        count as usize == append.events.len() && ids_hash == IdsHash::of(&append.events)
    };
    let found = state.repeat(&RepeatKey { stream_no: row.no, first_id })?;
    if let Some(found) = found.filter(|f| f.bucket >= meta.repeat_floor) {
        return Ok(if is_same(found.count, found.ids_hash) {
            Repeat::Same(answer(found.first_revision, found.first_position, append.events.len(), found.recorded_at_us))
        } else {
            Repeat::Different
        });
    }
    let place = match append.expected {
        ExpectedRevision::Any | ExpectedRevision::StreamExists => None,
        ExpectedRevision::NoStream => Some(Revision::default()),
        // The batch would start after the last event of the stream, so no earlier append can occupy the place.
        ExpectedRevision::Exact(r) if r >= row.last => None,
        ExpectedRevision::Exact(r) => Revision::new(r.get() + 1),
    };
    let Some(first) = place else { return Ok(Repeat::New) };
    // At a place, the age does not matter.
    let found = state.append_at(row.no, first)?;
    let same = found.filter(|f| is_same(f.count, f.ids_hash));
    Ok(same
        .map_or(Repeat::New, |f| Repeat::Same(answer(first, f.first_position, append.events.len(), f.recorded_at_us))))
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
        stream_bytes_before: row.map_or(0, |r| r.bytes),
        events: append.events.clone(),
        removed: None,
    };
    block.event_digest = digest::events(&meta.event_digest, &block);
    meta.event_digest = block.event_digest;
    let row = block.append_row();
    state.put_block(block, row);
    remember(meta, state, RepeatKey { stream_no: no, first_id }, first_revision, row);
    Ok(appended)
}

/// Writes the repeat row of an append, into a new bucket if the open bucket is old enough.
///
/// Every append gets a row, regardless of its expected revision, because a retry may use another expected revision.
fn remember<S: State>(
    meta: &mut PartitionMeta,
    state: &mut S,
    key: RepeatKey,
    first_revision: Revision,
    append: AppendRow,
) {
    let now = append.recorded_at_us;
    if now >= meta.repeat_bucket_start_us.saturating_add(REPEAT_BUCKET_US) {
        meta.repeat_bucket += 1;
        meta.repeat_bucket_start_us = now;
        raise_repeat_floor(meta);
    }
    let row = RepeatRow {
        bucket: meta.repeat_bucket,
        first_revision,
        count: append.count,
        first_position: append.first_position,
        recorded_at_us: now,
        ids_hash: append.ids_hash,
    };
    state.put_repeat(key, row);
}

/// Raises the lowest bucket that counts: a row counts while at most `window / bucket length` buckets, rounded up, were
/// opened after its own bucket. Nothing else ages a row: a clock that jumps by years opens a single bucket.
fn raise_repeat_floor(meta: &mut PartitionMeta) {
    let later_buckets = meta.repeat_window_us.div_ceil(REPEAT_BUCKET_US);
    meta.repeat_floor = meta.repeat_floor.max(meta.repeat_bucket.saturating_sub(later_buckets));
}

#[cfg(test)]
mod tests;
