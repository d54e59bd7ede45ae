//! The cluster of a scenario: a local Kubernetes, which supports faults, or any existing cluster.

use std::path::PathBuf;
use taffrail_localkube::{
    self, Config, LocalKube, Progress,
    kubectl::{Helm, Kubectl},
};

/// A scenario requires faults, and the cluster does not support faults.
#[derive(Debug, thiserror::Error)]
#[error("this scenario {needs}, which only works on the local Kubernetes (unset TAFFRAIL_CLUSTER)")]
pub struct FaultsUnavailable {
    needs: &'static str,
}

/// A cluster for running a scenario.
#[derive(Debug)]
pub enum TestCluster {
    /// A local Kubernetes on this machine.
    Local(LocalKube),
    /// The cluster of `KUBECONFIG` or of the default kubeconfig.
    Existing(Kubectl, Helm),
}

/// Returns whether `TAFFRAIL_CLUSTER` selects an existing cluster.
#[must_use]
pub fn is_existing() -> bool {
    std::env::var_os("TAFFRAIL_CLUSTER").is_some_and(|value| value == "existing")
}

impl TestCluster {
    /// Returns the cluster of the current kube context.
    #[must_use]
    pub fn existing() -> Self {
        let program = |name: &str| PathBuf::from(name);
        Self::Existing(Kubectl::new(program("kubectl"), None), Helm::new(program("helm"), None))
    }

    /// Returns the cluster selected by the environment: with `TAFFRAIL_CLUSTER=existing` the current kube context, else
    /// the local Kubernetes of `config`, started if it is not up.
    ///
    /// # Errors
    /// When the local Kubernetes cannot be started.
    pub async fn from_environment(config: &Config, progress: &Progress<'_>) -> Result<Self, taffrail_localkube::Error> {
        if is_existing() {
            return Ok(Self::existing());
        }
        let (local, _) = LocalKube::up(config, progress).await?;
        Ok(Self::Local(local))
    }

    /// Returns a `kubectl` client for the cluster.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        match self {
            Self::Local(local) => local.kubectl(),
            Self::Existing(kubectl, _) => kubectl.clone(),
        }
    }

    /// Returns a `helm` client for the cluster.
    #[must_use]
    pub fn helm(&self) -> Helm {
        match self {
            Self::Local(local) => local.helm(),
            Self::Existing(_, helm) => helm.clone(),
        }
    }

    /// Returns the local Kubernetes for injecting faults. `needs` describes the use, as in "stops a node".
    ///
    /// # Errors
    /// When the cluster is not a local Kubernetes.
    pub fn faults(&self, needs: &'static str) -> Result<&LocalKube, FaultsUnavailable> {
        match self {
            Self::Local(local) => Ok(local),
            Self::Existing(..) => Err(FaultsUnavailable { needs }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_cluster_refuses_faults_in_words() {
        let foreign = TestCluster::Existing(Kubectl::new("kubectl".into(), None), Helm::new("helm".into(), None));
        let error = foreign.faults("stops a node").unwrap_err().to_string();
        assert!(error.contains("stops a node") && error.contains("local Kubernetes"), "{error}");
    }
}
