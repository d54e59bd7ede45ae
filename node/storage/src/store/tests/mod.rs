//! Tests of the store on real databases: crashes, reads and catch-up.
#![allow(clippy::unwrap_used, reason = "a test")]

mod admission;
mod catch_up;
mod codec;
mod gaps;
mod harness;
mod older_source;
mod reader;
mod refill;
mod repeats;
mod replica;
mod stopped_replica;
mod store_machine;
