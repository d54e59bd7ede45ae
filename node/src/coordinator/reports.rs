//! [`Reports`]: the latest report of each node. The coordinator completes a report that holds only
//! changes from the report before.

use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::{
    ids::{GroupId, NodeId},
    plan::clocks::ClockReading,
};
use taffrail_proto::peer::{NodeReport, ReplicaReport};

/// The latest report of each polled node, also of nodes that no longer answer.
#[derive(Debug, Default)]
pub struct Reports {
    nodes: BTreeMap<NodeId, Report>,
    /// Groups with a report that changed since the last call of [`take_changed`](Self::take_changed).
    changed: BTreeSet<GroupId>,
}

/// The report of a node, completed.
#[derive(Debug)]
pub struct Report {
    /// True if the node answered the last poll.
    answered: bool,
    /// Clock of the node at the answer; `None` if the answer names no time.
    pub clock: Option<ClockReading>,
    /// The report without `replicas` and `gone`.
    pub node: NodeReport,
    /// Reports of the replicas by group and replica id.
    pub replicas: BTreeMap<(u64, u64), ReplicaReport>,
}

impl Reports {
    /// Begins a poll of `nodes`: forgets all other nodes, and marks these nodes as not answering.
    pub(super) fn begin(&mut self, nodes: &BTreeSet<NodeId>) {
        self.nodes.retain(|node, _| nodes.contains(node));
        for report in self.nodes.values_mut() {
            report.answered = false;
        }
    }

    /// Returns the id of the latest report of a node, to ask the node for the changes since.
    pub(super) fn known(&self, node: NodeId) -> Option<u64> {
        self.nodes.get(&node).map(|r| r.node.report_id)
    }

    /// Takes the answer of a node to the poll. Changes since a report other than the latest cannot be completed; the node
    /// then counts as not answering, and the next poll asks for a whole report.
    pub(super) fn receive(&mut self, node: NodeId, mut answer: NodeReport, clock: Option<ClockReading>) {
        let changes = std::mem::take(&mut answer.replicas);
        let gone = std::mem::take(&mut answer.gone);
        let before = self.nodes.remove(&node);
        self.changed.extend(changed_keys(before.as_ref().map(|b| &b.node), &answer));
        let mut replicas = match (answer.base_report_id, before) {
            (None, before) => {
                let old = before.map(|b| b.replicas).unwrap_or_default();
                let same = |r: &&ReplicaReport| old.get(&(r.group, r.replica)) == Some(*r);
                let new: BTreeSet<_> = changes.iter().filter(same).map(|r| (r.group, r.replica)).collect();
                let differ = changes.iter().map(|r| (r.group, r.replica)).chain(old.keys().copied());
                self.changed.extend(differ.filter(|key| !new.contains(key)).map(|(group, _)| GroupId::new(group)));
                BTreeMap::new()
            }
            (Some(base), Some(before)) if before.node.report_id == base => {
                let keys = changes.iter().map(|r| r.group).chain(gone.iter().map(|key| key.group));
                self.changed.extend(keys.map(GroupId::new));
                before.replicas
            }
            (Some(_), _) => return,
        };
        for key in gone {
            replicas.remove(&(key.group, key.replica));
        }
        replicas.extend(changes.into_iter().map(|r| ((r.group, r.replica), r)));
        self.nodes.insert(node, Report { answered: true, clock, node: answer, replicas });
    }

    /// Returns the groups with a report that changed since the call before. The answer of a node after a poll without an
    /// answer changes the reports of all its groups; the observation shows such a node as not answering before.
    pub(super) fn take_changed(&mut self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.changed)
    }

    /// Returns the report of a node that answered the last poll.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Report> {
        self.nodes.get(&node).filter(|r| r.answered)
    }

    /// Returns the reports of all nodes that answered the last poll.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Report> {
        self.nodes.values().filter(|r| r.answered)
    }
}

