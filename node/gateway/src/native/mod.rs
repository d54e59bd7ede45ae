//! The services of `taffrail.v1`: a module for each service, and for each call of `Streams`.

mod append;
pub(crate) mod cluster;
mod list;
mod read;
pub(crate) mod stores;
pub(crate) mod streams;
pub(crate) mod subscriptions;
