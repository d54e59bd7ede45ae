//! The lanes of a node to a peer over TCP, with streams that nobody reads.

use super::*;
use crate::{
    peer::{
        CallError, PeerTransport, Peers, Request,
        grpc::GrpcTransport,
        server::{PROTOCOL, Service},
    },
    tuning::Tuning,
};
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use std::sync::atomic::{AtomicUsize, Ordering};
use taffrail_core::ids::{ClusterId, GroupId, NodeId, ReplicaId};
use taffrail_proto::{
    peer::{CatchUpChunk, CatchUpRequest, FrameKind, PeerAddress, Refusal, Reverted, Row, peer_server::PeerServer},
    v1::{
        EventPage, RecordedEvent, SubscribeRequest, SubscribeResponse,
        subscribe_response::Kind,
        subscriptions_client::SubscriptionsClient,
        subscriptions_server::{Subscriptions, SubscriptionsServer},
    },
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Response, Status, transport::server::TcpIncoming};
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId::new(Uuid::from_u128(1));
const HERE: NodeId = NodeId::new(1);
const PEER: NodeId = NodeId::new(2);
/// Size of each message of a stream.
const MESSAGE_BYTES: usize = 1 << 20;
/// Streams of a test. Each can fill a stream window, and all together more than a connection window.
const STREAMS: usize = 8;
/// Requests go on for longer than two handshakes and their time limit, so a connection that cannot answer would be given up.
const ON: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(60);

/// A follower that hears nothing for this time may stand for election, so no request of consensus may take longer.
fn limit() -> Duration {
    Tuning::default().election_min
}

/// A node that answers each request with its payload, and sends endless streams.
#[derive(Clone)]
struct Endless {
    node: NodeId,
    /// Bytes taken from the streams by the connections.
    sent: Arc<AtomicUsize>,
}

impl Endless {
    fn new(node: NodeId) -> Self {
        Self { node, sent: Arc::default() }
    }

    fn message(&self) -> Bytes {
        self.sent.fetch_add(MESSAGE_BYTES, Ordering::Relaxed);
        vec![7; MESSAGE_BYTES].into()
    }
}

impl Handler for Endless {
    fn handle(&self, _: NodeId, request: Request) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        std::future::ready(Ok(request.payload)).boxed()
    }

    fn catch_up(
        &self,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, Refusal>>, Refusal>> {
        let (tx, rx) = mpsc::channel(1);
        let this = self.clone();
        drop(rt::spawn(async move {
            while let Ok(place) = tx.reserve().await {
                let row = Row { value: this.message(), ..Row::default() };
                place.send(Ok(CatchUpChunk { rows: vec![row], ..CatchUpChunk::default() }));
            }
        }));
        std::future::ready(Ok(rx)).boxed()
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity {
            cluster_id: CLUSTER.to_bytes().to_vec().into(),
            disk_id: Uuid::from_u128(self.node.get().into()).as_bytes().to_vec().into(),
            node_id: self.node.get(),
            protocol: PROTOCOL,
            ..Identity::default()
        })
    }

    fn peers(&self) -> Vec<PeerAddress> {
        Vec::new()
    }

    fn meet(&self, _: &Identity) -> BoxFuture<'static, Result<(), Reverted>> {
        std::future::ready(Ok(())).boxed()
    }

    fn accused(&self, _: &Identity, _: &Reverted) {}
}

#[tonic::async_trait]
impl Subscriptions for Endless {
    type SubscribeStream = BoxStream<'static, Result<SubscribeResponse, Status>>;

    async fn subscribe(&self, _: tonic::Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let this = self.clone();
        let pages = stream::repeat_with(move || {
            let event = RecordedEvent { data: this.message(), ..RecordedEvent::default() };
            let page = EventPage { events: vec![event], ..EventPage::default() };
            Ok(SubscribeResponse { kind: Some(Kind::Events(page)) })
        });
        Ok(Response::new(pages.boxed()))
    }
}

/// A node with lanes to a peer over TCP.
struct Pair {
    table: Table,
    transport: GrpcTransport,
    /// Bytes that the peer has given to its connections as messages of streams.
    sent: Arc<AtomicUsize>,
    /// Connections accepted by the peer.
    accepted: Arc<AtomicUsize>,
    stop: CancellationToken,
    _candidates: watch::Sender<BTreeSet<String>>,
}

