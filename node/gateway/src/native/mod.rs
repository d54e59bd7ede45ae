//! The services of `taffrail.v1`: one file per service, and one per call of `Streams`.

mod append;
pub(crate) mod cluster;
mod list;
mod read;
pub(crate) mod stores;
pub(crate) mod streams;
pub(crate) mod subscriptions;
