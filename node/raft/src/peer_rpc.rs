//! What a replica answers to the others of its group.

use super::{
    codec,
    group::Group,
    network::CatchUpFrom,
    status::ReadIndexError,
    types::{LogId, TypeConfig},
};
use crate::peer::Request;
use bytes::Bytes;
use openraft::{
    alias::{SnapshotMetaOf, SnapshotOf},
    raft::TransferLeaderRequest,
};
use prost::Message;
use std::sync::{Arc, PoisonError};
use taffrail_core::ids::NodeId;
use taffrail_proto::{
    peer::{FrameKind, Refusal, RefusalKind},
    storage as pb,
};
use taffrail_runtime as rt;
use tokio::sync::watch;

/// An install of another replica's state that was begun for a leader, who asks for its end again and again.
pub(super) struct CatchUp {
    vote: pb::Vote,
    upto: Option<LogId>,
    done: watch::Receiver<Option<Result<pb::Vote, String>>>,
}

impl Group {
    /// Answers a frame of another replica of the group.
    ///
    /// # Errors
    /// A refusal, never a panic, for anything that does not decode or does not fit.
    pub async fn answer(self: &Arc<Self>, request: &Request, from: NodeId) -> Result<Bytes, Refusal> {
        let payload = request.payload.clone();
        match request.kind {
            FrameKind::Append => {
                let rpc = codec::append_from(pb::AppendRequest::decode(payload).map_err(bad)?).map_err(bad)?;
                let answer = self.raft.append_entries(rpc).await.map_err(unavailable)?;
                Ok(codec::append_response_to(&answer).encode_to_vec().into())
            }
            FrameKind::Vote | FrameKind::PreVote => {
                let rpc = pb::VoteRequest::decode(payload).map_err(bad)?;
                let rpc = codec::vote_request_from(&rpc).map_err(bad)?;
                let answer = if request.kind == FrameKind::Vote {
                    self.raft.vote(rpc).await
                } else {
                    self.raft.pre_vote(rpc).await
                };
                Ok(codec::vote_response_to(&answer.map_err(unavailable)?).encode_to_vec().into())
            }
            FrameKind::TransferLeader => {
                let rpc = pb::TransferRequest::decode(payload).map_err(bad)?;
                let vote = rpc.from_leader.as_ref().map(codec::vote_from).ok_or_else(|| bad("no vote"))?;
                let rpc = TransferLeaderRequest::new(vote, rpc.to, rpc.last.as_ref().map(codec::log_id_from));
                self.raft.handle_transfer_leader(rpc).await.map_err(unavailable)?.map_err(unavailable)?;
                Ok(Bytes::new())
            }
            FrameKind::BeginCatchUp => {
                let begin = pb::BeginCatchUp::decode(payload).map_err(bad)?;
                let progress =
                    self.begin_catch_up(&begin, CatchUpFrom { node: from, replica: request.from_replica })?;
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
            | FrameKind::Admin
            | FrameKind::Fence) => Err(bad(format!("{} is not for a replica", kind.as_str_name()))),
        }
    }

    /// The refusal that says who leads.
    #[must_use]
    pub fn not_leader(&self) -> Refusal {
        let leader = self.leader().filter(|l| l.replica != self.key.replica);
        Refusal {
            kind: RefusalKind::NotLeader.into(),
            message: "this replica does not lead".into(),
            leader_node: leader.map_or(0, |l| l.node.get()),
            leader_replica: leader.map_or(0, |l| l.replica.get()),
        }
    }

    /// Starts, or looks at, taking over the state of `from` up to what it asked for.
    fn begin_catch_up(
        self: &Arc<Self>,
        begin: &pb::BeginCatchUp,
        from: CatchUpFrom,
    ) -> Result<pb::CatchUpProgress, Refusal> {
        let vote = begin.vote.as_ref().map(codec::vote_from).ok_or_else(|| bad("no vote"))?;
        let upto = begin.upto.as_ref().map(codec::log_id_from);
        let membership = begin.membership.as_ref().ok_or_else(|| bad("no membership"))?;
        let last_membership = codec::stored_membership_from(membership).map_err(bad)?;
        self.source.send_replace(Some(from.clone()));
        let mut running = self.catch_up.lock().unwrap_or_else(PoisonError::into_inner);
        // Only what was begun for this very leader: an install that another one began may have been refused, and would pass
        // for this one's.
        let asked = codec::vote_to(&vote);
        if let Some(current) = running.as_ref().filter(|c| c.upto == upto && c.vote == asked) {
            let answer = match &*current.done.borrow() {
                None => return Ok(pb::CatchUpProgress { done: false, vote: None, rows: 0 }),
                Some(Ok(vote)) => Ok(pb::CatchUpProgress { done: true, vote: Some(*vote), rows: 0 }),
                Some(Err(e)) => Err(unavailable(e)),
            };
            *running = None;
            return answer;
        }
        let (tx, done) = watch::channel(None);
        let meta = SnapshotMetaOf::<TypeConfig> { last_log_id: upto, last_membership };
        let snapshot = SnapshotOf::<TypeConfig, CatchUpFrom> { meta, snapshot: from };
        let raft = self.raft.clone();
        rt::spawn(async move {
            let result = raft.install_full_snapshot(vote, snapshot).await;
            let result = result.map(|r| codec::vote_to(&r.vote)).map_err(|e| e.to_string());
            tx.send_replace(Some(result));
        });
        *running = Some(CatchUp { vote: asked, upto, done });
        Ok(pb::CatchUpProgress { done: false, vote: None, rows: 0 })
    }
}

fn bad(why: impl std::fmt::Display) -> Refusal {
    Refusal { kind: RefusalKind::BadFrame.into(), message: why.to_string(), leader_node: 0, leader_replica: 0 }
}

fn unavailable(why: impl std::fmt::Display) -> Refusal {
    Refusal { kind: RefusalKind::Unavailable.into(), message: why.to_string(), leader_node: 0, leader_replica: 0 }
}
