//! `kubectl` and `helm` against one cluster, with failures that a person can read.

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

/// Ends a command that hangs; those that wait for something have a shorter `--timeout` of their own.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a question to Kubernetes has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tool failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The answer is no JSON.
    #[error("kubectl printed something that is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// `kubectl` for one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    namespace: Option<String>,
}

impl Kubectl {
    /// This program with this kubeconfig; `None` takes what the environment says.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: Option<PathBuf>) -> Self {
        Self { program, kubeconfig, namespace: None }
    }

    /// The same, for the objects of one namespace. A later `--namespace` of a single run still wins.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// The kubeconfig, if it is not the environment's.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref()
    }

    /// A run with the cluster chosen and nothing else, for what the methods below do not cover.
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

    /// Runs with these arguments and answers what was printed.
    ///
    /// # Errors
    /// When `kubectl` fails.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, command::Error> {
        self.command().args(args).output().await
    }

    /// Runs with these arguments and `--output=json`.
    ///
    /// # Errors
    /// When `kubectl` fails or prints no JSON.
    pub async fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value, Error> {
        let text = self.command().args(args).args(["--output=json"]).output().await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Applies objects given as YAML or JSON, server-side.
    ///
    /// # Errors
    /// When `kubectl` fails; some of the objects may then be applied.
    pub async fn apply(&self, objects: impl Into<Vec<u8>>) -> Result<String, command::Error> {
        let args = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
        self.command().args(args).stdin(objects).output().await
    }

    /// Deletes objects and waits until they are gone. Absent objects are as good as deleted.
    ///
    /// # Errors
    /// When `kubectl` fails or the objects stay.
    pub async fn delete<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, command::Error> {
        let run = self.command().args(["delete", "--ignore-not-found", "--wait", "--timeout=120s"]);
        run.args(args).timeout(Duration::from_secs(130)).output().await
    }

    /// Runs a command in a pod and answers its output.
    ///
    /// # Errors
    /// When `kubectl` or the command fails.
    pub async fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<String, command::Error> {
        self.command().args(["--namespace", namespace, "exec", pod, "--"]).args(command).output().await
    }

    /// Waits until `look`, given the object as it is, answers `Ok`; its `Err` says what was seen instead.
    ///
    /// # Errors
    /// When it does not within `deadline`.
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

/// `helm` for one cluster.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// This program with this kubeconfig; `None` takes what the environment says.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: Option<PathBuf>) -> Self {
        Self { program, kubeconfig }
    }

    /// Runs with these arguments and answers what was printed.
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

/// Whether the condition `kind` of an object is true; else what it says.
///
/// # Errors
/// When it is absent or not true.
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
