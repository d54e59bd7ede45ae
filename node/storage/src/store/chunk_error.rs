//! [`ChunkError`]: reasons to refuse a chunk of another replica's state. The receiver then tries another source.

/// Reason why a chunk of another replica's state is refused.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// A chunk arrived while no install was running.
    #[error("a chunk arrived before the install began")]
    NotBegun,
    /// The first chunk must not start after the end of this replica's events.
    #[error("the events of the source start at position {start}, the events of this replica end before {end}")]
    Start {
        /// First position of the source's events.
        start: u64,
        /// This replica's next position.
        end: u64,
    },
    /// The events of this replica before the start differ from the events of the source, or this replica has no digest
    /// there. The next install begins with the first event.
    #[error("the events of the source before position {0} differ from the events of this replica")]
    Boundary(u64),
    /// The chunk has rows of a column family outside of the catch-up protocol.
    #[error("rows of column family {0} are not part of a catch-up")]
    Family(u32),
    /// The events have a gap or overlap.
    #[error("the block starts at position {found} instead of {expected}")]
    Gap {
        /// First position of the block.
        found: u64,
        /// Expected first position.
        expected: u64,
    },
    /// The digest of a block does not follow from the events before it.
    #[error("the digest of the block at position {0} does not match the events up to it")]
    Digest(u64),
    /// The counters in the last chunk do not match the received events.
    #[error("the counters of the source name position {next} as the next one, the received events end before {end}")]
    Counters {
        /// Next position by the counters.
        next: u64,
        /// Next position by the events.
        end: u64,
    },
    /// The source has applied less than this replica.
    #[error("the source has applied up to {source_index}, this replica up to {index}")]
    Older {
        /// Applied index of the source.
        source_index: u64,
        /// Applied index of this replica.
        index: u64,
    },
    /// The stream of chunks ended early.
    #[error("the stream ended before its last chunk")]
    Ended,
}
