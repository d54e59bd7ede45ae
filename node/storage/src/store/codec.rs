//! Encodes and decodes every value of the state database and the commands of a store's log. Decoding never panics: the
//! error names the value and the reason.

use super::data_row::DataRow;
use bytes::Bytes;
use prost::Message;
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::NewEvent,
    ids::{Digest, EventId, Position, Revision, StreamNo},
    names::{EventType, StreamName},
    stream::{
        AppendRow, Block, Command, Gap, IdsHash, Kind, PartitionMeta, RemovedStart, RepeatRow, Settings, Stamped,
        StreamRow,
    },
};
use taffrail_proto::storage as pb;
use taffrail_runtime::planted_defect::is_planted;

/// Format number of group and partition rows.
pub const FORMAT: u32 = 2;
/// First byte of an encoded block.
const BLOCK_FORMAT: u8 = 1;
/// First byte of an encoded gap.
const GAP_FORMAT: u8 = 2;
/// Length of format byte and checksum.
const BLOCK_HEAD: usize = 5;
const BLOCK: &str = "block";
const GAP: &str = "gap";

/// Failure to decode a value or a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are damaged, or were never written by any version.
    #[error("{what}: {why}")]
    Malformed {
        /// Kind of the value, such as `block`.
        what: &'static str,
        /// Field or rule of the failure, and the reason.
        why: String,
    },
    /// The bytes come from a later version. Such bytes are never skipped.
    #[error("{what}: {part} is not known to this version")]
    Unknown {
        /// Kind of the value, such as `block`.
        what: &'static str,
        /// Unknown part of the value, such as a format number.
        part: String,
    },
}

fn error(what: &'static str, why: impl ToString) -> Error {
    Error::Malformed { what, why: why.to_string() }
}

fn unknown(what: &'static str, part: impl ToString) -> Error {
    Error::Unknown { what, part: part.to_string() }
}

fn format_is_known(what: &'static str, format: u32) -> Result<(), Error> {
    if format == FORMAT { Ok(()) } else { Err(unknown(what, format!("format {format}"))) }
}

fn digest(what: &'static str, bytes: &[u8]) -> Result<Digest, Error> {
    bytes.try_into().map(Digest).map_err(|_| error(what, format!("digest: has {} bytes, not 32", bytes.len())))
}

fn ids_hash(what: &'static str, bytes: &[u8]) -> Result<IdsHash, Error> {
    bytes.try_into().map(IdsHash).map_err(|_| error(what, format!("ids hash: has {} bytes, not 16", bytes.len())))
}

fn revision(what: &'static str, n: u64) -> Result<Revision, Error> {
    Revision::new(n).ok_or_else(|| error(what, format!("revision {n} is out of range")))
}

fn position(what: &'static str, n: u64) -> Result<Position, Error> {
    Position::new(n).ok_or_else(|| error(what, format!("position {n} is out of range")))
}

fn event_to(e: &NewEvent) -> pb::StoredEvent {
    pb::StoredEvent {
        id: Bytes::copy_from_slice(&e.id.to_bytes()),
        r#type: e.event_type.as_str().to_owned(),
        content_type: e.content_type.clone(),
        data: e.data.clone(),
        metadata: e.metadata.clone(),
        tags: e.tags.clone(),
        correlation_id: e.correlation_id.clone(),
        causation_id: e.causation_id.clone(),
        occurred_at_us: e.occurred_at_us,
    }
}

fn event_from(what: &'static str, e: pb::StoredEvent) -> Result<NewEvent, Error> {
    Ok(NewEvent {
        id: EventId::from_slice(&e.id)
            .ok_or_else(|| error(what, format!("event id: has {} bytes, not 16", e.id.len())))?,
        event_type: EventType::new(&e.r#type).map_err(|why| error(what, why))?,
        content_type: e.content_type,
        data: e.data,
        metadata: e.metadata,
        tags: e.tags,
        correlation_id: e.correlation_id,
        causation_id: e.causation_id,
        occurred_at_us: e.occurred_at_us,
    })
}

fn events_from(what: &'static str, events: Vec<pb::StoredEvent>) -> Result<Vec<NewEvent>, Error> {
    if events.is_empty() {
        return Err(error(what, "events: the list is empty"));
    }
    events.into_iter().map(|e| event_from(what, e)).collect()
}

/// Encodes a command for the log.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    use pb::{expected::Kind as E, store_command::Kind as K};
    let kind = match &command.kind {
        Kind::Appends(appends) => K::Appends(pb::Appends {
            appends: appends
                .iter()
                .map(|s| pb::StampedAppend {
                    stream: s.append.stream.as_str().to_owned(),
                    expected: Some(pb::Expected {
                        kind: Some(match s.append.expected {
                            ExpectedRevision::Any => E::Any(pb::Blank {}),
                            ExpectedRevision::NoStream => E::NoStream(pb::Blank {}),
                            ExpectedRevision::StreamExists => E::StreamExists(pb::Blank {}),
                            ExpectedRevision::Exact(r) => E::Exact(r.get()),
                        }),
                    }),
                    events: s.append.events.iter().map(event_to).collect(),
                    stamp_us: s.stamp_us,
                })
                .collect(),
        }),
        Kind::Settings(Settings { version, repeat_window_us, closed }) => {
            K::Settings(pb::Settings { version: *version, repeat_window_us: *repeat_window_us, closed: *closed })
        }
        Kind::RaiseRules(rules) => K::RaiseRules(*rules),
    };
    pb::StoreCommand { rules: command.rules, kind: Some(kind) }.encode_to_vec().into()
}

