//! [`wire`]: connects the lifecycle, the services and the member of a node. The process and the simulator build a node with
//! the same function, and differ only in the [`Environment`].

use super::{
    admin,
    gateway_adapter::GatewayAdapter,
    lifecycle::{DiskStatus, LifecycleRequest, ProcessHandles},
    member::Member,
    peer_handler::PeerHandler,
    readiness::Readiness,
    timed_machine::WrapMachine,
};
use crate::{
    config::Config,
    disk_space::{DiskSpace, MeasureSpace},
    identity::PeerStarts,
};
use std::sync::Arc;
use taffrail_core::ids::{ClusterId, NodeId};
use taffrail_gateway as gateway;
use taffrail_gateway::{CallMemory, GatewayConfig, Origin, Shared};
use taffrail_metrics::Metrics;
use taffrail_proto::admin::admin_server::AdminServer;
use taffrail_raft::{
    log::{LogDisk, rocksdb_log::OnFatal},
    peer::{PeerTransport, Peers},
};
use taffrail_runtime::{self as rt, TaskKind};
use taffrail_storage::store::state_db::StateDb;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};

/// Capacity of the queue of requests to the lifecycle.
const REQUESTS_MAX: usize = 16;

/// The surroundings of a node: settings, disks, network and the end of the process.
pub struct Environment {
    /// Settings of the node.
    pub config: Arc<Config>,
    /// Metrics of the node.
    pub metrics: Arc<Metrics>,
    /// State database of all groups.
    pub db: Arc<StateDb>,
    /// Log of all groups.
    pub log: Arc<dyn LogDisk>,
    /// Carries frames to peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Peers whose identity was verified.
    pub peers: Arc<dyn Peers>,
    /// Last known starts of the peers' disks.
    pub peer_starts: Arc<PeerStarts>,
    /// Cluster and node id for the frames of the transport; `None` before the node belongs to a cluster.
    pub own: watch::Sender<Option<(ClusterId, NodeId)>>,
    /// Wraps the state machine of each replica.
    pub wrap: WrapMachine,
    /// Measures the disk.
    pub meter: Arc<dyn MeasureSpace>,
    /// Called when the state database can no longer be written.
    pub on_fatal: OnFatal,
    /// Ends the streams of reads and subscriptions.
    pub stop_streams: CancellationToken,
    /// Ends the lifecycle and the member.
    pub stop: CancellationToken,
}

/// The parts of a node that share channels: the lifecycle writes, the services read.
pub struct Wiring {
    /// Handles for the lifecycle.
    pub handles: ProcessHandles,
    /// Requests of the admin service to the lifecycle.
    pub requests: mpsc::Receiver<LifecycleRequest>,
    /// The member, once the node is one.
    pub member: watch::Receiver<Option<Arc<Member>>>,
    /// Services of the ports.
    pub services: Services,
}

/// State of the services of all ports.
pub struct Services {
    /// The gateway for clients.
    pub gateway: Shared,
    /// The admin service for the operator.
    pub admin: admin::Service,
    /// Answers frames of peers.
    pub peers: Arc<PeerHandler>,
    /// The port between gateway and member.
    pub adapter: Arc<GatewayAdapter>,
    /// Readiness of the node.
    pub readiness: Arc<watch::Sender<Readiness>>,
}

impl Services {
    /// Returns the services for calls that a peer forwards. A forwarded call is never forwarded again.
    #[must_use]
    pub fn forwarded_routes(&self) -> RoutesBuilder {
        let mut routes = RoutesBuilder::default();
        gateway::server::add_native(&mut routes, &Shared { origin: Origin::Peer, ..self.gateway.clone() });
        routes.add_service(AdminServer::new(admin::Service { origin: Origin::Peer, ..self.admin.clone() }));
        routes
    }

    /// Returns the services of the admin port.
    #[must_use]
    pub fn admin_routes(&self) -> Routes {
        Routes::new(AdminServer::new(self.admin.clone()))
    }
}

/// Connects the parts of a node. No task of the lifecycle runs before the caller starts the lifecycle with the handles.
#[must_use]
pub fn wire(environment: Environment) -> Wiring {
    let Environment { config, metrics, db, log, transport, peers, meter, .. } = environment;
    let Environment { peer_starts, own, wrap, on_fatal, stop_streams, stop, .. } = environment;
    let space = DiskSpace::new(meter, config.disk_marks);
    rt::spawn_task("disk space", TaskKind::Node(stop.clone()), Arc::clone(&space).follow(stop.clone()));
    let readiness = Arc::new(watch::channel(Readiness::Starting).0);
    let (member_tx, member) = watch::channel::<Option<Arc<Member>>>(None);
    let (identity_tx, identity) = watch::channel(None);
    let (disk_tx, disk) = watch::channel(DiskStatus::default());
    let (requests_tx, requests) = mpsc::channel(REQUESTS_MAX);
    let (its_log, its_starts) = (Arc::clone(&log), Arc::clone(&peer_starts));
    let handler = Arc::new(PeerHandler::new(identity, Arc::clone(&peers), member.clone(), its_log, its_starts));
    let adapter = GatewayAdapter::new(member.clone(), Arc::clone(&peers), config.client_address(), Arc::clone(&space));
    let services = Services {
        gateway: Shared {
            config: Arc::new(gateway_config(&config)),
            node: Arc::clone(&adapter) as _,
            metrics,
            memory: CallMemory::new(config.request_bytes_max, config.answer_bytes_max),
            readers: gateway::readers::Readers::default(),
            origin: Origin::Client,
            stopping: stop_streams,
        },
        admin: admin::Service {
            origin: Origin::Client,
            name: config.name.clone(),
            member: member.clone(),
            readiness: readiness.subscribe(),
            disk,
            space: Arc::clone(&space),
            requests: requests_tx,
            peers: Arc::clone(&peers),
        },
        peers: Arc::clone(&handler),
        adapter,
        readiness: Arc::clone(&readiness),
    };
    let handles = ProcessHandles {
        config,
        peers,
        transport,
        own,
        identity: identity_tx,
        member: member_tx,
        readiness,
        handler,
        peer_starts,
        wrap,
        space,
        on_fatal,
        db,
        log,
        stop,
        disk: disk_tx,
    };
    Wiring { handles, requests, member, services }
}

fn gateway_config(config: &Config) -> GatewayConfig {
    GatewayConfig {
        cluster: config.cluster.clone(),
        namespace: config.namespace.clone(),
        cluster_domain: config.cluster_domain.clone(),
        domains: config.domains.clone(),
        default_store: config.default_store.clone(),
        event_bytes_max: config.event_bytes_max,
        batch_bytes_max: config.batch_bytes_max,
        timeout: config.append_timeout,
    }
}
