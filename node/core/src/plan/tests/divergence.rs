//! Fences and recorded contradictions, one test per rule, on observations of a group with chosen digests.

use super::observation::{GROUP, catalogue, look, replica, report, settled};
use crate::{
    catalogue::{Catalogue, Group, Kind, Node, NodeState, ReplicaState, Store, StoreState},
    ids::{Digest, DiskId, NodeId},
    plan::{
        Action, ClusterObservation, Contradiction, Lineage, WaitReason,
        action::Plan,
        divergence::{self, frozen},
        plan,
    },
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Index that all replicas have applied.
const INDEX: u64 = 100;

/// Observes replicas 1, 2, ... of a group with these digests at the same index. A digest of 0 is no evidence.
fn digests(of: &[u8]) -> ClusterObservation {
    let mut o = look(0, INDEX, &vec![INDEX; of.len()]);
    for (n, digest) in (1..).zip(of) {
        report(&mut o, n).digest = Digest([*digest; 32]);
    }
    settled([o])
}

/// Creates the catalogue of such a group, with a member for each replica.
pub(super) fn members(replicas: u64) -> Catalogue {
    let mut c = catalogue(replicas);
    for n in 1..=replicas {
        let disk = DiskId::new(Uuid::from_u128(n.into()));
        let (name, address, version) = (format!("main-{n}"), String::new(), "1".into());
        c.nodes.insert(NodeId::new(n), Node { disk, name, address, version, state: NodeState::Member });
    }
    c
}

fn record(c: &mut Catalogue) -> &mut Group {
    c.groups.get_mut(&GROUP).unwrap()
}

fn planned(c: &Catalogue, o: &ClusterObservation) -> Plan {
    let mut plan = Plan::default();
    divergence::plan(c, o, &BTreeSet::new(), &mut BTreeSet::new(), &mut plan);
    plan
}

/// Returns the numbers of the replicas to fence.
fn fenced(c: &Catalogue, o: &ClusterObservation) -> Vec<u64> {
    planned(c, o).fences.iter().map(|f| f.replica.get() - replica(0).get()).collect()
}

#[test]
fn a_divergence_is_reported_as_decided_or_as_undecided_and_agreement_is_not_reported() {
    let sentences = |of: &[u8]| {
        let waiting = planned(&members(3), &digests(of)).waiting.into_iter();
        waiting.filter(|w| w.reason == WaitReason::ReplicaInconsistent).map(|w| w.sentence).collect::<Vec<_>>()
    };
    assert_eq!(sentences(&[1, 1, 1]), [""; 0]);
    let decided = "replica 1003 on node 3 reached a different state than the majority after applying the same log";
    assert_eq!(sentences(&[1, 1, 2]), [decided]);
    let undecided = "replicas reached different states after applying the same log, and no majority agrees; keep all \
                     volumes";
    assert_eq!(sentences(&[1, 2]), [undecided]);
}

#[test]
fn only_more_than_half_of_the_voters_decide_a_fence() {
    assert_eq!(fenced(&members(5), &digests(&[1, 1, 2, 2, 0])), [], "two of five voters are no majority");
    assert_eq!(fenced(&members(5), &digests(&[1, 1, 1, 2, 0])), [4]);
    assert_eq!(fenced(&members(5), &digests(&[1, 1, 1, 2, 2])), [4], "one at a time");
}

#[test]
fn no_replica_of_a_store_that_is_being_removed_is_fenced() {
    let o = digests(&[1, 1, 2]);
    let mut c = members(3);
    assert_eq!(fenced(&c, &o), [3]);
    let store = c.groups[&GROUP].store;
    let removing = Store { state: StoreState::Removing, ..c.stores[&store].clone() };
    c.stores.insert(store, removing);
    assert_eq!(fenced(&c, &o), []);
    c.stores.remove(store);
    assert_eq!(fenced(&c, &o), [], "the store is gone already");
}

#[test]
fn no_replica_is_fenced_while_the_voters_do_not_answer_the_leader() {
    let mut o = digests(&[1, 1, 2]);
    o.groups.get_mut(&GROUP).unwrap().quorum = false;
    assert_eq!(fenced(&members(3), &o), []);
}

#[test]
fn a_replica_that_has_left_the_membership_is_not_fenced() {
    let mut o = digests(&[1, 1, 2]);
    let seen = o.groups.get_mut(&GROUP).unwrap();
    seen.configs = vec![[replica(1), replica(2)].into()];
    assert_eq!(fenced(&members(3), &o), [3], "a learner");
    o.groups.get_mut(&GROUP).unwrap().hosts.remove(&replica(3));
    assert_eq!(fenced(&members(3), &o), []);
}

/// Change of a catalogue and an observation.
type Change = fn(&mut Catalogue, &mut ClusterObservation);

/// Ways in which replica 4 counts as out of service, and is to be replaced before another replica may be fenced.
const OUT: [(&str, Change); 5] = [
    ("leaves", |c, _| record(c).replicas.get_mut(&replica(4)).unwrap().state = ReplicaState::Leaving),
    ("is not in the catalogue", |c, _| record(c).replicas.retain(|r, _| *r != replica(4))),
    ("is fenced", |_, o| o.nodes.get_mut(&NodeId::new(4)).unwrap().fenced = [(GROUP, replica(4))].into()),
    ("has a tombstone", |_, o| o.nodes.get_mut(&NodeId::new(4)).unwrap().deleted = [(GROUP, replica(4))].into()),
    ("has no host", |_, o| o.groups.get_mut(&GROUP).unwrap().hosts.retain(|r, _| *r != replica(4))),
];

#[test]
fn a_voter_that_is_out_of_service_delays_the_fence_of_another_voter() {
    assert_eq!(fenced(&members(5), &digests(&[1, 1, 1, 1, 2])), [5]);
    for (how, change) in OUT {
        let (mut c, mut o) = (members(5), digests(&[1, 1, 1, 1, 2]));
        change(&mut c, &mut o);
        assert_eq!(fenced(&c, &o), [], "replica 4 {how}");
    }
}

#[test]
fn a_voter_that_has_left_without_a_successor_delays_the_next_fence() {
    let (c, mut o) = (members(5), digests(&[1, 1, 1, 1, 2]));
    o.groups.get_mut(&GROUP).unwrap().configs = vec![[1, 2, 3, 5].map(replica).into()];
    assert_eq!(fenced(&c, &o), []);
}

#[test]
fn voters_and_learners_do_not_delay_the_fences_of_each_other() {
    let voters = |o: &mut ClusterObservation, of: &[u64]| {
        let voters: BTreeSet<_> = of.iter().map(|n| replica(*n)).collect();
        o.groups.get_mut(&GROUP).unwrap().configs = vec![voters];
    };
    for (how, change) in OUT {
        let (mut c, mut o) = (members(5), digests(&[1, 1, 1, 1, 2]));
        voters(&mut o, &[1, 2, 4]);
        change(&mut c, &mut o);
        assert_eq!(fenced(&c, &o), [5], "voter 4 {how}, and learner 5 is divergent");
        let (mut c, mut o) = (members(5), digests(&[1, 1, 1, 1, 2]));
        voters(&mut o, &[1, 2, 5]);
        change(&mut c, &mut o);
        assert_eq!(fenced(&c, &o), [5], "learner 4 {how}, and voter 5 is divergent");
    }
}

#[test]
fn a_joint_change_ends_with_the_older_voters_if_these_alone_have_a_majority_that_is_right() {
    let cases: [(&[u64], &[u64], &[u64]); 4] = [
        (&[1, 2, 3], &[2, 3], &[2, 3]),
        (&[1, 2, 3], &[4], &[1, 2, 3]),
        (&[1, 2, 3], &[3, 4], &[1, 2, 3]),
        (&[3, 4], &[4], &[4]),
    ];
    for (older, newer, last) in cases {
        let set = |of: &[u64]| of.iter().copied().map(replica).collect::<BTreeSet<_>>();
        let (c, mut o) = (members(4), digests(&[1, 1, 1, 2]));
        o.groups.get_mut(&GROUP).unwrap().configs = vec![set(older), set(newer)];
        let voters = |action| if let Action::ChangeMembership { voters, .. } = action { Some(voters) } else { None };
        let changes: Vec<_> = plan(&c, &o).actions.into_iter().filter_map(voters).collect();
        assert_eq!(changes, [set(last)], "{older:?} to {newer:?}");
    }
}

#[test]
fn a_group_with_a_report_an_action_or_a_fence_is_busy() {
    let busy = |c: &Catalogue, o: &ClusterObservation| {
        let mut busy = BTreeSet::new();
        divergence::plan(c, o, &BTreeSet::new(), &mut busy, &mut Plan::default());
        busy.contains(&GROUP)
    };
    assert!(!busy(&members(3), &digests(&[1, 1, 1])));
    assert!(busy(&members(3), &digests(&[1, 1, 2])), "a fence");
    assert!(busy(&members(2), &digests(&[1, 2])), "a report");
    assert!(busy(&contradicted(3, INDEX), &digests(&[1, 1, 1])), "a command");
}

/// Proposed values of [`Group::contradicted`].
fn proposed(c: &Catalogue, o: &ClusterObservation) -> Vec<Option<u64>> {
    let actions = planned(c, o).actions.into_iter();
    let of_group = actions.filter_map(|action| {
        let Action::Propose(Kind::Contradicted { group: GROUP, index }) = action else { return None };
        Some(index)
    });
    of_group.collect()
}

fn contradicted(replicas: u64, index: u64) -> Catalogue {
    let mut c = members(replicas);
    record(&mut c).contradicted = Some(index);
    c
}

#[test]
fn a_contradiction_is_recorded_after_two_seconds() {
    let mut o = digests(&[1, 2]);
    let since_us = 1_000;
    o.contradictions.insert(GROUP, Contradiction { index: INDEX, since_us, seen_us: since_us });
    for (after_us, recorded) in [(1_999_999, vec![]), (2_000_000, vec![Some(INDEX)])] {
        o.now_us = since_us + after_us;
        assert_eq!(proposed(&members(2), &o), recorded, "{after_us}");
    }
    assert_eq!(proposed(&contradicted(2, INDEX), &o), [], "recorded already");
}

#[test]
fn an_observed_contradiction_is_forgotten_ten_seconds_after_its_last_observation() {
    let look = |now_us: u64, of: [u8; 2], before: &ClusterObservation| {
        let mut o = look(now_us, INDEX, &[INDEX; 2]);
        for (n, digest) in (1..).zip(of) {
            report(&mut o, n).digest = Digest([digest; 32]);
        }
        o.settle(&Catalogue::default(), before);
        o
    };
    let first = look(5, [1, 2], &ClusterObservation::default());
    let last = look(9, [1, 2], &first);
    let seen = Contradiction { index: INDEX, since_us: 5, seen_us: 9 };
    assert_eq!(last.contradictions.get(&GROUP), Some(&seen));
    // An observation without comparable digests proves nothing.
    for (after_us, kept) in [(9_999_999, Some(&seen)), (10_000_000, None)] {
        assert_eq!(look(9 + after_us, [1, 0], &last).contradictions.get(&GROUP), kept, "{after_us}");
        let again = look(9 + after_us, [1, 2], &last);
        let since_us = kept.map_or(9 + after_us, |kept| kept.since_us);
        assert_eq!(again.contradictions[&GROUP].since_us, since_us, "{after_us}");
    }
}

#[test]
fn only_groups_with_changed_reports_are_compared_again() {
    let agreed = digests(&[1, 1]);
    assert_eq!(agreed.disagreeing, Some(BTreeSet::new()));
    for (changed, disagrees) in [(Some(BTreeSet::new()), false), (Some([GROUP].into()), true), (None, true)] {
        let mut o = digests(&[1, 2]);
        o.changed = changed.clone();
        o.settle(&Catalogue::default(), &agreed);
        assert_eq!(o.disagreeing.unwrap().contains(&GROUP), disagrees, "{changed:?}");
    }
}

#[test]
fn a_contradiction_is_at_the_lowest_index_at_which_replicas_disagree() {
    let mut o = look(0, INDEX, &[INDEX; 2]);
    for (n, digest) in [(1, 1), (2, 2)] {
        let report = report(&mut o, n);
        report.marks = vec![(INDEX - 20, Digest([9; 32])), (INDEX - 10, Digest([digest; 32]))];
        report.digest = Digest([digest; 32]);
    }
    assert_eq!(settled([o]).contradictions[&GROUP].index, INDEX - 10, "the replicas agree at the first index");
}

#[test]
fn a_recorded_contradiction_ends_with_a_majority_at_the_same_index_or_later() {
    let o = digests(&[1, 1, 2]);
    assert_eq!(proposed(&contradicted(3, INDEX), &o), [None]);
    assert_eq!(proposed(&contradicted(3, INDEX + 1), &o), [], "the agreement is older than the contradiction");
    assert_eq!(proposed(&contradicted(2, INDEX), &digests(&[1, 2])), []);
}

/// Makes replica 2 a copy of replica 1, so that both are a single witness.
fn copied(of: &[u8]) -> ClusterObservation {
    let mut o = digests(of);
    report(&mut o, 2).copied_from = Some(Lineage { source: replica(1), index: 1 });
    o.confirmed.clear();
    o
}

#[test]
fn a_recorded_contradiction_ends_when_all_voters_agree_even_if_some_are_copies() {
    assert_eq!(proposed(&contradicted(2, INDEX), &copied(&[1, 1])), [None]);
    assert_eq!(proposed(&contradicted(2, INDEX + 1), &copied(&[1, 1])), [], "the agreement is older");
    assert_eq!(proposed(&contradicted(3, INDEX), &copied(&[1, 1, 2])), [], "the third contradicts the copies");
}

#[test]
fn a_voter_without_a_digest_is_waited_for_unless_the_voter_is_given_up() {
    let ends = |change: Change| {
        let (mut c, mut o) = (contradicted(3, INDEX), copied(&[1, 1, 0]));
        change(&mut c, &mut o);
        !proposed(&c, &o).is_empty()
    };
    assert!(!ends(|_, _| {}), "a member may be right");
    assert!(!ends(|c, _| c.nodes.get_mut(&NodeId::new(3)).unwrap().state = NodeState::Draining));
    assert!(ends(|c, _| c.nodes.get_mut(&NodeId::new(3)).unwrap().state = NodeState::Replacing { by: None }));
    assert!(ends(|c, _| c.nodes.get_mut(&NodeId::new(3)).unwrap().state = NodeState::Removed { forced: true }));
    assert!(ends(|c, _| c.nodes.retain(|n, _| n.get() != 3)));
    assert!(ends(|c, _| record(c).replicas.get_mut(&replica(3)).unwrap().state = ReplicaState::Leaving));
    assert!(ends(|_, o| o.nodes.get_mut(&NodeId::new(3)).unwrap().fenced = [(GROUP, replica(3))].into()));
    let (mut c, o) = (contradicted(3, INDEX), copied(&[1, 1, 0]));
    c.nodes.values_mut().for_each(|node| node.state = NodeState::Removed { forced: true });
    assert_eq!(proposed(&c, &o), [], "no voter is left to decide");
}

#[test]
fn a_group_is_frozen_by_a_recorded_and_by_an_observed_contradiction() {
    let (calm, whole) = (digests(&[1, 1]), members(2));
    let mut seen = calm.clone();
    seen.contradictions.insert(GROUP, Contradiction { index: INDEX, since_us: 0, seen_us: 0 });
    let recorded = contradicted(2, INDEX);
    assert!(!frozen(&calm, GROUP, &whole.groups[&GROUP]));
    assert!(frozen(&seen, GROUP, &whole.groups[&GROUP]));
    assert!(frozen(&calm, GROUP, &recorded.groups[&GROUP]));
}
