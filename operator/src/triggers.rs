//! Channels into the work queues of both controllers, for causes that no watch reports: a view of the nodes, or a name that
//! became free.

use kube::runtime::reflector::ObjectRef;
use taffrail_crds::{Cluster, EventStore};
use tokio::sync::mpsc;

use crate::watch::Guarded;

/// Senders of objects to reconcile. Both channels are bounded; a sender waits while its queue is full.
#[derive(Clone)]
pub struct Triggers {
    /// To the controller of Clusters.
    pub clusters: mpsc::Sender<ObjectRef<Guarded<Cluster>>>,
    /// To the controller of EventStores.
    pub stores: mpsc::Sender<ObjectRef<Guarded<EventStore>>>,
}
