//! Operations of a member, called directly by the coordinator on the same node and with frames by peers: report the
//! replicas, change a membership, transfer a leadership.

use super::{member::Member, recovery::Broken};
use crate::disk_space::Level;
use bytes::Bytes;
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use taffrail_core::{
    catalogue::Rules,
    ids::{NodeId, ReplicaId},
    plan::{Candidate, can_take_over},
    stream::{Command, Kind, RULES},
};
use taffrail_proto::{
    peer::{
        BrokenReplica, Divergence, FencedReplica, Lineage, Mark, Matched, NodeReport, Refusal, RefusalKind, ReplicaKey,
        ReplicaReport,
    },
    storage as pb,
};
use taffrail_raft::{
    codec as raft_codec,
    group::Group,
    log::FenceMark,
    peer::dispatch::refusal,
    status::{ProposeError, Status},
};
use taffrail_runtime as rt;
use taffrail_storage::store::codec::encode_command;
use taffrail_store_api::Applied;
use tokio::time::Instant;

/// Time limit for an operation whose caller sets no deadline.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Reports the state of every replica on this node, the system group included.
#[must_use]
pub fn report(member: &Member) -> NodeReport {
    let parts = &member.parts;
    let disk = parts.space.now();
    let mut groups: Vec<Arc<Group>> = member.all_running().into_iter().map(|r| r.group).collect();
    groups.push(Arc::clone(&member.system));
    NodeReport {
        disk_id: parts.registration.disk.to_bytes().to_vec().into(),
        name: parts.registration.name.clone(),
        address: parts.registration.address.clone(),
        version: parts.registration.version.clone(),
        replicas: groups.iter().map(|g| replica_report(g)).collect(),
        deleted: member
            .deleted_of(&member.applied())
            .into_iter()
            .map(|(group, replica)| ReplicaKey { group: group.get(), replica: replica.get() })
            .collect(),
        fenced: member
            .fenced()
            .iter()
            .map(|(key, mark)| FencedReplica {
                group: key.group.get(),
                replica: key.replica.get(),
                divergence: Some(divergence(mark)),
            })
            .collect(),
        broken: member.recovery.broken().into_iter().map(broken_replica).collect(),
        disk_total_bytes: disk.measured().map(|space| space.total_bytes),
        disk_free_bytes: disk.measured().map(|space| space.free_bytes),
        storage_low: disk.level > Level::Enough,
        clock_us: rt::now_us(),
        known_catalogue_rules: Rules::KNOWN.catalogue,
        known_store_rules: Rules::KNOWN.stores,
        ..NodeReport::default()
    }
}

/// Reports the state of every replica on this node, reduced to the changes since the report `known` if that report was
/// the one last sent.
pub(super) fn changed_report(member: &Member, known: Option<u64>) -> NodeReport {
    member.sent_reports.reduce(known, report(member))
}

fn broken_replica(broken: Broken) -> BrokenReplica {
    let Broken { key, failures, why } = broken;
    BrokenReplica { group: key.group.get(), replica: key.replica.get(), failures, why }
}

fn replica_report(group: &Group) -> ReplicaReport {
    let s: Status = group.status();
    let Applied { settings, recorded_us, rules, .. } = *group.progress().borrow();
    let alone = s.membership.voter_ids().count() == 1;
    let quorum = s.leads && (alone || s.quorum_acked_ago.is_some_and(|ago| ago < group.quorum_timeout()));
    ReplicaReport {
        group: group.group().get(),
        replica: group.key().replica.get(),
        leads: s.leads,
        term: s.term,
        log_end: s.log_end,
        committed: s.committed,
        applied: s.applied,
        digest: s.digest.0.to_vec().into(),
        marks: s.marks.iter().map(|(index, d)| Mark { index: *index, digest: d.0.to_vec().into() }).collect(),
        copied_from: s.copied_from.map(|from| Lineage { replica: from.source.get(), index: from.index }),
        stopped: s.stopped.unwrap_or_default(),
        membership: if s.leads {
            raft_codec::stored_membership_to(&s.membership).encode_to_vec().into()
        } else {
            Bytes::new()
        },
        matched: s.matched.iter().map(|(replica, index)| Matched { replica: *replica, index: *index }).collect(),
        quorum,
        settings_version: settings.version,
        repeat_window_us: settings.repeat_window_us,
        closed: settings.closed,
        recorded_us,
        rules,
    }
}

