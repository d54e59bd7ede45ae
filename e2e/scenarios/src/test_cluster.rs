//! The cluster that a scenario runs on: one of ours, whose machine we can break, or any other.

use std::path::PathBuf;
use taffrail_localkube::{
    self, Config, LocalKube, Progress,
    kubectl::{Helm, Kubectl},
};

/// What a cluster of somebody else does not let us do.
#[derive(Debug, thiserror::Error)]
#[error("this scenario {needs}, which only works on the local Kubernetes (unset TAFFRAIL_CLUSTER to use it)")]
pub struct FaultsUnavailable {
    needs: &'static str,
}

/// A cluster to test on.
#[derive(Debug)]
pub enum TestCluster {
    /// Ours, with its machine.
    Local(LocalKube),
    /// The one that `KUBECONFIG` or the usual kubeconfig names.
    Existing(Kubectl, Helm),
}

/// Whether the environment asks for a cluster of somebody else.
#[must_use]
pub fn is_existing() -> bool {
    std::env::var_os("TAFFRAIL_CLUSTER").is_some_and(|value| value == "existing")
}

impl TestCluster {
    /// The cluster of the current kube context.
    #[must_use]
    pub fn existing() -> Self {
        let program = |name: &str| PathBuf::from(name);
        Self::Existing(Kubectl::new(program("kubectl"), None), Helm::new(program("helm"), None))
    }

    /// The cluster that the environment asks for: with `TAFFRAIL_CLUSTER=existing` the current kube context, else the local
    /// Kubernetes of `config`, started if it is not up.
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

    /// `kubectl` for it.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        match self {
            Self::Local(local) => local.kubectl(),
            Self::Existing(kubectl, _) => kubectl.clone(),
        }
    }

    /// `helm` for it.
    #[must_use]
    pub fn helm(&self) -> Helm {
        match self {
            Self::Local(local) => local.helm(),
            Self::Existing(_, helm) => helm.clone(),
        }
    }

    /// The machine, to break it. `needs` says for what, as in "stops a node".
    ///
    /// # Errors
    /// When the cluster is not ours.
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
