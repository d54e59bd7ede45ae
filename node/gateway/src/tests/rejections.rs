//! Tests of `appends_rejected_total`: every refused append counts once, under the refusing store, and nothing else.

use super::harness::Cluster;
use taffrail_client::{Client, EventBuilder, Expected, v1};
use taffrail_store_api::AppendError;

fn event() -> v1::NewEvent {
    EventBuilder::new("T").build()
}

async fn refused(client: &Client, expected: Expected, events: Vec<v1::NewEvent>) {
    client.append("s", expected, events).await.unwrap_err();
}

#[tokio::test]
async fn refusals_are_counted_once_by_store_and_reason() {
    let cluster = Cluster::start(2, &[1]).await;
    let large = || v1::NewEvent { data: vec![0; 2000].into(), ..event() };
    for node in [1, 2] {
        let client = cluster.client(node).await;
        client.append("s", Expected::Any, vec![event()]).await.unwrap();
        refused(&client, Expected::NoStream, vec![event()]).await;
        refused(&client, Expected::Any, vec![large()]).await;
        refused(&client, Expected::Any, vec![]).await;
        cluster.nodes[0].replica().next_append(AppendError::Overloaded);
        refused(&client, Expected::Any, vec![event()]).await;
        // Not counted: a passed deadline, an unknown outcome and a store that does not exist.
        for other in [AppendError::DeadlineBeforeProposal, AppendError::Unknown("x")] {
            cluster.nodes[0].replica().next_append(other);
            refused(&client, Expected::Any, vec![event()]).await;
        }
        refused(&client.clone().with_store("nothing").unwrap(), Expected::Any, vec![large()]).await;
    }
    let ports = cluster.clients.iter().chain(&cluster.peers);
    let text: String = ports.map(|port| port.metrics.render()).collect();
    let mut counted: Vec<(&str, u64)> = Vec::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("taffrail_appends_rejected_total")) {
        let (labels, count) = line.rsplit_once(' ').unwrap();
        assert!(labels.contains("store=\"default/orders\""), "{labels}");
        let reason = labels.split('"').nth(1).unwrap();
        match counted.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, n)) => *n += count.parse::<u64>().unwrap(),
            None => counted.push((reason, count.parse().unwrap())),
        }
    }
    counted.sort_unstable();
    let each = ["EVENT_TOO_LARGE", "INVALID_ARGUMENT", "OVERLOADED", "WRONG_REVISION"];
    assert_eq!(counted, each.map(|reason| (reason, 2)));
}
