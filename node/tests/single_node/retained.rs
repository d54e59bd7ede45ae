//! A store that is retained and adopted again: the settings in the log of the store follow the catalogue.

use super::node::Node;
use crate::common::until;
use std::time::Duration;
use taffrail_client::{Error, EventBuilder, Expected, Item, Rejection, v1};
use taffrail_proto::admin::{
    CloseMode, CloseStoreRequest, DeclareStoresRequest, StoreDeclaration, admin_client::AdminClient,
};
use tonic::transport::Channel;

/// Time limit for an item of the subscription, so that the test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Declares the store `default/orders` and returns the id of the store.
async fn declare(admin: &mut AdminClient<Channel>, adopt: &str) -> String {
    let store = StoreDeclaration {
        namespace: "default".into(),
        name: "orders".into(),
        replicas: 1,
        store_id: adopt.into(),
        declared_by: "uid".into(),
    };
    let answer = admin.declare_stores(DeclareStoresRequest { stores: vec![store] }).await.unwrap().into_inner();
    assert!(answer.results.iter().all(|r| r.reason.is_empty()), "{answer:?}");
    answer.results[0].store_id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_store_ends_its_subscriptions_and_an_adopted_store_takes_appends_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let mut admin = AdminClient::connect(format!("http://127.0.0.1:{}", node.ports.admin)).await.unwrap();
    let store_id = declare(&mut admin, "").await;
    node.serves("default/orders").await;
    let client = node.client().with_store("default/orders").unwrap();
    let event = || vec![EventBuilder::new("Placed").build()];
    client.append("a", Expected::Any, event()).await.unwrap();
    let from = v1::Start::from(v1::start::Kind::FromStart(v1::Unit {}));
    let selector = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    let request =
        v1::SubscribeRequest { selector: Some(selector), start: Some(from), ..v1::SubscribeRequest::default() };
    let mut open = client.subscribe(request).await.unwrap();
    while !matches!(open.next().await.unwrap().unwrap(), Item::CaughtUp(_)) {}

    let retain =
        CloseStoreRequest { store_id: store_id.clone(), mode: CloseMode::Retain.into(), declared_by: "uid".into() };
    admin.close_store(retain).await.unwrap();
    // The subscription follows applied state only, so the settings of the log end the subscription, not the catalogue.
    let ended = loop {
        match tokio::time::timeout(PATIENCE, open.next()).await.expect("the subscription ends") {
            Ok(item) => assert!(item.is_some(), "the subscription ended without a status"),
            Err(error) => break error,
        }
    };
    let closed = |r: &Rejection| matches!(r, Rejection::Other { reason, .. } if reason == "STORE_CLOSED");
    assert!(matches!(&ended, Error::Rejected(r) if closed(r)), "{ended:?}");

    assert_eq!(declare(&mut admin, &store_id).await, store_id);
    let second = event();
    until("the adopted store to be open", async || match client.append("a", Expected::Any, second.clone()).await {
        Ok(answer) if answer.first_revision == Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    node.alive();
    node.kill().await;
}
