//! [`SentReports`]: reduces the reports of a node to the changes since the previous report, so that the replicas of idle
//! stores cost no bandwidth.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use taffrail_proto::peer::{NodeReport, ReplicaKey, ReplicaReport};
use taffrail_runtime as rt;

/// The replicas of the report last sent by this node, with the id of the report.
///
/// The id is random. A coordinator that did not receive the report last sent, such as a new coordinator, cannot name its
/// id, and gets a whole report.
#[derive(Debug, Default)]
pub struct SentReports(Mutex<Sent>);

#[derive(Debug, Default)]
struct Sent {
    /// `None` before the first report.
    id: Option<u64>,
    replicas: BTreeMap<(u64, u64), ReplicaReport>,
}

impl SentReports {
    /// Gives a whole report an id, and reduces the report to the changes since the report `known` if that
    /// report was the last one.
    pub(super) fn reduce(&self, known: Option<u64>, mut report: NodeReport) -> NodeReport {
        let replicas = std::mem::take(&mut report.replicas).into_iter();
        let replicas: BTreeMap<_, _> = replicas.map(|r| ((r.group, r.replica), r)).collect();
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.report_id = rt::random_u64();
        report.base_report_id = known.filter(|id| sent.id == Some(*id));
        if report.base_report_id.is_some() {
            let changed = replicas.iter().filter(|(key, r)| sent.replicas.get(key) != Some(r));
            report.replicas = changed.map(|(_, r)| r.clone()).collect();
            let gone = sent.replicas.keys().filter(|key| !replicas.contains_key(key));
            report.gone = gone.map(|(group, replica)| ReplicaKey { group: *group, replica: *replica }).collect();
        } else {
            report.replicas = replicas.values().cloned().collect();
        }
        *sent = Sent { id: Some(report.report_id), replicas };
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::test_node::{HERE, Node, declare, with_a_store};
    use prost::Message;
    use std::collections::BTreeSet;
    use taffrail_core::{
        catalogue::{CloseMode, Kind},
        ids::{GroupId, NodeId, ReplicaId},
    };
    use taffrail_proto::peer::{FrameKind, ReportRequest};
    use taffrail_raft::log::LogKey;

    /// Asks the node for a report as a coordinator on another node does.
    async fn ask(node: &Node, known: Option<u64>) -> NodeReport {
        let key = LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(HERE.get()) };
        let payload = ReportRequest { known_report_id: known }.encode_to_vec();
        let answer = node.frame(FrameKind::Report, NodeId::new(2), key, payload).await.unwrap();
        NodeReport::decode(answer).unwrap()
    }

    fn groups(report: &NodeReport) -> BTreeSet<u64> {
        report.replicas.iter().map(|r| r.group).collect()
    }

    /// Waits until all replicas lead and have applied their logs. Returns the id of the last report.
    async fn settled(node: &Node) -> u64 {
        loop {
            let report = ask(node, None).await;
            let idle = |r: &ReplicaReport| r.leads && r.applied + 1 == r.log_end && r.committed == r.applied;
            if report.replicas.iter().all(idle) {
                return report.report_id;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_coordinator_gets_the_changes_since_the_report_that_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (node, first) = with_a_store(dir.path()).await;
        let first = first.group.get();
        let whole = ask(&node, None).await;
        assert_eq!((groups(&whole), whole.base_report_id), (BTreeSet::from([0, first]), None));
        let id = settled(&node).await;

        declare(&node, "payments").await;
        node.reconcile().await;
        let changes = ask(&node, Some(id)).await;
        let second = node.member.all_running().last().expect("two stores").group.group().get();
        assert_eq!(changes.base_report_id, Some(id));
        assert_eq!(groups(&changes), BTreeSet::from([0, second]), "the first store is idle");

        let other = ask(&node, Some(id)).await;
        assert_eq!(other.base_report_id, None, "that report is no longer the one last sent");
        assert_eq!(groups(&other), BTreeSet::from([0, first, second]));
        node.end().await;
    }

    #[tokio::test]
    async fn a_removed_replica_is_reported_until_the_catalogue_forgets_the_replica() {
        let dir = tempfile::tempdir().unwrap();
        let (node, key) = with_a_store(dir.path()).await;
        let id = settled(&node).await;
        let (group, replica) = (key.group, key.replica);
        let store = node.member.applied().groups.get(&group).unwrap().store;
        node.propose(Kind::Close { store, mode: CloseMode::Delete, declared_by: String::new() }).await;
        node.propose(Kind::RetireReplica { group, replica }).await;
        node.reconcile().await;
        let removed = ask(&node, Some(id)).await;
        let key = ReplicaKey { group: group.get(), replica: replica.get() };
        assert_eq!((&removed.gone, &removed.deleted), (&vec![key], &vec![key]));

        node.propose(Kind::DropReplica { group, replica }).await;
        node.propose(Kind::StoreGone(store)).await;
        let forgotten = ask(&node, Some(removed.report_id)).await;
        assert_eq!(
            (forgotten.gone, forgotten.deleted),
            (vec![], vec![]),
            "the tombstone is of no use to a coordinator"
        );
        assert!(node.member.is_deleted(LogKey { group, replica }), "the tombstone stays");
        node.end().await;
    }
}
