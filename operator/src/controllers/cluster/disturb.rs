//! Actions that take away a node or a part of its work: drain, restart and delete, under the disruption grant
//! of the coordinator.

use super::{
    act::{Actor, DENIED_RETRY, Outcome, STEP_RECHECK},
    node_view,
    plan::{
        Action,
        grant::{GRANT_TTL, HOLDER},
    },
};
use crate::{error::Error, node_admin::Members};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, Preconditions};
use std::time::Duration;
use taffrail_proto::{admin::NodeView, v1::NodeState};
use tokio::time::Instant;

/// Time limit for moving leaders before the pod is evicted anyway; a stopping node hands over its leaders itself.
const LEADERS_WITHIN: Duration = Duration::from_secs(10);

impl Actor<'_> {
    pub(super) async fn drain(
        &self,
        members: &Members,
        node_id: u64,
        pod: &str,
        needs_grant: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        if needs_grant && !self.acquire_grant(members, node_id, pod, outcome).await? {
            return Ok(());
        }
        let answer = members.drain(node_id).await.map_err(Error::node(format!("draining {pod}")))?;
        // The call is repeated while the drain is in progress; only the beginning is announced.
        let begins = |node: &NodeView| node_view::id(node) == node_id && node_view::state(node) == NodeState::Member;
        if !answer.reason.is_empty() {
            outcome.blocked = Some(answer.waiting_for);
        } else if self.input.observation.nodes().any(begins) {
            self.record_event("Draining", "Drain", &format!("moving everything off {pod}")).await;
        }
        outcome.recheck = answer.done.then_some(STEP_RECHECK);
        Ok(())
    }

    pub(super) async fn restart(&self, action: &Action, members: &Members, outcome: &mut Outcome) -> Result<(), Error> {
        let Action::Restart { node_id, pod, uid, ready, leads } = action else {
            return Ok(());
        };
        if let Some(node_id) = *node_id {
            if !self.acquire_grant(members, node_id, pod, outcome).await? {
                return Ok(());
            }
            if *leads > 0 {
                move_leaders(members, node_id, pod).await?;
            }
        }
        if *ready {
            if let Some(refusal) = self.evict(pod, uid).await? {
                outcome.waiting = Some(refused_eviction(pod, node_id.is_some(), &refusal));
                outcome.recheck = Some(DENIED_RETRY);
                return Ok(());
            }
        } else {
            self.delete(pod, uid).await?;
        }
        self.record_event("Restarting", "Evict", &format!("{pod} is recreated from the new template")).await;
        Ok(())
    }

    /// Requests or renews the disruption grant of a node. Every reconcile under the grant renews the grant, so that a
    /// refused eviction or a long drain does not outlast the grant. Returns false if the grant is denied; the outcome
    /// names the obstacle.
    async fn acquire_grant(
        &self,
        members: &Members,
        node_id: u64,
        pod: &str,
        outcome: &mut Outcome,
    ) -> Result<bool, Error> {
        let doing = format!("requesting the disruption grant for {pod}");
        let answer = members.acquire(node_id, HOLDER, GRANT_TTL).await.map_err(Error::node(doing))?;
        if !answer.granted {
            outcome.waiting = Some(format!("the disruption grant: {}", answer.denied_by));
            outcome.recheck = Some(DENIED_RETRY);
        }
        Ok(answer.granted)
    }

    /// Evicts a pod, so that the disruption budget counts. Returns the reason if Kubernetes refuses for now.
    async fn evict(&self, pod: &str, uid: &str) -> Result<Option<String>, Error> {
        let pods: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.target().namespace());
        let params = EvictParams { delete_options: Some(delete_only(uid)), ..EvictParams::default() };
        match pods.evict(pod, &params).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 429 => Ok(Some(status.message)),
            Err(error) => Err(Error::api(format!("evicting {pod}"))(error)),
        }
    }

    pub(super) async fn delete(&self, pod: &str, uid: &str) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.target().namespace());
        match pods.delete(pod, &delete_only(uid)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(Error::api(format!("deleting {pod}"))(error)),
        }
    }
}

/// Moves the leaders off a node, repeatedly until no leader is left or the time is over.
async fn move_leaders(members: &Members, node_id: u64, pod: &str) -> Result<(), Error> {
    let until = Instant::now() + LEADERS_WITHIN;
    loop {
        let doing = format!("moving the leaders off {pod}");
        let remaining = members.transfer_leaders(node_id).await.map_err(Error::node(doing))?;
        if remaining == 0 || Instant::now() + STEP_RECHECK > until {
            return Ok(());
        }
        tokio::time::sleep(STEP_RECHECK).await;
    }
}

/// Describes the wait for an eviction refused by Kubernetes, for `status.plan`.
fn refused_eviction(pod: &str, has_grant: bool, words: &str) -> String {
    let grant = if has_grant { "; its disruption grant is renewed meanwhile" } else { "" };
    format!("the eviction of {pod}, which Kubernetes refuses: {words}{grant}")
}

fn delete_only(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

#[cfg(test)]
mod tests;
