//! A subscriber of `$all`: records the received events; when its pod fails, continues at another pod after
//! the last position.

use super::Target;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use taffrail_client::Item;
use taffrail_proto::v1;

/// The record of a subscriber.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Index of the first pod.
    pub pod: usize,
    /// Position, stream, revision and id of each event, in the order of arrival.
    pub events: Vec<(u64, String, u64, String)>,
    /// Number of times the subscriber continued at another pod.
    pub moves: usize,
}

fn request(after: u64) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        selector: Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) }),
        start: Some(v1::start::Kind::AfterPosition(after).into()),
        ..v1::SubscribeRequest::default()
    }
}

/// Runs until the event at position `last` was received. `last` is 0 as long as the position is unknown.
pub(super) async fn run(target: Target, pod: usize, last: Arc<AtomicU64>) -> Observation {
    let mut seen = Observation { pod, ..Observation::default() };
    let mut at = pod;
    loop {
        let after = seen.events.last().map_or(0, |e| e.0);
        let wanted = last.load(Ordering::Relaxed);
        if wanted != 0 && after >= wanted {
            return seen;
        }
        let Some(client) = target.client(at) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(mut subscription) = client.subscribe(request(after)).await else {
            at += 1;
            seen.moves += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        loop {
            let wanted = last.load(Ordering::Relaxed);
            if wanted != 0 && seen.events.last().map_or(0, |e| e.0) >= wanted {
                return seen;
            }
            match tokio::time::timeout(Duration::from_millis(500), subscription.next()).await {
                Err(_) => {}
                Ok(Ok(Some(Item::Event(e)))) => seen.events.push((e.position, e.stream, e.revision, e.id)),
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None) | Err(_)) => {
                    at += 1;
                    seen.moves += 1;
                    break;
                }
            }
        }
    }
}
