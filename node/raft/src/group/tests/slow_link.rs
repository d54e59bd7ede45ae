//! Three replicas whose links carry 8 MiB per second, on a virtual clock.

use super::*;
use crate::{
    log::{Done, LogOp, Recovered, ReplicaState, floor::Floor},
    peer::{
        dispatch::Handler,
        pieces,
        server::{PROTOCOL, Service},
    },
};
use std::sync::{Weak, atomic::AtomicUsize};
use taffrail_proto::peer::{Frame, Identity, PeerAddress, Refusal, Reverted, peer_server::Peer};

const MIB: usize = 1 << 20;
const BYTES_PER_SECOND: usize = 8 * MIB;
const NODES: [u64; 3] = [1, 2, 3];
const CLUSTER: ClusterId = ClusterId::new(Uuid::from_u128(1));

/// A log in memory whose writes are synced at once.
#[derive(Default)]
struct MemoryDisk {
    entries: Mutex<BTreeMap<u64, Bytes>>,
}

#[async_trait::async_trait]
impl LogDisk for MemoryDisk {
    async fn submit(&self, _: LogKey, op: LogOp, done: Done) {
        let mut entries = self.entries.lock().unwrap();
        match op {
            LogOp::Append(new) => entries.extend(new),
            LogOp::Truncate(from) => drop(entries.split_off(&from)),
            LogOp::Purge(upto) => *entries = entries.split_off(&(upto.index + 1)),
            LogOp::Created(_) | LogOp::Vote(_) | LogOp::Fenced(_) | LogOp::Deleted(_) => {}
        }
        drop(entries);
        done(Ok(()));
    }
    async fn read(&self, _: LogKey, from: u64, to: u64, _: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let entries = self.entries.lock().unwrap();
        Ok(entries.range(from..to).map(|(index, entry)| (*index, entry.clone())).collect())
    }
    async fn recover(&self, _: LogKey) -> io::Result<Recovered> {
        Ok(Recovered::default())
    }
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>> {
        Ok(Vec::new())
    }
    fn floor(&self) -> Floor {
        Floor::default()
    }
}

/// The nodes and the links between them. A frame occupies its link until it has crossed, also if its sender gives up.
#[derive(Default)]
struct Links {
    services: Mutex<BTreeMap<NodeId, Arc<Service>>>,
    free_at: Mutex<BTreeMap<(NodeId, NodeId), Instant>>,
    carried: AtomicUsize,
    largest: AtomicUsize,
}

impl Links {
    async fn carry(&self, from: NodeId, to: NodeId, request: Request) -> Result<Bytes, CallError> {
        let bytes = request.payload.len();
        let until = {
            let mut free_at = self.free_at.lock().unwrap();
            let free_at = free_at.entry((from, to)).or_insert_with(Instant::now);
            let micros = bytes as u64 * 1_000_000 / BYTES_PER_SECOND as u64;
            *free_at = (*free_at).max(Instant::now()) + Duration::from_micros(micros);
            *free_at
        };
        tokio::time::sleep_until(until).await;
        self.carried.fetch_add(bytes, Ordering::Relaxed);
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        let service = self.services.lock().unwrap().get(&to).cloned().ok_or(CallError::Unreachable(to))?;
        let frame = Frame {
            kind: request.kind.into(),
            from_node: from.get(),
            to_node: to.get(),
            group: request.group.get(),
            from_replica: request.from_replica.get(),
            to_replica: request.to_replica.get(),
            cluster_id: CLUSTER.to_bytes().to_vec().into(),
            payload: request.payload,
            ..Frame::default()
        };
        let answer = service.call(tonic::Request::new(frame)).await;
        let answer = answer.map_err(|status| CallError::NoAnswer(status.message().to_owned()))?.into_inner();
        answer.refusal.map_or(Ok(answer.payload), |no| Err(CallError::Refused(no)))
    }
}

struct LinkTransport {
    links: Arc<Links>,
    from: NodeId,
}

