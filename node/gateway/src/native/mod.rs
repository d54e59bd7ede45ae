//! The services of `taffrail.v1`, one file each.

pub mod cluster;
pub mod stores;
pub mod streams;
pub mod subscriptions;
