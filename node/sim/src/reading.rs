//! Linearizable reads during a run. Every read returns all events acknowledged before the read began, in order, and the
//! same event at a position as every other read.

use super::{
    gateway_client::{gateway, request},
    ledger::Acknowledged,
    simulated::Cluster,
};
use crate::{lock::lock, trace};
use std::sync::Arc;
use taffrail_client::Error;
use taffrail_core::ids::NodeId;
use taffrail_proto::v1::{
    Direction, ReadRequest, RecordedEvent, Selector, Start, Unit, read_response::Kind as Part, selector::Kind,
    start::Kind as Place,
};
use tokio::sync::watch;
use tonic::{Code, Status};

fn selector(stream: Option<&str>) -> Selector {
    Selector { kind: Some(stream.map_or(Kind::All(Unit {}), |s| Kind::Stream(s.to_owned()))) }
}

/// Reads all pages of a request.
async fn pages(cluster: &Cluster, store: &str, at: NodeId, read: ReadRequest) -> Result<Vec<RecordedEvent>, Status> {
    let mut stream = gateway(cluster, at).read(request(cluster, store, read)).await?.into_inner();
    let mut events = Vec::new();
    while let Some(page) = stream.message().await? {
        if let Some(Part::Events(page)) = page.kind {
            events.extend(page.events);
        }
    }
    Ok(events)
}

/// Sorts the failure of a read: a missing stream is an answer, an unreachable replica is none, and anything else
/// fails the run.
fn no_answer(cluster: &Cluster, store: &str, at: NodeId, status: Status) -> bool {
    if status.code() == Code::DataLoss && *lock(&cluster.damaged) > 0 {
        cluster.world.count("reads refused for damage");
        return false;
    }
    match Error::from_status(status) {
        Error::NotFound { reason, .. } if reason == "STREAM_NOT_FOUND" => return true,
        Error::Unavailable { .. } | Error::Deadline { .. } | Error::OutcomeUnknown { .. } => {}
        e @ (Error::InvalidEndpoint { .. }
        | Error::Invalid { .. }
        | Error::Rejected(_)
        | Error::NotFound { .. }
        | Error::Denied { .. }
        | Error::Failed(_)) => cluster.world.fail(format!("n{at} fails a read of {store}: {e}")),
    }
    false
}

/// Reads the last revision of a stream; the inner `None` for an empty stream, the outer `None` without an answer.
pub async fn tail(cluster: &Cluster, store: &str, at: NodeId, stream: &str) -> Option<Option<u64>> {
    let read = ReadRequest {
        selector: Some(selector(Some(stream))),
        direction: Direction::Backward.into(),
        start: Some(Start::from(Place::FromEnd(Unit {}))),
        limit: 1,
        ..ReadRequest::default()
    };
    match pages(cluster, store, at, read).await {
        Ok(events) => Some(events.first().map(|e| e.revision)),
        Err(status) => no_answer(cluster, store, at, status).then_some(None),
    }
}

/// Reads a whole store from random nodes until `stop`, once the store is declared.
pub async fn reader(cluster: Arc<Cluster>, store: String, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return,
        () = cluster.ledger.wait_for(&store) => {}
    }
    while !*stop.borrow() {
        read_all(&cluster, &store).await;
        cluster.world.pause(100, 800).await;
    }
}

async fn read_all(cluster: &Cluster, store: &str) {
    let at = cluster.hosts.layout.any(&cluster.world);
    let before = cluster.ledger.with(store, |s| s.acknowledged.len()).unwrap_or(0);
    let read = ReadRequest {
        selector: Some(selector(None)),
        start: Some(Start::from(Place::FromStart(Unit {}))),
        ..ReadRequest::default()
    };
    let events = match pages(cluster, store, at, read).await {
        Ok(events) => events,
        Err(status) => {
            no_answer(cluster, store, at, status);
            return;
        }
    };
    trace!(cluster.world, "read {store} at n{at}: {} events", events.len());
    cluster.world.count("reads");
    let checked = cluster.ledger.with(store, |record| {
        events.iter().try_for_each(|e| record.saw(e))?;
        holds(&events, record.acknowledged.get(..before).unwrap_or_default())
    });
    if let Some(Err(why)) = checked {
        cluster.world.fail(format!("n{at} reads {store}: {why}"));
    }
}

/// Checks that the events of a whole store follow each other from position 1, and contain every acknowledged event.
///
/// # Errors
/// When a position is missing, or an acknowledged event is elsewhere.
pub fn holds(events: &[RecordedEvent], acknowledged: &[Acknowledged]) -> Result<(), String> {
    if let Some((expected, event)) = (1..).zip(events).find(|(expected, e)| e.position != *expected) {
        return Err(format!("position {} where {expected} must follow", event.position));
    }
    for told in acknowledged {
        let answer = &told.answer;
        let Some((first_position, first_revision)) = answer.first_position.zip(answer.first_revision) else {
            return Err(format!("an acknowledgement without a place: {answer:?}"));
        };
        for (n, id) in (0..).zip(&told.ids) {
            let (position, revision) = (first_position + n, first_revision + n);
            let at = usize::try_from(position - 1).ok().and_then(|index| events.get(index));
            let found = at.is_some_and(|e| e.id == *id && e.stream == told.stream && e.revision == revision);
            if !found {
                return Err(format!("event {id} is acknowledged at position {position}, which holds {at:?}"));
            }
        }
    }
    Ok(())
}
