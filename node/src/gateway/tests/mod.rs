//! The gateway over nodes made up for the test, with real connections between them.

mod append;
mod calls;
mod fake;
mod harness;
mod read;
mod subscribe;
