//! Checks at the end of a run, after the last fault: the coordinator has settled the cluster, every store accepts another
//! append, and every replica of a store holds the same events, among them every acknowledged event.
//!
//! The checks spare the groups with a contradiction that only a person can decide.

use super::{
    clients::{Answer, any_revision, event, send},
    ledger::{StoreRecord, place_of},
    reading::holds,
    simulated::Cluster,
};
use crate::trace;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use taffrail_core::{
    catalogue::{Catalogue, Group as Record, GroupPhase, NodeState, ReplicaState, StoreState, system_voters},
    event::RecordedEvent,
    ids::{EventId, GroupId, NodeId, Position},
    names::StreamName,
};
use taffrail_node::member::member::{Member, Running};
use taffrail_proto::v1::{self, AppendRequest};
use taffrail_raft::status::Status;
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReplica};
use tokio::time::Instant;

/// Milliseconds for the cluster to settle after the last fault. Some pauses of a node are seconds and are not stretched.
const CALM_MS: u64 = 60_000;
/// Events of a page; small, to make reads span pages.
const PAGE_EVENTS: usize = 64;

/// Waits until the cluster is in the declared state, and all replicas have applied the same log.
pub async fn converge(cluster: &Arc<Cluster>, spared: &BTreeSet<GroupId>) {
    let world = &cluster.world;
    let deadline = Instant::now() + world.ms(CALM_MS);
    let mut last = String::new();
    while Instant::now() < deadline {
        match settled(cluster, spared) {
            Ok(groups) => {
                trace!(world, "settled with {groups} groups");
                return;
            }
            Err(why) => last = why,
        }
        world.pause(40, 60).await;
    }
    world.fail(format!("the cluster does not settle after the calm: {last}"));
}

/// Returns the number of store groups of a settled cluster.
///
/// # Errors
/// The first deviation from the declared state.
fn settled(cluster: &Cluster, spared: &BTreeSet<GroupId>) -> Result<usize, String> {
    let coordinator = cluster.hosts.coordinator().ok_or("there is no coordinator")?;
    let catalogue = coordinator.applied();
    let members: BTreeMap<NodeId, Arc<Member>> = cluster.hosts.members().map(|m| (m.node(), m)).collect();
    if members.len() as u64 != cluster.hosts.layout.hosts {
        return Err(format!("only the nodes {:?} run as members", members.keys()));
    }
    nodes_settled(&catalogue, &members)?;
    let voters = system_voters(members.len());
    let system: Vec<Status> = members.values().map(|m| m.system.status()).collect();
    let leader = system.iter().find(|s| s.leads).ok_or("the system group has no leader")?;
    if leader.membership.voter_ids().count() != voters || leader.membership.nodes().count() != members.len() {
        return Err(format!("the system group has the membership {}", leader.membership));
    }
    agree(&system, None).map_err(|why| format!("system group: {why}"))?;
    for (id, group) in catalogue.groups.iter().filter(|(id, _)| !spared.contains(id)) {
        group_settled(&catalogue, &members, *id, group).map_err(|why| format!("group {id}: {why}"))?;
    }
    let kept: BTreeSet<_> = cluster.ledger.all().values().map(|s| s.id).collect();
    let declared: BTreeSet<_> = catalogue.stores.keys().copied().collect();
    if kept != declared {
        return Err(format!("the stores are {declared:?}, expected {kept:?}"));
    }
    Ok(catalogue.groups.len())
}

fn nodes_settled(catalogue: &Catalogue, members: &BTreeMap<NodeId, Arc<Member>>) -> Result<(), String> {
    let present = catalogue.nodes.iter().filter(|(_, n)| !matches!(n.state, NodeState::Removed { .. }));
    let present: BTreeMap<NodeId, NodeState> = present.map(|(id, n)| (*id, n.state)).collect();
    if !present.keys().eq(members.keys()) || present.values().any(|state| *state != NodeState::Member) {
        return Err(format!("the catalogue has the nodes {present:?}, running are {:?}", members.keys()));
    }
    match members.iter().find(|(_, m)| m.applied().version != catalogue.version) {
        Some((node, _)) => Err(format!("node {node} has another version of the catalogue than the coordinator")),
        None => Ok(()),
    }
}

