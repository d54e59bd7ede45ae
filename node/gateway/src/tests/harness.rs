//! Servers of the fake nodes, each with a separate runtime, so that a test can kill a whole server.
#![allow(clippy::disallowed_methods, reason = "a killed server takes its runtime with it")]

use super::fake::{FakeNode, World};
use crate::{CallMemory, GatewayConfig, Origin, Shared, readers::Readers, server};
use std::{sync::Arc, time::Duration};
use taffrail_client::Client;
use taffrail_metrics::Metrics;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::RoutesBuilder, transport::Endpoint};

pub(super) fn config() -> GatewayConfig {
    GatewayConfig {
        cluster: "main".into(),
        namespace: "default".into(),
        cluster_domain: "cluster.local".into(),
        domains: vec![],
        default_store: Some("orders".into()),
        event_bytes_max: 1024,
        batch_bytes_max: 4096,
        timeout: Duration::from_secs(20),
    }
}

/// A port of a node, with server and runtime.
pub(super) struct Port {
    runtime: Option<Runtime>,
    pub(super) address: String,
    pub(super) stopping: CancellationToken,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memory: CallMemory,
}

impl Port {
    pub(super) async fn open(node: &Arc<FakeNode>, origin: Origin, config: GatewayConfig) -> Self {
        Self::open_with(node, origin, config, CallMemory::new(64 << 20, 64 << 20)).await
    }

    pub(super) async fn open_with(
        node: &Arc<FakeNode>,
        origin: Origin,
        config: GatewayConfig,
        memory: CallMemory,
    ) -> Self {
        let stopping = CancellationToken::new();
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let shared = Shared {
            config: Arc::new(config),
            node: Arc::clone(node) as Arc<dyn taffrail_store_api::Node>,
            metrics: Arc::clone(&metrics),
            memory: memory.clone(),
            readers: Readers::default(),
            origin,
            stopping: stopping.clone(),
        };
        let routes = match origin {
            Origin::Client => server::client_routes(&shared).unwrap(),
            Origin::Peer => {
                let mut routes = RoutesBuilder::default();
                server::add_native(&mut routes, &shared);
                routes.routes()
            }
        };
        let bounds = memory.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tx, rx) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tx.send(listener.local_addr().unwrap()).unwrap();
            server::server(&bounds)
                .add_routes(routes)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { runtime: Some(runtime), address: format!("http://{}", rx.await.unwrap()), stopping, metrics, memory }
    }

    /// Ends every task and connection of the port at once.
    pub(super) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(&self.address).await.unwrap()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Nodes 1 to n of a [`World`], all connected, each with a client port and a peer port.
pub(super) struct Cluster {
    pub(super) world: World,
    pub(super) nodes: Vec<Arc<FakeNode>>,
    pub(super) clients: Vec<Port>,
    pub(super) peers: Vec<Port>,
}

impl Cluster {
    /// Starts `count` nodes. The nodes `holders` have replicas; the first holder leads.
    pub(super) async fn start(count: u64, holders: &[u64]) -> Self {
        Self::with(count, holders, config()).await
    }

    pub(super) async fn with(count: u64, holders: &[u64], config: GatewayConfig) -> Self {
        let world = World::default();
        world.lead(holders.first().copied());
        let nodes: Vec<_> = (1..=count).map(|id| world.node(id, holders)).collect();
        let (mut clients, mut peers) = (Vec::new(), Vec::new());
        for node in &nodes {
            clients.push(Port::open(node, Origin::Client, config.clone()).await);
            peers.push(Port::open(node, Origin::Peer, config.clone()).await);
        }
        for (from, node) in (1..).zip(&nodes) {
            for (to, port) in (1..).zip(&peers) {
                if from != to {
                    let channel = Endpoint::from_shared(port.address.clone()).unwrap().connect().await.unwrap();
                    node.connect(to, channel);
                }
            }
        }
        Self { world, nodes, clients, peers }
    }

    /// Returns a client of node `id`.
    pub(super) async fn client(&self, id: usize) -> Client {
        self.clients[id - 1].client().await
    }

    /// Kills node `id`; the other nodes notice the broken connections.
    pub(super) fn kill(&mut self, id: usize) {
        self.peers[id - 1].kill();
        self.clients[id - 1].kill();
    }
}
