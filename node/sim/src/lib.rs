//! A deterministic simulator: replicas of one store group in one process, on one thread, under a clock that jumps. The
//! code under test is the node's own: consensus, log store, state machine on RocksDB, codecs, peer service. What is
//! simulated is what surrounds it: the network, the log disk, time, and the ends of processes. One seed decides everything.
//!
//! - `run`: one seed from start to verdict; `range`: many of them; `options`, `plant`: what can be varied.
//! - `world`: randomness, time, trace and verdict of one run; `trace`, `panics`.
//! - `network`: frames between nodes; `disk`: the log disk; `machine`: the state machine, watched.
//! - `host`: a node that crashes and comes back; `service`: what it answers to peers.
//! - `clients`: appends and reads; `faults`: what goes wrong; `membership`: replicas that move between nodes.
//! - `facts`: what must hold at every moment; `checks`: what must hold at the end.
//!
//! Not simulated: files and fsync, TCP and TLS, threads, RocksDB's background work. Tests with real processes cover those.

#[cfg(not(tokio_unstable))]
compile_error!("build with --cfg tokio_unstable: without it tokio's own random source cannot be seeded");

pub mod checks;
pub mod clients;
pub mod disk;
pub mod facts;
pub mod faults;
pub mod host;
pub mod machine;
pub mod membership;
pub mod network;
pub mod options;
pub mod panics;
pub mod plant;
pub mod range;
pub mod run;
pub mod service;
pub mod trace;
pub mod world;
