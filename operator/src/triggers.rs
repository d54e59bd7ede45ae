//! Channels into the work queues of both controllers, for causes outside the watches: a changed cluster view, or a name
//! conflict that ended.

use crate::watch::Guarded;
use kube::runtime::reflector::ObjectRef;
use taffrail_crds::{Cluster, EventStore};
use tokio::sync::mpsc;

/// Senders of objects to reconcile. Both channels are bounded; a send waits while the queue is full.
#[derive(Clone)]
pub(crate) struct Triggers {
    /// Queue of the controller of Clusters.
    pub(crate) clusters: mpsc::Sender<ObjectRef<Guarded<Cluster>>>,
    /// Queue of the controller of EventStores.
    pub(crate) stores: mpsc::Sender<ObjectRef<Guarded<EventStore>>>,
}
