//! Sends openraft's RPCs as frames of a [`PeerTransport`]. Appends are unary and each follower has a single append in
//! flight: three known defects of the pinned openraft version exist only in streamed appends, and throughput is equal
//! at the measured loads.

use super::{
    codec,
    full_replicas::FullReplicas,
    snapshot_fetch::CatchUpFrom,
    types::{Host, TypeConfig, Vote},
};
use crate::peer::{CallError, PeerTransport, Request};
use bytes::Bytes;
use openraft::{
    OptionalSend, RaftNetworkFactory,
    alias::SnapshotOf,
    error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use prost::Message;
use std::{future::Future, sync::Arc, time::Duration};
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_proto::{
    peer::{FrameKind, RefusalKind},
    storage as pb,
};
use taffrail_runtime::planted_defect::is_planted;

/// Slowest link on which an append still arrives in time, bytes per second.
const APPEND_RATE_MIN: u64 = 1 << 20;
/// Pause between two progress requests from the sender of a snapshot to the receiver.
const CATCH_UP_POLL: Duration = Duration::from_millis(50);

/// Makes the connections of a replica to the other replicas of the group.
#[derive(Clone)]
pub(super) struct Network {
    /// Carries the frames.
    pub(super) transport: Arc<dyn PeerTransport>,
    /// The group of the sending replica.
    pub(super) group: GroupId,
    /// The sending replica.
    pub(super) from: ReplicaId,
    /// The replicas that refuse entries for lack of room.
    pub(super) full: FullReplicas,
    /// Time limit of an append, apart from the time of the transfer.
    pub(super) append_base: Duration,
}

/// Returns the time limit of an append with entries: the base and the time of the transfer at [`APPEND_RATE_MIN`].
///
/// openraft's own limit is the heartbeat interval whatever the size, and openraft itself does not enforce the limit. A large
/// entry would miss it on every link, and would be sent again without end, while heartbeats keep the leader in office.
fn append_limit(base: Duration, bytes: usize) -> Duration {
    base + Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / APPEND_RATE_MIN)
}

/// A connection to another replica.
pub(super) struct Connection {
    network: Network,
    to: ReplicaId,
    node: NodeId,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;
    async fn new_client(&mut self, target: u64, node: &Host) -> Connection {
        Connection { network: self.clone(), to: ReplicaId::new(target), node: node.0 }
    }
}

fn unreachable(why: impl std::fmt::Display) -> Unreachable<TypeConfig> {
    Unreachable::from_string(why.to_string())
}

fn rpc_error(e: &CallError) -> RPCError<TypeConfig> {
    match e {
        CallError::NoAnswer(_) => RPCError::Network(NetworkError::from_string(e.to_string())),
        CallError::Unreachable(_) | CallError::Refused(_) => RPCError::Unreachable(unreachable(e)),
    }
}

impl Connection {
    async fn call(&self, kind: FrameKind, payload: Vec<u8>, ttl: Duration) -> Result<Bytes, CallError> {
        let request = Request {
            kind,
            group: self.network.group,
            from_replica: self.network.from,
            to_replica: self.to,
            payload: payload.into(),
        };
        self.network.transport.call(self.node, request, ttl).await
    }

    async fn ask_vote(
        &self,
        kind: FrameKind,
        rpc: &VoteRequest<TypeConfig>,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let payload = codec::vote_request_to(rpc).encode_to_vec();
        let answer = self.call(kind, payload, option.hard_ttl()).await.map_err(|e| rpc_error(&e))?;
        let answer = pb::VoteResponse::decode(answer).map_err(unreachable)?;
        Ok(codec::vote_response_from(&answer).map_err(unreachable)?)
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = CatchUpFrom;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        codec::check_consecutive(rpc.prev_log_id.as_ref(), &rpc.entries).map_err(unreachable)?;
        let payload = codec::append_to(&rpc).encode_to_vec();
        let heartbeat = rpc.entries.is_empty();
        let limit = if heartbeat { option.hard_ttl() } else { append_limit(self.network.append_base, payload.len()) };
        let answer = match self.call(FrameKind::Append, payload, limit).await {
            Err(CallError::NoAnswer(_) | CallError::Unreachable(_))
                if !heartbeat && is_planted("ack-before-majority") =>
            {
                return Ok(AppendEntriesResponse::Success);
            }
            answer => answer.map_err(|e| {
                if matches!(&e, CallError::Refused(refusal) if refusal.kind() == RefusalKind::StorageLow) {
                    self.network.full.refused(self.to.get());
                }
                rpc_error(&e)
            })?,
        };
        if !heartbeat {
            self.network.full.accepted(self.to.get());
        }
        let answer = pb::AppendResponse::decode(answer).map_err(unreachable)?;
        Ok(codec::append_response_from(answer).map_err(unreachable)?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(FrameKind::Vote, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(FrameKind::PreVote, &rpc, &option).await
    }

    /// Requests that the follower fetch this replica's state, then polls the follower's progress until the follower is
    /// done. The state itself does not travel through this call, so the call has no time limit for the whole transfer.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, CatchUpFrom>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let begin = pb::BeginCatchUp {
            vote: Some(codec::vote_to(&vote)),
            upto: snapshot.meta.last_log_id.as_ref().map(codec::log_id_to),
            membership: Some(codec::stored_membership_to(&snapshot.meta.last_membership)),
        }
        .encode_to_vec();
        let ttl = option.hard_ttl().min(Duration::from_secs(5));
        let mut cancel = std::pin::pin!(cancel);
        loop {
            let answer = tokio::select! {
                biased;
                closed = &mut cancel => return Err(closed.into()),
                answer = self.call(FrameKind::BeginCatchUp, begin.clone(), ttl) => answer,
            };
            let answer = answer.map_err(unreachable)?;
            let progress = pb::CatchUpProgress::decode(answer).map_err(unreachable)?;
            if progress.done {
                let theirs = progress.vote.as_ref().map_or(vote, codec::vote_from);
                return Ok(SnapshotResponse::new(theirs));
            }
            tokio::select! {
                biased;
                closed = &mut cancel => return Err(closed.into()),
                () = tokio::time::sleep(CATCH_UP_POLL) => {}
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let payload = pb::TransferRequest {
            from_leader: Some(codec::vote_to(rpc.from_leader())),
            to: *rpc.to_node_id(),
            last: rpc.last_log_id().map(codec::log_id_to),
        }
        .encode_to_vec();
        self.call(FrameKind::TransferLeader, payload, option.hard_ttl()).await.map_err(|e| rpc_error(&e))?;
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_an_append_grows_with_its_size() {
        let base = Duration::from_millis(900);
        assert_eq!(append_limit(base, 0), base);
        assert_eq!(append_limit(base, 16 << 20), base + Duration::from_secs(16));
    }
}