/// Proposes a command of the coordinator to the log of a store, under the rules in force. Appends are refused, because
/// clients append through the gateway.
///
/// # Errors
/// This replica does not lead, the command is an append, or the outcome is unknown.
pub async fn store_command(group: &Group, kind: Kind) -> Result<(), Refusal> {
    if matches!(kind, Kind::Appends(_)) {
        return Err(refusal(RefusalKind::BadFrame, "kind: appends go through the gateway"));
    }
    let command = Command { rules: group.progress().borrow().rules.min(RULES), kind };
    let proposed = group.propose(encode_command(&command), Instant::now() + OPERATION_TIMEOUT).await;
    proposed.map(drop).map_err(|e| match e {
        ProposeError::NotLeader(_) => group.not_leader(),
        e @ (ProposeError::Refused(_) | ProposeError::Unknown(_) | ProposeError::Stopped(_)) => {
            refusal(RefusalKind::Unavailable, e.to_string())
        }
    })
}

/// Changes the membership of `group` to the voters and learners of `change`.
///
/// # Errors
/// This replica does not lead, the current membership is not `change.expected`, or `change` has no voter.
pub async fn change_membership(group: &Group, change: &pb::ChangeMembership) -> Result<(), Refusal> {
    let voters: BTreeSet<ReplicaId> = change.voters.iter().map(|r| ReplicaId::new(*r)).collect();
    let learners: BTreeMap<ReplicaId, NodeId> =
        change.learners.iter().map(|h| (ReplicaId::new(h.replica), NodeId::new(h.node))).collect();
    if voters.is_empty() {
        return Err(refusal(RefusalKind::BadFrame, "the membership change names no voter; a group needs at least one"));
    }
    let expected = change.expected.as_ref().map(raft_codec::log_id_from);
    group.change_membership(expected, &voters, &learners, Instant::now() + OPERATION_TIMEOUT).await.map_err(|e| match e
    {
        ProposeError::NotLeader(_) => group.not_leader(),
        ProposeError::Refused(why) => refusal(RefusalKind::MembershipChanged, why),
        e @ (ProposeError::Unknown(_) | ProposeError::Stopped(_)) => refusal(RefusalKind::Unavailable, e.to_string()),
    })
}

/// Transfers the leadership of `group` to the replica `to`, after the checks that openraft leaves to the caller.
///
/// # Errors
/// This replica does not lead, or `to` is this replica, is not a voter, or lacks more than the last committed entry.
pub async fn hand_over(group: &Group, to: ReplicaId) -> Result<(), Refusal> {
    let status = group.status();
    if !status.leads {
        return Err(group.not_leader());
    }
    let voter = status.membership.voter_ids().any(|v| v == to.get());
    let matched = status.matched.get(&to.get()).copied().unwrap_or(0);
    if !can_take_over(group.key().replica, Candidate { replica: to, voter, matched }, status.committed) {
        return Err(refusal(
            RefusalKind::Rejected,
            format!(
                "replica {to} cannot take over the leadership: only another voter that lacks at most the last \
                 committed entry can"
            ),
        ));
    }
    group.transfer_leader(to).await.map_err(|e| refusal(RefusalKind::Unavailable, e.to_string()))
}

/// Converts the evidence of a fence mark to the message of the peer protocol.
pub fn divergence(mark: &FenceMark) -> Divergence {
    let (digest, majority) = (mark.digest.0.to_vec().into(), mark.majority.0.to_vec().into());
    Divergence { index: mark.index, digest, majority }
}
