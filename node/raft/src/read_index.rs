//! Linearizable reads: a [`Group`] gets a read index from the leader and waits until the index is applied.

use super::{group::Group, status::ReadIndexError, types::LogId};
use crate::peer::{CallError, Request};
use bytes::Bytes;
use openraft::{
    ReadPolicy,
    error::{LinearizableReadError, RaftError},
};
use prost::Message;
use taffrail_proto::{
    peer::{FrameKind, RefusalKind},
    storage as pb,
};
use taffrail_runtime as rt;
use tokio::time::Instant;

impl Group {
    /// Waits until this replica has applied all writes acknowledged before the call. Without a leader the call retries
    /// until the deadline.
    ///
    /// # Errors
    /// Returns the error of the last attempt when no majority confirmed a read index before the deadline.
    pub async fn read_index(&self, deadline: Instant) -> Result<(), ReadIndexError> {
        if rt::planted_defect::is_planted("no-read-index") {
            return Ok(());
        }
        let mut last = ReadIndexError::Deadline;
        while Instant::now() < deadline {
            match tokio::time::timeout_at(deadline, self.try_read_index(deadline)).await {
                Ok(Ok(index)) => return self.wait_applied(index, deadline).await,
                Ok(Err(ReadIndexError::Stopped(why))) => return Err(ReadIndexError::Stopped(why)),
                Ok(Err(e)) => last = e,
                Err(_) => return Err(last),
            }
            let pause = self.tuning.heartbeat / 4 + rt::jitter(self.tuning.heartbeat / 4);
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
        Err(last)
    }

    /// Gets a read index from the leader, which may be this replica.
    async fn try_read_index(&self, deadline: Instant) -> Result<u64, ReadIndexError> {
        let Some(leader) = self.leader() else { return Err(ReadIndexError::NoLeader) };
        if leader.replica == self.key.replica {
            return Ok(self.lead_read_index().await?.index);
        }
        let request = Request {
            kind: FrameKind::ReadIndex,
            group: self.key.group,
            from_replica: self.key.replica,
            to_replica: leader.replica,
            payload: Bytes::new(),
        };
        let ttl = deadline.saturating_duration_since(Instant::now()).min(self.tuning.election_max);
        match self.transport.call(leader.node, request, ttl).await {
            Ok(answer) => {
                let answer = pb::ReadIndexResponse::decode(answer).map_err(|_| ReadIndexError::NoQuorum)?;
                answer.read.map(|id| id.index).ok_or(ReadIndexError::NoQuorum)
            }
            Err(CallError::Refused(r)) if r.kind() == RefusalKind::Unavailable => Err(ReadIndexError::NoQuorum),
            Err(_) => Err(ReadIndexError::NoLeader),
        }
    }

    async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ReadIndexError> {
        let mut progress = self.progress();
        match tokio::time::timeout_at(deadline, progress.wait_for(|p| p.index >= index)).await {
            // A replica under removal keeps the last progress while its rows are deleted, and must not answer like
            // an empty replica.
            Ok(Ok(_)) if self.stop.is_cancelled() => {
                Err(ReadIndexError::Stopped("the node stops or removes this replica".into()))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadIndexError::Stopped("the state machine of this replica has ended".into())),
            Err(_) => Err(ReadIndexError::Deadline),
        }
    }

    /// Confirms with a majority that this replica leads, and returns the read index: the index is at or above every
    /// write acknowledged before the call.
    ///
    /// # Errors
    /// When this replica does not lead or no majority answers.
    pub async fn lead_read_index(&self) -> Result<LogId, ReadIndexError> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(*read.log_id()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => Err(ReadIndexError::NoLeader),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadIndexError::NoQuorum),
            Err(RaftError::Fatal(e)) => Err(ReadIndexError::Stopped(e.to_string())),
        }
    }
}
