//! The state database of a node and the state machines on top of the database.
//!
//! Owns every key and value of the database ([`store::schema`], [`store::codec`], [`catalogue::codec`]), and the rule
//! of one write for data and applied log id. Never decides an outcome (`taffrail_core` has the rules), never orders
//! commands (`taffrail_raft` does), and knows neither the gateway nor Kubernetes.
//!
//! - [`store`]: stores of events. [`StoreMachine`](store::store_machine::StoreMachine) applies,
//!   [`Reader`](store::reader::Reader) reads, [`Replica`](store::replica::Replica) serves the gateway.
//! - [`catalogue`]: the list of nodes, stores and groups.
//!   [`CatalogueMachine`](catalogue::catalogue_machine::CatalogueMachine) applies its commands.
//! - [`StateDb`](store::state_db::StateDb): the database under stores and catalogue.

pub mod catalogue;
#[cfg(test)]
mod golden;
pub mod store;
