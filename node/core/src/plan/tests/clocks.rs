//! Clocks that differ: reported from five seconds on, and leaderships move from sixty seconds on.

use super::toy::Toy;
use crate::{
    ids::{GroupId, NodeId},
    plan::{Action, ClockReading, ClusterObservation, clocks, plan},
};

const SECOND: i64 = 1_000_000;

/// Sets the offsets of the clocks of nodes 1, 2, ... from the coordinator's clock, in milliseconds.
fn set(o: &mut ClusterObservation, offsets_ms: &[i64]) {
    for (node, offset) in (1..).zip(offsets_ms) {
        let reading = ClockReading { offset_us: offset * 1000, uncertainty_us: 1000 };
        o.nodes.get_mut(&NodeId::new(node)).unwrap().clock = Some(reading);
    }
}

/// Observes a settled cluster of three nodes with a store on all nodes.
fn settled() -> (Toy, ClusterObservation) {
    let mut toy = Toy::with_store(3, 3);
    toy.quiet_down();
    let o = toy.observe();
    (toy, o)
}

/// Returns the nodes with reported clocks, and true for a clock that is ahead.
fn reported(offsets_ms: &[i64]) -> Vec<(u64, bool)> {
    let (_, mut o) = settled();
    set(&mut o, offsets_ms);
    clocks::deviations(&o).iter().map(|d| (d.node.get(), d.ahead)).collect()
}

/// Returns the transfers of leaderships that a pass plans, as group and next leader's node.
fn transfers(toy: &Toy, o: &ClusterObservation) -> Vec<(GroupId, NodeId)> {
    let to_node = |action: Action| match action {
        Action::Transfer { group, to, .. } => Some((group, o.groups[&group].hosts[&to])),
        Action::Propose(_) | Action::ChangeMembership { .. } | Action::Settings { .. } | Action::RaiseRules { .. } => {
            None
        }
    };
    plan(&toy.c, o).actions.into_iter().filter_map(to_node).collect()
}

#[test]
fn half_of_the_round_trip_is_the_uncertainty_of_a_reading() {
    let reading = |clock, arrived, trip| {
        let r = ClockReading::of_answer(clock, arrived, trip);
        (r.offset_us, r.uncertainty_us)
    };
    assert_eq!(reading(5_000, 5_000, 0), (0, 0));
    assert_eq!(reading(5_000, 5_000, 400), (200, 200), "the clock was read between 4,600 and 5,000");
    assert_eq!(reading(5_000, 5_000, 3), (2, 2), "half is rounded up");
    assert_eq!(reading(0, 7_000, 400), (-6_800, 200));
    assert_eq!(reading(u64::MAX, 0, 0), (i64::MAX, 0));
    assert_eq!(reading(0, u64::MAX, 0), (i64::MIN, 0));
}

#[test]
fn a_clock_is_reported_from_five_certain_seconds_on() {
    assert!(reported(&[0, 0, 4_999]).is_empty());
    // The readings of the clock and of the median are uncertain by one millisecond each.
    assert!(reported(&[0, 0, 5_001]).is_empty());
    assert_eq!(reported(&[0, 0, 5_002]), [(3, true)]);
    assert_eq!(reported(&[0, -5_002, 0]), [(2, false)]);
    // The coordinator itself is wrong: all other clocks seem to be behind.
    assert_eq!(reported(&[0, -70_000, -70_001]), [(1, true)]);
    assert_eq!(reported(&[0, 10_000, -10_000]), [(2, true), (3, false)]);
}

#[test]
fn the_median_of_an_even_number_of_clocks_is_the_earlier_one() {
    let (_, mut o) = settled();
    set(&mut o, &[0, 9_000]);
    o.nodes.get_mut(&NodeId::new(3)).unwrap().clock = None;
    let found: Vec<_> = clocks::deviations(&o).iter().map(|d| (d.node.get(), d.ahead)).collect();
    assert_eq!(found, [(2, true)]);
}

