//! The environment of a scenario: a Kubernetes with the operator and a namespace for the objects of the scenario.

use crate::{
    pods,
    test_cluster::{FaultsUnavailable, TestCluster},
    workload::Target,
};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, time::Duration};
use taffrail_localkube::{LocalKube, kubectl::Kubectl, wait};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

/// The usual deadline of a wait.
pub const MINUTE: Duration = Duration::from_secs(60);
/// The namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "taffrail-system";
/// Interval between two pod lists of [`Scenario::follow_pods`], well below the time for which a stopping pod
/// still accepts calls.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// A Kubernetes with the operator installed, and a namespace for the scenario's objects.
pub struct Scenario {
    pub(crate) cluster: TestCluster,
    /// `kubectl` for the cluster, in the scenario's namespace.
    pub kubectl: Kubectl,
    /// The scenario's namespace.
    pub namespace: String,
}

impl Scenario {
    /// Returns the local Kubernetes, for injecting faults.
    ///
    /// # Errors
    /// When the cluster is not a local Kubernetes.
    pub fn local_kube(&self) -> Result<&LocalKube, FaultsUnavailable> {
        self.cluster.faults("injects faults")
    }

    /// Runs a command in a pod of the scenario and returns its output.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> anyhow::Result<String> {
        Ok(self.kubectl.exec(&self.namespace, pod, command).await?)
    }

    /// Applies the objects in `yaml`.
    ///
    /// # Errors
    /// When the API server refuses an object.
    pub async fn apply(&self, yaml: String) -> anyhow::Result<()> {
        self.kubectl.apply(yaml).await?;
        Ok(())
    }

    /// Waits until all of `objects` are Stable and returns the duration of the wait.
    ///
    /// # Errors
    /// When an object is not Stable within `deadline`.
    pub async fn wait_stable(&self, objects: &[&str], deadline: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let timeout = format!("--timeout={}s", deadline.as_secs());
        let mut args = vec!["wait", "--for=condition=Stable"];
        args.extend(objects);
        args.push(&timeout);
        self.kubectl.run(args).await?;
        Ok(start.elapsed())
    }

    /// Returns the client endpoint of each pod of the Cluster. Pods without an address are left out.
    ///
    /// # Errors
    /// When the API server does not respond.
    pub async fn endpoints(&self) -> anyhow::Result<BTreeMap<String, String>> {
        endpoints(&self.kubectl, |_| true).await
    }

    /// Updates the endpoints of `target` continuously to the pods without a deletion timestamp, as a Service does for
    /// its clients. Dropping the returned value ends the updates.
    #[must_use]
    pub fn follow_pods(&self, target: &Target) -> PodFollower {
        let (kubectl, target) = (self.kubectl.clone(), target.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "no part of a simulation; `PodFollower` owns this task and ends it"
        )]
        let task = tokio::spawn(async move {
            let mut turns = tokio::time::interval(FOLLOW_EVERY);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let staying = endpoints(&kubectl, |pod| pod["metadata"]["deletionTimestamp"].is_null()).await;
                if let Some(staying) = staying.ok().filter(|s| !s.is_empty()) {
                    target.set(staying);
                }
            }
        });
        PodFollower(task)
    }

    /// Returns a workload target for `store` with the current pods.
    ///
    /// # Errors
    /// When the API server does not respond.
    pub async fn target(&self, store: &str) -> anyhow::Result<Target> {
        Ok(Target::new(store, self.endpoints().await?))
    }

    /// Returns an object by kind and name, such as `tfc/main`.
    ///
    /// # Errors
    /// When the object does not exist.
    pub async fn get(&self, what: &str) -> anyhow::Result<Value> {
        Ok(self.kubectl.json(["get", what]).await?)
    }

    /// Waits until exactly `count` pods of the Cluster have an address.
    ///
    /// # Errors
    /// When the count differs for three minutes.
    pub async fn wait_for_pod_count(&self, count: usize) -> anyhow::Result<()> {
        wait::until(&format!("{count} pods"), MINUTE * 3, || async {
            let pods = self.endpoints().await.map_err(|e| e.to_string())?;
            if pods.len() == count { Ok(()) } else { Err(format!("{pods:?}")) }
        })
        .await?;
        Ok(())
    }

    /// Waits until the conditions of an object contain all of `words`.
    ///
    /// # Errors
    /// When a word is missing for `deadline`.
    pub async fn wait_for_conditions(&self, object: &str, words: &[&str], deadline: Duration) -> anyhow::Result<()> {
        wait::until(&format!("{object} to say {words:?}"), deadline, || async {
            let found = self.get(object).await.map_err(|e| e.to_string())?;
            let text = found["status"]["conditions"].to_string();
            if words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
        })
        .await?;
        Ok(())
    }

    /// Changes fields of an object with a merge patch.
    ///
    /// # Errors
    /// When the API server refuses the patch.
    pub async fn patch(&self, object: &str, patch: &Value) -> anyhow::Result<()> {
        self.kubectl.run(["patch", object, "--type=merge", "-p", &patch.to_string()]).await?;
        Ok(())
    }

    /// Returns the number of EventStore objects.
    ///
    /// # Errors
    /// When the API server does not respond.
    pub async fn store_count(&self) -> anyhow::Result<usize> {
        let found = self.kubectl.json(["get", "evs"]).await?;
        Ok(found["items"].as_array().map_or(0, Vec::len))
    }

    /// Kills the node process of a pod with SIGKILL and waits until the process is gone.
    ///
    /// # Errors
    /// When the pod has no node process, or the process stays.
    pub async fn kill(&self, pod: &str) -> anyhow::Result<()> {
        self.kill_all(&[pod]).await
    }

    /// Kills the node processes of several pods at the same moment: every process gets the signal before
    /// the first wait.
    ///
    /// # Errors
    /// When a pod has no node process, or a process stays.
    pub async fn kill_all(&self, pods: &[&str]) -> anyhow::Result<()> {
        self.local_kube()?;
        let processes = pods.iter().map(|pod| pods::node_process(pod)).collect::<anyhow::Result<Vec<i32>>>()?;
        for process in &processes {
            kill_process(Pid::from_raw(*process).context("no process")?, Signal::KILL)?;
        }
        for process in processes {
            let entry = format!("/proc/{process}");
            wait::until("the killed process to be gone", Duration::from_secs(10), || async {
                if Path::new(&entry).exists() { Err(format!("process {process} still exists")) } else { Ok(()) }
            })
            .await?;
        }
        Ok(())
    }

    /// Runs `helm test` for the release of the operator.
    ///
    /// # Errors
    /// When the test fails. The error contains the log of the test pod.
    pub async fn helm_test(&self) -> anyhow::Result<()> {
        let Err(failed) =
            self.cluster.helm().run(["test", "taffrail", "-n", OPERATOR_NAMESPACE, "--timeout", "4m"]).await
        else {
            return Ok(());
        };
        // helm reports only the failure of the pod.
        let log = self.kubectl.run(["-n", OPERATOR_NAMESPACE, "logs", "taffrail-operator-test"]).await;
        Err(failed).with_context(|| log.unwrap_or_else(|e| e.to_string()))
    }

    /// Scales the operator and waits until the number of its pods, including stopping pods, equals `replicas`.
    ///
    /// # Errors
    /// When the number differs for a minute.
    pub async fn scale_operator(&self, replicas: usize) -> anyhow::Result<()> {
        let wanted = format!("--replicas={replicas}");
        self.kubectl.run(["-n", OPERATOR_NAMESPACE, "scale", "deploy/taffrail-operator", &wanted]).await?;
        wait::until(&format!("{replicas} operators"), MINUTE, || async {
            let args = ["-n", OPERATOR_NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=operator"];
            let pods = self.kubectl.json(args).await.map_err(|e| e.to_string())?;
            let found = pods["items"].as_array().map_or(0, Vec::len);
            if found == replicas { Ok(()) } else { Err(format!("{found} pods")) }
        })
        .await?;
        Ok(())
    }

    /// Prints the objects and the last log lines after a failure.
    pub(crate) async fn print_diagnostics(&self) {
        for args in [
            vec!["get", "tfc,evs,pods,pvc", "-o", "wide"],
            vec!["describe", "tfc,evs"],
            vec!["logs", "-n", OPERATOR_NAMESPACE, "deploy/taffrail-operator", "--tail=40"],
            vec!["logs", "-l", "taffrail.io/cluster=main", "--tail=15", "--prefix"],
        ] {
            match self.kubectl.run(args).await {
                Ok(text) => println!("{text}"),
                Err(e) => println!("{e}"),
            }
        }
    }
}

/// The task of [`Scenario::follow_pods`]; dropping this value ends the task.
#[derive(Debug)]
pub struct PodFollower(JoinHandle<()>);

impl Drop for PodFollower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn endpoints(kubectl: &Kubectl, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<BTreeMap<String, String>> {
    let pods = kubectl.json(["get", "pods", "-l", "taffrail.io/cluster=main"]).await?;
    let mut endpoints = BTreeMap::new();
    for pod in pods["items"].as_array().context("no list")?.iter().filter(|pod| wanted(pod)) {
        let (name, ip) = (pod["metadata"]["name"].as_str(), pod["status"]["podIP"].as_str());
        if let (Some(name), Some(ip)) = (name, ip) {
            endpoints.insert(name.to_owned(), format!("http://{ip}:2113"));
        }
    }
    Ok(endpoints)
}
