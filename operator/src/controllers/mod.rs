//! The two controllers. Each is a folder with the same files: `observe` reads, `plan` decides without I/O, `act` carries
//! out, `status` reports. [`reconcile_frame`] holds the part that both share.

pub(crate) mod cluster;
pub(crate) mod event_store;
pub(crate) mod publish;
pub(crate) mod reconcile_frame;
