//! Reads of a Cluster's reconcile: StatefulSet, pods and identity from the API server, other objects from caches, and
//! the status of each node from the node itself. A node without an answer is an observation, not an error.

use super::{
    observation::{
        NodeObservation, Observation, PodObservation, PodProblem, Recorded, SetObservation, StoreObservation,
    },
    pod_problem, poll,
};
use crate::{
    context::Context,
    error::Error,
    node_admin,
    owned::is_owned,
    resources::{identity, labels, names, stateful_set},
};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    ResourceExt,
    api::{Api, ListParams},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use taffrail_crds::{Cluster, Reason};
use taffrail_proto::admin::Lifecycle;

/// Everything read by a reconcile: the observation for the planner, and the objects to compare with the writes.
pub(super) struct ReconcileInput {
    pub(super) observation: Observation,
    pub(super) set: Option<StatefulSet>,
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    pub(super) identity: Option<ConfigMap>,
    /// Admin addresses of the members that answered.
    pub(super) members: Vec<String>,
}

pub(super) async fn observe(ctx: &Context, cluster: &Cluster) -> Result<ReconcileInput, Error> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let uid = cluster.uid().unwrap_or_default();
    let sets: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), &namespace);
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &namespace);
    let selector = ListParams::default().labels(&labels::selector_text(&name));
    let (set_name, identity_name) = (names::set(&name), names::identity(&name));
    let (set, pods, identity) =
        tokio::join!(sets.get_opt(&set_name), pods.list(&selector), maps.get_opt(&identity_name));
    let set = set.map_err(Error::api("reading the StatefulSet"))?.filter(|set| is_owned(set, &uid));
    let pods = pods.map_err(Error::api("listing the node pods"))?;
    let identity = identity.map_err(Error::api("reading the identity"))?;

    let claims = claims(ctx, &namespace, &name);
    let pods = observe_pods(ctx, &name, pods.items, &claims).await;
    let recorded = recorded(&name, identity.as_ref(), set.as_ref(), &claims);
    let members = members(&pods, &recorded);
    let (view, view_error) = match ctx.admin.members(members.clone()).view().await {
        Ok(view) => (Some(view), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let short = set.as_ref().is_some_and(|set| i32::try_from(pods.len()).unwrap_or(0) < replicas(set));
    let creation = match &set {
        Some(set) if short => why_no_pods(ctx, &namespace, set).await?,
        _ => None,
    };
    let stores = ctx.caches.stores_of(&namespace, &name).into_iter().map(|store| StoreObservation {
        uid: store.uid().unwrap_or_default(),
        name: store.name_any(),
        replicas: store.spec.replicas,
    });
    let observation = Observation {
        recorded,
        set: set.as_ref().map(observe_set),
        pods,
        creation,
        view,
        view_error,
        stores: stores.collect(),
    };
    Ok(ReconcileInput { observation, set, claims, identity, members })
}

fn claims(ctx: &Context, namespace: &str, cluster: &str) -> Vec<Arc<PersistentVolumeClaim>> {
    let mut ours = ctx.caches.claims.state_filter(|claim| {
        claim.metadata.namespace.as_deref() == Some(namespace)
            && claim.labels().get(taffrail_crds::labels::CLUSTER).map(String::as_str) == Some(cluster)
    });
    ours.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    ours
}

fn observe_set(set: &StatefulSet) -> SetObservation {
    let status = set.status.as_ref();
    let current = status.and_then(|status| status.observed_generation) >= set.metadata.generation;
    SetObservation {
        replicas: replicas(set),
        revision: status.filter(|_| current).and_then(|status| status.update_revision.clone()),
    }
}

fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

async fn observe_pods(
    ctx: &Context,
    cluster: &str,
    pods: Vec<Pod>,
    claims: &[Arc<PersistentVolumeClaim>],
) -> BTreeMap<i32, PodObservation> {
    let ours = pods.into_iter().filter(|pod| is_of_set(pod, cluster));
    let observed = |pod: Pod| {
        let ordinal = names::ordinal(cluster, &pod.name_any())?;
        let claim = claims.iter().find(|claim| claim.name_any() == names::claim(cluster, ordinal));
        Some((ordinal, observe_pod(&pod, claim.map(Arc::as_ref))))
    };
    let mut observations: BTreeMap<i32, PodObservation> = ours.filter_map(observed).collect();
    let asked: Vec<(i32, String)> = observations
        .iter()
        .filter(|(_, pod)| pod.running)
        .filter_map(|(ordinal, pod)| Some((*ordinal, pod.address.clone()?)))
        .collect();
    let question = |(ordinal, address): &(i32, String)| {
        let (ordinal, address) = (*ordinal, address.clone());
        (ordinal, async move { ctx.admin.status(&address).await })
    };
    let mut answers = poll::all(asked.iter().map(question)).await;
    for (ordinal, address) in asked {
        let node = match answers.remove(&ordinal) {
            Some(Ok(status)) => NodeObservation::Status(Box::new(status)),
            Some(Err(error)) => NodeObservation::Silent(error.to_string()),
            None => NodeObservation::Silent(format!("{address} does not answer in time")),
        };
        if let Some(pod) = observations.get_mut(&ordinal) {
            pod.node = node;
        }
    }
    observations
}

/// Returns whether the pod belongs to the StatefulSet. Labels alone do not suffice: a pod of a different controller
/// is left alone. A pod without a controller has lost its StatefulSet, and the next StatefulSet of the same name
/// adopts the pod.
fn is_of_set(pod: &Pod, cluster: &str) -> bool {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    controller.is_none_or(|owner| owner.kind == "StatefulSet" && owner.name == names::set(cluster))
}

fn observe_pod(pod: &Pod, claim: Option<&PersistentVolumeClaim>) -> PodObservation {
    let status = pod.status.as_ref();
    let container = status
        .and_then(|status| status.container_statuses.as_deref())
        .and_then(|all| all.iter().find(|container| container.name == stateful_set::CONTAINER));
    let running = container.and_then(|container| container.state.as_ref()?.running.as_ref());
    let ready = status.and_then(|status| status.conditions.as_deref()).is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    PodObservation {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        address: status
            .and_then(|status| status.pod_ip.as_deref())
            .filter(|ip| !ip.is_empty())
            .map(node_admin::address),
        revision: pod.labels().get("controller-revision-hash").cloned().unwrap_or_default(),
        ready,
        running: running.is_some(),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        started: running.and_then(|running| running.started_at.as_ref()).map(|time| time.0),
        created: pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        problem: pod_problem::of_pod(pod, claim),
        node: NodeObservation::Silent(
            if running.is_some() { "the node has no address yet" } else { "the process does not run yet" }.to_owned(),
        ),
    }
}

/// Returns the addresses of the members of the recorded cluster that answered; any member answers for
/// the whole cluster.
fn members(pods: &BTreeMap<i32, PodObservation>, recorded: &Recorded) -> Vec<String> {
    let Recorded::Identity(identity) = recorded else {
        return Vec::new();
    };
    let member = |pod: &&PodObservation| {
        pod.node_status()
            .is_some_and(|node| node.lifecycle() == Lifecycle::Member && node.cluster_id == identity.cluster_id)
    };
    let mut members: Vec<&PodObservation> = pods.values().filter(member).collect();
    // The coordinator answers without a hop and comes first; a stopping pod comes last.
    members.sort_by_key(|pod| {
        let leads = pod
            .node_status()
            .is_some_and(|node| node.coordinator_node_id.is_some_and(|coordinator| coordinator == node.node_id));
        (pod.terminating, !leads, pod.name.clone())
    });
    members.into_iter().filter_map(|pod| pod.address.clone()).collect()
}

/// Reads the record of a Cluster's identity, entirely live, for irreversible decisions.
pub(crate) async fn recorded_live(ctx: &Context, cluster: &Cluster) -> Result<Recorded, Error> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let uid = cluster.uid().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &namespace);
    let sets: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), &namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), &namespace);
    let map = maps.get_opt(&names::identity(&name)).await.map_err(Error::api("reading the identity"))?;
    let set = sets.get_opt(&names::set(&name)).await.map_err(Error::api("reading the StatefulSet"))?;
    let selector = ListParams::default().labels(&labels::selector_text(&name));
    let claims = claims.list(&selector).await.map_err(Error::api("listing the claims"))?;
    let claims: Vec<Arc<PersistentVolumeClaim>> = claims.items.into_iter().map(Arc::new).collect();
    Ok(recorded(&name, map.as_ref(), set.filter(|set| is_owned(set, &uid)).as_ref(), &claims))
}

