//! The parts of the store together, on real databases: what survives a crash, what a reader sees, what a catch-up
//! gives.
#![allow(clippy::unwrap_used, reason = "a test")]

mod catch_up;
mod codec;
mod harness;
mod older_source;
mod reader;
mod store_machine;
