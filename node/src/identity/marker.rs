//! [`Marker`]: content and encoding of the marker file.
//!
//! The file is JSON: the format version, a checksum, and the marker as a nested value.

use super::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;
use taffrail_raft::{
    log::floor::Floor,
    peer::starts::{STARTS_MAX, Start},
};
use uuid::Uuid;

/// Version of the file format, for reading and writing.
pub(super) const FORMAT: u32 = 1;
/// Progress of this node in bootstrapping its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// This node does not bootstrap.
    #[default]
    No,
    /// Requested, and perhaps not finished; repeated at the next start.
    Begun,
    /// Finished; never repeated.
    Done,
}

/// Identity of a disk, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    pub(super) format: u32,
    pub(super) cluster_id: Option<Uuid>,
    pub(super) disk_id: Uuid,
    pub(super) node_id: Option<u64>,
    /// The node whose data is being moved away. Only this field shows whether `state` and `log` belong to another node: a
    /// blank node has both directories before the node id is allocated. Absent outside of a retirement, so that the bytes
    /// of other markers do not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retiring: Option<u64>,
    pub(super) bootstrap: Bootstrap,
    /// The starts, oldest first; at most [`STARTS_MAX`].
    pub(super) starts: Vec<StoredStart>,
}

/// A start of the node, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredStart {
    nonce: u64,
    /// Last synced place of the log at the start.
    segment: u64,
    batch: u64,
}

impl From<Start> for StoredStart {
    fn from(Start { nonce, floor: Floor { segment, batch } }: Start) -> Self {
        Self { nonce, segment, batch }
    }
}

impl From<StoredStart> for Start {
    fn from(StoredStart { nonce, segment, batch }: StoredStart) -> Self {
        Self { nonce, floor: Floor { segment, batch } }
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    crc32c: u32,
    marker: serde_json::Value,
}

impl Marker {
    /// The marker of a new disk.
    pub(super) fn blank(disk_id: Uuid) -> Self {
        Self {
            format: FORMAT,
            cluster_id: None,
            disk_id,
            node_id: None,
            retiring: None,
            bootstrap: Bootstrap::No,
            starts: Vec::new(),
        }
    }

    /// Adds a start and drops the oldest starts beyond [`STARTS_MAX`].
    pub(super) fn add_start(&mut self, start: Start) {
        self.starts.push(start.into());
        let excess = self.starts.len().saturating_sub(STARTS_MAX);
        self.starts.drain(..excess);
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        let crc32c = crc32c::crc32c(serde_json::to_string(&value)?.as_bytes());
        serde_json::to_vec_pretty(&Envelope { format: FORMAT, crc32c, marker: value })
    }

    /// Decodes the content of the file at `path`; errors name the path.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if envelope.format != FORMAT {
            return Err(Error::Format { path: path.to_owned(), found: envelope.format });
        }
        let text = serde_json::to_string(&envelope.marker).map_err(|e| damaged(e.to_string()))?;
        if crc32c::crc32c(text.as_bytes()) != envelope.crc32c {
            return Err(damaged("checksum does not match".into()));
        }
        let marker: Self = serde_json::from_value(envelope.marker).map_err(|e| damaged(e.to_string()))?;
        // One write sets both fields. Without the cluster id, the node could not repeat the bootstrap.
        if marker.bootstrap == Bootstrap::Begun && marker.cluster_id.is_none() {
            return Err(damaged("a bootstrap is begun, but the cluster id is missing".into()));
        }
        Ok(marker)
    }
}
