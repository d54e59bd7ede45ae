//! Calls of clients to the gateway of a node.

use super::{
    layout::NAMESPACE,
    port::{Port, VirtualPort},
    simulated::Cluster,
};
use std::sync::Arc;
use taffrail_client::STORE;
use taffrail_core::ids::NodeId;
use taffrail_proto::v1::streams_client::StreamsClient;
use taffrail_store_api::{PeerChannel, peer_channel};
use tonic::{Request, metadata::MetadataValue};

/// Milliseconds of a client's patience for a call.
const PATIENCE_MS: u64 = 1500;

/// A client of the gateway of the node on a host.
#[must_use]
pub fn gateway(cluster: &Cluster, to: NodeId) -> StreamsClient<PeerChannel> {
    let world = Arc::clone(&cluster.world);
    StreamsClient::new(peer_channel(VirtualPort { world, from: None, to, port: Port::Clients }))
}

/// A request to a store, with the client's time limit.
pub fn request<T>(cluster: &Cluster, store: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(cluster.world.ms(PATIENCE_MS));
    let name = MetadataValue::try_from(format!("{NAMESPACE}/{store}"));
    request.metadata_mut().insert(STORE, name.expect("a short printable name"));
    request
}
