//! Detection of replicas that are close, caught up or divergent.

use crate::{
    catalogue::{Catalogue, Group, GroupPhase, Replica, ReplicaState, Store, StoreState},
    ids::{Digest, GroupId, NodeId, PartitionId, ReplicaId, StoreId},
    names::StoreName,
    plan::{
        ClusterObservation, CommitMark, Fence, GroupObservation, NodeObservation, ReplicaObservation, WaitReason,
        group_view::GroupView,
        guard::guard,
        observation::{CAUGHT_UP_US, CLOSE_US},
        plan, status,
    },
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

pub(super) const GROUP: GroupId = GroupId::new(7);

pub(super) fn replica(n: u64) -> ReplicaId {
    ReplicaId::new(1000 + n)
}

/// Creates an observation of a group with replicas 1, 2, ... on nodes 1, 2, ... and their `matched` indexes. Replica 1
/// leads and has committed up to `committed`.
pub(super) fn look(now_us: u64, committed: u64, matched: &[u64]) -> ClusterObservation {
    let mut o = ClusterObservation { now_us, ..ClusterObservation::default() };
    let mut seen = GroupObservation {
        leader: replica(1),
        leader_node: NodeId::new(1),
        membership: Some((1, 1, 1)),
        committed,
        quorum: true,
        ..GroupObservation::default()
    };
    for (n, index) in (1..).zip(matched) {
        seen.hosts.insert(replica(n), NodeId::new(n));
        seen.matched.insert(replica(n), *index);
        let report = ReplicaObservation { applied: *index, digest: Digest([1; 32]), ..ReplicaObservation::default() };
        let replicas = [((GROUP, replica(n)), report)].into();
        o.nodes.insert(NodeId::new(n), NodeObservation { reachable: true, replicas, ..NodeObservation::default() });
    }
    seen.configs = vec![seen.hosts.keys().copied().collect()];
    o.groups.insert(GROUP, seen);
    o
}

/// Creates the catalogue that belongs to the observations of `look`.
pub(super) fn catalogue(replicas: u64) -> Catalogue {
    let (store, partition) = (StoreId::new(Uuid::from_u128(1)), PartitionId::new(1));
    let place = |n| (replica(n), Replica { node: NodeId::new(n), state: ReplicaState::Active });
    let (phase, contradicted) = (GroupPhase::Formed, None);
    let group = Group { store, partition, phase, contradicted, replicas: (1..=replicas).map(place).collect() };
    let name = StoreName::new("default", "orders").unwrap();
    let (state, declared_by) = (StoreState::Active, String::new());
    let record =
        Store { name, replicas: u32::try_from(replicas).unwrap(), state, partition, group: GROUP, declared_by };
    Catalogue {
        groups: [(GROUP, group)].into_iter().collect(),
        stores: [(store, record)].into_iter().collect(),
        ..Catalogue::default()
    }
}

pub(super) fn report(o: &mut ClusterObservation, n: u64) -> &mut ReplicaObservation {
    o.nodes.get_mut(&NodeId::new(n)).unwrap().replicas.get_mut(&(GROUP, replica(n))).unwrap()
}

pub(super) fn settled(looks: impl IntoIterator<Item = ClusterObservation>) -> ClusterObservation {
    looks.into_iter().fold(ClusterObservation::default(), |previous, mut o| {
        o.settle(&Catalogue::default(), &previous);
        o
    })
}

#[test]
fn caught_up_is_close_without_a_break() {
    let step = CAUGHT_UP_US / 2;
    let all = |now_us| look(now_us, 100, &[100, 100, 100]);
    let o = settled([all(0), all(step)]);
    assert!(o.close(GROUP, replica(2)) && !o.caught_up(GROUP, replica(2)), "too short");
    assert!(settled([all(0), all(step), all(2 * step)]).caught_up(GROUP, replica(2)));
    let mut silent = all(step);
    silent.nodes.get_mut(&NodeId::new(2)).unwrap().reachable = false;
    let o = settled([all(0), silent, all(2 * step)]);
    assert!(o.close(GROUP, replica(2)) && !o.caught_up(GROUP, replica(2)), "the break restarts the timer");
}

#[test]
fn a_replica_may_lag_by_what_is_in_flight_but_not_stand_still() {
    // A million entries per second: only the age of the missing entries counts, not their number.
    let looks = (0..8).map(|i| look(i * CLOSE_US, i * 250_000, &[i * 250_000, i.saturating_sub(1) * 250_000, 1]));
    let o = settled(looks);
    assert!(o.caught_up(GROUP, replica(2)));
    assert!(!o.close(GROUP, replica(3)));
    // The log has only ten entries, but a replica that lacks one entry for a long time is not close.
    let o = settled((0..8).map(|i| look(i * CLOSE_US, 10, &[10, 10, 9])));
    assert!(o.caught_up(GROUP, replica(2)));
    assert!(!o.close(GROUP, replica(3)));
}

#[test]
fn looks_in_quick_succession_do_not_sharpen_the_measure() {
    // Ten observations within a millisecond: the replica lacks only the latest entries.
    let early = (0..3).map(|i| look(i * CLOSE_US, 100 * i, &[100 * i, 100 * i]));
    let burst = (0..10).map(|i| look(2 * CLOSE_US + 100 * i, 210 + i, &[210 + i, 200]));
    assert!(settled(early.chain(burst)).close(GROUP, replica(2)));
}

#[test]
fn a_replica_that_does_not_run_is_not_close() {
    let mut o = look(0, 100, &[100, 100, 100]);
    report(&mut o, 2).stopped = Some("a write failed".into());
    o.nodes.get_mut(&NodeId::new(3)).unwrap().replicas.clear();
    let o = settled([o]);
    assert!(o.close(GROUP, replica(1)));
    assert!(!o.close(GROUP, replica(2)), "the replica has stopped");
    assert!(!o.close(GROUP, replica(3)), "the node does not report the replica");
}

#[test]
fn the_divergent_replica_of_equal_index_is_fenced_and_not_caught_up() {
    let mut o = look(0, 100, &[100, 100, 100]);
    report(&mut o, 3).digest = Digest([2; 32]);
    let o = settled([o]);
    assert!(o.close(GROUP, replica(2)) && !o.close(GROUP, replica(3)));
    let plan = plan(&catalogue(3), &o);
    let evidence = Fence {
        group: GROUP,
        replica: replica(3),
        node: NodeId::new(3),
        index: 100,
        digest: Digest([2; 32]),
        majority: Digest([1; 32]),
    };
    assert_eq!(plan.fences, [evidence]);
    assert!(plan.waiting.iter().any(|w| w.reason == WaitReason::ReplicaInconsistent && w.node == Some(NodeId::new(3))));
}

#[test]
fn nobody_is_fenced_without_a_majority_or_at_another_index() {
    let mut two = look(0, 100, &[100, 100]);
    report(&mut two, 2).digest = Digest([2; 32]);
    let two = settled([two]);
    let split = plan(&catalogue(2), &two);
    assert!(split.fences.is_empty() && two.close(GROUP, replica(2)));
    assert!(split.waiting.iter().any(|w| w.reason == WaitReason::ReplicaInconsistent), "divergence is reported");
    let mut behind = look(0, 100, &[100, 100, 99]);
    report(&mut behind, 3).digest = Digest([2; 32]);
    let plan = plan(&catalogue(3), &settled([behind]));
    assert!(plan.fences.is_empty() && plan.waiting.iter().all(|w| w.reason != WaitReason::ReplicaInconsistent));
}

#[test]
fn nothing_is_taken_down_or_called_whole_under_a_membership_that_is_not_committed() {
    let step = CAUGHT_UP_US;
    let c = catalogue(3);
    let store = *c.stores.keys().next().unwrap();
    let judged = |membership: u64| {
        let mut o = settled([look(0, 100, &[100, 100, 100]), look(step, 100, &[100, 100, 100])]);
        // The system group itself allows the disruption.
        let system =
            GroupObservation { hosts: BTreeMap::new(), configs: vec![BTreeSet::new()], ..o.groups[&GROUP].clone() };
        o.groups.insert(GroupId::SYSTEM, system);
        o.groups.get_mut(&GROUP).unwrap().membership = Some((1, 1, membership));
        let planned = plan(&c, &o);
        let whole = status::store(&c, &o, &planned, store).unwrap().fully_replicated;
        (guard(&c, &o, NodeId::new(2)).is_ok(), whole)
    };
    assert_eq!(judged(100), (true, true));
    assert_eq!(judged(101), (false, false));
}

#[test]
fn no_replica_is_fenced_under_a_membership_that_is_not_committed() {
    let mut o = look(0, 100, &[100, 100, 100]);
    report(&mut o, 3).digest = Digest([2; 32]);
    let o = settled([o]);
    assert_eq!(plan(&catalogue(3), &o).fences.len(), 1);
    let mut changing = o;
    changing.groups.get_mut(&GROUP).unwrap().membership = Some((1, 1, 101));
    assert!(plan(&catalogue(3), &changing).fences.is_empty());
}

#[test]
fn a_node_is_named_by_the_membership_before_until_the_latest_is_committed() {
    let c = catalogue(3);
    let mut o = settled([look(0, 100, &[100, 100, 100])]);
    let seen = o.groups.get_mut(&GROUP).unwrap();
    seen.hosts.remove(&replica(3));
    seen.configs = vec![[replica(1), replica(2)].into()];
    seen.membership = Some((1, 1, 101));
    let mut leaving = c;
    leaving.groups.get_mut(&GROUP).unwrap().replicas.get_mut(&replica(3)).unwrap().state = ReplicaState::Leaving;
    let named = |o: &ClusterObservation, n| status::node(&leaving, o, &plan(&leaving, o), NodeId::new(n)).named_by;
    assert_eq!(named(&o, 3), [GROUP]);
    assert_eq!(named(&o, 4), [], "a node without a part of the group");
    o.groups.get_mut(&GROUP).unwrap().committed = 101;
    assert_eq!(named(&o, 3), []);
}

#[test]
fn a_replica_without_a_known_entry_is_not_close_even_if_nothing_is_committed() {
    let o = settled([look(0, 0, &[0, 0, 1])]);
    assert!(o.close(GROUP, replica(1)), "the leader");
    assert!(!o.close(GROUP, replica(2)) && o.close(GROUP, replica(3)));
}

#[test]
fn half_of_the_replicas_is_no_majority_that_is_close() {
    let (c, o) = (catalogue(4), settled([look(0, 100, &[100, 100, 0, 0])]));
    let (record, observed) = (&c.groups[&GROUP], &o.groups[&GROUP]);
    let view = GroupView { catalogue: &c, cluster: &o, by_load: &[], id: GROUP, record, observed };
    for (replicas, majority) in [(vec![1, 2], true), (vec![1, 2, 3], true), (vec![1, 3], false), (vec![1, 3, 4], false)]
    {
        let of = replicas.iter().copied().map(replica).collect();
        assert_eq!(view.majority_close(&of), majority, "{replicas:?}");
    }
    assert!(!view.majority_close(&observed.voters()), "two of four");
}

#[test]
fn the_measure_for_close_replicas_moves_on_after_a_quarter_of_a_second() {
    let mark = CommitMark { since_us: 5, committed: 100, before: 90 };
    let moved = CommitMark { since_us: 5 + CLOSE_US, committed: 120, before: 100 };
    assert_eq!(mark.next(5 + CLOSE_US - 1, 120), mark);
    assert_eq!(mark.next(5 + CLOSE_US, 120), moved);
}
