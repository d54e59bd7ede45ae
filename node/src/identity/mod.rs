//! Identity of a node on disk: cluster id, disk id and node id.
//!
//! The identity is a marker file in the data directory, written aside, synced and renamed, with a checksum and a format
//! version. These directories are refused:
//!
//! - a directory with files of another program;
//! - a directory with an unknown format;
//! - a damaged directory;
//! - a directory in use by another process.
//!
//! Ids and nonces:
//!
//! - The disk id is minted at the first start and never changes, except by a retirement.
//! - The node id is allocated by the cluster.
//! - Each start adds a nonce with the place of the log, synced before any peer is contacted. Peers remember the last nonce
//!   and the highest place of each disk ([`PeerStarts`]), and refuse a disk that went back to an earlier state.
//!
//! Files: `data_dir`: [`DataDir`], the identity of a node. `volume`: [`Volume`], the medium of the directory. `marker`:
//! content and encoding of the marker file. `peer_starts`: [`PeerStarts`], the last known starts of other disks.
//! `retirement`: moves the data of a node aside. `error`: [`Error`].

mod data_dir;
mod error;
mod marker;
pub(crate) mod peer_starts;
mod retirement;
#[cfg(test)]
mod tests;
mod volume;

pub use data_dir::DataDir;
pub use error::Error;
pub use marker::Bootstrap;
pub use peer_starts::{PeerStarts, RecordFile};
pub use volume::Volume;