/// Determines the record of the cluster id: the ConfigMap, else the annotations of StatefulSet and claims.
fn recorded(
    cluster: &str,
    map: Option<&ConfigMap>,
    set: Option<&StatefulSet>,
    claims: &[Arc<PersistentVolumeClaim>],
) -> Recorded {
    if let Some(map) = map {
        return identity::parse(map).map_or_else(
            || {
                let name = names::identity(cluster);
                let message = format!("ConfigMap {name} holds no cluster id, so it is not ours; rename or delete it");
                Recorded::Conflict(Reason::NameTaken, message)
            },
            Recorded::Identity,
        );
    }
    let of_claims = claims.iter().filter_map(|claim| claim.annotations().get(labels::CLUSTER_ID));
    let of_set = set.and_then(|set| set.annotations().get(labels::CLUSTER_ID));
    let ids: BTreeSet<&String> = of_claims.chain(of_set).collect();
    let mut each = ids.iter();
    match (each.next(), each.next()) {
        (None, _) => Recorded::Nowhere,
        (Some(id), None) => Recorded::Annotations((*id).clone()),
        (Some(one), Some(other)) => Recorded::Conflict(
            Reason::ForeignVolumes,
            format!(
                "volumes of this name are annotated with more than one cluster ({one}, {other}, ...) and the ConfigMap \
                 {} with the right cluster id is missing; restore the ConfigMap, or remove the volumes of the other \
                 clusters",
                names::identity(cluster)
            ),
        ),
    }
}

/// Returns the newest reason of Kubernetes for creating no pods, from the events of the StatefulSet.
async fn why_no_pods(ctx: &Context, namespace: &str, set: &StatefulSet) -> Result<Option<PodProblem>, Error> {
    let events: Api<Event> = Api::namespaced(ctx.client.clone(), namespace);
    let uid = set.uid().unwrap_or_default();
    let fields = format!("involvedObject.uid={uid},reason=FailedCreate");
    let list = events
        .list(&ListParams::default().fields(&fields).limit(50))
        .await
        .map_err(Error::api("listing events of the StatefulSet"))?;
    let at = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or_else(|| event.event_time.as_ref().map(|time| time.0))
    };
    let newest = list.items.into_iter().max_by_key(at);
    Ok(newest.and_then(|event| event.message).map(|message| PodProblem { reason: Reason::FailedCreate, message }))
}
