use super::{
    fake::{STORE_ID, StoreChange},
    harness::Cluster,
};
use std::time::Duration;
use taffrail_client::{Error, Rejection};
use taffrail_core::catalogue::Refused;
use taffrail_store_api::StoreChangeError;

#[tokio::test]
async fn the_name_of_a_new_store_follows_the_rule_of_an_event_store() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    for bad in ["", "Orders", "2-orders", "orders-clients", "shop/orders-ready", "shop/orders/x", &"o".repeat(41)] {
        let error = client.create_store(bad, 1).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == "store"), "{bad}: {error:?}");
    }
    let store = client.create_store("shop/orders-2", 3).await.unwrap();
    assert_eq!((store.namespace.as_str(), store.name.as_str(), store.replicas), ("shop", "orders-2", 3));
    let store = client.create_store("orders", 1).await.unwrap();
    assert_eq!(store.namespace, "default", "the namespace of the Cluster");
    let error = client.remove_store("orders").await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == "store_id"), "{error:?}");
}

#[tokio::test]
async fn every_refusal_of_a_change_has_its_reason_and_details() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    let cases = [
        (Refused::StoreExists { id: STORE_ID, replicas: 5 }, "STORE_EXISTS", "replicas", "5"),
        (Refused::Declared { id: STORE_ID, by: "uid-1".into() }, "STORE_DECLARED", "declared_by", "uid-1"),
        (Refused::NotEnoughNodes { wanted: 3, have: 1 }, "NOT_ENOUGH_NODES", "wanted", "3"),
        (Refused::RetainedDataExists { id: STORE_ID, at_us: 1 }, "STORE_RETAINED", "store_id", ""),
        (Refused::StoreRemoving(STORE_ID), "STORE_REMOVING", "store_id", ""),
    ];
    for (refused, wanted, key, value) in cases {
        cluster.nodes[0].store_changes.lock().unwrap().push_back(StoreChange::Fails(refused.into()));
        let error = client.create_store("orders", 3).await.unwrap_err();
        let Error::Rejected(Rejection::Other { reason, details, .. }) = error else { panic!("{error:?}") };
        let id = STORE_ID.to_string();
        let value = if value.is_empty() { &id } else { value };
        assert_eq!((reason.as_str(), details[key].as_str()), (wanted, value));
    }
    cluster.nodes[0].store_changes.lock().unwrap().push_back(StoreChange::Fails(Refused::InvalidReplicas(2).into()));
    let error = client.create_store("orders", 2).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == "replicas"), "{error:?}");
    cluster.nodes[0]
        .store_changes
        .lock()
        .unwrap()
        .push_back(StoreChange::Fails(Refused::StoreNotFound(STORE_ID).into()));
    let error = client.remove_store(&STORE_ID.to_string()).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { reason, .. } if reason == "STORE_NOT_FOUND"), "{error:?}");
}

#[tokio::test]
async fn a_change_without_an_answer_is_never_reported_as_failed() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await.with_timeout(Duration::from_millis(300));
    let script = |change| cluster.nodes[0].store_changes.lock().unwrap().push_back(change);
    script(StoreChange::NeverAnswers);
    let error = client.create_store("orders", 3).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    script(StoreChange::Fails(StoreChangeError::Unknown("x".into())));
    let error = client.remove_store(&STORE_ID.to_string()).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    script(StoreChange::Fails(StoreChangeError::NoCoordinator("x".into())));
    let error = client.create_store("orders", 3).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { reason, .. } if reason == "NO_QUORUM"), "{error:?}");
}

#[tokio::test]
async fn a_removal_says_what_it_waits_for() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    cluster.nodes[0].store_changes.lock().unwrap().push_back(StoreChange::WaitsFor("node 2"));
    let progress = client.remove_store(&STORE_ID.to_string()).await.unwrap();
    assert_eq!((progress.done, progress.waiting_for.as_str()), (false, "node 2"));
    let progress = client.remove_store(&STORE_ID.to_string()).await.unwrap();
    assert_eq!((progress.done, progress.waiting_for.as_str()), (true, ""));
}
