//! Kubernetes events on Clusters and EventStores, through a single recorder, so that repeated events become a series. A
//! failed publish is logged and never fails a reconcile.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

const NOTE_LENGTH_MAX: usize = 1000;

/// Publisher of Kubernetes events.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
}

impl Events {
    /// Creates the single publisher of the process.
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "taffrail-operator".to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes a normal event: progress as expected.
    pub(crate) async fn normal(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Normal, about, reason, action, note).await;
    }

    /// Publishes a warning: a person should look at the object.
    pub(crate) async fn warning(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Warning, about, reason, action, note).await;
    }

    async fn publish(&self, type_: EventType, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(note.chars().take(NOTE_LENGTH_MAX).collect()),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(%error, reason, "cannot publish a Kubernetes event");
        }
    }
}
