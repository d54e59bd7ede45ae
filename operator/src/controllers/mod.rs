//! The two controllers. Each is a folder with the same files: `observe` reads, `plan` decides without I/O, `act` carries
//! out, `status` reports. What both do alike is `pass`.

pub mod cluster;
pub mod event_store;
pub mod publish;
pub(crate) mod reconcile_frame;
