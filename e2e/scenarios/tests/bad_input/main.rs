//! Invalid input of a user. The API server refuses an object that breaks a rule and names the rule. Problems visible
//! only in the cluster become a condition with the object and the remedy; until the problem is corrected, nothing is
//! created in part, and afterwards the operator continues without further action.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test panics at the first failed check")]

mod classes;
mod names;
#[path = "../../../../crds/tests/table/mod.rs"]
mod table;

use anyhow::ensure;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::time::Duration;
use table::{merged, table};
use taffrail_localkube::{
    kubectl::{Kubectl, condition_is_true},
    wait,
};
use taffrail_scenarios::{
    run::run,
    scenario::{MINUTE, Scenario},
};
use tokio::time::Instant;

/// Concurrent `kubectl` processes; most of their time is not spent in the API server.
const AT_ONCE: usize = 4;
/// An image without a registry; names under `.invalid` never resolve.
const NO_IMAGE: &str = "registry.invalid/taffrail:none";
const NO_CLASS: &str = "taffrail-e2e-absent";

/// Applies an object and returns whether the API server accepted it, with the output of `kubectl`. Objects are applied
/// one at a time, because `kubectl` itself checks lists for unknown fields.
async fn answer(kubectl: &Kubectl, args: &[&str], object: &Value) -> anyhow::Result<(bool, String)> {
    let run = kubectl.command().args(["apply", "--filename=-"]).args(args).stdin(object.to_string());
    let output = run.raw().await?;
    let words = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&words).into_owned()))
}

async fn refused(kubectl: &Kubectl, args: &[&str], object: &Value, words: &[&str]) -> anyhow::Result<()> {
    let (accepted, said) = answer(kubectl, args, object).await?;
    ensure!(!accepted, "accepted: {object}: {said}");
    ensure!(words.iter().all(|w| said.contains(w)), "{object}: refused without {words:?}: {said}");
    Ok(())
}

async fn accepted(kubectl: &Kubectl, args: &[&str], object: &Value) -> anyhow::Result<()> {
    let (accepted, said) = answer(kubectl, args, object).await?;
    ensure!(accepted, "refused: {object}: {said}");
    Ok(())
}

const DRY: [&str; 1] = ["--dry-run=server"];

/// Checks every row of the table. For a row with an older object, the older object is created under a name with the
/// number of the row; Clusters are paused, so no pods start.
async fn rules(kubectl: &Kubectl) -> anyhow::Result<()> {
    let table = table();
    let rows = table.cases.iter().enumerate().map(|(number, case)| {
        let base = &table.base[&case.kind];
        async move {
            let Some(old) = &case.old else {
                accepted(kubectl, &DRY, &merged(base.clone(), &case.accepts)).await?;
                return refused(kubectl, &DRY, &merged(base.clone(), &case.refuses), &[&case.rule]).await;
            };
            let named = json!({"metadata": {"name": format!("row-{number}")}});
            let of_row = |patch: &Value| {
                let mut object = merged(merged(base.clone(), patch), &named);
                if case.kind == "Cluster" {
                    object["spec"]["paused"] = true.into();
                }
                object
            };
            // Each update is also the base with a patch, so the update removes the fields of the older object that the
            // patch leaves out.
            accepted(kubectl, &[], &of_row(old)).await?;
            accepted(kubectl, &DRY, &of_row(&case.accepts)).await?;
            refused(kubectl, &DRY, &of_row(&case.refuses), &[&case.rule]).await
        }
    });
    let count = rows.len();
    stream::iter(rows).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    println!("j: {count} rules accept and refuse on the API server as the table says");
    Ok(())
}

