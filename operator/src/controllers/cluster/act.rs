//! Carries out a plan. Idempotent applies run without restriction; an action that disturbs a node comes last, at most
//! once per reconcile. An error stops the remaining actions, and the next reconcile observes the completed actions.

use super::{
    observation::{Observation, Recorded},
    observe::ReconcileInput,
    plan::{Action, Plan, grant::HOLDER},
};
use crate::{
    apply::{MANAGER, Owner},
    clock,
    context::{Context, cached},
    controllers::reconcile_frame::Progress,
    error::Error,
    node_admin::Members,
    resources::{
        RenderTarget, config, disruption_budget, hash,
        identity::{self, Identity},
        labels, names, rbac, services, stateful_set,
    },
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim},
};
use kube::{
    Resource, ResourceExt,
    api::{Api, Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::time::Duration;
use taffrail_crds::{Cluster, EventStore};
use taffrail_proto::admin::{CloseMode, CloseStoreRequest};

pub(super) const STEP_RECHECK: Duration = Duration::from_millis(300);
pub(super) const DENIED_RETRY: Duration = Duration::from_secs(2);

/// Result of carrying out a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// First error; later actions were not tried.
    pub(super) error: Option<Error>,
    /// Obstacle to a drain, reported by the coordinator.
    pub(super) blocked: Option<String>,
    /// Obstacle to a disruption: a denied grant or a refused eviction.
    pub(super) waiting: Option<String>,
    /// Delay before the next reconcile, if shorter than usual.
    pub(super) recheck: Option<Duration>,
}

pub(super) struct Actor<'a> {
    pub(super) ctx: &'a Context,
    pub(super) cluster: &'a Cluster,
    pub(super) input: &'a ReconcileInput,
    pub(super) progress: &'a Progress,
}

