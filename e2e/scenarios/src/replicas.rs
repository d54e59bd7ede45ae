//! Replicas of a store, queried through each pod.

use crate::{
    scenario::{MINUTE, Scenario},
    workload,
};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use taffrail_client::{Client, Expected};
use taffrail_localkube::wait;
use taffrail_proto::v1;

/// The reported state of a replica: applied index, digest of the outcomes, number of events.
type ReplicaState = (u64, String, u64);

/// Checks that the store has the declared number of replicas, all with the same digest at the same index, and that
/// every event read from each replica is equal in every field.
///
/// # Errors
/// When the replicas do not agree within a minute, or an event differs.
pub async fn check_replicas_agree(scenario: &Scenario, store: &str) -> anyhow::Result<()> {
    let declared = scenario.get(&format!("evs/{store}")).await?;
    let replicas = usize::try_from(declared["spec"]["replicas"].as_u64().context("no replicas in the spec")?)?;
    let endpoints = scenario.endpoints().await?;
    let states = wait_for_equal_digests(&endpoints, store, replicas).await?;
    let events = check_equal_events(&endpoints, store, &states).await?;
    println!("{store}: {replicas} replicas have the same {events} events");
    Ok(())
}

async fn wait_for_equal_digests(
    endpoints: &BTreeMap<String, String>,
    store: &str,
    replicas: usize,
) -> anyhow::Result<BTreeMap<String, ReplicaState>> {
    let agreed = wait::until("all replicas to agree", MINUTE, || async {
        let mut states = BTreeMap::new();
        for (pod, endpoint) in endpoints {
            let client = Client::connect(endpoint).await.map_err(|e| e.to_string())?;
            let found = client.store(store).await.map_err(|e| e.to_string())?;
            if !found.digest.is_empty() {
                states.insert(pod.clone(), (found.applied_index(), found.digest.clone(), found.event_count()));
            }
        }
        let first = states.values().next().cloned();
        if states.len() == replicas && states.values().all(|state| Some(state) == first.as_ref()) {
            Ok(states)
        } else {
            Err(format!("{states:?} instead of {replicas} equal states"))
        }
    });
    Ok(agreed.await?)
}

/// Compares the events of all replicas and returns the number of events.
async fn check_equal_events(
    endpoints: &BTreeMap<String, String>,
    store: &str,
    states: &BTreeMap<String, ReplicaState>,
) -> anyhow::Result<usize> {
    let mut first = None::<(&str, Vec<v1::RecordedEvent>)>;
    for (pod, (_, _, count)) in states {
        let client = Client::connect(&endpoints[pod]).await?.with_store(store)?;
        // A stale read returns the events of this replica without asking the leader.
        let events = client.read(workload::everything(v1::Consistency::Stale)).await?.rest().await?;
        ensure!(u64::try_from(events.len())? == *count, "{pod} reports {count} events and returns {}", events.len());
        match &first {
            None => first = Some((pod, events)),
            Some((other, theirs)) => {
                let differs = events.iter().zip(theirs).find(|(one, two)| one != two);
                ensure!(events.len() == theirs.len() && differs.is_none(), "{pod} and {other} differ: {differs:?}");
            }
        }
    }
    Ok(first.map_or(0, |(_, events)| events.len()))
}

/// Returns the name of the pod with the leader of a store.
///
/// # Errors
/// When no pod knows a leader.
pub async fn leader(scenario: &Scenario, store: &str) -> anyhow::Result<String> {
    let endpoints = scenario.endpoints().await?;
    let nodes = scenario.get("tfc/main").await?;
    for endpoint in endpoints.values() {
        let client = Client::connect(endpoint).await?;
        let Ok(found) = client.store(store).await else { continue };
        let members = nodes["status"]["members"].as_array().context("no members")?;
        let member =
            members.iter().find(|m| m["nodeId"].as_u64() == found.leader_node_id && found.leader_node_id.is_some());
        if let Some(name) = member.and_then(|m| m["name"].as_str()) {
            return Ok(name.to_owned());
        }
    }
    anyhow::bail!("no leader is known")
}

/// Returns the node id of each pod, as reported by the node.
///
/// # Errors
/// When a node does not respond.
pub async fn node_ids(scenario: &Scenario) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut ids = BTreeMap::new();
    for (pod, endpoint) in scenario.endpoints().await? {
        let status = Client::connect(&endpoint).await?.cluster_status().await?;
        ids.insert(pod, status.answered_by_node_id);
    }
    Ok(ids)
}

/// Appends an event through a pod and reads the event back through the same pod.
///
/// # Errors
/// When the append or the read fails, or the event differs.
pub async fn append_and_read(endpoint: &str, store: &str) -> anyhow::Result<()> {
    let client = Client::connect(endpoint).await?.with_store(store)?;
    let id = taffrail_client::new_id();
    let stream = format!("through-{id}");
    let appended = client.append(&stream, Expected::NoStream, vec![workload::event(id)]).await?;
    let read = client.read_stream(&stream, 0).await?;
    let [event] = read.as_slice() else { anyhow::bail!("one event was appended, {} were read", read.len()) };
    let id = id.to_string();
    ensure!(
        event.id == id && event.data == id.as_bytes() && event.position == appended.first_position(),
        "{id} was appended at {}, but {event:?} was read",
        appended.first_position()
    );
    Ok(())
}
