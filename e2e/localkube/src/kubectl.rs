//! Clients for `kubectl` and `helm` with readable errors.

use crate::{
    command::{self, Run},
    wait,
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Time limit of a command. Commands which wait for a condition set a shorter `--timeout`.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// The reasons for a failed query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tool failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The output is not JSON.
    #[error("kubectl printed invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// `kubectl` for a single cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    namespace: Option<String>,
}

impl Kubectl {
    /// Creates a client from a program and a kubeconfig; `None` leaves the choice of the cluster to the environment.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: Option<PathBuf>) -> Self {
        Self { program, kubeconfig, namespace: None }
    }

    /// Returns a copy with another default namespace. A later `--namespace` argument takes precedence.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Returns the kubeconfig, or `None` if the environment decides.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref()
    }

    /// Returns a run with cluster and namespace set, for uses not covered by the methods below.
    #[must_use]
    pub fn command(&self) -> Run {
        let run = Run::new(&self.program).timeout(COMMAND_TIMEOUT);
        let run = match &self.namespace {
            Some(namespace) => run.args(["--namespace", namespace]),
            None => run,
        };
        match &self.kubeconfig {
            Some(path) => run.env("KUBECONFIG", path),
            None => run,
        }
    }

    /// Runs `kubectl` with these arguments and returns its output.
    ///
    /// # Errors
    /// When `kubectl` fails.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, command::Error> {
        self.command().args(args).output().await
    }

    /// Runs `kubectl` with these arguments and `--output=json`.
    ///
    /// # Errors
    /// When `kubectl` fails or prints no JSON.
    pub async fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value, Error> {
        let text = self.command().args(args).args(["--output=json"]).output().await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Applies objects given as YAML or JSON with server-side apply.
    ///
    /// # Errors
    /// When `kubectl` fails; some of the objects may then be applied.
    pub async fn apply(&self, objects: impl Into<Vec<u8>>) -> Result<String, command::Error> {
        let args = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
        self.command().args(args).stdin(objects).output().await
    }

    /// Deletes objects and waits for the end of the deletion. Absent objects count as deleted.
    ///
    /// # Errors
    /// When `kubectl` fails or the objects still exist after two minutes.
    pub async fn delete<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, command::Error> {
        let run = self.command().args(["delete", "--ignore-not-found", "--wait", "--timeout=120s"]);
        run.args(args).timeout(Duration::from_secs(130)).output().await
    }

    /// Runs a command in a pod and returns its output.
    ///
    /// # Errors
    /// When `kubectl` or the command fails.
    pub async fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<String, command::Error> {
        self.command().args(["--namespace", namespace, "exec", pod, "--"]).args(command).output().await
    }

    /// Fetches `object` repeatedly until `look` returns `Ok`. The `Err` of `look` describes the observed state.
    ///
    /// # Errors
    /// When `look` returns no `Ok` within `deadline`.
    pub async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        object: &[&str],
        look: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<T, wait::TimedOut> {
        let look = &look;
        wait::until(what, deadline, || async move {
            let seen = self.json(["get"].iter().chain(object)).await.map_err(|error| error.to_string())?;
            look(&seen)
        })
        .await
    }
}

/// `helm` for a single cluster.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Creates a client from a program and a kubeconfig; `None` leaves the choice of the cluster to the environment.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: Option<PathBuf>) -> Self {
        Self { program, kubeconfig }
    }

    /// Runs `helm` with these arguments and returns its output.
    ///
    /// # Errors
    /// When `helm` fails.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, command::Error> {
        let run = Run::new(&self.program).args(args).timeout(Duration::from_secs(300));
        match &self.kubeconfig {
            Some(path) => run.env("KUBECONFIG", path).output().await,
            None => run.output().await,
        }
    }
}

/// Checks that the condition `kind` of an object is true.
///
/// # Errors
/// When the condition is absent or not true. The error contains status, reason and message of the condition.
pub fn condition_is_true(object: &Value, kind: &str) -> Result<(), String> {
    let conditions = object["status"]["conditions"].as_array();
    match conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind)) {
        None => Err(format!("no condition {kind}")),
        Some(condition) if condition["status"] == "True" => Ok(()),
        Some(condition) => {
            let word = |field: &str| condition[field].as_str().unwrap_or("?").to_owned();
            Err(format!("{kind} is {}: {}: {}", word("status"), word("reason"), word("message")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_is_not_true_tells_why() {
        let object = serde_json::json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "Waiting", "message": "for a volume"}]}});
        assert_eq!(condition_is_true(&object, "Ready"), Err("Ready is False: Waiting: for a volume".to_owned()));
        assert_eq!(condition_is_true(&object, "Stable"), Err("no condition Stable".to_owned()));
    }
}
