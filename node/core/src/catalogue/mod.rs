//! The catalogue of a cluster, the state machine of the system group: nodes, stores, groups, placements, replacements
//! and the one disruption grant. [`apply()`] is deterministic: it decides, placement included, from the [`Catalogue`]
//! alone.

mod apply;
mod command;
mod digest;
mod kind_names;
mod model;
mod outcome;

pub use apply::{ApplyError, apply};
pub use command::{CloseMode, Command, Declaration, Kind, RULES, RULES_IN_FORCE, Registration};
pub use model::{
    Catalogue, Grant, Group, GroupPhase, Node, NodeState, Replica, ReplicaState, Store, StoreState, system_voters,
};
pub use outcome::{CatalogueOutcome, Refused, Touched};