impl Actor<'_> {
    pub(super) async fn act(&self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.carry_out_plan(plan, &mut outcome).await {
            outcome.error = Some(error);
        }
        outcome
    }

    async fn carry_out_plan(&self, plan: &Plan, outcome: &mut Outcome) -> Result<(), Error> {
        self.progress.at("checking the names of the Cluster's objects for conflicts");
        let conflicts = self.name_conflicts(plan).await?;
        if !conflicts.is_empty() {
            return Err(Error::NameConflict { conflicts });
        }
        self.progress.at("writing the objects of the Cluster");
        // The record of the size is written before the StatefulSet, and everything else after the objects.
        for action in &plan.actions {
            if let Action::RecordNodes(nodes) = action {
                self.annotate_identity(json!({labels::NODES: nodes.to_string()})).await?;
            }
        }
        self.write_objects(plan).await?;
        self.annotate_claims().await?;
        let members = self.ctx.admin.members(self.input.members.clone());
        for action in &plan.actions {
            self.carry_out(action, &members, outcome).await?;
        }
        Ok(())
    }

    async fn write_objects(&self, plan: &Plan) -> Result<(), Error> {
        let target = self.target();
        let (name, namespace) = (target.name(), target.namespace());
        let uid = self.cluster.uid().unwrap_or_default();
        let owner = Owner { uid: &uid, namespace };
        let (writer, caches) = (&self.ctx.writer, &self.ctx.caches);
        let node = names::config(name);
        let account = cached(&caches.service_accounts, namespace, &node);
        writer.ensure(owner, &rbac::service_account(target), account.as_deref()).await?;
        writer.ensure(owner, &rbac::role(target), cached(&caches.roles, namespace, &node).as_deref()).await?;
        let binding = cached(&caches.role_bindings, namespace, &node);
        writer.ensure(owner, &rbac::role_binding(target), binding.as_deref()).await?;

        let map = cached(&caches.config_maps, namespace, &node);
        let image = default_image(map.as_deref(), &self.ctx.options.node_image);
        let text =
            config::render(target).map_err(|error| Error::Render { what: "node.toml", message: error.to_string() })?;
        let config_hash = hash::of(&text)
            .map_err(|error| Error::Render { what: "the hash of node.toml", message: error.to_string() })?;
        writer.ensure(owner, &config::config_map(target, text, &image), map.as_deref()).await?;
        for service in services::of_cluster(target) {
            let known = cached(&caches.services, namespace, &service.name_any());
            writer.ensure(owner, &service, known.as_deref()).await?;
        }
        let budget = cached(&caches.budgets, namespace, &names::set(name));
        match disruption_budget::render(target, plan.size) {
            Some(wanted) => writer.ensure(owner, &wanted, budget.as_deref()).await?,
            None => writer.remove(owner, budget.as_deref()).await?,
        };

        let set = self.input.set.as_ref();
        let claim_size = set.and_then(claim_size);
        let image = node_image(self.cluster, &image);
        let inputs = stateful_set::Inputs {
            replicas: plan.size,
            image: &image,
            config_hash: &config_hash,
            cluster_id: self.cluster_id(),
            claim_size: claim_size.as_deref(),
        };
        let version = set.filter(|_| plan.shrinks).and_then(ResourceExt::resource_version);
        writer.ensure_at(owner, &stateful_set::render(target, &inputs), set, version.as_deref()).await?;
        Ok(())
    }

    /// Annotates the volume claims with the cluster id, in case the ConfigMap is lost. Only a claim whose node is blank
    /// or reports this cluster id is annotated.
    async fn annotate_claims(&self) -> Result<(), Error> {
        let Some(id) = self.cluster_id() else { return Ok(()) };
        let target = self.target();
        let namespace = target.namespace();
        for (ordinal, pod) in &self.input.observation.pods {
            let ours = pod.is_blank() || pod.cluster_id() == Some(id);
            let name = names::claim(self.target().name(), *ordinal);
            let claim = self.input.claims.iter().find(|claim| claim.name_any() == name);
            let Some(claim) = claim.filter(|_| ours) else { continue };
            if claim.annotations().get(labels::CLUSTER_ID).map(String::as_str) == Some(id) {
                continue;
            }
            let patch = json!({"metadata": {"uid": claim.uid(), "annotations": {labels::CLUSTER_ID: id}}});
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.ctx.client.clone(), namespace);
            claims
                .patch(&name, &manager(), &Patch::Merge(&patch))
                .await
                .map_err(Error::api(format!("annotating the claim {name}")))?;
            self.ctx.metrics.object_written("PersistentVolumeClaim");
        }
        Ok(())
    }

    pub(super) async fn carry_out(
        &self,
        action: &Action,
        members: &Members,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        self.progress.at(doing(action));
        match action {
            Action::RecordNodes(_) => {}
            Action::Record { cluster_id, formed, nodes } => self.record(cluster_id.clone(), *formed, *nodes).await?,
            Action::MarkFormed { nodes } => {
                self.annotate_identity(json!({labels::FORMED: "true", labels::NODES: nodes.to_string()})).await?;
            }
            Action::Bootstrap { pod, address, disk_id } => {
                let Some(id) = self.cluster_id() else { return Ok(()) };
                let doing = format!("forming the Cluster on {pod}");
                self.ctx.admin.bootstrap(address, id, disk_id).await.map_err(Error::node(doing))?;
                self.record_event(
                    "Formed",
                    "Bootstrap",
                    &format!("formed as cluster {id} from blank volumes, first on {pod}"),
                )
                .await;
                outcome.recheck = Some(STEP_RECHECK);
            }
            Action::Join { pod, address, disk_id } => {
                let Some(id) = self.cluster_id() else { return Ok(()) };
                let doing = format!("joining {pod} to the cluster");
                self.ctx.admin.join(address, id, disk_id).await.map_err(Error::node(doing))?;
                outcome.recheck = Some(STEP_RECHECK);
            }
            Action::Retain { store_id, name, declared_by } => self.retain(members, store_id, name, declared_by).await?,
            Action::Drain { node_id, pod, needs_grant } => {
                self.drain(members, *node_id, pod, *needs_grant, outcome).await?
            }
            Action::CancelDrain { node_id, pod } => {
                members.cancel_drain(*node_id).await.map_err(Error::node(format!("cancelling the drain of {pod}")))?;
                self.record_event("DrainCancelled", "CancelDrain", &format!("the drain of {pod} is cancelled")).await;
            }
            Action::Replace { old, new, pod } => {
                let doing = format!("replacing node {old} by {new}");
                let answer = members.replace(*old, *new).await.map_err(Error::node(doing))?;
                outcome.waiting = Some(answer.waiting_for).filter(|text| !text.is_empty());
                self.record_event(
                    "Replacing",
                    "Replace",
                    &format!("node {new} takes the place of node {old} on {pod}"),
                )
                .await;
            }
            Action::DeleteBroken { pod, uid } => {
                self.delete(pod, uid).await?;
                self.record_event(
                    "Restarting",
                    "Delete",
                    &format!("{pod} did not run and is recreated from the new template"),
                )
                .await;
            }
            Action::Release { node_id, pod } => {
                let doing = format!("ending the disruption of {pod}");
                let released = members.release(*node_id, HOLDER).await.map_err(Error::node(doing))?;
                outcome.recheck = Some(if released { STEP_RECHECK } else { DENIED_RETRY });
            }
            Action::Restart { .. } => self.restart(action, members, outcome).await?,
        }
        Ok(())
    }

    async fn annotate_identity(&self, annotations: serde_json::Value) -> Result<(), Error> {
        let name = names::identity(self.target().name());
        let maps: Api<ConfigMap> = Api::namespaced(self.ctx.client.clone(), self.target().namespace());
        let uid = self.input.identity.as_ref().and_then(ResourceExt::uid);
        let patch = json!({"metadata": {"uid": uid, "annotations": annotations}});
        maps.patch(&name, &manager(), &Patch::Merge(&patch))
            .await
            .map_err(Error::api(format!("annotating the ConfigMap {name}")))?;
        self.ctx.metrics.object_written("ConfigMap");
        Ok(())
    }

    async fn record(&self, cluster_id: Option<String>, formed: bool, nodes: i32) -> Result<(), Error> {
        let identity =
            Identity { cluster_id: cluster_id.unwrap_or_else(clock::random_uuid), formed, nodes: Some(nodes) };
        let map = identity::render(self.target(), &identity);
        let maps: Api<ConfigMap> = Api::namespaced(self.ctx.client.clone(), self.target().namespace());
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        // A ConfigMap that already exists comes from a faster reconcile, and the existing identity counts.
        let name = map.name_any();
        maps.create(&params, &map).await.map_err(Error::api(format!("recording the identity in {name}")))?;
        self.ctx.metrics.object_written("ConfigMap");
        Ok(())
    }

    /// Retains an orphaned store. The declaring object is read live, by name and UID, because a cache may be behind.
    async fn retain(&self, members: &Members, store_id: &str, name: &str, declared_by: &str) -> Result<(), Error> {
        let stores: Api<EventStore> = Api::namespaced(self.ctx.client.clone(), self.target().namespace());
        let live = stores.get_metadata_opt(name).await.map_err(Error::api(format!("reading EventStore {name}")))?;
        if live.is_some_and(|store| store.uid().as_deref() == Some(declared_by)) {
            return Ok(());
        }
        let request = CloseStoreRequest {
            store_id: store_id.to_owned(),
            mode: CloseMode::Retain.into(),
            declared_by: declared_by.to_owned(),
        };
        members.close_store(request).await.map_err(Error::node(format!("retaining store {name}")))?;
        self.record_event(
            "StoreRetained",
            "Retain",
            &format!("EventStore {name} is gone; its events are kept as {store_id}"),
        )
        .await;
        Ok(())
    }

    pub(super) async fn record_event(&self, reason: &str, action: &str, note: &str) {
        tracing::info!(reason, note, "action carried out");
        self.ctx.events.normal(&self.cluster.object_ref(&()), reason, action, note).await;
    }

    pub(super) fn target(&self) -> RenderTarget<'_> {
        RenderTarget { cluster: self.cluster, cluster_domain: &self.ctx.options.cluster_domain }
    }

    fn cluster_id(&self) -> Option<&str> {
        match &self.input.observation.recorded {
            Recorded::Identity(identity) => Some(&identity.cluster_id),
            Recorded::Nowhere | Recorded::Annotations(_) | Recorded::Conflict(..) => None,
        }
    }
}

