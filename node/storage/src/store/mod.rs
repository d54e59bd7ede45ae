//! Stores on disk: events, streams, names and repeat rows of every partition, in a RocksDB database per node
//! without a write-ahead log. The Raft log provides the durability: after a crash the log is replayed onto the
//! state of the last flush.
//!
//! | concept | modules |
//! |---|---|
//! | the database | [`state_db`] ([`StateDb`](state_db::StateDb)), `shared_flush`, [`schema`] (every key), [`codec`] (every value), `data_row` |
//! | apply | [`store_machine`], `applied_state`, [`group_state`], `staged_batch`, `repeat_floors` |
//! | read | [`reader`] |
//! | catch-up | [`catch_up`] (source), `snapshot_install` (receiver), [`chunk_error`] |
//! | a replica as the gateway sees it | [`replica`] |
//! | failures | [`error`]; `planted` (a defect for the simulator) |

mod applied_state;
pub mod catch_up;
pub mod chunk_error;
pub mod codec;
mod data_row;
pub mod error;
pub mod group_state;
mod planted;
pub mod reader;
mod repeat_floors;
pub mod replica;
pub mod schema;
mod shared_flush;
mod snapshot_install;
mod staged_batch;
pub mod state_db;
pub mod store_machine;

#[cfg(test)]
mod tests;