impl Pair {
    async fn start() -> Self {
        let (peer, stop) = (Endless::new(PEER), CancellationToken::new());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).inspect(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let server = tonic::transport::Server::builder()
            .add_service(PeerServer::new(Service::new(Arc::new(peer.clone()))))
            .add_service(SubscriptionsServer::new(peer.clone()))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        drop(rt::spawn(server));
        let table = Table::default();
        let (candidates, wanted) = watch::channel(BTreeSet::from([address]));
        drop(rt::spawn(keep_links(table.clone(), Arc::new(Endless::new(HERE)), wanted, stop.clone())));
        let transport = GrpcTransport::new(table.clone(), watch::channel(Some((CLUSTER, HERE))).1);
        let pair = Self { table, transport, sent: peer.sent, accepted, stop, _candidates: candidates };
        let mut changes = pair.table.changes();
        let open = async {
            while Lane::ALL.iter().any(|lane| pair.table.channel(PEER, *lane).is_none()) {
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, open).await.expect("all lanes are opened");
        pair
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns true if the peer answers on the lane within the limit.
    async fn answers(&self, lane: Lane) -> bool {
        let channel = self.table.channel(PEER, lane).expect("the lane is open");
        let own = Endless::new(HERE).identity().unwrap();
        timeout(limit(), handshake(channel, &own)).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Waits until no answer on the lane gets past the streams.
    async fn blocked(&self, lane: Lane) {
        let blocked = async { while self.answers(lane).await {} };
        timeout(PATIENCE, blocked).await.expect("the streams use up the window of their connection");
    }

    async fn request(&self, kind: FrameKind) -> Result<Bytes, CallError> {
        let (group, replica) = (GroupId::new(1), ReplicaId::new(1));
        let payload = Bytes::from_static(b"a request");
        let request = Request { kind, group, from_replica: replica, to_replica: replica, payload };
        self.transport.call(PEER, request, limit()).await
    }

    /// Checks that every request of consensus is answered in time although streams on `lane` are paused.
    async fn consensus_goes_on(&self, lane: Lane) {
        self.blocked(lane).await;
        let sent = self.sent();
        assert!(sent >= CONNECTION_WINDOW as usize, "{sent} bytes do not fill the window");
        let begin = Instant::now();
        let mut heartbeat = tokio::time::interval(Tuning::default().heartbeat);
        while begin.elapsed() < ON {
            heartbeat.tick().await;
            for kind in [FrameKind::Append, FrameKind::Vote, FrameKind::PreVote, FrameKind::Report] {
                let answer = self.request(kind).await;
                assert!(answer.is_ok(), "{kind:?} after {:?}: {answer:?}", begin.elapsed());
            }
            assert!(self.table.connected().contains(&PEER), "the peer counts as lost after {:?}", begin.elapsed());
        }
        assert!(!self.answers(lane).await, "the streams were not paused until the end");
        assert_eq!(self.sent(), sent, "the streams were not paused until the end");
        assert_eq!(self.accepted.load(Ordering::Relaxed), Lane::ALL.len(), "connections");
    }

    fn end(self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_reads_of_clients_delay_no_request_of_consensus() {
    let pair = Pair::start().await;
    let mut reads = Vec::new();
    for _ in 0..STREAMS {
        let mut client = SubscriptionsClient::new(Peers::channel(&pair.table, PEER).unwrap());
        reads.push(client.subscribe(SubscribeRequest::default()).await.unwrap().into_inner());
    }
    pair.consensus_goes_on(Lane::Client).await;
    // A read that ends after a page frees its part of the window for the reads that have none.
    let finished = reads.into_iter().map(async |mut read| read.message().await);
    let pages = timeout(PATIENCE, futures::future::join_all(finished)).await.expect("reads that go on get their pages");
    assert!(pages.iter().all(|page| matches!(page, Ok(Some(_)))), "a paused read must not end");
    assert!(pair.answers(Lane::Client).await, "the lane is usable again after the reads");
    pair.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_copies_of_state_delay_no_request_of_consensus() {
    let pair = Pair::start().await;
    let request = CatchUpRequest {
        cluster_id: CLUSTER.to_bytes().to_vec().into(),
        to_node: PEER.get(),
        ..CatchUpRequest::default()
    };
    let mut copies = Vec::new();
    for _ in 0..STREAMS {
        copies.push(pair.transport.catch_up(PEER, request.clone()).await.unwrap());
    }
    pair.consensus_goes_on(Lane::Bulk).await;
    let finished = copies.into_iter().map(async |mut copy| copy.recv().await);
    let chunks =
        timeout(PATIENCE, futures::future::join_all(finished)).await.expect("copies that go on get their chunks");
    assert!(chunks.iter().all(|chunk| matches!(chunk, Some(Ok(_)))), "a paused copy must not end");
    pair.end();
}

#[tokio::test]
async fn a_lost_lane_leaves_the_other_lanes_in_place() {
    let table = Table::default();
    let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    for lane in Lane::ALL {
        let identity = Endless::new(PEER).identity().unwrap();
        table.put(Link { address: "peer".into(), lane, identity, channel: channel.clone() });
    }
    table.remove("peer", Lane::Client);
    assert!(Peers::channel(&table, PEER).is_none());
    assert!(table.channel(PEER, Lane::Bulk).is_some() && table.connected() == [PEER]);
    table.remove("peer", Lane::Control);
    assert!(table.connected().is_empty() && table.addresses().is_empty(), "a peer is as reachable as its control lane");
    assert!(timeout(Duration::ZERO, table.reached("peer")).await.is_err());
}
