//! Encodes and decodes consensus types in their disk and wire form (`taffrail.storage.v1`). The formats are independent
//! of openraft's own encodings.

use super::types::{Command, Entry, Host, LeaderId, LogId, Membership, Payload, StoredMembership, TypeConfig, Vote};
use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::ids::NodeId;
use taffrail_proto::storage as pb;

/// Failure to decode a message.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct CodecError {
    /// Name of the message.
    pub what: &'static str,
    /// Field that is missing or wrong, and the reason.
    pub why: String,
}

fn missing(what: &'static str, field: &str) -> CodecError {
    CodecError { what, why: format!("field {field} is missing") }
}

/// Encodes a log id.
#[must_use]
pub fn log_id_to(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

/// Decodes a log id.
#[must_use]
pub fn log_id_from(id: &pb::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.leader }, index: id.index }
}

/// Encodes a vote.
#[must_use]
pub fn vote_to(vote: &Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id().term, replica: vote.leader_id().node_id, committed: vote.is_committed() }
}

/// Decodes a vote.
#[must_use]
pub fn vote_from(vote: &pb::Vote) -> Vote {
    if vote.committed { Vote::new_committed(vote.term, vote.replica) } else { Vote::new(vote.term, vote.replica) }
}

/// Encodes a membership.
#[must_use]
pub(crate) fn membership_to(membership: &Membership) -> pb::Membership {
    pb::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|set| pb::ReplicaSet { replicas: set.iter().copied().collect() })
            .collect(),
        hosts: membership.nodes().map(|(id, host)| pb::Host { replica: *id, node: host.0.get() }).collect(),
    }
}

/// Decodes a membership.
///
/// # Errors
/// When a voter has no host.
pub(crate) fn membership_from(membership: &pb::Membership) -> Result<Membership, CodecError> {
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.iter().map(|set| set.replicas.iter().copied().collect()).collect();
    let hosts: BTreeMap<u64, Host> = membership.hosts.iter().map(|h| (h.replica, Host(NodeId::new(h.node)))).collect();
    if configs.is_empty() && hosts.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, hosts).map_err(|e| CodecError { what: "Membership", why: e.to_string() })
}

/// Encodes a stored membership.
#[must_use]
pub fn stored_membership_to(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(stored.membership())),
    }
}

/// Decodes a stored membership.
///
/// # Errors
/// When a voter of the membership has no host.
pub fn stored_membership_from(stored: &pb::StoredMembership) -> Result<StoredMembership, CodecError> {
    let membership = stored.membership.as_ref().map_or_else(|| Ok(Membership::default()), membership_from)?;
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_from), membership))
}

/// Encodes a log entry.
#[must_use]
pub fn entry_to(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        Payload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        Payload::Normal(command) => pb::entry::Payload::Command(command.0.clone()),
        Payload::Membership(m) => pb::entry::Payload::Membership(membership_to(m)),
    };
    pb::Entry { log_id: Some(log_id_to(&entry.log_id)), payload: Some(payload) }
}

/// Decodes a log entry.
///
/// # Errors
/// When a field is missing or wrong.
pub fn entry_from(entry: pb::Entry) -> Result<Entry, CodecError> {
    let log_id = log_id_from(&entry.log_id.ok_or_else(|| missing("Entry", "log_id"))?);
    let payload = match entry.payload.ok_or_else(|| missing("Entry", "payload"))? {
        pb::entry::Payload::Blank(_) => Payload::Blank,
        pb::entry::Payload::Command(bytes) => Payload::Normal(Command(bytes)),
        pb::entry::Payload::Membership(m) => Payload::Membership(membership_from(&m)?),
    };
    Ok(Entry { log_id, payload })
}

/// Decodes only the log id of an encoded entry.
///
/// # Errors
/// When the entry does not decode or has no log id.
pub(crate) fn entry_log_id(encoded: Bytes) -> Result<LogId, CodecError> {
    let entry = pb::Entry::decode(encoded).map_err(|e| CodecError { what: "Entry", why: e.to_string() })?;
    entry.log_id.as_ref().map(log_id_from).ok_or_else(|| missing("Entry", "log_id"))
}