fn group_settled(
    catalogue: &Catalogue,
    members: &BTreeMap<NodeId, Arc<Member>>,
    id: GroupId,
    group: &Record,
) -> Result<(), String> {
    let store = catalogue.stores.get(&group.store).ok_or("the group has no store")?;
    let active = group.replicas.values().all(|r| r.state == ReplicaState::Active);
    if store.state != StoreState::Active || group.phase != GroupPhase::Formed || !active {
        return Err(format!("{:?} {:?} {:?}", store.state, group.phase, group.replicas));
    }
    if group.replicas.len() != store.replicas as usize {
        return Err(format!("{} replicas, declared are {}", group.replicas.len(), store.replicas));
    }
    let statuses = replicas(members, id, group)?.iter().map(|r| r.group.status()).collect::<Vec<_>>();
    let voters = group.replicas.keys().map(|r| r.get()).collect();
    agree(&statuses, Some(&voters))
}

/// The running replicas of a group, in the order of the catalogue.
///
/// # Errors
/// When a replica does not run.
fn replicas(members: &BTreeMap<NodeId, Arc<Member>>, id: GroupId, group: &Record) -> Result<Vec<Running>, String> {
    let running = group.replicas.iter().map(|(replica, r)| {
        let running = members.get(&r.node).and_then(|m| m.running(id)).filter(|x| x.group.key().replica == *replica);
        running.ok_or_else(|| format!("replica {replica} does not run on node {}", r.node))
    });
    running.collect()
}

/// Checks that all replicas of a group have applied the log of the leader, with the same result.
fn agree(statuses: &[Status], voters: Option<&BTreeSet<u64>>) -> Result<(), String> {
    let leader = statuses.iter().find(|s| s.leads).ok_or("no leader")?;
    let same = |s: &Status| {
        s.applied + 1 == leader.log_end
            && s.applied == leader.applied
            && s.digest == leader.digest
            && s.leader.map(|l| l.replica) == leader.leader.map(|l| l.replica)
            && voters.is_none_or(|v| s.membership.voter_ids().collect::<BTreeSet<u64>>() == *v)
    };
    if statuses.iter().all(same) {
        return Ok(());
    }
    let line = |s: &Status| {
        let voters: Vec<u64> = s.membership.voter_ids().collect();
        format!("[leads {} term {} log {} applied {} voters {voters:?}]", s.leads, s.term, s.log_end, s.applied)
    };
    Err(statuses.iter().map(line).collect::<Vec<_>>().join(" "))
}

/// Checks that an append to each lasting store succeeds, for every node as the first receiver.
pub async fn accept(cluster: &Arc<Cluster>, spared: &BTreeSet<GroupId>) {
    cluster.note_groups();
    for store in &cluster.hosts.layout.stores {
        if cluster.ledger.with(&store.name, |record| spared.contains(&record.group)) == Some(true) {
            continue;
        }
        for first in cluster.hosts.layout.numbers() {
            accept_at(cluster, &store.name, first).await;
        }
    }
}

async fn accept_at(cluster: &Cluster, store: &str, first: NodeId) {
    let world = &cluster.world;
    let deadline = Instant::now() + world.ms(CALM_MS);
    let mut to = first;
    let events = vec![event(cluster, "Probed")];
    let append = AppendRequest { stream: "probe".into(), expected: Some(any_revision()), events, needs: Vec::new() };
    while Instant::now() < deadline {
        match send(cluster, store, to, append.clone()).await {
            Answer::Stored(_) => return,
            Answer::Refused(why) | Answer::Gone(why) => {
                return world.fail(format!("{store}: an append after the calm is refused: {why}"));
            }
            Answer::NotProposed | Answer::Unknown => to = cluster.hosts.layout.any(world),
        }
        world.pause(20, 60).await;
    }
    world.fail(format!("{store}: no append succeeds after the calm, starting at n{first}"));
}

/// Compares the content of all replicas with each other and with the answers to clients.
pub fn content(cluster: &Cluster, spared: &BTreeSet<GroupId>) {
    let Some(catalogue) = cluster.hosts.coordinator().map(|m| m.applied()) else {
        return cluster.world.fail("there is no coordinator at the end");
    };
    let members: BTreeMap<NodeId, Arc<Member>> = cluster.hosts.members().map(|m| (m.node(), m)).collect();
    cluster.note_groups();
    for (name, record) in cluster.ledger.all().iter().filter(|(_, record)| !spared.contains(&record.group)) {
        let running = catalogue.groups.get(&record.group).map(|g| replicas(&members, record.group, g));
        let checked = match running {
            Some(Ok(running)) => content_of(cluster, name, record, &running),
            Some(Err(why)) => Err(why),
            None => Err("the group is missing in the catalogue".into()),
        };
        cluster.world.require(checked.map_err(|why| format!("store {name} at the end: {why}")));
    }
}

