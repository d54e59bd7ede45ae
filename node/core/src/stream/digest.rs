//! Running digests of a partition.
//!
//! This file alone defines the hashed bytes. The bytes are part of the disk format, because replicas of different
//! versions compare digests.

use super::block::Block;
use super::command::Settings;
use crate::{
    append::{Appended, ExpectedRevision, Rejected, Tail},
    event::NewEvent,
    ids::Digest,
};

/// Hash of the event ids of a batch, in order: the first 16 bytes of the BLAKE3 hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdsHash(pub [u8; 16]);

impl IdsHash {
    /// Hashes the ids of `events`.
    #[must_use]
    pub fn of(events: &[NewEvent]) -> Self {
        let mut h = blake3::Hasher::new();
        for event in events {
            h.update(&event.id.to_bytes());
        }
        let mut first = [0; 16];
        h.finalize_xof().fill(&mut first);
        Self(first)
    }
}

/// Computes the event digest after `block` was stored: the hash of the event digest before and of the append's digest.
/// `block.event_digest` is not read.
#[must_use]
pub(super) fn events(before: &Digest, block: &Block) -> Digest {
    let mut h = blake3::Hasher::new();
    h.update(&before.0);
    h.update(&append(block).0);
    Digest(*h.finalize().as_bytes())
}

/// Computes the digest of a single accepted append, independent of the appends before. The event digest is a hash of
/// these digests, so that a replica can prove a history from which the events of an append were removed. A block without
/// the first events of its append keeps the digest of the whole append.
pub(super) fn append(block: &Block) -> Digest {
    if let Some(removed) = block.removed {
        return removed.append_digest;
    }
    let mut h = blake3::Hasher::new();
    text(&mut h, block.stream.as_str().as_bytes());
    for n in [block.first_revision.get(), block.first_position.get(), block.recorded_at_us] {
        h.update(&n.to_be_bytes());
    }
    for e in &block.events {
        h.update(&e.id.to_bytes());
        text(&mut h, e.event_type.as_str().as_bytes());
        text(&mut h, e.content_type.as_bytes());
        text(&mut h, &e.data);
        text(&mut h, &e.metadata);
        // The highest bit says that the event has a time; the number of tags never reaches this bit.
        let timed = u64::from(e.occurred_at_us.is_some()) << 63;
        h.update(&(e.tags.len() as u64 | timed).to_be_bytes());
        e.tags.iter().for_each(|t| text(&mut h, t.as_bytes()));
        text(&mut h, e.correlation_id.as_bytes());
        text(&mut h, e.causation_id.as_bytes());
        if let Some(us) = e.occurred_at_us {
            h.update(&us.to_be_bytes());
        }
    }
    Digest(*h.finalize().as_bytes())
}

impl Block {
    /// True if the block's event digest is correct for a block that follows a history with the digest `before`.
    #[must_use]
    pub fn follows(&self, before: &Digest) -> bool {
        events(before, self) == self.event_digest
    }
}

/// Computes the digest after an append was accepted or recognised as a repeat.
#[must_use]
pub(super) fn accepted(before: &Digest, appended: &Appended, event_digest: &Digest) -> Digest {
    let mut h = blake3::Hasher::new();
    h.update(&before.0);
    h.update(&[1, u8::from(appended.repeated)]);
    for n in [
        appended.first_revision.get(),
        appended.last_revision.get(),
        appended.first_position.get(),
        appended.last_position.get(),
        appended.recorded_at_us,
    ] {
        h.update(&n.to_be_bytes());
    }
    h.update(&event_digest.0);
    Digest(*h.finalize().as_bytes())
}

/// Computes the digest after an append was rejected.
#[must_use]
pub(super) fn rejected(before: &Digest, why: &Rejected) -> Digest {
    let mut h = blake3::Hasher::new();
    h.update(&before.0);
    match why {
        Rejected::WrongRevision { stream, expected, actual } => {
            h.update(&[2]);
            text(&mut h, stream.as_str().as_bytes());
            expectation(&mut h, *expected);
            match actual {
                Tail::Empty => text(&mut h, b"empty"),
                Tail::At(r) => text(&mut h, r.get().to_string().as_bytes()),
            }
        }
        Rejected::StreamFull { stream } => {
            h.update(&[3]);
            text(&mut h, stream.as_str().as_bytes());
        }
        Rejected::IdReused { stream, id } => {
            h.update(&[4]);
            text(&mut h, stream.as_str().as_bytes());
            h.update(&id.to_bytes());
        }
        Rejected::Closed => {
            h.update(&[5]);
        }
        Rejected::UpgradePending { rules, in_force } => {
            h.update(&[8]);
            h.update(&rules.to_be_bytes());
            h.update(&in_force.to_be_bytes());
        }
    }
    Digest(*h.finalize().as_bytes())
}

/// Computes the digest after a change of the settings.
#[must_use]
pub(super) fn settings(before: &Digest, settings: &Settings) -> Digest {
    let mut h = blake3::Hasher::new();
    h.update(&before.0);
    h.update(&[6, u8::from(settings.closed)]);
    h.update(&settings.version.to_be_bytes());
    h.update(&settings.repeat_window_us.to_be_bytes());
    Digest(*h.finalize().as_bytes())
}

/// Computes the digest after a change of the rules in force.
#[must_use]
pub(super) fn rules(before: &Digest, rules: u32) -> Digest {
    let mut h = blake3::Hasher::new();
    h.update(&before.0);
    h.update(&[7]);
    h.update(&rules.to_be_bytes());
    Digest(*h.finalize().as_bytes())
}

fn text(h: &mut blake3::Hasher, s: &[u8]) {
    h.update(&(s.len() as u64).to_be_bytes());
    h.update(s);
}

/// Hashes an expected revision. Independent of the `Display` implementation, because messages may be reworded and the
/// hashed bytes must never change.
fn expectation(h: &mut blake3::Hasher, expected: ExpectedRevision) {
    match expected {
        ExpectedRevision::Any => text(h, b"any"),
        ExpectedRevision::NoStream => text(h, b"no_stream"),
        ExpectedRevision::StreamExists => text(h, b"stream_exists"),
        ExpectedRevision::Exact(r) => text(h, r.get().to_string().as_bytes()),
    }
}
