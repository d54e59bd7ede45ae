//! Channels into the work queues of both controllers, for causes that no watch reports: a view of the nodes, or a name that
//! became free.

use crate::watch::Guarded;
use kube::runtime::reflector::ObjectRef;
use taffrail_crds::{Cluster, EventStore};
use tokio::sync::mpsc;

/// Senders of objects to reconcile. Both channels are bounded; a sender waits while its queue is full.
#[derive(Clone)]
pub(crate) struct Triggers {
    /// To the controller of Clusters.
    pub(crate) clusters: mpsc::Sender<ObjectRef<Guarded<Cluster>>>,
    /// To the controller of EventStores.
    pub(crate) stores: mpsc::Sender<ObjectRef<Guarded<EventStore>>>,
}
