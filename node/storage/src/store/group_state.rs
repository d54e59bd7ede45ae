//! [`GroupState`]: the row of a group, written in the same batch as the described data.

use super::{codec, error::Error};
use prost::Message;
use taffrail_core::{ids::ReplicaId, plan::Lineage};
use taffrail_proto::storage as pb;
use taffrail_raft::{
    codec as raft_codec,
    types::{LogId, StoredMembership},
};

/// Applied log id, membership and generations of a group.
#[derive(Clone, Debug, Default)]
pub struct GroupState {
    /// Log id of the last applied entry.
    pub applied: Option<LogId>,
    /// Membership as of `applied`.
    pub membership: StoredMembership,
    /// Current generation of the rows outside of the column families `data` and `stream`.
    pub generation: u8,
    /// Generation of the install in progress; 0 without an install.
    pub installing: u8,
    /// Origin of the state; `None` for a replica that applied the whole log itself.
    pub copied_from: Option<Lineage>,
    /// True from the deletion of the state for an install until an install has finished. A failed install leaves
    /// the value true.
    pub must_refill: bool,
}

impl GroupState {
    /// Decodes the row. A group without a row has applied nothing.
    ///
    /// # Errors
    /// When the row does not decode.
    pub fn decode(row: Option<&[u8]>) -> Result<Self, Error> {
        let Some(row) = row else { return Ok(Self { generation: 1, ..Self::default() }) };
        let meta = codec::decode_group(row)?;
        let generation = |n: u32| {
            u8::try_from(n).map_err(|_| Error::Unsupported(format!("group row: generation {n} is out of range")))
        };
        Ok(Self {
            applied: meta.applied.as_ref().map(raft_codec::log_id_from),
            membership: meta
                .membership
                .as_ref()
                .map_or_else(|| Ok(StoredMembership::default()), raft_codec::stored_membership_from)?,
            generation: generation(meta.generation)?.max(1),
            installing: generation(meta.installing)?,
            copied_from: meta.copied_from.map(|c| Lineage { source: ReplicaId::new(c.replica), index: c.index }),
            must_refill: meta.must_refill,
        })
    }

    /// Encodes the row of the group.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        pb::GroupMeta {
            format: codec::FORMAT,
            applied: self.applied.as_ref().map(raft_codec::log_id_to),
            membership: Some(raft_codec::stored_membership_to(&self.membership)),
            generation: self.generation.into(),
            installing: self.installing.into(),
            copied_from: self.copied_from.map(|c| pb::CopiedFrom { replica: c.source.get(), index: c.index }),
            must_refill: self.must_refill,
        }
        .encode_to_vec()
    }

    /// Checks that the rows are a complete state, which may be read, applied to, and sent to other replicas.
    ///
    /// # Errors
    /// An install is in progress or has failed, or the state was deleted for an install that did not finish.
    pub(crate) fn check_complete(&self) -> Result<(), Error> {
        if self.installing != 0 {
            return Err(Error::Installing);
        }
        if self.must_refill { Err(Error::MustRefill) } else { Ok(()) }
    }

    /// Returns the index of the last applied entry, or 0 before the first entry.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied.map_or(0, |a| a.index)
    }

    /// Returns the index of the next entry to apply.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.applied.map_or(0, |a| a.index + 1)
    }

    /// Returns the generation for the next install: never the current generation, never 0.
    #[must_use]
    pub(crate) fn other_generation(&self) -> u8 {
        self.generation.checked_add(1).unwrap_or(1)
    }
}
