//! Changes of a [`Group`]'s membership and leadership.

use super::{
    group::Group,
    membership::Change,
    status::ProposeError,
    types::{Host, LogId},
};
use openraft::{ChangeMembers, async_runtime::WatchReceiver, error::RaftError, raft::Precondition};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};
use taffrail_core::{
    ids::{NodeId, ReplicaId},
    plan::{Candidate, best_candidate, can_take_over},
};
use taffrail_runtime::failpoint;
use tokio::time::Instant;

impl Group {
    /// Writes the first membership of the group. Does nothing when the log is not empty.
    ///
    /// # Errors
    /// When openraft refuses the membership or the replica has stopped.
    pub async fn initialize(&self, members: &BTreeMap<ReplicaId, NodeId>) -> io::Result<()> {
        if self.raft.is_initialized().await.map_err(|e| io::Error::other(e.to_string()))? {
            return Ok(());
        }
        let members: BTreeMap<u64, Host> = members.iter().map(|(r, n)| (r.get(), Host(*n))).collect();
        failpoint::reach("membership-first-write");
        let first = self.raft.initialize(members).await;
        failpoint::reach("membership-first-written");
        match first {
            Ok(()) | Err(RaftError::APIError(openraft::error::InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(io::Error::other(e.to_string())),
        }
    }

    /// Changes voters and learners in one call, through a joint configuration when the voters change. `expected` is the
    /// log id of the membership that the caller has read; the change is refused when another membership is effective.
    ///
    /// # Errors
    /// - [`ProposeError::Refused`] when another membership is effective or another change is in flight.
    /// - [`ProposeError::Unknown`] when the change may still commit.
    pub async fn change_membership(
        &self,
        expected: Option<LogId>,
        voters: &BTreeSet<ReplicaId>,
        learners: &BTreeMap<ReplicaId, NodeId>,
        deadline: Instant,
    ) -> Result<(), ProposeError> {
        // Only learners are removed by name. A leaving voter must remain in the node map while the joint configuration
        // names the voter; openraft removes the voter with the following uniform configuration.
        let membership = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().clone()
        };
        let now: BTreeSet<u64> = membership.learner_ids().collect();
        let voters: BTreeSet<u64> = voters.iter().map(|r| r.get()).collect();
        let add: BTreeMap<u64, Host> = learners.iter().map(|(r, n)| (r.get(), Host(*n))).collect();
        let gone: BTreeSet<u64> =
            now.iter().copied().filter(|id| !voters.contains(id) && !add.contains_key(id)).collect();
        let sort = Change::to(&membership, &voters, &add);
        let mut steps = Vec::new();
        if !add.is_empty() {
            steps.push(ChangeMembers::AddNodes(add));
        }
        steps.push(ChangeMembers::ReplaceAllVoters(voters));
        if !gone.is_empty() {
            steps.push(ChangeMembers::RemoveNodes(gone));
        }
        let precondition = Precondition::LastMembershipLogId { last_membership_log_id: expected };
        failpoint::reach(format_args!("membership-{sort}-write"));
        let change = self.raft.change_membership_if(ChangeMembers::Batch(steps), false, [precondition]);
        match tokio::time::timeout_at(deadline, change).await {
            Err(_) => Err(ProposeError::Unknown("the deadline passed during the membership change")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(self.propose_error(e)),
        }
    }

    /// Hands leadership to `to`. The caller has checked that `to` is another voter and caught up: openraft accepts any
    /// id and then refuses writes.
    ///
    /// # Errors
    /// When the replica has stopped.
    pub async fn transfer_leader(&self, to: ReplicaId) -> io::Result<()> {
        self.raft.trigger().transfer_leader(to.get()).await.map_err(|e| io::Error::other(e.to_string()))
    }

    /// Hands leadership to the other voter with the longest matching log. Returns false when this replica does not
    /// lead, when no other voter is caught up, or when the replica has stopped.
    pub async fn hand_over(&self) -> bool {
        let status = self.status();
        if !status.leads {
            return false;
        }
        let voters: BTreeSet<u64> = status.membership.voter_ids().collect();
        let replicas = status.matched.iter().map(|(id, matched)| Candidate {
            replica: ReplicaId::new(*id),
            voter: voters.contains(id),
            matched: *matched,
        });
        let leader = self.key.replica;
        let best = best_candidate(leader, replicas).filter(|c| can_take_over(leader, *c, status.committed));
        let Some(to) = best else { return false };
        self.transfer_leader(to.replica).await.is_ok()
    }
}