/// Returns the groups whose tombstones, fences or broken replicas differ between two reports of a node.
fn changed_keys(before: Option<&NodeReport>, now: &NodeReport) -> BTreeSet<GroupId> {
    let open = |report: &NodeReport| -> BTreeSet<(u8, u64, u64)> {
        let deleted = report.deleted.iter().map(|k| (0, k.group, k.replica));
        let fenced = report.fenced.iter().map(|f| (1, f.group, f.replica));
        let broken = report.broken.iter().map(|b| (2, b.group, b.replica));
        deleted.chain(fenced).chain(broken).collect()
    };
    let before = before.map(open).unwrap_or_default();
    before.symmetric_difference(&open(now)).map(|(_, group, _)| GroupId::new(*group)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::peer::ReplicaKey;

    const NODE: NodeId = NodeId::new(1);

    fn replica(group: u64, applied: u64) -> ReplicaReport {
        ReplicaReport { group, replica: group * 10, applied, ..ReplicaReport::default() }
    }

    fn report(id: u64, base: Option<u64>, replicas: Vec<ReplicaReport>, gone: &[u64]) -> NodeReport {
        let gone = gone.iter().map(|group| ReplicaKey { group: *group, replica: *group * 10 }).collect();
        NodeReport { report_id: id, base_report_id: base, replicas, gone, ..NodeReport::default() }
    }

    fn applied(reports: &Reports) -> Option<Vec<(u64, u64)>> {
        Some(reports.get(NODE)?.replicas.values().map(|r| (r.group, r.applied)).collect())
    }

    #[test]
    fn changes_complete_the_report_before() {
        let mut reports = Reports::default();
        assert_eq!(reports.known(NODE), None);
        reports.receive(NODE, report(5, None, vec![replica(1, 1), replica(2, 1), replica(3, 1)], &[]), None);
        assert_eq!(reports.known(NODE), Some(5));
        reports.receive(NODE, report(6, Some(5), vec![replica(2, 9), replica(4, 1)], &[3]), None);
        assert_eq!(applied(&reports), Some(vec![(1, 1), (2, 9), (4, 1)]));
        reports.receive(NODE, report(7, None, vec![replica(2, 10)], &[]), None);
        assert_eq!(applied(&reports), Some(vec![(2, 10)]), "a whole report replaces all replicas");
    }

    #[test]
    fn a_silent_node_keeps_its_report_for_the_next_changes_only() {
        let mut reports = Reports::default();
        reports.receive(NODE, report(5, None, vec![replica(1, 1)], &[]), None);
        reports.begin(&BTreeSet::from([NODE]));
        assert_eq!((applied(&reports), reports.answers().count()), (None, 0), "an old report is no observation");
        assert_eq!(reports.known(NODE), Some(5));
        reports.receive(NODE, report(6, Some(5), vec![], &[]), None);
        assert_eq!(applied(&reports), Some(vec![(1, 1)]));
        reports.begin(&BTreeSet::new());
        assert_eq!(reports.known(NODE), None, "a node that is no longer polled is forgotten");
    }

    #[test]
    fn changes_since_another_report_are_refused() {
        let mut reports = Reports::default();
        reports.receive(NODE, report(5, None, vec![replica(1, 1)], &[]), None);
        reports.receive(NODE, report(7, Some(6), vec![replica(2, 1)], &[]), None);
        assert_eq!((applied(&reports), reports.known(NODE)), (None, None));
    }

    fn changed(reports: &mut Reports) -> Vec<u64> {
        reports.take_changed().into_iter().map(GroupId::get).collect()
    }

    #[test]
    fn changed_groups_are_those_with_another_report_tombstone_fence_or_broken_replica() {
        let mut reports = Reports::default();
        reports.receive(NODE, report(5, None, vec![replica(1, 1), replica(2, 1)], &[]), None);
        assert_eq!(changed(&mut reports), [1, 2], "the first report");
        reports.receive(NODE, report(6, Some(5), vec![replica(2, 9), replica(4, 1)], &[1]), None);
        assert_eq!(changed(&mut reports), [1, 2, 4]);
        // The own node of the coordinator always sends a whole report.
        reports.receive(NODE, report(7, None, vec![replica(2, 9), replica(4, 2)], &[]), None);
        assert_eq!(changed(&mut reports), [4]);
        reports.receive(NODE, report(8, None, vec![replica(4, 2)], &[]), None);
        assert_eq!(changed(&mut reports), [2], "the replica is gone");
        let key = ReplicaKey { group: 7, replica: 70 };
        let deleted = NodeReport { deleted: vec![key], ..report(9, Some(8), vec![], &[]) };
        reports.receive(NODE, deleted, None);
        assert_eq!(changed(&mut reports), [7], "a new tombstone");
        reports.receive(NODE, report(10, Some(9), vec![], &[]), None);
        assert_eq!(changed(&mut reports), [7], "a forgotten tombstone");
        reports.receive(NODE, report(11, Some(10), vec![], &[]), None);
        assert_eq!(changed(&mut reports), Vec::<u64>::new());
    }
}
