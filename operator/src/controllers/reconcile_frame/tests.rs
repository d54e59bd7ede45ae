//! Complete reconciles against an in-memory API server: the writes on each path.

use super::*;
use crate::fake_api::FakeApi;
use serde_json::{Value, json};
use taffrail_crds::{Cluster, EventStore};

const PAST: &str = "2024-01-01T00:00:00Z";

fn cluster(paused: bool, finalizers: Value, deleting: bool) -> Cluster {
    let mut cluster = json!({
        "metadata": {
            "name": "main", "namespace": "ns", "uid": "u-main", "generation": 7, "resourceVersion": "1",
            "finalizers": finalizers,
        },
        "spec": {"replicas": 3, "storage": {"size": "1Gi"}, "paused": paused},
        "status": {"observedGeneration": 6, "replicas": 3, "ready": "3/3", "conditions": [stable_condition()]},
    });
    if deleting {
        cluster["metadata"]["deletionTimestamp"] = json!(PAST);
    }
    serde_json::from_value(cluster).expect("a Cluster")
}

fn store(finalizers: Value, deleting: bool) -> EventStore {
    let mut store = json!({
        "metadata": {
            "name": "orders", "namespace": "ns", "uid": "u-orders", "generation": 4, "resourceVersion": "1",
            "finalizers": finalizers,
        },
        "spec": {"clusterRef": {"name": "main"}, "replicas": 3, "deletionPolicy": "Delete"},
        "status": {"observedGeneration": 3, "conditions": [stable_condition()]},
    });
    if deleting {
        store["metadata"]["deletionTimestamp"] = json!(PAST);
    }
    serde_json::from_value(store).expect("an EventStore")
}

fn stable_condition() -> Value {
    json!({
        "type": "Stable", "status": "True", "reason": "AsExpected", "message": "", "observedGeneration": 3,
        "lastTransitionTime": PAST,
    })
}

fn held() -> Value {
    json!(["taffrail.io/cleanup"])
}

fn guarded<K>(object: K) -> Guarded<K> {
    kube::core::DeserializeGuard(Ok(object))
}

/// Returns status and reason of a condition, and checks that the status covers the current generation.
fn condition(object: &Value, type_: &str) -> (String, String) {
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"], "{object}");
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == type_).cloned().unwrap_or_default();
    assert_eq!(found["observedGeneration"], object["metadata"]["generation"], "{object}");
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_paused_cluster_gets_its_status_and_no_other_write() {
    let (main, orders) = (cluster(true, json!([]), false), store(held(), false));
    let api = FakeApi::start().await;
    api.put("clusters", &main);
    let ctx = api.context(&[&main], &[&orders]);
    run(&guarded(main), &ctx).await.expect("a reconcile");
    assert_eq!(api.writes(), ["PATCH clusters/main/status"]);
    let stored = api.get("clusters/main");
    assert_eq!(condition(&stored, "Paused"), is("True", "Paused"));
    assert_eq!(condition(&stored, "Stable"), is("False", "Paused"));
    assert_eq!(condition(&stored, "Reconciling").0, "False");
    assert_eq!(stored["status"]["replicas"], 0, "what is observed, not what was");
}

#[tokio::test]
async fn the_deletion_of_a_paused_cluster_is_held_and_says_so() {
    for has_stores in [true, false] {
        let main = cluster(true, held(), true);
        let api = FakeApi::start().await;
        api.put("clusters", &main);
        let orders = store(held(), false);
        let stores: &[&EventStore] = if has_stores { &[&orders] } else { &[] };
        let ctx = api.context(&[&main], stores);
        run(&guarded(main), &ctx).await.expect("a reconcile");
        assert_eq!(api.writes(), ["PATCH clusters/main/status"]);
        let stored = api.get("clusters/main");
        assert_eq!(stored["metadata"]["finalizers"], held());
        assert_eq!(condition(&stored, "Stalled"), is("True", "Paused"));
        assert!(stored.to_string().contains("set it to false"), "{stored}");
    }
}

#[tokio::test]
async fn a_store_of_a_paused_cluster_gets_its_status_and_no_other_write() {
    let (main, orders) = (cluster(true, json!([]), false), store(json!([]), false));
    let api = FakeApi::start().await;
    api.put("eventstores", &orders);
    let ctx = api.context(&[&main], &[&orders]);
    run(&guarded(orders), &ctx).await.expect("a reconcile");
    assert_eq!(api.writes(), ["PATCH eventstores/orders/status"]);
    let stored = api.get("eventstores/orders");
    assert_eq!(condition(&stored, "Paused"), is("True", "Paused"));
    assert_eq!(condition(&stored, "Stable").0, "False");
    assert_eq!(condition(&stored, "Reconciling").0, "False");
}

#[tokio::test]
async fn the_deletion_of_a_store_is_held_while_its_cluster_is_paused() {
    let (main, orders) = (cluster(true, held(), false), store(held(), true));
    let api = FakeApi::start().await;
    api.put("clusters", &main);
    api.put("eventstores", &orders);
    // The cache knows neither the pause nor the Cluster.
    let ctx = api.context(&[], &[&orders]);
    run(&guarded(orders), &ctx).await.expect("a reconcile");
    assert_eq!(api.writes(), ["PATCH eventstores/orders/status"]);
    let stored = api.get("eventstores/orders");
    assert_eq!(stored["metadata"]["finalizers"], held());
    assert_eq!(condition(&stored, "Stalled"), is("True", "Paused"));
    assert_eq!(stored["status"]["plan"][0]["step"], "DeleteStore");
}