/// Describes the action as a phrase, for the error of a timeout.
fn doing(action: &Action) -> String {
    match action {
        Action::RecordNodes(nodes) => format!("recording the size {nodes}"),
        Action::Record { .. } => "recording the identity".to_owned(),
        Action::MarkFormed { .. } => "recording that the Cluster is formed".to_owned(),
        Action::Bootstrap { pod, .. } => format!("forming the Cluster on {pod}"),
        Action::Join { pod, .. } => format!("joining {pod} to the cluster"),
        Action::Retain { name, .. } => format!("retaining store {name}"),
        Action::Drain { pod, .. } => format!("draining {pod}"),
        Action::CancelDrain { pod, .. } => format!("cancelling the drain of {pod}"),
        Action::Replace { old, pod, .. } => format!("replacing node {old} on {pod}"),
        Action::Restart { pod, .. } => format!("restarting {pod}"),
        Action::DeleteBroken { pod, .. } => format!("deleting {pod}, which does not run"),
        Action::Release { pod, .. } => format!("ending the disruption of {pod}"),
    }
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Returns the default image of a Cluster: the image offered when the Cluster was created, regardless of
/// the current offer.
pub(super) fn default_image(map: Option<&ConfigMap>, offered: &str) -> String {
    let kept = map.and_then(|map| map.annotations().get(labels::DEFAULT_IMAGE));
    kept.cloned().unwrap_or_else(|| offered.to_owned())
}

/// Returns the image of the nodes, from the spec or the default.
fn node_image(cluster: &Cluster, default: &str) -> String {
    match (&cluster.spec.image, &cluster.spec.version) {
        (Some(image), _) => image.clone(),
        (None, Some(version)) => format!("{}:{version}", repository(default)),
        (None, None) => default.to_owned(),
    }
}

/// Returns an image reference without tag and digest. A colon before the last slash belongs to the registry's port.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name_at = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name_at..].find(':') {
        Some(colon) => &image[..name_at + colon],
        None => image,
    }
}

