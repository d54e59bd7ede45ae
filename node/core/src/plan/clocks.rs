//! Comparison of the clocks of the nodes. The recorded time of an event comes from the clock of the leader of the store, so
//! a leader whose clock is far off hands its leaderships over, and every large difference is reported.
//!
//! The measure is the median clock of the voters of the system group. A single wrong clock among three cannot move the
//! median away from both other clocks. With fewer than three clocks nobody can tell which clock is wrong, so a difference is
//! reported and no leadership moves.

use super::{
    action::{Action, Plan},
    leadership::successor,
    observation::ClusterObservation,
};
use crate::{
    catalogue::Catalogue,
    ids::{GroupId, NodeId, ReplicaId, StoreId},
};
use std::collections::BTreeSet;

/// Smallest difference from the median clock that is reported, microseconds.
pub const REPORTED_US: u64 = 5_000_000;
/// Smallest difference from the median clock after which a node leads no group, microseconds.
pub const HANDED_OVER_US: u64 = 60_000_000;
/// Smallest number of clocks among which a wrong clock can be told from a right clock.
const CLOCKS_MIN: usize = 3;
/// Bounds for texts, seconds: a text names the largest bound below the difference, because a text with the exact
/// difference would change at every observation.
const BOUNDS_SECONDS: [u64; 5] = [5, 60, 3_600, 86_400, 31_536_000];

/// The clock of a node, relative to the clock of the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// Advance of the node's clock over the coordinator's clock, microseconds; negative for a clock that is behind.
    pub offset_us: i64,
    /// Largest error of `offset_us`, microseconds.
    pub uncertainty_us: u64,
}

impl ClockReading {
    /// Computes the reading of a clock from an answer that named the time `clock_us` and arrived at `arrived_us` of the
    /// coordinator's clock, `round_trip_us` after the request. The node has read its clock at an unknown moment of the
    /// round trip, so the middle of the round trip is wrong by at most half of the round trip.
    ///
    /// ```
    /// use taffrail_core::plan::ClockReading;
    ///
    /// let reading = ClockReading::of_answer(1_000_500, 1_000_100, 200);
    /// assert_eq!(reading, ClockReading { offset_us: 500, uncertainty_us: 100 });
    /// ```
    #[must_use]
    pub fn of_answer(clock_us: u64, arrived_us: u64, round_trip_us: u64) -> Self {
        let half = round_trip_us.div_ceil(2);
        let offset = i128::from(clock_us) - i128::from(arrived_us) + i128::from(half);
        let bounded = offset.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Self { offset_us: i64::try_from(bounded).unwrap_or(i64::MAX), uncertainty_us: half }
    }

    /// Returns the certain part of the difference from another reading, microseconds.
    fn differs_us(self, other: Self) -> u64 {
        let error = self.uncertainty_us.saturating_add(other.uncertainty_us);
        self.offset_us.abs_diff(other.offset_us).saturating_sub(error)
    }
}

/// A clock that differs from the median clock by at least [`REPORTED_US`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Node of the clock.
    pub node: NodeId,
    /// True for a clock that is ahead of the median.
    pub ahead: bool,
    /// Certain part of the difference from the median clock, microseconds.
    pub differs_us: u64,
}

/// A store whose last recorded time is ahead of the median clock by at least [`REPORTED_US`]. The store gives the same time
/// to all new events until the clocks have passed the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreAhead {
    /// The store.
    pub store: StoreId,
    /// Last recorded time, Unix time in microseconds.
    pub recorded_us: u64,
    /// Advance of the last recorded time over the median clock, microseconds.
    pub ahead_us: u64,
}

/// Subject of a problem about clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSubject {
    /// Node whose clock differs from the median clock.
    Node(NodeId),
    /// Store whose last recorded time is ahead of the clocks.
    Store(StoreId),
}

/// A problem about clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockProblem {
    /// Subject of the problem.
    pub subject: ClockSubject,
    /// Explanation for people. The sentence names the largest bound below the difference, so that the same problem has
    /// the same sentence at every observation.
    pub sentence: String,
}

/// Returns the readings of the clocks of the reachable voters of the system group, by offset.
fn voters(o: &ClusterObservation) -> Vec<ClockReading> {
    let Some(system) = o.groups.get(&GroupId::SYSTEM) else { return Vec::new() };
    let node = |replica: &ReplicaId| o.nodes.get(&NodeId::new(replica.get()))?.clock;
    let mut clocks: Vec<ClockReading> = system.voters().iter().filter_map(node).collect();
    clocks.sort_by_key(|clock| (clock.offset_us, clock.uncertainty_us));
    clocks
}

