//! Checks at the end of a run, after the last fault: all voters agree, accept another append, and hold every acknowledged
//! event once, at the acknowledged position.

use crate::{
    clients::{Answer, send},
    host::{Hosted, Hosts},
    invariants::Invariants,
    lock::lock,
    trace,
    world::{NODES, World},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::{NewEvent, RecordedEvent},
    ids::{EventId, NodeId, Position, Revision},
    names::{EventType, StreamName},
};
use taffrail_raft::status::Status;
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReplica};
use tokio::time::Instant;

/// Milliseconds for the voters to agree after the last fault.
const CALM_MS: u64 = 20_000;
/// Events of a page; small, to make reads span pages.
const PAGE_EVENTS: usize = 64;

/// Replicas of the final members; `None` unless all run.
fn members(world: &World, hosts: &Hosts) -> Option<Vec<Arc<Hosted>>> {
    let roster = lock(&world.invariants).roster.clone();
    let running = |(replica, node)| hosts.get(node)?.replica().filter(|r| r.replica_id() == replica);
    roster.into_iter().map(running).collect()
}

fn agree(statuses: &[Status], roster: &BTreeSet<u64>) -> bool {
    let Some(leader) = statuses.iter().find(|s| s.leads) else { return false };
    let same = |s: &Status| {
        s.applied + 1 == leader.log_end
            && s.applied == leader.applied
            && s.digest == leader.digest
            && s.leader.map(|l| l.replica) == leader.leader.map(|l| l.replica)
            && s.membership.voter_ids().collect::<BTreeSet<u64>>() == *roster
    };
    statuses.iter().all(same)
}

/// Waits until all members have applied the same log.
pub async fn converge(world: &Arc<World>, hosts: &Arc<Hosts>) {
    let deadline = Instant::now() + world.ms(CALM_MS);
    let roster: BTreeSet<u64> = lock(&world.invariants).roster.keys().map(|r| r.get()).collect();
    let mut last = String::new();
    while Instant::now() < deadline {
        if let Some(members) = members(world, hosts) {
            let statuses: Vec<Status> = members.iter().map(|m| m.group.status()).collect();
            if agree(&statuses, &roster) {
                trace!(world, "all agree at {}", statuses.first().map_or(0, |s| s.applied));
                return;
            }
            let line = |s: &Status| {
                let voters: Vec<u64> = s.membership.voter_ids().collect();
                format!("[leads {} term {} log {} applied {} voters {voters:?}]", s.leads, s.term, s.log_end, s.applied)
            };
            last = statuses.iter().map(line).collect::<Vec<_>>().join(" ");
        }
        world.pause(40, 60).await;
    }
    world.fail(format!("the members {roster:?} do not agree after the calm: {last}"));
}

/// Checks that a new append succeeds, for every node as the first receiver.
pub async fn accept(world: &Arc<World>, hosts: &Arc<Hosts>) {
    for first in (1..=NODES).map(NodeId::new) {
        let deadline = Instant::now() + world.ms(CALM_MS);
        let mut to = first;
        let append = probe(world);
        loop {
            if Instant::now() >= deadline {
                world.fail(format!("no append succeeds after the calm, starting at n{first}"));
                break;
            }
            match send(world, hosts, to, append.clone()).await {
                Answer::Stored(_) => break,
                Answer::Refused(why) => {
                    world.fail(format!("an append after the calm is refused: {why}"));
                    break;
                }
                Answer::NotProposed(Some(hint)) => to = hint,
                Answer::NotProposed(None) | Answer::Unknown => to = NodeId::new(to.get() % NODES + 1),
            }
            world.pause(20, 60).await;
        }
    }
}

fn probe(world: &World) -> Append {
    let event = NewEvent {
        id: world.event_id(),
        event_type: EventType::new("Probed").expect("a short printable name"),
        content_type: String::new(),
        data: Bytes::from_static(b"after the calm"),
        metadata: Bytes::new(),
        tags: Vec::new(),
        correlation_id: String::new(),
        causation_id: String::new(),
        occurred_at_us: None,
    };
    let stream = StreamName::new("probe").expect("a short printable name");
    Append { stream, expected: ExpectedRevision::Any, events: vec![event] }
}