/// Encodes an append request.
#[must_use]
pub(crate) fn append_to(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to),
        entries: request.entries.iter().map(entry_to).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to),
    }
}

/// Decodes an append request and refuses a gap in the log: the first entry must follow `prev`, and each further
/// entry its predecessor.
///
/// # Errors
/// When a field is missing or wrong, or the entries are not consecutive.
pub(crate) fn append_from(request: pb::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, CodecError> {
    let vote = vote_from(&request.vote.ok_or_else(|| missing("AppendRequest", "vote"))?);
    let prev_log_id = request.prev.as_ref().map(log_id_from);
    let entries = request.entries.into_iter().map(entry_from).collect::<Result<Vec<_>, _>>()?;
    check_consecutive(prev_log_id.as_ref(), &entries)?;
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit: request.leader_commit.as_ref().map(log_id_from),
    })
}

/// Checks that an append has no gap, because openraft's replication does not check the start of a log read.
///
/// # Errors
/// Names the first index that does not follow its predecessor.
pub(crate) fn check_consecutive(prev: Option<&LogId>, entries: &[Entry]) -> Result<(), CodecError> {
    for (next, entry) in (prev.map_or(0, |p| p.index + 1)..).zip(entries) {
        if entry.log_id.index != next {
            let why = format!("entries: {} was given where {next} must follow", entry.log_id.index);
            return Err(CodecError { what: "AppendRequest", why });
        }
    }
    Ok(())
}

/// Encodes an append response.
#[must_use]
pub(crate) fn append_response_to(response: &AppendEntriesResponse<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Kind;
    let kind = match response {
        AppendEntriesResponse::Success => Kind::Success(pb::Blank {}),
        AppendEntriesResponse::PartialSuccess(matching) => {
            Kind::Partial(pb::PartialSuccess { matching: matching.as_ref().map(log_id_to) })
        }
        AppendEntriesResponse::Conflict => Kind::Conflict(pb::Blank {}),
        AppendEntriesResponse::HigherVote(vote) => Kind::HigherVote(vote_to(vote)),
    };
    pb::AppendResponse { kind: Some(kind) }
}

/// Decodes an append response.
///
/// # Errors
/// When the kind is missing.
pub(crate) fn append_response_from(
    response: pb::AppendResponse,
) -> Result<AppendEntriesResponse<TypeConfig>, CodecError> {
    use pb::append_response::Kind;
    Ok(match response.kind.ok_or_else(|| missing("AppendResponse", "kind"))? {
        Kind::Success(_) => AppendEntriesResponse::Success,
        Kind::Partial(p) => AppendEntriesResponse::PartialSuccess(p.matching.as_ref().map(log_id_from)),
        Kind::Conflict(_) => AppendEntriesResponse::Conflict,
        Kind::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from(&vote)),
    })
}

/// Encodes a vote request.
#[must_use]
pub(crate) fn vote_request_to(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to),
        leader_transfer: request.leadership_transfer,
    }
}

/// Decodes a vote request.
///
/// # Errors
/// When the vote is missing.
pub(crate) fn vote_request_from(request: &pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, CodecError> {
    let vote = vote_from(request.vote.as_ref().ok_or_else(|| missing("VoteRequest", "vote"))?);
    Ok(VoteRequest {
        vote,
        last_log_id: request.last.as_ref().map(log_id_from),
        leadership_transfer: request.leader_transfer,
    })
}

/// Encodes a vote response.
#[must_use]
pub(crate) fn vote_response_to(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_to),
    }
}

/// Decodes a vote response.
///
/// # Errors
/// When the vote is missing.
pub(crate) fn vote_response_from(response: &pb::VoteResponse) -> Result<VoteResponse<TypeConfig>, CodecError> {
    let vote = vote_from(response.vote.as_ref().ok_or_else(|| missing("VoteResponse", "vote"))?);
    Ok(VoteResponse::new(vote, response.last.as_ref().map(log_id_from), response.granted))
}
