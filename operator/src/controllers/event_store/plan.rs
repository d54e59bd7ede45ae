//! From what is asked for and what was seen to what is done next. Pure.

use std::collections::BTreeMap;

use taffrail_crds::event_store::DeletionPolicy;
use taffrail_proto::admin::{CloseMode, ClusterView, StoreView};
use taffrail_proto::v1::{Store, StoreState};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Voters.
    pub replicas: u32,
    /// Identity of a retained store to take over.
    pub store_id: Option<String>,
    /// What becomes of the events.
    pub policy: DeletionPolicy,
    /// The object has our finalizer.
    pub has_finalizer: bool,
    /// The Cluster is paused, and its stores with it: observe only.
    pub paused: bool,
}

/// What is known of the Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterObservation {
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
pub struct Observation {
    /// The Cluster.
    pub cluster: ClusterObservation,
    /// Pod names by node id.
    pub nodes: BTreeMap<u64, String>,
    /// The store that this object declared.
    pub store: Option<StoreView>,
}

/// What to do about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
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
pub struct Plan {
    /// The object shall have our finalizer: only where its deletion must act.
    pub needs_finalizer: bool,
    /// What to do about the store.
    pub next: Next,
    /// Nothing of it is done; the status says what would be.
    pub paused: bool,
}

/// Decides for an object that stays.
pub fn plan(wish: &Wish, observation: &Observation) -> Plan {
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
pub enum Cleanup {
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
pub fn cleanup(wish: &Wish, cluster: ClusterObservation, namespace_terminating: bool) -> Cleanup {
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
pub fn store_to_close<'a>(view: &'a ClusterView, uid: &str, mode: CloseMode) -> Option<&'a Store> {
    let ours = view.stores.iter().filter(|view| view.declared_by == uid).filter_map(|view| view.store.as_ref());
    let mut open = ours.filter(|store| match mode {
        CloseMode::Retain => matches!(store.state(), StoreState::Creating | StoreState::Active),
        CloseMode::Delete | CloseMode::Unspecified => true,
    });
    open.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(policy: DeletionPolicy) -> Wish {
        Wish { replicas: 3, store_id: None, policy, has_finalizer: true, paused: false }
    }

    fn observation(cluster: ClusterObservation, store: Option<(StoreState, u32)>) -> Observation {
        Observation {
            cluster,
            nodes: BTreeMap::new(),
            store: store.map(|(state, replicas)| StoreView {
                store: Some(Store { id: "s".to_owned(), state: state.into(), replicas, ..Store::default() }),
                ..StoreView::default()
            }),
        }
    }

    #[test]
    fn a_store_is_declared_until_the_view_shows_it_as_asked_for() {
        let cases = [
            (observation(ClusterObservation::Missing, None), Next::NoCluster),
            (observation(ClusterObservation::Unformed, None), Next::Wait),
            (observation(ClusterObservation::Unreachable, Some((StoreState::Active, 1))), Next::Wait),
            (observation(ClusterObservation::Known, None), Next::Declare),
            (observation(ClusterObservation::Known, Some((StoreState::Active, 1))), Next::Declare),
            (observation(ClusterObservation::Known, Some((StoreState::Retained, 3))), Next::Declare),
            (observation(ClusterObservation::Known, Some((StoreState::Creating, 3))), Next::Nothing),
            (observation(ClusterObservation::Known, Some((StoreState::Active, 3))), Next::Nothing),
        ];
        for (observation, next) in cases {
            assert_eq!(plan(&wish(DeletionPolicy::Retain), &observation).next, next, "{observation:?}");
        }
        let mut adopting = wish(DeletionPolicy::Retain);
        adopting.store_id = Some("other".to_owned());
        let active = observation(ClusterObservation::Known, Some((StoreState::Active, 3)));
        assert_eq!(plan(&adopting, &active).next, Next::Declare);
    }

    #[test]
    fn only_deletion_that_must_act_holds_the_object() {
        let known = observation(ClusterObservation::Known, None);
        assert!(plan(&wish(DeletionPolicy::Delete), &known).needs_finalizer);
        assert!(!plan(&wish(DeletionPolicy::Retain), &known).needs_finalizer);
    }

    #[test]
    fn a_pause_holds_every_deletion_but_that_of_the_namespace() {
        for policy in [DeletionPolicy::Retain, DeletionPolicy::Delete] {
            let paused = Wish { paused: true, ..wish(policy) };
            for cluster in [ClusterObservation::Unformed, ClusterObservation::Unreachable, ClusterObservation::Known] {
                assert_eq!(cleanup(&paused, cluster, false), Cleanup::Held);
                // The namespace ends whatever we do.
                assert_eq!(cleanup(&paused, cluster, true), Cleanup::Release);
            }
            let known = observation(ClusterObservation::Known, None);
            assert_eq!(plan(&paused, &known), Plan { paused: true, ..plan(&wish(policy), &known) });
        }
    }

    #[test]
    fn an_object_goes_only_when_a_view_names_no_store_of_it_any_more() {
        let store = |id: &str, uid: &str, state: StoreState| StoreView {
            store: Some(Store { id: id.to_owned(), state: state.into(), ..Store::default() }),
            declared_by: uid.to_owned(),
            ..StoreView::default()
        };
        let view = |stores| ClusterView { stores, ..ClusterView::default() };
        let id = |view: &ClusterView, mode| store_to_close(view, "u", mode).map(|store| store.id.clone());
        let others = view(vec![store("x", "other", StoreState::Active)]);
        for state in [StoreState::Creating, StoreState::Active, StoreState::Removing, StoreState::Retained] {
            let view = view(vec![store("x", "other", StoreState::Active), store("a", "u", state)]);
            assert_eq!(id(&view, CloseMode::Delete).as_deref(), Some("a"), "{state:?}");
            let lives = matches!(state, StoreState::Creating | StoreState::Active);
            assert_eq!(id(&view, CloseMode::Retain).is_some(), lives, "{state:?}");
        }
        assert_eq!(id(&others, CloseMode::Delete), None);
    }

    #[test]
    fn cleanup_never_hangs_on_what_is_gone_and_never_deletes_under_retain() {
        let delete = wish(DeletionPolicy::Delete);
        assert_eq!(cleanup(&delete, ClusterObservation::Missing, false), Cleanup::Release);
        assert_eq!(cleanup(&delete, ClusterObservation::Unformed, false), Cleanup::Release);
        assert_eq!(cleanup(&delete, ClusterObservation::Known, true), Cleanup::Release);
        assert_eq!(cleanup(&delete, ClusterObservation::Unreachable, false), Cleanup::Wait);
        assert_eq!(cleanup(&delete, ClusterObservation::Known, false), Cleanup::Ask(CloseMode::Delete));
        assert_eq!(
            cleanup(&wish(DeletionPolicy::Retain), ClusterObservation::Known, false),
            Cleanup::Ask(CloseMode::Retain)
        );
    }
}
