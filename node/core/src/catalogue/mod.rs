//! Catalogue of a cluster, the state machine of the system group: nodes, stores, groups, placements, replacements and
//! the disruption grant.
//!
//! [`apply()`] is deterministic: every decision, including placement, depends only on the [`Catalogue`] and the
//! [`Command`] being applied.

mod apply;
mod command;
mod digest;
mod kind_names;
mod model;
mod outcome;
mod sharded_map;
mod stores;

pub use apply::{ApplyError, apply};
pub use command::{CloseMode, Command, Declaration, Kind, NewStore, RULES, Registration, Rules};
pub use model::{
    Catalogue, Grant, Group, GroupPhase, Node, NodeState, Replica, ReplicaState, Store, StoreState, system_voters,
};
pub use outcome::{CatalogueOutcome, Refused, Touched};
pub use sharded_map::{ShardKey, ShardedMap};
pub use stores::Stores;
