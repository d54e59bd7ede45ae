//! One subscriber of `$all`: remembers what it saw; when its pod goes away it goes on elsewhere after the last position.

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

/// What a subscriber saw: position, stream, revision, id.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The pod it began with.
    pub pod: usize,
    /// In the order of arrival.
    pub events: Vec<(u64, String, u64, String)>,
    /// How often it had to go on elsewhere.
    pub moves: usize,
}

fn request(after: u64) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        selector: Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) }),
        start: Some(v1::subscribe_request::Start::AfterPosition(after)),
    }
}

/// Runs until it has seen `last` (0: not known yet).
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