/// Compares the content of all members with each other and with the answers to clients.
pub fn content(world: &World, hosts: &Hosts) {
    let Some(members) = members(world, hosts) else {
        return world.fail("a replica of a member does not run at the end");
    };
    let mut first: Option<Vec<RecordedEvent>> = None;
    for member in members {
        let replica = member.replica_id();
        let events = match read_all(&member) {
            Ok(events) => events,
            Err(e) => {
                world.fail(format!("r{replica} cannot be read at the end: {e}"));
                continue;
            }
        };
        trace!(world, "content r{replica} {} events", events.len());
        let totals = member.store.reader().totals().map(|t| t.events).unwrap_or_default();
        if totals != events.len() as u64 {
            world.fail(format!("r{replica} counts {totals} events and holds {}", events.len()));
        }
        match &first {
            None => {
                world.require(ordered(&events));
                world.require(complete(&events, &lock(&world.invariants)));
                world.require(streams(&member, &events));
                first = Some(events);
            }
            Some(other) if *other == events => world.require(streams(&member, &events)),
            Some(_) => world.fail(format!("r{replica} holds other events than the first member")),
        }
    }
}

fn read_all(member: &Hosted) -> Result<Vec<RecordedEvent>, ReadError> {
    let reader = member.store.reader();
    let bounds = PageBounds { events_max: PAGE_EVENTS, bytes_max: 1 << 20 };
    let (mut events, mut from) = (Vec::new(), Some(Position::START));
    while let Some(at) = from {
        let page = reader.read_all(Some(at), Direction::Forward, bounds)?;
        events.extend(page.events);
        from = page.next;
    }
    Ok(events)
}

/// Checks that positions from 1 and revisions from 0 have no gap, times never decrease, and no event occurs twice.
fn ordered(events: &[RecordedEvent]) -> Result<(), String> {
    let mut next: BTreeMap<&StreamName, u64> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut time = 0;
    for (expected, event) in (1..).zip(events) {
        if event.position.get() != expected {
            return Err(format!("position {} where {expected} must follow", event.position));
        }
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

/// Checks that every acknowledged event is at the acknowledged position, and no refused event is stored.
fn complete(events: &[RecordedEvent], invariants: &Invariants) -> Result<(), String> {
    let at: BTreeMap<EventId, &RecordedEvent> = events.iter().map(|e| (e.event.id, e)).collect();
    for told in &invariants.acknowledged {
        for (n, id) in (0..).zip(&told.ids) {
            let revision = Revision::new(told.answer.first_revision.get() + n);
            let position = Position::new(told.answer.first_position.get() + n);
            let event = at.get(id).ok_or_else(|| format!("acknowledged event {id} is lost"))?;
            if event.stream != told.stream || Some(event.revision) != revision || Some(event.position) != position {
                return Err(format!("event {id} is not stored as acknowledged: {:?}", told.answer));
            }
        }
    }
    invariants
        .refused
        .iter()
        .find(|id| at.contains_key(id))
        .map_or(Ok(()), |id| Err(format!("refused event {id} is stored")))
}

/// Checks that reading each stream returns the same events as reading the whole store.
fn streams(member: &Hosted, events: &[RecordedEvent]) -> Result<(), String> {
    let mut of: BTreeMap<&StreamName, Vec<&RecordedEvent>> = BTreeMap::new();
    events.iter().for_each(|e| of.entry(&e.stream).or_default().push(e));
    let (reader, replica) = (member.store.reader(), member.replica_id());
    let bounds = PageBounds { events_max: events.len().max(1), bytes_max: usize::MAX };
    for (stream, expected) in of {
        let page = reader.read_stream(stream, None, Direction::Forward, bounds).map_err(|e| e.to_string())?;
        if !page.events.iter().eq(expected) {
            return Err(format!("r{replica}: stream {stream} differs from the same stream in the order of the store"));
        }
    }
    Ok(())
}

/// Fails the run when a node still has a replica of a former member.
pub fn nothing_left_behind(world: &World, hosts: &Hosts) {
    let roster = lock(&world.invariants).roster.clone();
    for host in &hosts.0 {
        for replica in host.log_disk.kept() {
            if roster.get(&replica) != Some(&host.node) {
                world.fail(format!("r{replica} is still on n{} but is not a member", host.node));
            }
        }
    }
}
