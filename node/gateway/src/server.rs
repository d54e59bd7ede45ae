//! The gRPC servers: port 2113 for clients, and port 2114 for calls forwarded by peers to the same services.

use super::{
    CallMemory, Origin, Shared,
    call::Authority,
    deadlines::{Ending, EnforceDeadlines},
    health,
    inflow::BoundInflow,
    native::{cluster, stores, streams, subscriptions},
    outflow::BoundOutflow,
    tonic_errors::AddReasons,
};
use http::{Request, Response};
use std::time::Duration;
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    v1::{
        cluster_server::ClusterServer, stores_server::StoresServer, streams_server::StreamsServer,
        subscriptions_server::SubscriptionsServer,
    },
};
use taffrail_store_api::{PeerChannel, peer_channel};
use tonic::{
    body::Body,
    service::{Routes, RoutesBuilder},
    transport::Server,
};
use tower::{
    Layer,
    layer::util::{Identity, Stack},
    util::{MapRequestLayer, MapResponse},
};

/// Maximum number of open calls on a connection. Every subscription is an open call.
const STREAMS_MAX: u32 = 10_000;
/// Services of the client port besides `taffrail.v1`.
const OTHER_SERVICES: [&str; 2] = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
/// Interval of HTTP/2 pings, and time to answer a ping before the connection counts as lost.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Maximum age of a connection, to spread clients over new pods. Each server changes the age by a random amount of up
/// to 20 %.
const CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);

type KeepAuthority = MapRequestLayer<fn(Request<Body>) -> Request<Body>>;

/// The layers of every port. A request passes the last type argument first.
pub type Layers =
    Stack<BoundOutflow, Stack<BoundInflow, Stack<AddReasons, Stack<EnforceDeadlines, Stack<KeepAuthority, Identity>>>>>;

/// Creates a server with the transport settings of every port. The calls of `taffrail.v1` count against `memory`.
#[must_use]
pub fn server(memory: &CallMemory) -> Server<Layers> {
    let fifth = CONNECTION_AGE / 5;
    let age = CONNECTION_AGE - fifth + taffrail_runtime::jitter(fifth * 2);
    Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_connection_age(age)
        .layer(MapRequestLayer::new(keep_authority as fn(_) -> _))
        .layer(EnforceDeadlines)
        .layer(AddReasons)
        .layer(memory.requests.clone())
        .layer(memory.answers.clone())
}

/// Serves `routes` within the process, through the layers of every port and without a transport: for a simulation, whose
/// network delivers the calls.
#[must_use]
pub fn in_process(routes: Routes, memory: &CallMemory) -> PeerChannel {
    let layered = memory.requests.layer(memory.answers.layer(routes));
    let layered = EnforceDeadlines.layer(AddReasons.layer(layered));
    let layered = MapRequestLayer::new(keep_authority as fn(_) -> _).layer(layered);
    peer_channel(MapResponse::new(layered, with_plain_body))
}

fn with_plain_body(response: Response<Ending<Body>>) -> Response<Body> {
    response.map(Body::new)
}

/// Stores the authority of a request as the extension [`Authority`]. HTTP/2 carries the authority in the URI, HTTP/1 in
/// the header `host`.
fn keep_authority(mut request: Request<Body>) -> Request<Body> {
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .or_else(|| request.headers().get(http::header::HOST).and_then(|h| h.to_str().ok()).map(ToOwned::to_owned));
    request.extensions_mut().insert(Authority(authority.unwrap_or_default()));
    request
}

/// Adds the services of `taffrail.v1`, common to the client port and the peer port.
pub fn add_native(routes: &mut RoutesBuilder, shared: &Shared) {
    routes
        .add_service(
            StreamsServer::new(streams::Service(shared.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            SubscriptionsServer::new(subscriptions::Service(shared.clone()))
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(StoresServer::new(stores::Service(shared.clone())))
        .add_service(ClusterServer::new(cluster::Service(shared.clone())));
}

/// Returns the services of port 2113: `taffrail.v1`, gRPC health and reflection.
///
/// # Errors
/// When the compiled-in descriptors do not decode.
pub fn client_routes(shared: &Shared) -> Result<Routes, tonic_reflection::server::Error> {
    debug_assert_eq!(shared.origin, Origin::Client);
    // The descriptors contain the services of other ports too; reflection lists only the services of this port.
    let mut reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(taffrail_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    for name in health::SERVICES.iter().chain(&OTHER_SERVICES) {
        reflection = reflection.with_service_name(*name);
    }
    let reflection = reflection.build_v1()?;
    let mut routes = RoutesBuilder::default();
    add_native(&mut routes, shared);
    routes
        .add_service(reflection)
        .add_service(tonic_health::pb::health_server::HealthServer::new(health::Service(shared.clone())));
    Ok(routes.routes())
}
