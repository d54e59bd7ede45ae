//! The four listeners of a node and their servers.

use crate::member::readiness::Readiness;
use crate::{
    config::Config,
    exit::Code,
    member::{gateway_adapter::GatewayAdapter, lifecycle::End, wiring::Services},
};
use std::{io, net::SocketAddr, sync::Arc};
use taffrail_gateway as gateway;
use taffrail_gateway::CallMemory;
use taffrail_http::Probes;
use taffrail_metrics::Metrics;
use taffrail_proto::{MESSAGE_BYTES_MAX, peer::peer_server::PeerServer};
use taffrail_raft::peer::{dispatch::Handler, server::Service as PeerService};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::server::TcpIncoming};

/// The open ports of a node.
pub(super) struct Listeners {
    clients: TcpListener,
    peers: TcpListener,
    admin: TcpListener,
    http: TcpListener,
}

impl Listeners {
    /// Opens all four ports.
    pub(super) async fn open(config: &Config) -> Result<Self, End> {
        Ok(Self {
            clients: listen("clients", config.listen_clients).await?,
            peers: listen("peers", config.listen_peers).await?,
            admin: listen("admin", config.listen_admin).await?,
            http: listen("http", config.listen_http).await?,
        })
    }
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, End> {
    let failed = |e: io::Error| End {
        code: Code::Port,
        why: format!("listen.{what}: {address}: {e}; is another process using the port?"),
    };
    TcpListener::bind(address).await.map_err(failed)
}

/// The running servers.
pub(super) struct Servers {
    /// Port 2113; ends before the other servers, because calls in progress may use the other servers.
    pub(super) clients: JoinHandle<()>,
    /// Peers, admin and HTTP.
    pub(super) others: Vec<JoinHandle<()>>,
}

/// Starts all servers: the server for clients runs until `stop_clients`, the other servers until `stop_all`.
pub(super) fn start(
    listeners: Listeners,
    services: Services,
    stop_clients: &CancellationToken,
    stop_all: &CancellationToken,
) -> Result<Servers, End> {
    let memory = services.gateway.memory.clone();
    let client_routes = gateway::server::client_routes(&services.gateway)
        .map_err(|e| End { code: Code::Failed, why: e.to_string() })?;
    let clients = serve("client server", listeners.clients, client_routes, &memory, stop_clients.clone());
    let (peer_routes, admin_routes) = (peer_routes(&services), services.admin_routes());
    let probes = NodeProbes {
        metrics: services.gateway.metrics,
        memory: memory.clone(),
        adapter: services.adapter,
        readiness: services.readiness.subscribe(),
    };
    let others = vec![
        serve("peer server", listeners.peers, peer_routes, &memory, stop_all.clone()),
        serve("admin server", listeners.admin, admin_routes, &memory, stop_all.clone()),
        rt::spawn_task(
            "HTTP server",
            TaskKind::Node(stop_all.clone()),
            taffrail_http::serve(listeners.http, Arc::new(probes), stop_all.clone()),
        ),
    ];
    Ok(Servers { clients, others })
}

/// Serves `routes` until `stop`, then waits for the calls in progress.
fn serve(
    task: &'static str,
    listener: TcpListener,
    routes: Routes,
    memory: &CallMemory,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let server = gateway::server::server(memory).add_routes(routes);
    rt::spawn_task(task, TaskKind::Node(stop.clone()), async move {
        // tonic's setting of TCP_NODELAY applies only to sockets bound by tonic. Without TCP_NODELAY an answer waits up
        // to 40 ms for the acknowledgement of the previous packet.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "a gRPC server ended");
        }
    })
}

/// Returns the services of port 2114: frames of peers, and client calls forwarded by a peer.
fn peer_routes(services: &Services) -> Routes {
    let mut routes = services.forwarded_routes();
    let peer = PeerServer::new(PeerService::new(Arc::clone(&services.peers) as Arc<dyn Handler>))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    routes.add_service(peer);
    routes.routes()
}

/// The answers to the probes. Liveness is the event loop alone, because a restart repairs nothing else.
struct NodeProbes {
    metrics: Arc<Metrics>,
    memory: CallMemory,
    adapter: Arc<GatewayAdapter>,
    readiness: watch::Receiver<Readiness>,
}

impl Probes for NodeProbes {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }
    fn ready(&self) -> Result<(), String> {
        let now = self.readiness.borrow();
        if *now == Readiness::Ready { Ok(()) } else { Err(now.to_string()) }
    }
    fn metrics(&self) -> Result<String, String> {
        self.adapter.sample(&self.metrics);
        self.metrics.sample_memory(self.memory.request_bytes(), self.memory.answer_bytes());
        self.metrics.ready.set((*self.readiness.borrow() == Readiness::Ready).into());
        Ok(self.metrics.render())
    }
}
