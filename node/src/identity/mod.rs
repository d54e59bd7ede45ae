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
//! - Each start adds a nonce, synced before any peer is contacted.
//!
//! Files: `data_dir`: [`DataDir`], the identity of a node. `volume`: [`Volume`], the medium of the directory. `marker`:
//! content and encoding of the marker file. `retirement`: moves the data of a node aside. `error`: [`Error`].

mod data_dir;
mod error;
mod marker;
mod retirement;
#[cfg(test)]
mod tests;
mod volume;

pub use data_dir::DataDir;
pub use error::Error;
pub use marker::Bootstrap;
pub use volume::Volume;
