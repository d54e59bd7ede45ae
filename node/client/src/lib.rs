//! The Rust client of Taffrail, protocol `taffrail.v1`.
//!
//! - `Client`: one connection to one or many nodes behind an address, for one store; cheap to clone.
//! - `Error`: what an answer proves. Above all it never calls an append failed whose outcome is unknown.
//! - `append`: one attempt, or attempts with the same event ids until the outcome is known.
//! - `ReadEvents`, `Subscription`: events one at a time; a subscription can resume by itself after a lost connection.
//!
//! Deliberately absent: caches, a connection pool over several addresses (a Service or DNS does that), and any retry that
//! the caller did not ask for.
#![deny(missing_docs)]

mod append;
mod client;
mod error;
mod event;
mod read;
mod retry;
mod subscription;

pub use append::Expected;
pub use client::{Client, ClusterWatch, ConnectOptions, HOP, MESSAGE_BYTES_MAX, REQUEST_ID, STORE};
pub use error::{DOMAIN, Error, Proposed, Rejection, never_sent};
pub use event::{EventBuilder, new_id};
pub use read::ReadEvents;
pub use retry::RetryPolicy;
pub use subscription::{Item, Subscription};
/// The messages of the protocol.
pub use taffrail_proto::v1;
