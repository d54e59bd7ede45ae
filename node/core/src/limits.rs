//! Fixed upper bounds of appends, and of the window in which repeated appends are recognised.
//!
//! Configured limits may be lower. The gateway checks configured limits before a command is proposed.

/// Largest number of events in an append.
pub const BATCH_EVENTS_MAX: usize = 16_384;
/// Upper bound of the configurable size of an event (data plus metadata), bytes.
///
/// The node's configuration and the schema of the Cluster resource share this bound, so a node can start with every
/// value that the API server accepts.
pub const EVENT_BYTES_MAX: usize = 16 << 20;
/// Default of the configurable size of an event, bytes. A page with the largest event of the default fits into 4 MiB, the
/// receive limit of gRPC libraries without a setting.
pub const EVENT_BYTES_DEFAULT: usize = 1 << 20;
/// Upper bound of the configurable size of an append, bytes.
pub const BATCH_BYTES_MAX: usize = 32 << 20;
/// Largest number of tags of an event.
pub const TAGS_MAX: usize = 16;
/// Longest tag, correlation id, causation id or content type, bytes.
pub const SHORT_TEXT_BYTES_MAX: usize = 128;
/// Default window in which repeats of `any` and `stream_exists` appends are recognised, microseconds (15 minutes).
pub const REPEAT_WINDOW_US: u64 = 15 * 60 * 1_000_000;
/// Longest window in which repeats are recognised, microseconds (24 hours). Bounded because every append keeps a row for
/// the time of the window.
pub(crate) const REPEAT_WINDOW_MAX_US: u64 = 24 * 60 * 60 * 1_000_000;
/// Length of a bucket of repeat rows, microseconds. Repeat rows age by whole buckets.
///
/// The length is part of the rules: another length would need another rules number.
pub(crate) const REPEAT_BUCKET_US: u64 = 225 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients, configurations and rules of stores depend on these numbers.
    #[test]
    fn the_limits_have_the_documented_sizes() {
        assert_eq!((EVENT_BYTES_DEFAULT, EVENT_BYTES_MAX, BATCH_BYTES_MAX), (1_048_576, 16_777_216, 33_554_432));
        let seconds = [REPEAT_BUCKET_US, REPEAT_WINDOW_US, REPEAT_WINDOW_MAX_US].map(|us| us / 1_000_000);
        assert_eq!(seconds, [225, 900, 86_400]);
    }
}