/// Decodes a command from the log. An unknown kind is an error, and is never skipped.
///
/// # Errors
/// The error names the faulty part.
pub fn decode_command(bytes: Bytes) -> Result<Command, Error> {
    use pb::{expected::Kind as E, store_command::Kind as K};
    const WHAT: &str = "store command";
    let command = pb::StoreCommand::decode(bytes).map_err(|e| error(WHAT, e))?;
    let kind = match command.kind.ok_or_else(|| unknown(WHAT, "its kind"))? {
        K::Settings(s) => {
            Kind::Settings(Settings { version: s.version, repeat_window_us: s.repeat_window_us, closed: s.closed })
        }
        K::RaiseRules(rules) => Kind::RaiseRules(rules),
        K::Appends(appends) => {
            let mut out = Vec::with_capacity(appends.appends.len());
            for s in appends.appends {
                let expected = s.expected.and_then(|e| e.kind).ok_or_else(|| unknown(WHAT, "an expectation"))?;
                let expected = match expected {
                    E::Any(_) => ExpectedRevision::Any,
                    E::NoStream(_) => ExpectedRevision::NoStream,
                    E::StreamExists(_) => ExpectedRevision::StreamExists,
                    E::Exact(r) => ExpectedRevision::Exact(revision(WHAT, r)?),
                };
                let stream = StreamName::new(&s.stream).map_err(|e| error(WHAT, e))?;
                let events = events_from(WHAT, s.events)?;
                out.push(Stamped { append: Append { stream, expected, events }, stamp_us: s.stamp_us });
            }
            Kind::Appends(out)
        }
    };
    Ok(Command { rules: command.rules, kind })
}

/// Encodes a block: format byte, CRC-32C of the rest (big-endian), message.
#[must_use]
pub fn encode_block(block: &Block) -> Vec<u8> {
    let message = pb::StoredBlock {
        event_digest: Bytes::copy_from_slice(&block.event_digest.0),
        stream_no: block.stream_no.get(),
        stream: block.stream.as_str().to_owned(),
        first_revision: block.first_revision.get(),
        first_position: block.first_position.get(),
        recorded_at_us: block.recorded_at_us,
        events: block.events.iter().map(event_to).collect(),
        stream_bytes_before: block.stream_bytes_before,
        removed_start: block.removed.map(|removed| pb::RemovedStart {
            event_count: removed.count,
            bytes: removed.bytes,
            append_digest: Bytes::copy_from_slice(&removed.append_digest.0),
            ids_hash: Bytes::copy_from_slice(&removed.ids_hash.0),
        }),
    };
    with_head(BLOCK_FORMAT, &message)
}

/// Encodes a gap in the same way as a block.
#[must_use]
pub(crate) fn encode_gap(gap: &Gap) -> Vec<u8> {
    let message = pb::StoredGap {
        first_position: gap.first_position.get(),
        next_position: gap.next_position,
        event_digest: Bytes::copy_from_slice(&gap.event_digest.0),
        event_count: gap.events,
    };
    with_head(GAP_FORMAT, &message)
}

fn with_head(format: u8, message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_HEAD + message.encoded_len());
    out.extend_from_slice(&[format, 0, 0, 0, 0]);
    // Encoding into a vector cannot fail, because the vector grows as needed.
    message.encode_raw(&mut out);
    let crc = crc32c::crc32c(&out[BLOCK_HEAD..]);
    out[1..5].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Checks format and checksum of a row of `data`. A wrong checksum is an error, never an absent row.
///
/// # Errors
/// The error names the faulty part.
pub(crate) fn check_data_row(row: &[u8]) -> Result<(), Error> {
    data_row_format(row).map(drop)
}

