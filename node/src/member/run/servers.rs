//! The four listeners of a node and their servers.

use crate::member::readiness::Readiness;
use crate::{
    config::Config,
    exit::Code,
    member::{admin, gateway_adapter::GatewayAdapter, lifecycle::End, peer_handler::PeerHandler},
};
use std::{io, net::SocketAddr, sync::Arc};
use taffrail_gateway as gateway;
use taffrail_gateway::{Origin, Shared};
use taffrail_http::Probes;
use taffrail_metrics::Metrics;
use taffrail_proto::{MESSAGE_BYTES_MAX, admin::admin_server::AdminServer, peer::peer_server::PeerServer};
use taffrail_raft::peer::server::Service as PeerService;
use taffrail_runtime as rt;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::{Routes, RoutesBuilder},
    transport::server::TcpIncoming,
};

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

/// State of the services of all ports.
pub(super) struct Services {
    pub(super) gateway: Shared,
    pub(super) admin: admin::Service,
    pub(super) peers: Arc<PeerHandler>,
    pub(super) adapter: Arc<GatewayAdapter>,
    pub(super) readiness: Arc<watch::Sender<Readiness>>,
    pub(super) metrics: Arc<Metrics>,
    /// Memory for calls in progress on one port, in bytes.
    pub(super) inflow_bytes_max: usize,
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
    let inflow = services.inflow_bytes_max;
    let client_routes = gateway::server::client_routes(&services.gateway)
        .map_err(|e| End { code: Code::Failed, why: e.to_string() })?;
    let clients = serve(listeners.clients, client_routes, inflow, stop_clients.clone());
    let probes =
        NodeProbes { metrics: services.metrics, adapter: services.adapter, readiness: services.readiness.subscribe() };
    let peer_routes = peer_routes(&services.gateway, &services.admin, services.peers);
    let others = vec![
        serve(listeners.peers, peer_routes, inflow, stop_all.clone()),
        serve(listeners.admin, Routes::new(AdminServer::new(services.admin)), inflow, stop_all.clone()),
        rt::spawn(taffrail_http::serve(listeners.http, Arc::new(probes), stop_all.clone())),
    ];
    Ok(Servers { clients, others })
}

/// Serves `routes` until `stop`, then waits for the calls in progress.
fn serve(listener: TcpListener, routes: Routes, inflow_bytes_max: usize, stop: CancellationToken) -> JoinHandle<()> {
    rt::spawn(async move {
        // tonic's setting of TCP_NODELAY applies only to sockets bound by tonic. Without TCP_NODELAY an answer waits up
        // to 40 ms for the acknowledgement of the previous packet.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = gateway::server::server(inflow_bytes_max).add_routes(routes);
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "a gRPC server ended");
        }
    })
}

/// Returns the services of port 2114: frames of peers, and client calls forwarded by a peer.
fn peer_routes(shared: &Shared, admin: &admin::Service, handler: Arc<PeerHandler>) -> Routes {
    let mut routes = RoutesBuilder::default();
    let peer = PeerServer::new(PeerService::new(handler))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    routes.add_service(peer);
    gateway::server::add_native(&mut routes, &Shared { origin: Origin::Peer, ..shared.clone() });
    routes.add_service(AdminServer::new(admin::Service { origin: Origin::Peer, ..admin.clone() }));
    routes.routes()
}

/// The answers to the probes. Liveness is the event loop alone, because a restart repairs nothing else.
struct NodeProbes {
    metrics: Arc<Metrics>,
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
        self.metrics.ready.set((*self.readiness.borrow() == Readiness::Ready).into());
        Ok(self.metrics.render())
    }
}
