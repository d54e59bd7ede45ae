//! From what is asked for and what was seen to what is done next. Pure.

use std::collections::BTreeMap;
use taffrail_crds::event_store::DeletionPolicy;
use taffrail_proto::{
    admin::{CloseMode, ClusterView, StoreView},
    v1::{Store, StoreState},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Voters.
    pub(crate) replicas: u32,
    /// Identity of a retained store to take over.
    pub(crate) store_id: Option<String>,
    /// What becomes of the events.
    pub(crate) policy: DeletionPolicy,
    /// The object has our finalizer.
    pub(crate) has_finalizer: bool,
    /// The Cluster is paused, and its stores with it: observe only.
    pub(crate) paused: bool,
}

/// What is known of the Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterObservation {
    /// It does not exist.
    Missing,
    /// It has not been formed yet.
    Unformed,
    /// None of its members answers now.
    Unreachable,
    /// Its view is current.
    Known,
}

/// What a pass saw.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// The Cluster.
    pub(crate) cluster: ClusterObservation,
    /// Pod names by node id.
    pub(crate) nodes: BTreeMap<u64, String>,
    /// The store that this object declared.
    pub(crate) store: Option<StoreView>,
}

/// What to do about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is no Cluster.
    NoCluster,
    /// The Cluster cannot be asked now.
    Wait,
    /// State that the store exists, and how.
    Declare,
    /// It exists as asked for; the coordinator does the rest.
    Nothing,
}

/// The decision of a pass over an object that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The object shall have our finalizer: only where its deletion must act.
    pub(crate) needs_finalizer: bool,
    /// What to do about the store.
    pub(crate) next: Next,
    /// Nothing of it is done; the status says what would be.
    pub(crate) paused: bool,
}

/// Decides for an object that stays.
pub(crate) fn plan(wish: &Wish, observation: &Observation) -> Plan {
    let next = match observation.cluster {
        ClusterObservation::Missing => Next::NoCluster,
        ClusterObservation::Unformed | ClusterObservation::Unreachable => Next::Wait,
        ClusterObservation::Known => {
            let store = observation.store.as_ref().and_then(|view| view.store.as_ref());
            let as_asked = store.is_some_and(|store| {
                matches!(store.state(), StoreState::Creating | StoreState::Active)
                    && store.replicas == wish.replicas
                    && wish.store_id.as_ref().is_none_or(|id| *id == store.id)
            });
            if as_asked { Next::Nothing } else { Next::Declare }
        }
    };
    Plan { needs_finalizer: wish.policy == DeletionPolicy::Delete, next, paused: wish.paused }
}

/// What an object that is being deleted waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    /// The Cluster is paused: the deletion waits, whatever there is to do.
    Held,
    /// Nothing is left to do: let it go.
    Release,
    /// The nodes must be asked first.
    Ask(CloseMode),
    /// The nodes cannot be asked now.
    Wait,
}

/// Decides for an object that is being deleted and that we hold. What is known of the Cluster must have been read live: a
/// release cannot be taken back.
pub(crate) fn cleanup(wish: &Wish, cluster: ClusterObservation, namespace_terminating: bool) -> Cleanup {
    match cluster {
        // Before the pause: a finalizer keeps nothing in a namespace that ends, it only leaves it hanging.
        _ if namespace_terminating => Cleanup::Release,
        _ if wish.paused => Cleanup::Held,
        ClusterObservation::Missing | ClusterObservation::Unformed => Cleanup::Release,
        ClusterObservation::Unreachable => Cleanup::Wait,
        ClusterObservation::Known => Cleanup::Ask(match wish.policy {
            DeletionPolicy::Retain => CloseMode::Retain,
            DeletionPolicy::Delete => CloseMode::Delete,
        }),
    }
}

/// The store that is still to be closed before an object of this UID may go, in a view that was taken just now. Under
/// Delete every store that the object ever declared goes; under Retain those that live are closed.
pub(crate) fn store_to_close<'a>(view: &'a ClusterView, uid: &str, mode: CloseMode) -> Option<&'a Store> {
    let ours = view.stores.iter().filter(|view| view.declared_by == uid).filter_map(|view| view.store.as_ref());
    let mut open = ours.filter(|store| match mode {
        CloseMode::Retain => matches!(store.state(), StoreState::Creating | StoreState::Active),
        CloseMode::Delete | CloseMode::Unspecified => true,
    });
    open.next()
}

#[cfg(test)]
mod tests;