/// Returns the median clock of the voters; of an even number, the earlier of the two clocks in the middle.
fn median(o: &ClusterObservation) -> Option<ClockReading> {
    let clocks = voters(o);
    clocks.get(clocks.len().checked_sub(1)? / 2).copied()
}

/// Returns the clocks that differ from the median clock, by node.
#[must_use]
pub fn deviations(o: &ClusterObservation) -> Vec<Deviation> {
    let Some(median) = median(o) else { return Vec::new() };
    let all = o.nodes.iter().filter_map(|(node, n)| Some((*node, n.clock?)));
    let differs = all.map(|(node, clock)| Deviation {
        node,
        ahead: clock.offset_us > median.offset_us,
        differs_us: clock.differs_us(median),
    });
    differs.filter(|d| d.differs_us >= REPORTED_US).collect()
}

/// Returns the stores whose last recorded time is ahead of the median clock, by store.
#[must_use]
pub fn stores_ahead(c: &Catalogue, o: &ClusterObservation) -> Vec<StoreAhead> {
    let Some(median) = median(o) else { return Vec::new() };
    let now_us = o.now_us.saturating_add_signed(median.offset_us);
    let ahead = c.stores.iter().filter_map(|(id, store)| {
        let recorded_us = o.groups.get(&store.group)?.recorded_us;
        let ahead_us = recorded_us.saturating_sub(now_us).saturating_sub(median.uncertainty_us);
        Some(StoreAhead { store: *id, recorded_us, ahead_us })
    });
    ahead.filter(|a| a.ahead_us >= REPORTED_US).collect()
}

/// Returns the nodes that must not lead a group, because their clocks are wrong.
pub(super) fn unfit(o: &ClusterObservation) -> BTreeSet<NodeId> {
    if voters(o).len() < CLOCKS_MIN {
        return BTreeSet::new();
    }
    deviations(o).into_iter().filter(|d| d.differs_us >= HANDED_OVER_US).map(|d| d.node).collect()
}

/// Plans the transfer of every leadership from nodes with wrong clocks to caught-up voters on other nodes.
pub(super) fn plan(o: &ClusterObservation, unfit: &BTreeSet<NodeId>, plan: &mut Plan) {
    if unfit.is_empty() {
        return;
    }
    for (id, observed) in o.groups.iter().filter(|(_, g)| unfit.contains(&g.leader_node)) {
        let fit =
            observed.hosts.iter().filter(|(_, node)| !unfit.contains(node)).map(|(replica, _)| *replica).collect();
        if !observed.changing()
            && let Some(to) = successor(o, *id, observed, &fit)
        {
            plan.actions.push(Action::transfer(*id, observed, to));
        }
    }
}

/// Returns the largest bound in whole seconds that is not above a difference: a bound for a text.
fn at_least_seconds(differs_us: u64) -> u64 {
    let below = BOUNDS_SECONDS.into_iter().filter(|bound| bound.saturating_mul(1_000_000) <= differs_us);
    below.max().unwrap_or(BOUNDS_SECONDS[0])
}

/// Returns the problem of each wrong clock, by node, and then of each store with a recorded time ahead of the clocks.
#[must_use]
pub fn problems(c: &Catalogue, o: &ClusterObservation) -> Vec<ClockProblem> {
    let several = o.nodes.values().filter(|n| n.clock.is_some()).count() >= CLOCKS_MIN;
    let clock = |d: Deviation| {
        let (seconds, side) = (at_least_seconds(d.differs_us), if d.ahead { "ahead of" } else { "behind" });
        let name = c.nodes.get(&d.node).map_or("", |n| n.name.as_str());
        let doubt = if several { "" } else { "; with two clocks nobody can tell which one is wrong" };
        let node = d.node;
        let sentence = format!(
            "the clock of node {node} ({name}) is at least {seconds} s {side} the median clock of the voters{doubt}; \
             check the time synchronisation of the machine"
        );
        ClockProblem { subject: ClockSubject::Node(node), sentence }
    };
    let ahead = |a: StoreAhead| {
        let name = c.stores.get(&a.store).map_or_else(String::new, |s| s.name.to_string());
        let (seconds, recorded) = (at_least_seconds(a.ahead_us), a.recorded_us / 1_000_000);
        let sentence = format!(
            "store {name}: the last recorded time, {recorded} s after 1970, is at least {seconds} s ahead of the clocks; \
             all new events get this time until the clocks have passed the time"
        );
        ClockProblem { subject: ClockSubject::Store(a.store), sentence }
    };
    let clocks = deviations(o).into_iter().map(clock);
    clocks.chain(stores_ahead(c, o).into_iter().map(ahead)).collect()
}
