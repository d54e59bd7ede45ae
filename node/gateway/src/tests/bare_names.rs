//! Tests of a bare store name in the address, valid only while a single namespace has a store with this name.

use super::harness::{Cluster, config};
use crate::GatewayConfig;
use std::time::Duration;
use taffrail_client::{Client, Error, v1};
use tonic::transport::Endpoint;

/// Time limit for a condition, so that a test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);
const BARE: &str = "http://orders:2113";

async fn at(cluster: &Cluster, origin: &str) -> Client {
    let endpoint = Endpoint::from_shared(cluster.clients[0].address.clone()).unwrap().origin(origin.parse().unwrap());
    Client::from_channel(endpoint.connect().await.unwrap())
}

async fn list(client: &Client) -> Result<(), Error> {
    client.list_streams(v1::ListRequest::default()).await.map(drop)
}

#[tokio::test]
async fn a_bare_name_of_several_namespaces_is_refused_and_the_candidates_are_named() {
    let cluster = Cluster::with(1, &[1], GatewayConfig { domains: vec!["example.org".into()], ..config() }).await;
    cluster.world.declare_in("team-b");
    let client = at(&cluster, BARE).await;
    let error = list(&client).await.unwrap_err();
    let Error::Invalid { reason: Some(reason), message, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "STORE_AMBIGUOUS");
    assert!(message.contains("default/orders,team-b/orders"), "{message}");
    let error =
        client.append("s", taffrail_client::Expected::Any, vec![taffrail_client::EventBuilder::new("T").build()]);
    let error = error.await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { reason: Some(r), .. } if r == "STORE_AMBIGUOUS"), "{error:?}");
    // An address with a namespace, a configured domain or the Cluster's own Service stays unambiguous.
    for origin in ["http://orders.default:2113", "http://orders.example.org", "http://main-clients:2113"] {
        list(&at(&cluster, origin).await).await.unwrap_or_else(|e| panic!("{origin}: {e:?}"));
    }
    list(&client.clone().with_store("orders").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_bare_name_is_looked_at_again_as_stores_come_and_go() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = at(&cluster, BARE).await;
    list(&client).await.unwrap();
    for ambiguous in [true, false] {
        if ambiguous {
            cluster.world.declare_in("team-b")
        } else {
            cluster.world.remove_others()
        }
        let seen = async { while list(&client).await.is_err() != ambiguous {} };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("ambiguous: {ambiguous}"));
    }
}
