//! Handles frames of the other replicas of a group ([`Group::answer`]).

use super::{codec, group::Group, snapshot_fetch::CatchUpFrom, status::ReadIndexError};
use crate::peer::{
    Request,
    dispatch::{bad_frame, unavailable},
};
use bytes::Bytes;
use openraft::raft::TransferLeaderRequest;
use prost::Message;
use taffrail_core::ids::NodeId;
use taffrail_proto::{
    peer::{FrameKind, Refusal, RefusalKind},
    storage as pb,
};

impl Group {
    /// Answers a frame of another replica of the group.
    ///
    /// # Errors
    /// Returns a refusal for a frame that does not decode, for a frame meant for a node, and for every failure of
    /// the call itself.
    pub async fn answer(&self, request: &Request, from: NodeId) -> Result<Bytes, Refusal> {
        let payload = request.payload.clone();
        match request.kind {
            FrameKind::Append => {
                let rpc =
                    codec::append_from(pb::AppendRequest::decode(payload).map_err(bad_frame)?).map_err(bad_frame)?;
                let answer = self.raft.append_entries(rpc).await.map_err(unavailable)?;
                Ok(codec::append_response_to(&answer).encode_to_vec().into())
            }
            FrameKind::Vote | FrameKind::PreVote => {
                let rpc = pb::VoteRequest::decode(payload).map_err(bad_frame)?;
                let rpc = codec::vote_request_from(&rpc).map_err(bad_frame)?;
                let answer = if request.kind == FrameKind::Vote {
                    self.raft.vote(rpc).await
                } else {
                    self.raft.pre_vote(rpc).await
                };
                Ok(codec::vote_response_to(&answer.map_err(unavailable)?).encode_to_vec().into())
            }
            FrameKind::TransferLeader => {
                let rpc = pb::TransferRequest::decode(payload).map_err(bad_frame)?;
                let vote = rpc
                    .from_leader
                    .as_ref()
                    .map(codec::vote_from)
                    .ok_or_else(|| bad_frame("TransferRequest: field vote is missing"))?;
                let rpc = TransferLeaderRequest::new(vote, rpc.to, rpc.last.as_ref().map(codec::log_id_from));
                self.raft.handle_transfer_leader(rpc).await.map_err(unavailable)?.map_err(unavailable)?;
                Ok(Bytes::new())
            }
            FrameKind::BeginCatchUp => {
                let begin = pb::BeginCatchUp::decode(payload).map_err(bad_frame)?;
                let from = CatchUpFrom { node: from, replica: request.from_replica };
                let progress = self.install_requests.begin(&self.raft, &self.source, &begin, from)?;
                Ok(progress.encode_to_vec().into())
            }
            FrameKind::ReadIndex => {
                let read = self.lead_read_index().await.map_err(|e| match e {
                    ReadIndexError::NoLeader => self.not_leader(),
                    e @ (ReadIndexError::NoQuorum | ReadIndexError::Deadline | ReadIndexError::Stopped(_)) => {
                        unavailable(e)
                    }
                })?;
                let answer = pb::ReadIndexResponse { read: Some(codec::log_id_to(&read)) };
                Ok(answer.encode_to_vec().into())
            }
            kind @ (FrameKind::Unspecified
            | FrameKind::ChangeMembership
            | FrameKind::Report
            | FrameKind::Register
            | FrameKind::Propose
            | FrameKind::HandOver
            | FrameKind::StoreCommand
            | FrameKind::Admin
            | FrameKind::Fence
            | FrameKind::FreeReplica
            | FrameKind::Piece) => {
                Err(bad_frame(format!("a frame of kind {} is meant for a node, not for a replica", kind.as_str_name())))
            }
        }
    }

    /// Builds the refusal of a request that only the leader answers. The refusal names the leader when this replica
    /// knows another replica as leader.
    #[must_use]
    pub fn not_leader(&self) -> Refusal {
        let leader = self.leader().filter(|l| l.replica != self.key.replica);
        Refusal {
            kind: RefusalKind::NotLeader.into(),
            message: format!("replica {} does not lead group {}", self.key.replica, self.key.group),
            leader_node: leader.map_or(0, |l| l.node.get()),
            leader_replica: leader.map_or(0, |l| l.replica.get()),
        }
    }
}
