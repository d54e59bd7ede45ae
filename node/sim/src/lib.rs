//! A deterministic simulator: a cluster of whole nodes in a single process and thread, under virtual time.
//!
//! The code under test is the code of the node: lifecycle, member, coordinator, admin service and gateway, consensus, log
//! storage, state machines on RocksDB, codecs, peer service. The environment is simulated: network, disks, time, crashes of
//! processes, clients and operator. The seed decides the whole run.
//!
//! - [`run`]: a single seed, from start to verdict. [`seed_range`]: many seeds. [`options`], [`planted_defect`]: variations.
//! - [`power`]: proves that the checks find each planted defect.
//! - [`world`]: randomness, time, trace and verdict of a run. [`trace`](mod@trace), [`panic_capture`]: parts of the world.
//! - [`network`], [`transport`]: frames between nodes. [`disk`], [`disk_faults`], [`log_damage`]: the log disk.
//! - [`machine`], [`diverged`]: the state machine, observed.
//! - [`invariants`]: conditions at every moment.
//! - [`cluster`]: hosts, clients and operator of a run, the faults, and the conditions at the end.
//!
//! Not simulated: files and fsync, TCP and TLS, threads, RocksDB's background work. These parts are covered by tests
//! with real processes.

#[cfg(not(tokio_unstable))]
compile_error!("build with --cfg tokio_unstable: without it tokio's own random source cannot be seeded");

pub mod cluster;
pub mod disk;
pub mod disk_faults;
pub mod diverged;
pub mod invariants;
pub mod lock;
pub mod log_damage;
pub mod machine;
pub mod network;
pub mod options;
pub mod panic_capture;
pub mod planted_defect;
pub mod power;
pub mod run;
pub mod seed_range;
pub mod trace;
pub mod transport;
pub mod world;
