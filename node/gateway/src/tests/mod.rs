//! Tests of the whole gateway: servers over nodes in memory, with real connections between the servers.

mod append;
mod bare_names;
mod calls;
mod deadlines;
mod fake;
mod harness;
mod memory;
mod positions;
mod read;
mod rejections;
mod resume;
mod silence;
mod stores;
mod subscribe;
mod system;
