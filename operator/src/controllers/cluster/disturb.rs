//! The actions that take a node, or part of its work, away: drain, restart and delete, under the grant of the coordinator.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, Preconditions};
use taffrail_proto::admin::NodeView;
use taffrail_proto::v1::NodeState;
use tokio::time::Instant;

use super::act::{Actor, DENIED_AGAIN, HOLDER, Outcome, SOON};
use super::observation;
use super::plan::{Action, GRANT_TTL};
use crate::error::Error;
use crate::node_admin::Members;

/// How long leaders may take to move before the pod is evicted all the same; it hands them over itself when it stops.
const LEADERS_WITHIN: Duration = Duration::from_secs(10);

impl Actor<'_> {
    /// Asks for the grant of a node, or renews it: every pass that goes on under it asks again, so that it does not run
    /// out while the eviction is refused or the drain takes its time. False: not granted; the outcome says why.
    async fn granted(&self, members: &Members, node_id: u64, pod: &str, outcome: &mut Outcome) -> Result<bool, Error> {
        let doing = format!("asking to take {pod} away");
        let answer = members.acquire(node_id, HOLDER, GRANT_TTL).await.map_err(Error::node(doing))?;
        if !answer.granted {
            outcome.waiting = Some(format!("the disruption grant: {}", answer.denied_by));
            outcome.recheck = Some(DENIED_AGAIN);
        }
        Ok(answer.granted)
    }

    pub(super) async fn drain(
        &self,
        members: &Members,
        node_id: u64,
        pod: &str,
        granted: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        if granted && !self.granted(members, node_id, pod, outcome).await? {
            return Ok(());
        }
        let answer = members.drain(node_id).await.map_err(Error::node(format!("draining {pod}")))?;
        // The call is repeated while it goes on; only its beginning is news.
        let begins =
            |node: &NodeView| observation::id(node) == node_id && observation::state(node) == NodeState::Member;
        if !answer.reason.is_empty() {
            outcome.blocked = Some(answer.waiting_for);
        } else if self.observed.seen.nodes().any(begins) {
            self.say("Draining", "Drain", &format!("moving everything off {pod}")).await;
        }
        outcome.recheck = answer.done.then_some(SOON);
        Ok(())
    }

    pub(super) async fn restart(&self, action: &Action, members: &Members, outcome: &mut Outcome) -> Result<(), Error> {
        let Action::Restart { node_id, pod, uid, ready, leads } = action else {
            return Ok(());
        };
        if let Some(node_id) = *node_id {
            if !self.granted(members, node_id, pod, outcome).await? {
                return Ok(());
            }
            if *leads > 0 {
                move_leaders(members, node_id, pod).await?;
            }
        }
        if *ready {
            if let Some(refusal) = self.evict(pod, uid).await? {
                outcome.waiting = Some(refused_eviction(pod, node_id.is_some(), &refusal));
                outcome.recheck = Some(DENIED_AGAIN);
                return Ok(());
            }
        } else {
            self.delete(pod, uid).await?;
        }
        self.say("Restarting", "Evict", &format!("{pod} is made from the new template")).await;
        Ok(())
    }

    /// By eviction, so that the disruption budget counts. `Some`: not now, and why.
    async fn evict(&self, pod: &str, uid: &str) -> Result<Option<String>, Error> {
        let pods: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.frame().namespace());
        let params = EvictParams { delete_options: Some(only(uid)), ..EvictParams::default() };
        match pods.evict(pod, &params).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 429 => Ok(Some(status.message)),
            Err(error) => Err(Error::api(format!("evicting {pod}"))(error)),
        }
    }

    pub(super) async fn delete(&self, pod: &str, uid: &str) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.frame().namespace());
        match pods.delete(pod, &only(uid)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(Error::api(format!("deleting {pod}"))(error)),
        }
    }
}

/// Hands the leaders of a node over, again and again until none is left or their time is up.
async fn move_leaders(members: &Members, node_id: u64, pod: &str) -> Result<(), Error> {
    let until = Instant::now() + LEADERS_WITHIN;
    loop {
        let doing = format!("moving the leaders off {pod}");
        let remaining = members.transfer_leaders(node_id).await.map_err(Error::node(doing))?;
        if remaining == 0 || Instant::now() + SOON > until {
            return Ok(());
        }
        tokio::time::sleep(SOON).await;
    }
}

/// What the plan says while Kubernetes refuses an eviction.
fn refused_eviction(pod: &str, granted: bool, words: &str) -> String {
    let grant = if granted { "; its disruption grant is renewed meanwhile" } else { "" };
    format!("the eviction of {pod}, which Kubernetes refuses: {words}{grant}")
}

fn only(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

#[cfg(test)]
mod tests;