fn claim_size(set: &StatefulSet) -> Option<String> {
    let claim = set.spec.as_ref()?.volume_claim_templates.as_deref()?.first()?;
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.clone())
}

/// Returns the lowest version reported by a node of the Cluster.
pub(super) fn version(observation: &Observation) -> Option<String> {
    let versions = observation.pods.values().filter_map(|pod| pod.node_status().map(|node| node.version.clone()));
    versions.filter(|version| !version.is_empty()).min_by_key(|version| version_order(version))
}

/// Sort key of a version: by number, with a pre-release before its release.
fn version_order(version: &str) -> (Vec<u64>, bool, String) {
    let (numbers, pre) = version.split_once('-').map_or((version, ""), |(numbers, pre)| (numbers, pre));
    let numbers = numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    (numbers, pre.is_empty(), pre.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_replaces_tag_and_digest_and_leaves_the_port() {
        for (image, expected) in [
            ("taffrail", "taffrail"),
            ("taffrail:1", "taffrail"),
            ("registry:5000/a/taffrail", "registry:5000/a/taffrail"),
            ("registry:5000/a/taffrail:1.2@sha256:00", "registry:5000/a/taffrail"),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let mut versions = ["0.10.0", "0.9.0", "0.10.0-rc.1"];
        versions.sort_by_key(|version| version_order(version));
        assert_eq!(versions, ["0.9.0", "0.10.0-rc.1", "0.10.0"]);
    }
}