/// Returns the format byte of a row of `data` whose checksum is right.
fn data_row_format(row: &[u8]) -> Result<u8, Error> {
    let Some((head, message)) = row.split_at_checked(BLOCK_HEAD) else { return Err(error(BLOCK, "too short")) };
    let what = match head[0] {
        BLOCK_FORMAT => BLOCK,
        GAP_FORMAT => GAP,
        other => return Err(unknown(BLOCK, format!("format {other}"))),
    };
    let (stored, is) = (u32::from_be_bytes([head[1], head[2], head[3], head[4]]), crc32c::crc32c(message));
    if stored == is || is_planted("skipped-checksum") {
        Ok(head[0])
    } else {
        Err(error(what, format!("checksum: {stored:08x} is stored, {is:08x} is computed")))
    }
}

/// Decodes a row of `data`, and verifies the checksum.
///
/// # Errors
/// The error names the faulty part.
pub(crate) fn decode_data_row(row: Bytes) -> Result<DataRow, Error> {
    match data_row_format(&row)? {
        GAP_FORMAT => decode_gap(row.slice(BLOCK_HEAD..)).map(DataRow::Gap),
        _ => decode_block_message(row.slice(BLOCK_HEAD..)).map(DataRow::Block),
    }
}

fn decode_gap(message: Bytes) -> Result<Gap, Error> {
    let gap = pb::StoredGap::decode(message).map_err(|e| error(GAP, e))?;
    let (first, next, events) = (gap.first_position, gap.next_position, gap.event_count);
    if next <= first || next > Position::MAX.get() + 1 || events == 0 || events > next - first {
        return Err(error(GAP, format!("{events} events from position {first} to before {next}")));
    }
    Ok(Gap {
        first_position: position(GAP, first)?,
        next_position: next,
        event_digest: digest(GAP, &gap.event_digest)?,
        events,
    })
}

/// Decodes a block from its row, and verifies the checksum.
///
/// # Errors
/// The error names the faulty part.
pub(crate) fn decode_block(row: Bytes) -> Result<Block, Error> {
    match decode_data_row(row)? {
        DataRow::Block(block) => Ok(block),
        DataRow::Gap(_) => Err(error(BLOCK, "the block was removed")),
    }
}

fn decode_block_message(message: Bytes) -> Result<Block, Error> {
    const WHAT: &str = BLOCK;
    let b = pb::StoredBlock::decode(message).map_err(|e| error(WHAT, e))?;
    let removed = b.removed_start.map(removed_start).transpose()?;
    let count = removed.map_or(0, |removed| u64::from(removed.count)) + b.events.len() as u64;
    let more = count.saturating_sub(1);
    revision(WHAT, b.first_revision.saturating_add(more))?;
    position(WHAT, b.first_position.saturating_add(more))?;
    Ok(Block {
        event_digest: digest(WHAT, &b.event_digest)?,
        stream_no: StreamNo::new(b.stream_no),
        stream: StreamName::new(&b.stream).map_err(|e| error(WHAT, e))?,
        first_revision: revision(WHAT, b.first_revision)?,
        first_position: position(WHAT, b.first_position)?,
        recorded_at_us: b.recorded_at_us,
        stream_bytes_before: b.stream_bytes_before,
        events: events_from(WHAT, b.events)?,
        removed,
    })
}

fn removed_start(removed: pb::RemovedStart) -> Result<RemovedStart, Error> {
    if removed.event_count == 0 {
        return Err(error(BLOCK, "removed_start: event_count: must be at least 1"));
    }
    Ok(RemovedStart {
        count: removed.event_count,
        bytes: removed.bytes,
        append_digest: digest(BLOCK, &removed.append_digest)?,
        ids_hash: ids_hash(BLOCK, &removed.ids_hash)?,
    })
}

/// Encodes a row of `stream`.
#[must_use]
pub fn encode_append_row(row: &AppendRow) -> Vec<u8> {
    pb::StreamIndexRow {
        first_position: row.first_position.get(),
        count: row.count,
        recorded_at_us: row.recorded_at_us,
        ids_hash: Bytes::copy_from_slice(&row.ids_hash.0),
        bytes_before: row.bytes_before,
    }
    .encode_to_vec()
}

/// Decodes a row of `stream`.
///
/// # Errors
/// The error names the faulty part.
pub fn decode_append_row(row: &[u8]) -> Result<AppendRow, Error> {
    const WHAT: &str = "stream row";
    let row = pb::StreamIndexRow::decode(row).map_err(|e| error(WHAT, e))?;
    Ok(AppendRow {
        first_position: position(WHAT, row.first_position)?,
        count: row.count,
        recorded_at_us: row.recorded_at_us,
        ids_hash: ids_hash(WHAT, &row.ids_hash)?,
        bytes_before: row.bytes_before,
    })
}

