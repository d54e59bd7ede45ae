//! Planner of an EventStore: a pure function from the desired state and the observation to the next action.

use std::collections::BTreeMap;
use taffrail_crds::event_store::DeletionPolicy;
use taffrail_proto::{
    admin::{CloseMode, ClusterView, StoreView},
    v1::{Store, StoreState},
};

/// Desired state of an EventStore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Number of voters.
    pub(crate) replicas: u32,
    /// Id of a retained store to take over.
    pub(crate) store_id: Option<String>,
    /// Fate of the events after the deletion of the object.
    pub(crate) policy: DeletionPolicy,
    /// The object has the finalizer of the operator.
    pub(crate) has_finalizer: bool,
    /// The Cluster is paused, and so are its stores: observe only.
    pub(crate) paused: bool,
}

/// State of the Cluster, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterObservation {
    /// The Cluster does not exist.
    Missing,
    /// The Cluster is not formed yet.
    Unformed,
    /// No member of the Cluster answers now.
    Unreachable,
    /// The view of the Cluster is current.
    Known,
}

/// Observation of a reconcile.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) cluster: ClusterObservation,
    /// Pod names by node id.
    pub(crate) nodes: BTreeMap<u64, String>,
    /// Store declared by this object.
    pub(crate) store: Option<StoreView>,
}

/// Next action for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Do nothing: the Cluster does not exist.
    NoCluster,
    /// Wait: the Cluster is not formed or does not answer.
    Wait,
    /// Declare the store and its properties to the nodes.
    Declare,
    /// Do nothing: the store exists as desired, and the coordinator does the rest.
    Nothing,
}

/// Decision of a reconcile for an object that is not being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The object needs the finalizer: only if its deletion must act.
    pub(crate) needs_finalizer: bool,
    pub(crate) next: Next,
    /// No action is carried out; the status shows the plan.
    pub(crate) paused: bool,
}

/// Decides for an object that is not being deleted.
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

/// Next action for an object that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    /// The Cluster is paused: the deletion waits, regardless of the remaining work.
    Held,
    /// Nothing is left to do: remove the finalizer.
    Release,
    /// The nodes must close the store first.
    Ask(CloseMode),
    /// The nodes cannot be asked now.
    Wait,
}

/// Decides for an object that is being deleted and has the finalizer. `cluster` must have been read live: a
/// release is irreversible.
pub(crate) fn cleanup(wish: &Wish, cluster: ClusterObservation, namespace_terminating: bool) -> Cleanup {
    match cluster {
        // Checked before the pause: in a terminating namespace a finalizer keeps nothing and only leaves
        // the namespace hanging.
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

/// Returns the next store to close before the object with this UID may go, from a fresh view. Under Delete, every store
/// ever declared by the object is deleted; under Retain, the live stores are closed.
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