fn content_of(cluster: &Cluster, name: &str, record: &StoreRecord, replicas: &[Running]) -> Result<(), String> {
    let mut first: Option<Vec<RecordedEvent>> = None;
    for running in replicas {
        let replica = running.group.key().replica;
        let events = read_all(running).map_err(|e| format!("r{replica} cannot be read: {e}"))?;
        trace!(cluster.world, "content of {name} in r{replica}: {} events", events.len());
        let totals = running.replica.reader().totals().map(|t| t.events).unwrap_or_default();
        if totals != events.len() as u64 {
            return Err(format!("r{replica} counts {totals} events and holds {}", events.len()));
        }
        streams(running, &events)?;
        match &first {
            None => {
                ordered(&events)?;
                complete(&events, record)?;
                first = Some(events);
            }
            Some(other) if *other == events => {}
            Some(_) => return Err(format!("r{replica} holds other events than the first replica")),
        }
    }
    Ok(())
}

fn read_all(running: &Running) -> Result<Vec<RecordedEvent>, ReadError> {
    let reader = running.replica.reader();
    let bounds = PageBounds { events_max: PAGE_EVENTS, bytes_max: 1 << 20 };
    let (mut events, mut from) = (Vec::new(), Some(Position::START));
    while let Some(at) = from {
        let page = reader.read_all(Some(at), Direction::Forward, bounds)?;
        events.extend(page.events);
        from = page.next;
    }
    Ok(events)
}

/// Checks that revisions from 0 have no gap, times never decrease, and no event occurs twice.
fn ordered(events: &[RecordedEvent]) -> Result<(), String> {
    let mut next: BTreeMap<&StreamName, u64> = BTreeMap::new();
    let mut ids: BTreeSet<EventId> = BTreeSet::new();
    let mut time = 0;
    for event in events {
        let revision = next.entry(&event.stream).or_default();
        if event.revision.get() != *revision {
            return Err(format!("{}: revision {} where {revision} must follow", event.stream, event.revision));
        }
        *revision += 1;
        if !ids.insert(event.event.id) {
            return Err(format!("event {} is stored twice", event.event.id));
        }
        if event.recorded_at_us < time {
            return Err(format!("recorded time goes back at position {}", event.position));
        }
        time = event.recorded_at_us;
    }
    Ok(())
}

/// Checks that every acknowledged event is at the acknowledged position, every read during the run returned the stored
/// events, and no event is stored that must never appear.
fn complete(events: &[RecordedEvent], record: &StoreRecord) -> Result<(), String> {
    let on_the_wire = |e: &RecordedEvent| v1::RecordedEvent {
        id: e.event.id.to_string(),
        stream: e.stream.as_str().to_owned(),
        revision: e.revision.get(),
        position: e.position.get(),
        r#type: e.event.event_type.as_str().to_owned(),
        content_type: e.event.content_type.clone(),
        data: e.event.data.clone(),
        ..v1::RecordedEvent::default()
    };
    let wire: Vec<v1::RecordedEvent> = events.iter().map(on_the_wire).collect();
    holds(&wire, &record.acknowledged)?;
    for (position, place) in &record.read {
        let at = usize::try_from(*position - 1).ok().and_then(|index| wire.get(index));
        let at = at.map(place_of);
        if at.as_ref() != Some(place) {
            return Err(format!("a read returned {place:?} at position {position}, which holds {at:?}"));
        }
    }
    match wire.iter().find(|e| record.never.contains(&e.id)) {
        Some(e) => Err(format!("event {} is stored at {}, but must never appear", e.id, e.position)),
        None => Ok(()),
    }
}

/// Checks that reading each stream returns the same events as reading the whole store.
fn streams(running: &Running, events: &[RecordedEvent]) -> Result<(), String> {
    let mut of: BTreeMap<&StreamName, Vec<&RecordedEvent>> = BTreeMap::new();
    events.iter().for_each(|e| of.entry(&e.stream).or_default().push(e));
    let reader = running.replica.reader();
    let bounds = PageBounds { events_max: events.len().max(1), bytes_max: usize::MAX };
    for (stream, expected) in of {
        let page = reader.read_stream(stream, None, Direction::Forward, bounds).map_err(|e| e.to_string())?;
        if !page.events.iter().eq(expected) {
            return Err(format!("stream {stream} differs from the same stream in the order of the store"));
        }
    }
    Ok(())
}
