//! Tests common to all calls: stores by name and address, health, reflection, refusals of tonic, deadlines, metrics.

use super::harness::{Cluster, config};
use crate::{GatewayConfig, deadlines::EnforceDeadlines};
use std::time::Duration;
use taffrail_client::{Error, v1};
use tonic::{Code, Request, Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt};

#[tokio::test]
async fn an_unknown_store_is_not_found_and_the_nearest_are_named() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await.with_store("default/order").unwrap();
    let error = client.list_streams(v1::ListRequest::default()).await.unwrap_err();
    let Error::NotFound { reason, nearest, .. } = error else { panic!("{error:?}") };
    assert_eq!((reason.as_str(), nearest), ("STORE_NOT_FOUND", vec!["default/orders".to_owned()]));
}

#[tokio::test]
async fn the_address_names_the_store() {
    let cluster = Cluster::with(1, &[1], GatewayConfig { default_store: None, ..config() }).await;
    let address = &cluster.clients[0].address;
    for (origin, wanted) in [
        ("http://orders.default.svc.cluster.local:2113", None),
        ("http://orders:2113", None),
        ("http://localhost:2113", Some("STORE_REQUIRED")),
        ("http://payments.default:2113", Some("STORE_NOT_FOUND")),
        ("http://a.b.c.example.org:2113", Some("STORE_NOT_FOUND")),
    ] {
        let endpoint = Endpoint::from_shared(address.clone()).unwrap().origin(origin.parse().unwrap());
        let client = taffrail_client::Client::from_channel(endpoint.connect().await.unwrap());
        let answer = client.list_streams(v1::ListRequest::default()).await;
        let reason = answer.err().map(|e| {
            let (Error::Invalid { reason: Some(reason), .. } | Error::NotFound { reason, .. }) = e else {
                panic!("{e:?}")
            };
            reason
        });
        assert_eq!(reason.as_deref(), wanted, "{origin}");
    }
}

#[tokio::test]
async fn health_is_told_for_the_server_its_services_and_its_stores() {
    let cluster = Cluster::start(1, &[1]).await;
    let channel = Endpoint::from_shared(cluster.clients[0].address.clone()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut check = async |service: &str| {
        health.check(HealthCheckRequest { service: service.into() }).await.map(|a| a.into_inner().status())
    };
    for service in ["", "taffrail.v1.Streams", "taffrail.v1.Cluster", "orders", "default/orders"] {
        assert_eq!(check(service).await.unwrap(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(check("payments").await.unwrap_err().code(), Code::NotFound);
    cluster.world.lead(None);
    assert_eq!(check("orders").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    cluster.clients[0].stopping.cancel();
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
}

#[tokio::test]
async fn a_watched_store_tells_when_it_loses_its_leader() {
    let cluster = Cluster::start(1, &[1]).await;
    let channel = Endpoint::from_shared(cluster.clients[0].address.clone()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: "orders".into() };
    let mut watch = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    cluster.world.lead(None);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let cluster = Cluster::start(1, &[1]).await;
    let channel = Endpoint::from_shared(cluster.clients[0].address.clone()).unwrap().connect().await.unwrap();
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("a list") };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    for name in ["taffrail.v1.Streams", "taffrail.v1.Subscriptions", "taffrail.v1.Stores", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|n| n == name), "{name} is missing in {names:?}");
    }
    assert!(!names.iter().any(|n| n.contains("peer") || n.contains("admin")), "{names:?}");
}

/// An `AppendRequest` with bytes in place of a string, to send invalid UTF-8.
#[derive(Clone, PartialEq, prost::Message)]
struct RawAppend {
    #[prost(bytes = "vec", tag = "1")]
    stream: Vec<u8>,
}

#[tokio::test]
async fn a_text_that_is_no_utf8_is_an_invalid_argument() {
    let cluster = Cluster::start(1, &[1]).await;
    let channel = Endpoint::from_shared(cluster.clients[0].address.clone()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<RawAppend, v1::AppendResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/taffrail.v1.Streams/Append");
    let status = grpc.unary(Request::new(RawAppend { stream: vec![0xff, 0xfe] }), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["field"].as_str()), ("INVALID_ARGUMENT", "AppendRequest.stream"));
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_said_before_any_work() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await.with_timeout(Duration::ZERO);
    let error = client.list_streams(v1::ListRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    // The layer is called without a connection, because the client's timer for the same deadline could fire first.
    let never = tower::service_fn(|_: http::Request<()>| async {
        Err::<http::Response<tonic::body::Body>, _>("the service was called")
    });
    let request = http::Request::builder().header("grpc-timeout", "0n").body(()).unwrap();
    let answer = EnforceDeadlines.layer(never).oneshot(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.get_details_error_info().map(|i| i.reason), Some("DEADLINE".to_owned()), "{status:?}");
}

#[tokio::test]
async fn retained_stores_are_listed_only_on_request() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    let names = |stores: Vec<v1::Store>| stores.into_iter().map(|s| s.name).collect::<Vec<_>>();
    assert_eq!(names(client.stores(false).await.unwrap()), ["orders"]);
    assert_eq!(names(client.stores(true).await.unwrap()), ["old", "orders"]);
    assert_eq!(client.store("").await.unwrap().name, "orders");
    assert_eq!(client.cluster_status().await.unwrap().answered_by_node_id, 1);
}

#[tokio::test]
async fn a_node_that_is_no_member_gives_no_empty_answers() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.nodes[0].leave();
    let client = cluster.client(1).await;
    let watch = client.cluster_watch().await.err();
    for error in [client.stores(true).await.err(), client.cluster_status().await.err(), watch] {
        assert!(matches!(&error, Some(Error::Unavailable { reason, .. }) if reason == "NOT_SERVING"), "{error:?}");
    }
}

#[tokio::test]
async fn every_call_is_counted_and_timed_where_it_came_in_and_where_it_was_passed_on() {
    let cluster = Cluster::start(2, &[1]).await;
    let client = cluster.client(2).await;
    client.list_streams(v1::ListRequest::default()).await.unwrap();
    client.stores(false).await.unwrap();
    client.cluster_status().await.unwrap();
    client.store("nothing-like-it").await.unwrap_err();
    let text = cluster.clients[1].metrics.render();
    let counted = [("ListStreams", "Ok"), ("ListStores", "Ok"), ("ClusterStatus", "Ok"), ("GetStore", "NotFound")];
    for (method, code) in counted {
        let call = format!("taffrail_calls_total{{code=\"{code}\",method=\"{method}\"}} 1");
        let seconds = format!("taffrail_call_seconds_count{{method=\"{method}\"}} 1");
        assert!(text.contains(&call) && text.contains(&seconds), "{method}: {text}");
    }
    let text = cluster.peers[0].metrics.render();
    assert!(text.contains("taffrail_call_seconds_count{method=\"ListStreams\"} 1"), "{text}");
}
