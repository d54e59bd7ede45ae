//! The two controllers, each a folder with the same files: `observe` reads, `plan` decides without I/O, `act` carries
//! out the plan, `status` reports. [`reconcile_frame`] holds the shared part.

pub(crate) mod cluster;
pub(crate) mod event_store;
pub(crate) mod publish;
pub(crate) mod reconcile_frame;
