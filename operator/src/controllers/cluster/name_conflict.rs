//! Check for name conflicts of a Cluster's objects, before the first object is created, so that a conflict leaves
//! nothing half done. Existing objects cost nothing: only objects not owned according to the caches are read, and
//! only their metadata.

use super::{act::Actor, plan::Plan};
use crate::{
    apply::Owner,
    context::cached,
    error::Error,
    name_conflict::NameConflict,
    owned::{Owned, is_owned},
    resources::{disruption_budget, identity, names},
};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::Api;

impl Actor<'_> {
    /// Returns the foreign objects with names needed by this plan, always in the same order.
    pub(super) async fn name_conflicts(&self, plan: &Plan) -> Result<Vec<NameConflict>, Error> {
        let target = self.target();
        let (name, namespace) = (target.name(), target.namespace());
        let uid = self.cluster.metadata.uid.as_deref().unwrap_or_default();
        let owner = Owner { uid, namespace };
        let caches = &self.ctx.caches;
        let node = names::config(name);
        let mut probes: Vec<BoxFuture<'_, Result<Option<NameConflict>, Error>>> = Vec::new();
        let set = self.input.set.as_ref();
        probes.push(self.conflict_of::<StatefulSet>(owner, names::set(name), set.is_some()).boxed());
        for service in [names::clients(name), names::peers(name), names::ready(name)] {
            let ours = cached(&caches.services, namespace, &service).is_some_and(|found| is_owned(&*found, uid));
            probes.push(self.conflict_of::<Service>(owner, service, ours).boxed());
        }
        if disruption_budget::render(target, plan.size).is_some() {
            let budget = names::set(name);
            let ours = cached(&caches.budgets, namespace, &budget).is_some_and(|found| is_owned(&*found, uid));
            probes.push(self.conflict_of::<PodDisruptionBudget>(owner, budget, ours).boxed());
        }
        let ours = cached(&caches.service_accounts, namespace, &node).is_some_and(|found| is_owned(&*found, uid));
        probes.push(self.conflict_of::<ServiceAccount>(owner, node.clone(), ours).boxed());
        let ours = cached(&caches.roles, namespace, &node).is_some_and(|found| is_owned(&*found, uid));
        probes.push(self.conflict_of::<Role>(owner, node.clone(), ours).boxed());
        let ours = cached(&caches.role_bindings, namespace, &node).is_some_and(|found| is_owned(&*found, uid));
        probes.push(self.conflict_of::<RoleBinding>(owner, node.clone(), ours).boxed());
        let ours = cached(&caches.config_maps, namespace, &node).is_some_and(|found| is_owned(&*found, uid));
        probes.push(self.conflict_of::<ConfigMap>(owner, node, ours).boxed());

        let found = futures::future::try_join_all(probes).await?;
        let mut conflicts: Vec<NameConflict> = found.into_iter().flatten().collect();
        // The identity outlives the Cluster and has no owner. Its content decides about the ownership, as read
        // in this reconcile.
        let stranger = self.input.identity.as_ref().filter(|map| identity::parse(map).is_none());
        conflicts.extend(stranger.map(NameConflict::of::<ConfigMap>));
        Ok(conflicts)
    }

    async fn conflict_of<K: Owned>(
        &self,
        owner: Owner<'_>,
        name: String,
        ours: bool,
    ) -> Result<Option<NameConflict>, Error> {
        if ours {
            return Ok(None);
        }
        let api: Api<K> = Api::namespaced(self.ctx.client.clone(), owner.namespace);
        let doing = || format!("checking the name of {} {name} for a conflict", K::kind(&()));
        let live = api.get_metadata_opt(&name).await.map_err(|error| Error::api(doing())(error))?;
        Ok(live.filter(|found| !is_owned(found, owner.uid)).map(|found| NameConflict::of::<K>(&found)))
    }
}

#[cfg(test)]
mod tests;