impl PeerTransport for LinkTransport {
    fn call(&self, to: NodeId, request: Request, ttl: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (links, from) = (Arc::clone(&self.links), self.from);
        pieces::call(request, ttl, move |request, ttl| {
            let links = Arc::clone(&links);
            async move {
                let late = |_| CallError::NoAnswer(format!("none within {ttl:?}"));
                tokio::time::timeout(ttl, links.carry(from, to, request)).await.map_err(late)?
            }
        })
        .boxed()
    }
    fn catch_up(
        &self,
        to: NodeId,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
}

/// Passes requests to the replica of a node.
struct ToGroup {
    node: NodeId,
    group: Weak<Group>,
}

impl Handler for ToGroup {
    fn handle(&self, from: NodeId, request: Request) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let group = self.group.upgrade().unwrap();
        async move { group.answer(&request, from).await }.boxed()
    }
    fn catch_up(
        &self,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, Refusal>>, Refusal>> {
        panic!("no replica falls behind the log")
    }
    fn identity(&self) -> Option<Identity> {
        let cluster_id = CLUSTER.to_bytes().to_vec().into();
        Some(Identity { cluster_id, node_id: self.node.get(), protocol: PROTOCOL, ..Identity::default() })
    }
    fn peers(&self) -> Vec<PeerAddress> {
        Vec::new()
    }
    fn meet(&self, _: &Identity) -> BoxFuture<'static, Result<(), Reverted>> {
        std::future::ready(Ok(())).boxed()
    }
    fn accused(&self, _: &Identity, _: &Reverted) {}
}

async fn start(links: &Arc<Links>, node: u64) -> Arc<Group> {
    let node = NodeId::new(node);
    let home = Home {
        cluster: CLUSTER,
        node,
        disk: Arc::new(MemoryDisk::default()),
        transport: Arc::new(LinkTransport { links: Arc::clone(links), from: node }),
        tuning: Tuning::default(),
        catch_ups: CatchUpLimits::new(u64::MAX),
        on_fatal: Arc::new(|e| panic!("{e}")),
    };
    let key = LogKey { group: GroupId::new(7), replica: ReplicaId::new(node.get()) };
    let group = Group::start(&home, key, Box::new(Position::default())).await.unwrap();
    let service = Service::new(Arc::new(ToGroup { node, group: Arc::downgrade(&group) }));
    links.services.lock().unwrap().insert(node, Arc::new(service));
    group
}

async fn story() {
    let links = Arc::new(Links::default());
    let mut groups = Vec::new();
    for node in NODES {
        groups.push(start(&links, node).await);
    }
    let members = NODES.map(|n| (ReplicaId::new(n), NodeId::new(n)));
    groups[0].initialize(&BTreeMap::from(members)).await.unwrap();
    wait(&groups[0], async || groups.iter().any(|group| group.leads())).await;
    let leader = groups.iter().find(|group| group.leads()).unwrap();
    // The first entry of the term is committed: a majority has confirmed the leader.
    wait(leader, async || leader.status().applied > 0).await;
    let term = leader.status().term;

    let begin = Instant::now();
    leader.propose(Bytes::from(vec![7; 16 * MIB]), later()).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(2), "the link was not slow: {:?}", begin.elapsed());
    let end = leader.status().log_end;
    for follower in &groups {
        wait(follower, async || follower.status().applied + 1 >= end).await;
    }
    assert!(links.carried.load(Ordering::Relaxed) >= 2 * 16 * MIB);
    assert!(links.largest.load(Ordering::Relaxed) <= pieces::PIECE_BYTES_MAX + 64, "a frame is larger than a piece");
    assert!(leader.leads() && leader.status().term == term, "the transfer cost the leader its office");
    for group in &groups {
        group.stop().await;
    }
}

/// The transfer of 16 MiB takes two seconds: more than ten heartbeat intervals, and more than two election timeouts.
#[tokio::test(start_paused = true)]
async fn an_append_that_needs_seconds_on_the_link_commits_under_the_same_leader() {
    rt::Scope::simulated(1, Box::new(NoClock)).run(story()).await;
}

/// The clock of a simulated scope.
struct NoClock;

impl rt::Clock for NoClock {
    fn now_us(&self) -> u64 {
        1
    }
}