/// Encodes a row of `names`.
#[must_use]
pub fn encode_name(row: StreamRow) -> Vec<u8> {
    pb::NameRow { stream_no: row.no.get(), last_revision: row.last.get(), bytes: row.bytes }.encode_to_vec()
}

/// Decodes a row of `names`.
///
/// # Errors
/// The error names the faulty part.
pub(crate) fn decode_name(row: &[u8]) -> Result<StreamRow, Error> {
    let row = pb::NameRow::decode(row).map_err(|e| error("name row", e))?;
    let last = revision("name row", row.last_revision)?;
    Ok(StreamRow { no: StreamNo::new(row.stream_no), last, bytes: row.bytes })
}

/// Encodes a row of `dedup`.
#[must_use]
pub fn encode_repeat(row: &RepeatRow) -> Vec<u8> {
    pb::StoredRepeat {
        first_revision: row.first_revision.get(),
        count: row.count,
        first_position: row.first_position.get(),
        recorded_at_us: row.recorded_at_us,
        ids_hash: Bytes::copy_from_slice(&row.ids_hash.0),
        bucket: row.bucket,
    }
    .encode_to_vec()
}

/// Decodes a row of `dedup`.
///
/// # Errors
/// The error names the faulty part.
pub(crate) fn decode_repeat(row: &[u8]) -> Result<RepeatRow, Error> {
    const WHAT: &str = "repeat row";
    let row = pb::StoredRepeat::decode(row).map_err(|e| error(WHAT, e))?;
    Ok(RepeatRow {
        bucket: row.bucket,
        first_revision: revision(WHAT, row.first_revision)?,
        count: row.count,
        first_position: position(WHAT, row.first_position)?,
        recorded_at_us: row.recorded_at_us,
        ids_hash: ids_hash(WHAT, &row.ids_hash)?,
    })
}

/// Encodes the counters of a partition.
#[must_use]
pub fn encode_partition(meta: &PartitionMeta) -> Vec<u8> {
    pb::StoredPartition {
        format: FORMAT,
        rules: meta.rules,
        next_position: meta.next_position,
        next_stream_no: meta.next_stream_no,
        last_recorded_at_us: meta.last_recorded_at_us,
        events: meta.events,
        digest: Bytes::copy_from_slice(&meta.digest.0),
        event_digest: Bytes::copy_from_slice(&meta.event_digest.0),
        repeat_window_us: meta.repeat_window_us,
        closed: meta.closed,
        repeat_floor: meta.repeat_floor,
        repeat_bucket: meta.repeat_bucket,
        repeat_bucket_start_us: meta.repeat_bucket_start_us,
        settings_version: meta.settings_version,
    }
    .encode_to_vec()
}

/// Decodes the counters of a partition.
///
/// # Errors
/// The error names the faulty part.
pub fn decode_partition(row: &[u8]) -> Result<PartitionMeta, Error> {
    const WHAT: &str = "partition row";
    let p = pb::StoredPartition::decode(row).map_err(|e| error(WHAT, e))?;
    format_is_known(WHAT, p.format)?;
    // Positions and stream numbers begin at 1; the next position after the last position is valid.
    if p.next_position == 0 || p.next_position > Position::MAX.get() + 1 || p.next_stream_no == 0 {
        return Err(error(WHAT, format!("next position {}, next stream {}", p.next_position, p.next_stream_no)));
    }
    Ok(PartitionMeta {
        rules: p.rules,
        next_position: p.next_position,
        next_stream_no: p.next_stream_no,
        last_recorded_at_us: p.last_recorded_at_us,
        events: p.events,
        digest: digest(WHAT, &p.digest)?,
        event_digest: digest(WHAT, &p.event_digest)?,
        repeat_window_us: p.repeat_window_us,
        closed: p.closed,
        repeat_floor: p.repeat_floor,
        repeat_bucket: p.repeat_bucket,
        repeat_bucket_start_us: p.repeat_bucket_start_us,
        settings_version: p.settings_version,
    })
}

/// Decodes the row of a group.
///
/// # Errors
/// The error names the faulty part.
pub(crate) fn decode_group(row: &[u8]) -> Result<pb::GroupMeta, Error> {
    let meta = pb::GroupMeta::decode(row).map_err(|e| error("group row", e))?;
    format_is_known("group row", meta.format)?;
    Ok(meta)
}
