//! A deterministic simulator: the replicas of one store group in one process, on one thread, under virtual time.
//!
//! The code under test is that of the node: consensus, log storage, state machine on RocksDB, codecs, peer service. The
//! environment is simulated: network, log disk, time, and crashes of processes. One seed decides everything.
//!
//! - [`run`]: one seed, from start to verdict. [`seed_range`]: many seeds. [`options`], [`planted_defect`]: variations.
//! - [`world`]: randomness, time, trace and verdict of one run. [`trace`](mod@trace), [`panic_capture`]: its parts.
//! - [`network`], [`transport`]: frames between nodes. [`disk`]: the log disk. [`machine`]: the state machine, observed.
//! - [`host`]: a node that crashes and restarts. [`peer_handler`]: its answers to peers.
//! - [`clients`]: appends and reads. [`faults`]: crashes, cuts, slow disks. [`membership`]: moves of replicas between nodes.
//! - [`invariants`]: conditions at every moment. [`checks`]: conditions at the end.
//!
//! Not simulated: files and fsync, TCP and TLS, threads, RocksDB's background work. Tests with real processes cover those.

#[cfg(not(tokio_unstable))]
compile_error!("build with --cfg tokio_unstable: without it tokio's own random source cannot be seeded");

pub mod checks;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod host;
pub mod invariants;
pub mod lock;
pub mod machine;
pub mod membership;
pub mod network;
pub mod options;
pub mod panic_capture;
pub mod peer_handler;
pub mod planted_defect;
pub mod run;
pub mod seed_range;
pub mod trace;
pub mod transport;
pub mod world;