#[tokio::test]
async fn a_store_is_not_released_because_a_cache_has_no_cluster() {
    let (main, orders) = (cluster(false, held(), false), store(held(), true));
    let identity = json!({
        "metadata": {"name": "main-identity", "annotations": {"taffrail.io/formed": "true"}},
        "data": {"clusterId": "0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a10"},
    });
    let api = FakeApi::start().await;
    api.put("clusters", &main);
    api.put("configmaps", &identity);
    api.put("eventstores", &orders);
    // The status of the Cluster does not show that the Cluster was formed either: somebody emptied the status.
    let ctx = api.context(&[], &[&orders]);
    run(&guarded(orders), &ctx).await.expect("a reconcile");
    assert_eq!(api.writes(), ["PATCH eventstores/orders/status"]);
    assert_eq!(api.get("eventstores/orders")["metadata"]["finalizers"], held());
}

#[tokio::test]
async fn a_store_whose_cluster_is_gone_or_was_never_formed_is_released() {
    for formed in [false, true] {
        let orders = store(held(), true);
        let api = FakeApi::start().await;
        api.put("eventstores", &orders);
        if !formed {
            api.put("clusters", &cluster(false, json!([]), false));
        }
        let ctx = api.context(&[], &[&orders]);
        run(&guarded(orders), &ctx).await.expect("a reconcile");
        assert_eq!(api.writes(), ["PATCH eventstores/orders"]);
        assert_eq!(api.get("eventstores/orders")["metadata"]["finalizers"], json!([]));
    }
}

#[tokio::test]
async fn a_cluster_is_not_released_because_a_cache_has_no_store_of_it() {
    let main = cluster(false, held(), true);
    let api = FakeApi::start().await;
    api.put("clusters", &main);
    api.put("eventstores", &store(held(), false));
    let ctx = api.context(&[&main], &[]);
    // The finalizer stays, regardless of the result of the reconcile.
    let _done = run(&guarded(main), &ctx).await;
    assert_eq!(api.get("clusters/main")["metadata"]["finalizers"], held());
}

#[tokio::test]
async fn a_pass_that_hangs_says_in_which_step_and_is_put_off() {
    let main = cluster(false, json!([]), false);
    let api = FakeApi::start().await;
    api.put("clusters", &main);
    api.silence("pods");
    let ctx = api.context(&[&main], &[]);
    let guarded = guarded(main);
    let error = run_within(&guarded, &ctx, Duration::from_millis(200)).await.expect_err("it hangs");
    assert!(matches!(&error, Error::Deadline { step, .. } if step.contains("the pods")), "{error}");
    let stored = api.get("clusters/main");
    assert_eq!(condition(&stored, "Stable"), is("False", "DeadlineExceeded"));
    assert_eq!(condition(&stored, "Reconciling"), is("True", "DeadlineExceeded"));
    assert!(stored["status"]["conditions"].to_string().contains("reading the StatefulSet, the pods"), "{stored}");
    assert_eq!(stored["status"]["ready"], "3/3", "what was known stays");
    let first = ctx.backoffs.failed("u-main", error.class(), 0.5);
    assert!(ctx.backoffs.failed("u-main", error.class(), 0.5) > first);
}

#[tokio::test]
async fn a_store_whose_pass_hangs_says_so_too() {
    let (main, orders) = (cluster(false, json!([]), false), store(held(), true));
    let api = FakeApi::start().await;
    api.put("clusters", &main);
    api.put("eventstores", &orders);
    api.silence("configmaps");
    let ctx = api.context(&[&main], &[&orders]);
    let error = run_within(&guarded(orders), &ctx, Duration::from_millis(200)).await.expect_err("it hangs");
    assert!(matches!(error, Error::Deadline { .. }));
    let stored = api.get("eventstores/orders");
    assert_eq!(condition(&stored, "Reconciling").0, "True");
    assert!(stored["status"]["plan"].to_string().contains("reading the Cluster for the deletion"), "{stored}");
}

#[tokio::test]
async fn an_object_that_does_not_parse_keeps_the_rest_of_its_status() {
    let mut raw = serde_json::to_value(cluster(false, json!([]), false)).expect("JSON");
    raw["spec"]["replicas"] = json!("three");
    raw["status"]["members"] = json!([{"name": "main-0", "nodeId": 1, "groups": 1, "leaders": 0}]);
    let api = FakeApi::start().await;
    api.put("clusters", &raw);
    let ctx = api.context(&[], &[]);
    let guarded: Guarded<Cluster> = serde_json::from_value(raw.clone()).expect("a guard takes anything");
    assert!(guarded.0.is_err());
    run(&guarded, &ctx).await.expect("a reconcile");
    let stored = api.get("clusters/main");
    assert_eq!(stored["status"]["members"], raw["status"]["members"]);
    assert_eq!(stored["status"]["ready"], "3/3");
    assert_eq!(condition(&stored, "Stalled"), is("True", "InvalidSpec"));
}
