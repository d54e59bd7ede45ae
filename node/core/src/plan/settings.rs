//! Settings of stores: brings the settings in force in the log of each store in line with the catalogue.
//!
//! Everything with an effect on the outcome of an append must be a command of the store's own log, so all replicas
//! refuse the same appends. A retained store is closed this way, whatever a node knows of the catalogue.

use super::{
    action::{Action, Plan},
    observation::ClusterObservation,
};
use crate::{
    catalogue::{Catalogue, Group, GroupPhase, StoreState},
    ids::GroupId,
    stream::Settings,
};

/// Closes a retained store, and opens an active store again.
///
/// The version of the command is above the observed version by 1. A command of an earlier coordinator with the same
/// version then changes nothing, and the next pass observes the outcome.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    if group.phase != GroupPhase::Formed {
        return;
    }
    let (Some(store), Some(observed)) = (c.stores.get(&group.store), o.groups.get(&id)) else { return };
    let closed = match store.state {
        StoreState::Active => false,
        StoreState::Retained { .. } => true,
        // The replicas and their log are being removed.
        StoreState::Removing => return,
    };
    if observed.quorum && observed.settings.closed != closed {
        plan.actions.push(Action::Settings {
            group: id,
            leader_node: observed.leader_node,
            leader: observed.leader,
            settings: Settings { version: observed.settings.version + 1, closed, ..observed.settings },
        });
    }
}
