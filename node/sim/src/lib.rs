//! A deterministic simulator: a cluster of whole nodes in a single process and thread, under virtual time.
//!
//! The code under test is the code of the node: lifecycle, member, coordinator, admin service and gateway, consensus, log
//! storage, state machines on RocksDB, codecs, peer service. The environment is simulated: network, disks, time, crashes of
//! processes, clients and operator. The environment decides about faults, and about the requests of clients and of the
//! operator; no module decides about replicas, memberships, the catalogue or retries of a node. The seed decides the whole run.
//!
//! - [`run`]: a single seed, and the report. [`play`]: the course of a run. [`seed_range`]: many seeds.
//! - [`options`], [`planted_defect`]: variations of a run. [`power`]: proves that the checks find each planted defect.
//! - [`world`]: randomness, time, trace and verdict of a run. [`trace`](mod@trace), [`panic_capture`], [`lock`]: parts of the world.
//! - [`layout`]: the drawn numbers of hosts and stores. [`simulated`]: the shared state of a run. [`ledger`]: answers to clients.
//! - [`host`]: a host that crashes and restarts a node. [`settings`]: the configuration. [`disk`], [`volume`]: the log disk and
//!   the marker. [`machine`]: the state machine, observed.
//! - [`network`], [`transport`], [`links`]: frames and verified connections between nodes. [`port`], [`peers`]: gRPC calls
//!   between nodes and from outside.
//! - [`clients`], [`reading`], [`gateway_client`]: appends and reads. [`operator`], [`person`], [`admin`]: requests of the operator.
//! - [`faults`]: all faults of a run, with [`media_faults`], [`disk_faults`], [`log_damage`], [`divergence`] and [`diverged`].
//! - [`invariants`], [`replica_checks`]: conditions at every moment. [`checks`], [`leftovers`]: conditions at the end.
//!
//! Not simulated: files and fsync, TCP, threads, RocksDB's background work. These parts are covered by tests with real
//! processes.

#[cfg(not(tokio_unstable))]
compile_error!("build with --cfg tokio_unstable: without it tokio's own random source cannot be seeded");

pub mod admin;
pub mod checks;
pub mod clients;
pub mod disk;
pub mod disk_faults;
pub mod diverged;
pub mod divergence;
pub mod faults;
pub mod gateway_client;
pub mod host;
pub mod invariants;
pub mod layout;
pub mod ledger;
pub mod leftovers;
pub mod links;
pub mod lock;
pub mod log_damage;
pub mod machine;
pub mod media_faults;
pub mod network;
pub mod operator;
pub mod options;
pub mod panic_capture;
pub mod peers;
pub mod person;
pub mod planted_defect;
pub mod play;
pub mod port;
pub mod power;
pub mod reading;
pub mod replica_checks;
pub mod run;
pub mod seed_range;
pub mod settings;
pub mod simulated;
pub mod trace;
pub mod transport;
pub mod volume;
pub mod world;