/// Checks objects refused by the schema: unknown fields, wrong types, values out of bounds, invalid names.
async fn shapes(kubectl: &Kubectl) -> anyhow::Result<()> {
    let base = table().base;
    let long = "a234567890-234567890-234567890-2345678901";
    let (event_max, batch_max) = (taffrail_core::limits::EVENT_BYTES_MAX, taffrail_core::limits::BATCH_BYTES_MAX);
    let largest = json!({"spec": {"settings": {"eventBytesMax": event_max, "batchBytesMax": batch_max}}});
    accepted(kubectl, &DRY, &merged(base["Cluster"].clone(), &largest)).await?;
    let by_schema: [(&str, Value, &[&str]); 16] = [
        ("Cluster", json!({"spec": {"replica": 3}}), &["unknown field \"spec.replica\""]),
        ("Cluster", json!({"spec": {"storage": {"sise": "1Gi"}}}), &["unknown field \"spec.storage.sise\""]),
        ("EventStore", json!({"spec": {"replica": 3}}), &["unknown field \"spec.replica\""]),
        ("EventStore", json!({"spec": {"clusterRef": {"nam": "x"}}}), &["unknown field \"spec.clusterRef.nam\""]),
        ("Cluster", json!({"spec": {"replicas": "three"}}), &["spec.replicas", "integer"]),
        ("Cluster", json!({"spec": {"paused": "yes"}}), &["spec.paused", "boolean"]),
        ("Cluster", json!({"spec": {"storage": {"size": 10}}}), &["spec.storage.size", "string"]),
        ("EventStore", json!({"spec": {"replicas": 1.5}}), &["spec.replicas", "integer"]),
        ("EventStore", json!({"spec": {"clusterRef": "main"}}), &["spec.clusterRef", "object"]),
        ("EventStore", json!({"spec": {"deletionPolicy": "Keep"}}), &["spec.deletionPolicy", "Retain", "Delete"]),
        ("Cluster", json!({"spec": {"replicas": 0}}), &["spec.replicas", "greater than or equal to 1"]),
        (
            "Cluster",
            json!({"spec": {"settings": {"eventBytesMax": event_max + 1, "batchBytesMax": batch_max}}}),
            &["spec.settings.eventBytesMax", "less than or equal to 16777216"],
        ),
        (
            "Cluster",
            json!({"spec": {"settings": {"batchBytesMax": batch_max + 1}}}),
            &["spec.settings.batchBytesMax", "less than or equal to 33554432"],
        ),
        ("Cluster", json!({"metadata": {"name": long}}), &["metadata.name must be at most 40 characters"]),
        ("EventStore", json!({"metadata": {"name": long}}), &["metadata.name must be at most 40 characters"]),
        ("EventStore", json!({"metadata": {"name": "x-ready"}}), &["must not end in -clients, -peers or -ready"]),
    ];
    let (base, count) = (&base, by_schema.len());
    let all = by_schema.into_iter().map(|(kind, patch, words)| async move {
        refused(kubectl, &DRY, &merged(base[kind].clone(), &patch), words).await
    });
    stream::iter(all).buffer_unordered(AT_ONCE).try_collect::<()>().await?;

    // Server-side apply finds unknown fields in another part of the API server.
    let server_side = ["--server-side", "--validate=strict", "--dry-run=server"];
    for (kind, field) in [("Cluster", ".spec.replica"), ("EventStore", ".spec.servise")] {
        let name = field.trim_start_matches(".spec.");
        let object = merged(base[kind].clone(), &json!({"spec": {name: 3}}));
        refused(kubectl, &server_side, &object, &[field]).await?;
    }
    let missing = json!({"apiVersion": "taffrail.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "x"},
        "spec": {"storage": {"size": "1Gi"}}});
    refused(kubectl, &DRY, &missing, &["spec.replicas", "Required"]).await?;
    println!("j: {} objects of a wrong shape are refused, each naming the field", count + 3);
    Ok(())
}

/// Deletes the objects of the table. A paused Cluster cannot be deleted, and resuming before the deletion
/// would start pods.
async fn remove_rows(kubectl: &Kubectl) -> anyhow::Result<()> {
    let all = ["eventstores.taffrail.io,clusters.taffrail.io", "--all"];
    kubectl.run([&["delete", "--wait=false"], all.as_slice()].concat()).await?;
    for name in kubectl.run(["get", "tfc", "-o", "name"]).await?.split_whitespace() {
        // The Cluster may be deleted already.
        let patch = ["patch", name, "--type=merge", "-p", "{\"spec\":{\"paused\":false}}"];
        let _ = kubectl.command().args(patch).raw().await?;
    }
    kubectl.delete(all).await?;
    Ok(())
}

