//! [`InstallRequests`]: requests of leaders to install the leader's state on this replica.
//!
//! A leader repeats `BeginCatchUp` until the answer is `done`. The first request starts the install, the following
//! requests read the progress of the install.

use super::{
    codec,
    snapshot_fetch::CatchUpFrom,
    state_machine::{Raft, Snapshot},
    types::{LogId, SnapshotMeta},
};
use crate::peer::dispatch::{bad_frame, unavailable};
use std::sync::{Mutex, PoisonError};
use taffrail_proto::{peer::Refusal, storage as pb};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::watch;

/// An install begun by a leader, and the outcome once the install has ended.
struct Install {
    vote: pb::Vote,
    upto: Option<LogId>,
    done: watch::Receiver<Option<Result<pb::Vote, String>>>,
}

/// The install in progress, if any, kept until the leader has received the outcome. At most a single install
/// is in progress.
#[derive(Default)]
pub(super) struct InstallRequests {
    running: Mutex<Option<Install>>,
}

impl InstallRequests {
    /// Starts an install of the state of `from` up to the log id in `begin`, or reports the progress of the install
    /// begun by the same leader. `source` receives the replica to fetch from.
    pub(super) fn begin(
        &self,
        raft: &Raft,
        source: &watch::Sender<Option<CatchUpFrom>>,
        begin: &pb::BeginCatchUp,
        from: CatchUpFrom,
    ) -> Result<pb::CatchUpProgress, Refusal> {
        let vote = begin
            .vote
            .as_ref()
            .map(codec::vote_from)
            .ok_or_else(|| bad_frame("BeginCatchUp: field vote is missing"))?;
        let upto = begin.upto.as_ref().map(codec::log_id_from);
        let membership =
            begin.membership.as_ref().ok_or_else(|| bad_frame("BeginCatchUp: field membership is missing"))?;
        let last_membership = codec::stored_membership_from(membership).map_err(bad_frame)?;
        source.send_replace(Some(from.clone()));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Only an install with the same vote and log id counts: openraft may have refused the install of another
        // leader, and the outcome must not be reported to this leader.
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
        let snapshot = Snapshot { meta: SnapshotMeta { last_log_id: upto, last_membership }, snapshot: from };
        let raft = raft.clone();
        let outcome = tx.clone();
        let kind = TaskKind::Replica(Box::new(move |why| drop(outcome.send_replace(Some(Err(why.to_owned()))))));
        rt::spawn_task("install", kind, async move {
            let result = raft.install_full_snapshot(vote, snapshot).await;
            let result = result.map(|r| codec::vote_to(&r.vote)).map_err(|e| e.to_string());
            tx.send_replace(Some(result));
        });
        *running = Some(Install { vote: asked, upto, done });
        Ok(pb::CatchUpProgress { done: false, vote: None, rows: 0 })
    }
}
