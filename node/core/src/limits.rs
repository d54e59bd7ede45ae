//! Fixed bounds of appends, and of the repeats that are recognised. Configured limits may be lower; they are checked
//! before a command is proposed.

/// Most events of one append.
pub const BATCH_EVENTS_MAX: usize = 16_384;
/// The most that data plus metadata of one event may be configured to, bytes. The node's configuration and the schema
/// of Cluster both take it from here: what the API server accepts, the nodes must start with.
pub const EVENT_BYTES_MAX: usize = 16 << 20;
/// The most that one append may be configured to, bytes.
pub const BATCH_BYTES_MAX: usize = 32 << 20;
/// Most tags of one event.
pub const TAGS_MAX: usize = 16;
/// Longest tag, correlation id, causation id or content type, bytes.
pub const SHORT_TEXT_BYTES_MAX: usize = 128;
/// How long repeats of `any` and `stream_exists` appends are recognised, microseconds (15 minutes).
pub const REPEAT_WINDOW_US: u64 = 15 * 60 * 1_000_000;
/// The longest that repeats are recognised, microseconds (24 hours): an `any` append looks at every bucket of the
/// window.
pub(crate) const REPEAT_WINDOW_MAX_US: u64 = 24 * 60 * 60 * 1_000_000;
/// Repeat rows are gathered in time buckets of this length, microseconds, so that whole buckets can be dropped. Part of
/// the disk contract: the bucket's number is in the row's key, so the length must not follow from a setting.
pub(crate) const REPEAT_BUCKET_US: u64 = 225 * 1_000_000;