/// Waits until `Stable` is False with this reason, and a condition with this reason has these words in its message.
async fn says(s: &Scenario, object: &str, reason: &str, words: &[&str]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    wait::until(&format!("{object} to say {reason} and {words:?}"), MINUTE, || async {
        let found = s.get(object).await.map_err(|e| e.to_string())?;
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let fits = |c: &Value| {
            let message = c["message"].as_str().unwrap_or_default();
            c["reason"] == reason && words.iter().all(|w| message.contains(w))
        };
        let stable = all.iter().any(|c| c["type"] == "Stable" && c["reason"] == reason && c["status"] == "False");
        if stable && all.iter().any(fits) { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await?;
    Ok(start.elapsed())
}

/// Returns a Cluster with additional fields in its spec.
fn blocked(name: &str, replicas: u32, more: &Value) -> Value {
    let base = json!({"apiVersion": "taffrail.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
        "spec": {"replicas": replicas, "storage": {"size": "1Gi"}}});
    merged(base, &json!({"spec": more}))
}

/// Checks that nothing was started for a Cluster: no identity is recorded, and the status has no cluster id.
async fn nothing_half_done(s: &Scenario, name: &str) -> anyhow::Result<()> {
    let identity = format!("configmap/{name}-identity");
    let found = s.kubectl.run(["get", &identity, "--ignore-not-found", "-o", "name"]).await?;
    ensure!(found.trim().is_empty(), "{name} was started: {found}");
    let found = s.get(&format!("tfc/{name}")).await?;
    ensure!(found["status"]["clusterId"].is_null(), "{name} has an id: {}", found["status"]);
    ensure!(condition_is_true(&found, "Ready").is_err(), "{name} is Ready: {}", found["status"]);
    Ok(())
}

/// Checks Clusters whose pods cannot run, each for another reason.
async fn pods_that_cannot_run(s: &Scenario) -> anyhow::Result<()> {
    let nowhere = json!({"podTemplate": {"nodeSelector": {"taffrail.io/nowhere": "true"}}});
    let all = [
        blocked("noclass", 1, &json!({"storage": {"storageClassName": NO_CLASS}})),
        blocked("noimage", 3, &json!({"image": NO_IMAGE})),
        blocked("nowhere", 1, &nowhere),
    ];
    s.apply(json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string()).await?;
    let (class, image, place) = tokio::try_join!(
        says(s, "tfc/noclass", "VolumePending", &["data-noclass-0", NO_CLASS]),
        says(s, "tfc/noimage", "ImagePullFailed", &["noimage-0", NO_IMAGE, "correct spec.image"]),
        says(s, "tfc/nowhere", "Unschedulable", &["nowhere-0", "affinity/selector", "spec.podTemplate"]),
    )?;
    println!("j: VolumePending after {class:?}, ImagePullFailed after {image:?}, Unschedulable after {place:?}");
    for name in ["noclass", "noimage", "nowhere"] {
        nothing_half_done(s, name).await?;
    }

    s.patch("tfc/nowhere", &json!({"spec": {"podTemplate": {"nodeSelector": null}}})).await?;
    let place = s.wait_stable(&["tfc/nowhere"], MINUTE * 2).await?;
    s.patch("tfc/noimage", &json!({"spec": {"image": null}})).await?;
    let image = s.wait_stable(&["tfc/noimage"], MINUTE * 2).await?;
    println!("j: corrected: scheduled and Stable within {place:?}, pulled and Stable within {image:?}");
    classes::a_class_appears(s).await?;
    classes::no_default(s).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_or_named_and_put_right_goes_on() {
    run("bad-input", async |s| {
        rules(&s.kubectl).await?;
        shapes(&s.kubectl).await?;
        remove_rows(&s.kubectl).await?;
        names::of_a_store(s).await?;
        names::of_a_cluster(s).await?;
        names::of_a_namespace_that_ends(s).await?;
        pods_that_cannot_run(s).await
    })
    .await
    .unwrap();
}
