//! Reconcile of the replicas on this node with the applied catalogue. A replica named by the catalogue is created; a
//! replica that the catalogue no longer names is removed under a synced tombstone. A message never creates a replica,
//! and missing data never removes a replica. A replica that fails is started again with growing pauses, and a replica
//! without state is refilled from another replica before its start ([`recovery`](super::recovery)).

use super::{
    fence,
    member::{Member, Running},
    removal, stop_replicas,
};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::{Catalogue, Group as Record, GroupPhase, ReplicaState, StoreState},
    ids::{GroupId, NodeId, PartitionId, ReplicaId},
};
use taffrail_raft::{
    group::Group,
    log::{LogKey, LogOp, ReplicaState as LogState, write_synced},
    machine::Machine,
    refill::refill,
    snapshot_fetch::CatchUpFrom,
    start_check::StartError,
};
use taffrail_runtime::{self as rt, TaskKind};
use taffrail_storage::store::{replica::Replica, store_machine::StoreMachine};
use tokio::time::Instant;

/// Maximum time between two reconciles while the catalogue does not change.
const AGAIN: Duration = Duration::from_secs(1);
/// Time that each further initial replica waits for the replicas before it to form the group. The time is longer than a
/// busy machine needs to form a group, because several concurrent attempts would only prolong the election.
const FORM_AFTER: Duration = Duration::from_secs(10);