#[test]
fn a_leader_with_a_wrong_clock_hands_every_leadership_over() {
    let (toy, mut o) = settled();
    let (group, leader) = (toy.group("a"), o.groups[&toy.group("a")].leader_node);
    let system = o.groups[&GroupId::SYSTEM].leader_node;
    for (node, clock) in (1..=3).map(NodeId::new).zip([0, 61_000, -61_000]) {
        let ms: Vec<i64> = (1..=3).map(|n| if NodeId::new(n) == node { clock } else { 0 }).collect();
        set(&mut o, &ms);
        let moved = transfers(&toy, &o);
        let wrong = clock != 0;
        let wanted = usize::from(wrong && node == leader) + usize::from(wrong && node == system);
        assert_eq!(moved.len(), wanted, "node {node}: {moved:?}");
        assert!(moved.iter().all(|(_, to)| *to != node), "{moved:?}");
    }
    let off = |ms: i64| (1..=3).map(|n| if NodeId::new(n) == leader { ms } else { 0 }).collect::<Vec<_>>();
    set(&mut o, &off(59_000));
    assert!(transfers(&toy, &o).is_empty(), "reported only");
    set(&mut o, &off(61_000));
    assert!(transfers(&toy, &o).iter().any(|(g, _)| *g == group));
    // Without the clock of one voter nobody knows which of two clocks is wrong.
    let other = (1..=3).map(NodeId::new).find(|n| *n != leader).unwrap();
    o.nodes.get_mut(&other).unwrap().clock = None;
    assert!(transfers(&toy, &o).is_empty());
    assert!(!clocks::deviations(&o).is_empty(), "the difference is reported all the same");
}

#[test]
fn no_leadership_moves_to_a_node_with_a_wrong_clock() {
    let (toy, mut o) = settled();
    let leader = o.groups[&toy.group("a")].leader_node;
    let others: Vec<NodeId> = (1..=3).map(NodeId::new).filter(|n| *n != leader).collect();
    // The leader is far ahead of the median, and one of the other nodes is far behind the median.
    let ms = |n| {
        if n == leader {
            120_000
        } else if n == others[0] {
            -120_000
        } else {
            0
        }
    };
    set(&mut o, &(1..=3).map(NodeId::new).map(ms).collect::<Vec<_>>());
    let moved: Vec<_> = transfers(&toy, &o).into_iter().filter(|(g, _)| *g == toy.group("a")).collect();
    assert_eq!(moved, [(toy.group("a"), others[1])]);
}

#[test]
fn a_store_whose_recorded_time_is_ahead_of_the_clocks_is_reported() {
    let (toy, mut o) = settled();
    set(&mut o, &[0, 0, 0]);
    let group = toy.group("a");
    let record = |o: &mut ClusterObservation, ahead_us: i64| {
        let time = o.now_us.checked_add_signed(ahead_us).unwrap();
        o.groups.get_mut(&group).unwrap().recorded_us = time;
    };
    record(&mut o, 4 * SECOND);
    assert!(clocks::problems(&toy.c, &o).is_empty());
    record(&mut o, 73 * 365 * 86_400 * SECOND);
    let problems = clocks::problems(&toy.c, &o);
    assert!(problems.len() == 1 && problems[0].sentence.contains("store default/a"), "{problems:?}");
    assert!(problems[0].sentence.contains("at least 31536000 s ahead"), "{problems:?}");
    let seconds = o.groups[&group].recorded_us / 1_000_000;
    let recorded = format!("the last recorded time, {seconds} s after 1970, is");
    assert!(problems[0].sentence.contains(&recorded), "{problems:?}");
    // The clock of the coordinator is the wrong one: the store is not ahead of the median.
    set(&mut o, &[0, 0, 0]);
    record(&mut o, 100 * SECOND);
    set(&mut o, &[100_000, 100_000, 100_000]);
    assert!(clocks::stores_ahead(&toy.c, &o).is_empty());
}

#[test]
fn the_sentence_about_a_clock_names_bound_and_side_and_doubts_one_of_two_clocks() {
    let (toy, mut o) = settled();
    let sentences = |o: &ClusterObservation| -> Vec<String> {
        clocks::problems(&toy.c, o).into_iter().map(|problem| problem.sentence).collect()
    };
    set(&mut o, &[0, 61_000, -6_000]);
    let ahead = "the clock of node 2 (main-1) is at least 60 s ahead of the median clock of the voters; check the time \
                 synchronisation of the machine";
    let behind = "the clock of node 3 (main-2) is at least 5 s behind the median clock of the voters; check the time \
                  synchronisation of the machine";
    assert_eq!(sentences(&o), [ahead, behind]);
    o.nodes.get_mut(&NodeId::new(3)).unwrap().clock = None;
    let doubt = "the clock of node 2 (main-1) is at least 60 s ahead of the median clock of the voters; with two \
                 clocks nobody can tell which one is wrong; check the time synchronisation of the machine";
    assert_eq!(sentences(&o), [doubt]);
}
