//! Client of the Taffrail event store, protocol `taffrail.v1`.
//!
//! - [`Client`] holds a connection and the name of a store. Clones share the connection.
//! - [`Client::append`] makes a single attempt. [`Client::append_retrying`] repeats the attempt with the same event ids
//!   until the outcome is known.
//! - [`Client::read`] returns stored events and ends. [`Client::subscribe`] and [`Client::subscribe_resuming`] also
//!   return events appended later.
//! - [`Error`] classifies failures by the proof about the outcome. An append whose outcome is unknown is never
//!   reported as failed.
//!
//! The client has no cache, no retry without a request of the caller, and no pool of connections to several addresses:
//! a Kubernetes Service or DNS balances connections.
//!
//! # Example
//!
//! ```no_run
//! use serde_json::json;
//! use taffrail_client::{Client, EventBuilder, Expected, RetryPolicy};
//!
//! # async fn example() -> Result<(), taffrail_client::Error> {
//! let client = Client::connect("http://127.0.0.1:2113").await?.with_store("default")?;
//! let placed = EventBuilder::new("OrderPlaced").json(&json!({ "total": 12 })).build();
//! client.append_retrying("order-1", Expected::NoStream, vec![placed], RetryPolicy::default()).await?;
//! for event in client.read_stream("order-1", 0).await? {
//!     println!("{} {}", event.revision, event.r#type);
//! }
//! # Ok(())
//! # }
//! ```
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
pub use error::{Actual, DOMAIN, Error, Leader, Proposed, Rejection, never_sent};
pub use event::{EventBuilder, new_id};
pub use read::ReadEvents;
pub use retry::RetryPolicy;
pub use subscription::{Item, Subscription};
/// The messages of the protocol `taffrail.v1`.
pub use taffrail_proto::v1;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
