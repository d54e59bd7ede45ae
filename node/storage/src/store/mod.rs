//! Stores on disk: events, streams, names, repeat rows of every partition, in one RocksDB per node without a write-ahead
//! log. The Raft log is what makes it durable: after a crash it is rebuilt from the last flush.
//!
//! - `schema`: every key. `codec`: every value. `db`: the database and its durability rules.
//! - `machine`: the state machine of a store group. `rows`: its partition as apply sees it. `group_state`: what it has
//!   applied. `reader`: reads of applied state. `error`: why any of them stops.
//! - `catch_up`: state for a replica that is too far behind the log, in chunks. `install`: taking it over.
//! - `replica`: a replica with its state machine, as the gateway sees it.

pub mod catch_up;
pub mod codec;
pub mod error;
pub mod group_state;
pub mod reader;
pub mod replica;
pub mod schema;
pub mod snapshot_install;
pub mod staged_batch;
pub mod state_db;
pub mod store_machine;

#[cfg(test)]
mod tests;
