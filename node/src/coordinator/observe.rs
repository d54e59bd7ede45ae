//! Observation of the cluster: polls the reports of all nodes, and converts the reports to the input of the planner.

use super::reports::{Report, Reports};
use crate::{
    config::FinalizeUpgrade,
    member::{member::Member, operations},
};
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use taffrail_core::{
    catalogue::{Catalogue, NodeState, Rules},
    ids::{Digest, GroupId, NodeId, ReplicaId},
    plan::{ClockReading, ClusterObservation, GroupObservation, Lineage, NodeObservation, ReplicaObservation},
    stream::Settings,
};
use taffrail_proto::{
    peer::{FrameKind, NodeReport, ReplicaReport as WireReport, ReportRequest},
    storage as pb,
};
use taffrail_raft::{codec, peer::Request};
use taffrail_runtime as rt;
use tokio::time::Instant;

/// Time limit for the report of a node.
const POLL_TIMEOUT: Duration = Duration::from_millis(700);

/// Polls all nodes of the catalogue at the same time, except removed nodes, for the changes since their latest reports.
pub async fn poll(member: &Arc<Member>, reports: &mut Reports) {
    let catalogue = member.applied();
    let present = catalogue.nodes.iter().filter(|(_, n)| !matches!(n.state, NodeState::Removed { .. }));
    let nodes: BTreeSet<NodeId> = present.map(|(id, _)| *id).collect();
    reports.begin(&nodes);
    let polls = nodes.iter().map(|id| poll_one(member, *id, reports.known(*id)));
    let answers = futures::future::join_all(polls).await;
    for (node, answer) in nodes.into_iter().zip(answers) {
        if let Some((report, clock)) = answer {
            reports.receive(node, report, clock);
        }
    }
}

async fn poll_one(
    member: &Arc<Member>,
    node: NodeId,
    known: Option<u64>,
) -> Option<(NodeReport, Option<ClockReading>)> {
    if node == member.node() {
        return Some((operations::report(member), Some(ClockReading::default())));
    }
    let request = Request {
        kind: FrameKind::Report,
        group: GroupId::SYSTEM,
        from_replica: ReplicaId::new(member.node().get()),
        to_replica: ReplicaId::new(node.get()),
        payload: ReportRequest { known_report_id: known }.encode_to_vec().into(),
    };
    let asked = Instant::now();
    let answer = member.parts.home.transport.call(node, request, POLL_TIMEOUT).await.ok()?;
    let (arrived_us, round_trip) = (rt::now_us(), asked.elapsed());
    let report = NodeReport::decode(answer).ok()?;
    let round_trip_us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
    let clock = (report.clock_us != 0).then(|| ClockReading::of_answer(report.clock_us, arrived_us, round_trip_us));
    Some((report, clock))
}

/// Converts the reports to the observation for the planner.
#[must_use]
pub fn observed(member: &Member, catalogue: &Catalogue, reports: &Reports) -> ClusterObservation {
    let mut observed =
        ClusterObservation { now_us: rt::now_us(), coordinator: member.node(), ..ClusterObservation::default() };
    observed.raise_rules = member.parts.finalize_upgrade == FinalizeUpgrade::Automatic;
    for id in catalogue.nodes.keys() {
        observed.nodes.insert(*id, node(reports.get(*id)));
    }
    for report in reports.answers().flat_map(|r| r.replicas.values()).filter(|r| r.leads) {
        let Some(seen) = group(report) else { continue };
        let id = GroupId::new(report.group);
        // Leaders of two terms may both answer for a moment. The leader of the later term counts.
        let later = observed.groups.get(&id).is_none_or(|other| other.term < seen.term);
        if later {
            observed.groups.insert(id, seen);
        }
    }
    observed
}

fn node(report: Option<&Report>) -> NodeObservation {
    let Some(Report { node: report, replicas, clock, .. }) = report else { return NodeObservation::default() };
    NodeObservation {
        reachable: true,
        rules: Some(known_rules(report)),
        clock: *clock,
        storage_low: report.storage_low,
        free_bytes: report.disk_free_bytes.unwrap_or(0),
        other_disk: None,
        replicas: replicas.values().map(|r| (key(r.group, r.replica), replica(r))).collect(),
        deleted: report.deleted.iter().map(|k| key(k.group, k.replica)).collect(),
        fenced: report.fenced.iter().map(|f| key(f.group, f.replica)).collect(),
        broken: report.broken.iter().map(|b| key(b.group, b.replica)).collect(),
    }
}

/// Returns the newest rules known to the binary of a node. A binary that does not report the rules knows the first rules.
fn known_rules(report: &NodeReport) -> Rules {
    Rules { catalogue: report.known_catalogue_rules, stores: report.known_store_rules }.max(Rules::FIRST)
}

fn key(group: u64, replica: u64) -> (GroupId, ReplicaId) {
    (GroupId::new(group), ReplicaId::new(replica))
}

fn replica(r: &WireReport) -> ReplicaObservation {
    ReplicaObservation {
        leads: r.leads,
        term: r.term,
        log_end: r.log_end,
        applied: r.applied,
        digest: r.digest.as_ref().try_into().map(Digest).unwrap_or_default(),
        // A mark whose digest does not decode is skipped.
        marks: r.marks.iter().filter_map(|m| Some((m.index, Digest(m.digest.as_ref().try_into().ok()?)))).collect(),
        copied_from: r
            .copied_from
            .as_ref()
            .map(|from| Lineage { source: ReplicaId::new(from.replica), index: from.index }),
        stopped: (!r.stopped.is_empty()).then(|| r.stopped.clone()),
    }
}

fn group(r: &WireReport) -> Option<GroupObservation> {
    let stored = pb::StoredMembership::decode(r.membership.clone()).ok()?;
    let stored = codec::stored_membership_from(&stored).ok()?;
    let hosts: BTreeMap<ReplicaId, NodeId> =
        stored.nodes().map(|(replica, host)| (ReplicaId::new(*replica), host.0)).collect();
    let leader = ReplicaId::new(r.replica);
    let mut matched: BTreeMap<ReplicaId, u64> =
        r.matched.iter().map(|m| (ReplicaId::new(m.replica), m.index)).collect();
    matched.insert(leader, r.log_end.saturating_sub(1));
    let effective =
        if rt::planted_defect::is_planted("early-retire") { stored.log_id().map(|id| id.index) } else { None };
    Some(GroupObservation {
        leader,
        leader_node: *hosts.get(&leader)?,
        term: r.term,
        membership: stored.log_id().map(|id| (id.leader_id.term, id.leader_id.node_id, id.index)),
        configs: stored.get_joint_config().iter().map(|set| set.iter().map(|r| ReplicaId::new(*r)).collect()).collect(),
        hosts,
        matched,
        committed: r.committed.max(effective.unwrap_or(0)),
        quorum: r.quorum,
        settings: Settings { version: r.settings_version, repeat_window_us: r.repeat_window_us, closed: r.closed },
        rules: r.rules,
        recorded_us: r.recorded_us,
    })
}