/// Reconciles after every change of the catalogue and every second, until the member stops.
pub async fn follow(member: Arc<Member>) {
    let mut catalogue = member.catalogue.clone();
    loop {
        let now = Arc::clone(&catalogue.borrow_and_update());
        reconcile(&member, &now).await;
        tokio::select! {
            biased;
            () = member.parts.stop.cancelled() => return,
            changed = catalogue.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Reconciles once. A failure of a replica is logged, and the next reconcile tries again.
pub async fn reconcile(member: &Arc<Member>, catalogue: &Catalogue) {
    let here = member.node();
    for (id, group) in &catalogue.groups {
        for (replica, r) in group.replicas.iter().filter(|(_, r)| r.node == here) {
            let key = LogKey { group: *id, replica: *replica };
            let _turn = member.turn.lock().await;
            let done = match r.state {
                ReplicaState::Joining | ReplicaState::Active => ensure(member, key, group).await,
                ReplicaState::Leaving if kept_until_freed(member, catalogue, key) => fence::end(member, key).await,
                ReplicaState::Leaving => remove(member, key, group.partition).await,
            };
            if let Err(error) = done {
                tracing::warn!(group = %id, %replica, %error, "a replica does not match the catalogue yet; retrying");
            }
        }
    }
    for running in member.all_not_ended() {
        let key = running.group.key();
        let _turn = member.turn.lock().await;
        if !names(catalogue, key)
            && let Err(error) = remove(member, key, running.partition).await
        {
            tracing::warn!(
                group = %key.group, replica = %key.replica, %error,
                "a replica that the catalogue does not name could not be removed; trying again"
            );
        }
    }
    // A broken or fenced replica does not run, and its group may be gone: a group is formed again under another id.
    let stopped = member.recovery.replicas().into_iter().chain(member.fenced().into_keys());
    if stopped.into_iter().any(|key| !names(catalogue, key))
        && let Err(error) = remove_unnamed(member).await
    {
        tracing::warn!(%error, "stopped replicas that the catalogue does not name could not be removed; trying again");
    }
}

/// True if the data of a leaving replica stays until a person frees the replica: the replica is fenced, so the data may
/// be needed as evidence, or as the only right copy. The deletion of the store removes the data too.
fn kept_until_freed(member: &Member, catalogue: &Catalogue, key: LogKey) -> bool {
    let store = catalogue.groups.get(&key.group).and_then(|group| catalogue.stores.get(&group.store));
    member.fence_of(key).is_some() && store.is_some_and(|store| store.state != StoreState::Removing)
}

fn names(catalogue: &Catalogue, key: LogKey) -> bool {
    catalogue.groups.get(&key.group).is_some_and(|group| group.replicas.contains_key(&key.replica))
}

async fn ensure(member: &Arc<Member>, key: LogKey, record: &Record) -> io::Result<()> {
    if member.is_deleted(key) {
        return Err(io::Error::other("the catalogue names a replica that this node has removed for ever"));
    }
    if member.fence_of(key).is_some() {
        return fence::end(member, key).await;
    }
    // All replicas of a group on a node write to the same rows, so an earlier replica must end first. The removal of the
    // earlier replica ends its tasks.
    if let Some(other) = other_writer(member, key) {
        let why = format!("replica {} of group {} has not ended on this node", other.replica, other.group);
        return Err(io::Error::other(why));
    }
    // The start of a new replica deletes the rows of earlier replicas.
    if let Some(kept) = member.fenced().into_keys().find(|kept| kept.group == key.group) {
        let why =
            format!("the data of the fenced replica {} of group {} is kept on this node", kept.replica, kept.group);
        return Err(io::Error::other(why));
    }
    if let Some(running) = member.not_ended(key.group) {
        member.recovery.runs(key, running.since);
        let Some(why) = running.group.status().stopped else {
            return initialize(&running.group, record, running.since.elapsed()).await;
        };
        stop_replicas::replica(&running.group).await?;
        member.remove(key.group);
        let pause = member.recovery.failed(key, why.clone());
        tracing::warn!(group = %key.group, replica = %key.replica, %why, ?pause, "a replica has stopped by itself");
    }
    if !member.recovery.is_due(key) {
        return Ok(());
    }
    match start(member, key, record).await {
        Ok(group) => initialize(&group, record, Duration::ZERO).await,
        Err(StartError::MustRefill { next, first }) => {
            tracing::warn!(group = %key.group, replica = %key.replica, next, first, "the replica must be refilled");
            begin_refill(member, key, record);
            Ok(())
        }
        Err(StartError::Failed(error)) => {
            let pause = member.recovery.failed(key, error.to_string());
            Err(io::Error::new(error.kind(), format!("{error}; the next start follows after {pause:?}")))
        }
    }
}

/// Returns another replica of the same group that runs or is being refilled on this node.
fn other_writer(member: &Member, key: LogKey) -> Option<LogKey> {
    let running = member.not_ended(key.group).map(|r| r.group.key());
    running.into_iter().chain(member.recovery.refilling(key.group)).find(|other| *other != key)
}

/// Opens the data of a replica, creates the data of a new replica, and starts consensus.
async fn start(member: &Arc<Member>, key: LogKey, record: &Record) -> Result<Arc<Group>, StartError> {
    let parts = &member.parts;
    let known = parts.home.disk.replicas().await?.iter().any(|(k, _)| *k == key);
    if !known {
        // Existing rows belong to an earlier replica, whose removal failed after the tombstone.
        removal::delete_rows(&parts.db, key.group, record.partition).await?;
        write_synced(&*parts.home.disk, key, LogOp::Created(record.partition)).await?;
    }
    let machine = open(member, key, record.partition).await?;
    let group = Group::start(&parts.home, key, machine).await?;
    let replica = Replica::start(Arc::clone(&group), Arc::clone(&parts.db), record.partition);
    let since = Instant::now();
    member.insert(Running { group: Arc::clone(&group), replica, partition: record.partition, since });
    rt::spawn_task("leader changes", TaskKind::Part, report_changes(Arc::clone(member), Arc::clone(&group)));
    member.look.notify_one();
    Ok(group)
}

async fn open(member: &Member, key: LogKey, partition: PartitionId) -> io::Result<Box<dyn Machine>> {
    let db = Arc::clone(&member.parts.db);
    let opened = rt::blocking(move || StoreMachine::open(db, key.group, partition)).await.map_err(io::Error::other)?;
    let machine = opened.map_err(io::Error::other)?;
    Ok((member.parts.wrap)(key, Box::new(machine)))
}

/// Starts a task that fetches the state of another replica of the group. The task outlives the reconcile, because a large
/// state takes long; a later reconcile starts the replica.
fn begin_refill(member: &Arc<Member>, key: LogKey, record: &Record) {
    let Some(stop) = member.recovery.begin_refill(key, &member.parts.stop) else { return };
    let others = record.replicas.iter().filter(|(replica, _)| **replica != key.replica);
    let sources: Vec<_> = others.map(|(replica, r)| CatchUpFrom { node: r.node, replica: *replica }).collect();
    let (member, partition) = (Arc::clone(member), record.partition);
    let work = {
        let member = Arc::clone(&member);
        rt::spawn(async move {
            let machine = open(&member, key, partition).await?;
            refill(&member.parts.home, key, machine, &sources, &stop).await
        })
    };
    rt::spawn_task("refill", TaskKind::Part, async move {
        // A panic counts as a failure.
        let outcome = work.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        if let Err(error) = &outcome {
            tracing::warn!(group = %key.group, replica = %key.replica, %error, "the replica is not refilled yet");
        }
        member.recovery.refill_ended(key, &outcome);
    });
}

/// Proposes the initial membership of the group, if this replica is due and the group has no leader.
async fn initialize(group: &Group, record: &Record, waited: Duration) -> io::Result<()> {
    match turn(record, group.key().replica, waited) {
        Some(members) if group.leader().is_none() => group.initialize(&members).await,
        Some(_) | None => Ok(()),
    }
}

/// Returns the initial membership, if the replica `own` is due to form the group after `waited`. The initializer named
/// by the catalogue is due at once. The other initial replicas are due in turn, in case the initializer does not run.
///
/// Forming a group is safe no matter how far other replicas have come:
///
/// - All replicas form the same membership, so any two majorities share a voter.
/// - A replica with a log entry or a vote of any term forms no group.
/// - The initial membership has term 0. On a majority, every acknowledged entry is followed by an entry of a later
///   term. This replica does not get the votes of the majority before it has the later entry too.
fn turn(record: &Record, own: ReplicaId, waited: Duration) -> Option<BTreeMap<ReplicaId, NodeId>> {
    let GroupPhase::Creating { initial, initializer } = &record.phase else { return None };
    let others = initial.iter().filter(|r| *r != initializer);
    let before = std::iter::once(initializer).chain(others).position(|r| *r == own)?;
    if waited < FORM_AFTER * u32::try_from(before).unwrap_or(u32::MAX) {
        return None;
    }
    // All initial replicas or none: fewer replicas would form another membership.
    initial.iter().map(|id| Some((*id, record.replicas.get(id)?.node))).collect()
}

/// Wakes the watchers of the member and the coordinator after every change of the leader, until the replica stops.
async fn report_changes(member: Arc<Member>, group: Arc<Group>) {
    let mut watch = group.watch();
    let mut last = None;
    while group.changed(&mut watch).await {
        let now = (group.leader(), group.leads());
        if last != Some(now) {
            last = Some(now);
            say_who_leads(&member, &group);
            member.changed();
            member.look.notify_one();
        }
    }
}

fn say_who_leads(member: &Member, group: &Group) {
    let (id, status) = (group.group(), group.status());
    let catalogue = member.applied();
    let store = catalogue.groups.get(&id).and_then(|g| catalogue.stores.get(&g.store)).map(|s| s.name.to_string());
    let leader = status.leader.map(|l| l.node.get());
    tracing::info!(group = %id, store, term = status.term, leader, leads = status.leads, "the leader changed");
}

pub(super) async fn remove(member: &Arc<Member>, key: LogKey, partition: PartitionId) -> io::Result<()> {
    if let Some(running) = member.not_ended(key.group).filter(|r| r.group.key() == key) {
        // The replica stays in the list until its tasks have ended, because a running replica may still write rows.
        stop_replicas::replica(&running.group).await?;
        member.remove(key.group);
    }
    if member.is_deleted(key) {
        return Ok(());
    }
    member.recovery.end_refill(key).await?;
    removal::remove(&*member.parts.home.disk, &member.parts.db, key, partition).await?;
    member.remember_deleted(key);
    member.recovery.forget(key);
    member.look.notify_one();
    Ok(())
}

/// Removes all replicas of this disk that the catalogue does not name. The caller must have confirmed that the
/// applied catalogue is current.
///
/// # Errors
/// The disk fails, or a replica does not stop in time.
pub async fn remove_unnamed(member: &Arc<Member>) -> io::Result<()> {
    let catalogue = member.applied();
    for (key, state) in member.parts.home.disk.replicas().await? {
        let partition = match state {
            LogState::Live(partition) => partition,
            LogState::Fenced(mark) => mark.partition,
            LogState::Deleted(_) => continue,
        };
        if key.group != GroupId::SYSTEM && !names(&catalogue, key) {
            let _turn = member.turn.lock().await;
            remove(member, key, partition).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::test_node::with_a_store;
    use std::collections::BTreeSet;
    use taffrail_core::{
        catalogue::{CatalogueOutcome, Kind, Replica as Named},
        ids::StoreId,
    };
    use uuid::Uuid;

    fn id(n: u64) -> ReplicaId {
        ReplicaId::new(n)
    }

    fn record(replicas: u64, initializer: u64) -> Record {
        let initial: BTreeSet<ReplicaId> = (1..=replicas).map(id).collect();
        let named = |r: &ReplicaId| (*r, Named { node: NodeId::new(r.get() + 10), state: ReplicaState::Active });
        Record {
            store: StoreId::new(Uuid::from_u128(1)),
            partition: PartitionId::new(1),
            contradicted: None,
            replicas: initial.iter().map(named).collect(),
            phase: GroupPhase::Creating { initial, initializer: id(initializer) },
        }
    }

    #[test]
    fn the_named_replica_forms_the_group_at_once_and_the_others_in_turn_and_alike() {
        let three = record(3, 2);
        let turns = |waited| (1..=4).filter(|r| turn(&three, id(*r), waited).is_some()).collect::<Vec<_>>();
        assert_eq!(turns(Duration::ZERO), [2]);
        assert_eq!(turns(FORM_AFTER - Duration::from_millis(1)), [2]);
        assert_eq!(turns(FORM_AFTER), [1, 2]);
        assert_eq!(turns(FORM_AFTER * 2), [1, 2, 3], "and nobody who is not one of the first");
        let made = turn(&three, id(2), Duration::ZERO);
        assert_eq!(made, Some((1..=3).map(|r| (id(r), NodeId::new(r + 10))).collect()));
        assert_eq!(turn(&three, id(3), FORM_AFTER * 2), made, "all make the same");
    }

    #[tokio::test]
    async fn another_replica_of_the_group_does_not_count_as_the_replica_and_keeps_it_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let (node, key) = with_a_store(dir.path()).await;
        let later = LogKey { replica: id(key.replica.get() + 1_000), ..key };
        let record = node.member.applied().groups.get(&key.group).unwrap().clone();
        let refused = ensure(&node.member, later, &record).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("replica {} of group {}", key.replica, key.group)), "{refused}");
        assert_eq!(node.member.not_ended(key.group).map(|r| r.group.key()), Some(key), "the first replica still runs");

        // A refill writes as well, although the replica does not run.
        stop_replicas::replica(&node.member.not_ended(key.group).unwrap().group).await.unwrap();
        node.member.remove(key.group);
        let stop = node.member.recovery.begin_refill(key, &node.member.parts.stop);
        assert!(stop.is_some() && ensure(&node.member, later, &record).await.is_err());
        node.member.recovery.refill_ended(key, &Ok(()));
        ensure(&node.member, later, &record).await.unwrap();
        assert_eq!(node.member.not_ended(key.group).map(|r| r.group.key()), Some(later));
        node.end().await;
    }

    #[tokio::test]
    async fn a_broken_replica_is_removed_when_its_group_is_formed_again_under_another_id() {
        let dir = tempfile::tempdir().unwrap();
        let (node, key) = with_a_store(dir.path()).await;
        stop_replicas::replica(&node.member.not_ended(key.group).unwrap().group).await.unwrap();
        node.member.remove(key.group);
        node.member.recovery.failed(key, "entry 0: wrong checksum of the block".into());
        let again = Kind::FormAgain { group: key.group, nodes: [node.member.node()].into() };
        assert!(matches!(node.propose(again).await, CatalogueOutcome::Store(_)));
        node.reconcile().await;
        assert!(node.member.is_deleted(key), "the replica has a tombstone");
        assert_eq!(node.member.recovery.replicas(), [], "its failures are forgotten");
        assert_eq!(node.member.all_running().len(), 1, "the new group runs");
        node.end().await;
    }

    #[test]
    fn a_membership_is_made_whole_or_not_at_all_and_never_of_a_formed_group() {
        let mut three = record(3, 1);
        three.replicas.remove(&id(3));
        assert_eq!(turn(&three, id(1), FORM_AFTER), None);
        let formed = Record { phase: GroupPhase::Formed, ..record(3, 1) };
        assert_eq!(turn(&formed, id(1), FORM_AFTER * 9), None);
    }
}
