//! Execution of a scenario: prepares the Kubernetes and the operator, runs the test, prints diagnostics after a
//! failure, and cleans up.

use crate::{
    scenario::{OPERATOR_NAMESPACE, Scenario},
    test_cluster::{self, TestCluster},
};
use anyhow::Context;
use futures::FutureExt;
use std::{panic::AssertUnwindSafe, path::PathBuf};
use taffrail_localkube::{Config, LocalKube, kubectl::Helm};
use tokio::sync::Mutex;

/// Serializes the scenarios of a test binary: scenarios share the cores of the machine, and some assert durations.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Runs `test` on a new local cluster called `name` and removes the cluster afterwards, also when the test panics.
///
/// With `TAFFRAIL_CLUSTER=existing` the test runs in a new namespace on the cluster of the current kubeconfig, which
/// must be able to pull `TAFFRAIL_IMAGE`.
///
/// # Errors
/// The error of the test, or the reason why the cluster cannot be prepared.
pub async fn run(name: &str, test: impl AsyncFnOnce(&Scenario) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    if test_cluster::is_existing() {
        return on_existing(name, test).await;
    }
    let config = Config::new(name.parse()?, localkube_program()?);
    LocalKube::down(&config.state_root, &config.name).await?;
    let outcome = AssertUnwindSafe(async {
        let cluster = TestCluster::from_environment(&config, &|_| {}).await?;
        cluster.faults("loads an image")?.load_image(&PathBuf::from(setting("TAFFRAIL_IMAGE_ARCHIVE")?)).await?;
        install_operator(&cluster.helm()).await?;
        let kubectl = cluster.kubectl();
        run_and_diagnose(Scenario { cluster, kubectl, namespace: "default".into() }, test).await
    })
    .catch_unwind()
    .await;
    LocalKube::down(&config.state_root, &config.name).await?;
    match outcome {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs the test on an existing cluster. The namespace is deleted afterwards; the operator stays, because it may have
/// been installed before.
async fn on_existing(name: &str, test: impl AsyncFnOnce(&Scenario) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let cluster = TestCluster::existing();
    let namespace = format!("taffrail-e2e-{name}");
    let kubectl = cluster.kubectl().in_namespace(&namespace);
    install_operator(&cluster.helm()).await?;
    let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    cluster.kubectl().apply(object.to_string()).await?;
    let scenario = Scenario { cluster, kubectl, namespace: namespace.clone() };
    let outcome = AssertUnwindSafe(run_and_diagnose(scenario, test)).catch_unwind().await;
    let cleaner = TestCluster::existing().kubectl();
    let inside = cleaner.in_namespace(&namespace);
    inside.delete(["eventstores.taffrail.io,clusters.taffrail.io", "--all"]).await?;
    cleaner.delete(["namespace", &namespace]).await?;
    match outcome {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs the test and prints the state of the cluster after a failure.
async fn run_and_diagnose(
    scenario: Scenario,
    test: impl AsyncFnOnce(&Scenario) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let done = test(&scenario).await;
    if done.is_err() {
        scenario.print_diagnostics().await;
    }
    done
}

/// Installs the operator of `TAFFRAIL_IMAGE` from the chart and waits for readiness.
async fn install_operator(helm: &Helm) -> anyhow::Result<()> {
    let image = setting("TAFFRAIL_IMAGE")?;
    let (repository, tag) = image.rsplit_once(':').context("TAFFRAIL_IMAGE needs a tag")?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/taffrail");
    // `--dependency-update` would not replace an older package of the CRDs.
    helm.run(["dependency", "build", chart]).await?;
    let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    let args = [
        "upgrade",
        "--install",
        "taffrail",
        chart,
        "-n",
        OPERATOR_NAMESPACE,
        "--create-namespace",
        "--set",
        &repository,
        "--set",
        &tag,
        "--set",
        "image.pullPolicy=IfNotPresent",
        "--wait",
        "--timeout",
        "2m",
    ];
    helm.run(args).await?;
    Ok(())
}

/// Returns the path of the `localkube` program of this build, which becomes the first process inside the cluster.
///
/// Cargo names the path of a binary only to tests of the same crate. The test binary is
/// `target/PROFILE/deps/NAME-HASH`, and `cargo build` places `localkube` two levels above. The prerequisites of `up`
/// report a missing file with the command for building it.
fn localkube_program() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("the test binary is not in a target directory")?;
    Ok(profile.join("localkube"))
}

/// Returns the environment variable `name`, set by `make e2e`.
fn setting(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} must be set; run `make e2e`"))
}
