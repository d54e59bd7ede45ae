//! Handler of the peer port: finds the replica addressed by a frame, carries out the request, and encodes the answer.

use super::{
    admin::{cluster_view, nodes},
    fence::{self, FenceError},
    free_replica,
    member::Member,
    operations::{self, OPERATION_TIMEOUT, divergence},
    propose::CatalogueError,
    readiness::REVERTED_TEXT,
};
use crate::{disk_space::Level, identity::PeerStarts};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use prost::Message;
use std::sync::{Arc, Mutex, PoisonError};
use taffrail_core::{
    catalogue::{Catalogue, CatalogueOutcome, Kind, NodeState, Registration, Rules},
    ids::{Digest, DiskId, GroupId, NodeId, ReplicaId},
    stream::Kind as StoreKind,
};
use taffrail_proto::{
    peer::{
        CatchUpChunk, CatchUpRequest, Fence, FenceResponse, FrameKind, HandOver, Identity, PeerAddress, Refusal,
        RefusalKind, RegisterRequest, RegisterResponse, ReportRequest, Reverted, register_response::Answer,
    },
    storage::{self as pb, entry::Payload},
};
use taffrail_raft::{
    group::Group,
    log::{LogDisk, LogKey},
    peer::{
        Peers, Request,
        dispatch::{Handler, refusal},
        server::{LINEAGE, PROTOCOL},
        starts::{self, Seen, Start},
    },
};
use taffrail_runtime::{self as rt, TaskKind};
use taffrail_storage::{
    catalogue::{catalogue_machine, codec},
    store::{catch_up, codec as store_codec},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Name of the condition of a node whose disk went back to an earlier state.
const REVERTED: &str = "IdentityReverted";

/// Answers frames and handshakes of peers. Frames are refused until the node is a member,
/// and after [`fence`](Self::fence).
pub struct PeerHandler {
    identity: watch::Receiver<Option<Identity>>,
    peers: Arc<dyn Peers>,
    member: watch::Receiver<Option<Arc<Member>>>,
    log: Arc<dyn LogDisk>,
    starts: Arc<PeerStarts>,
    fenced: Mutex<Option<String>>,
    reverted: Arc<watch::Sender<bool>>,
}

impl PeerHandler {
    /// Creates a handler that shows `identity` and the place of `log` in handshakes, compares the starts of peers with
    /// `starts`, and serves frames from `member`, once the channels have values.
    #[must_use]
    pub fn new(
        identity: watch::Receiver<Option<Identity>>,
        peers: Arc<dyn Peers>,
        member: watch::Receiver<Option<Arc<Member>>>,
        log: Arc<dyn LogDisk>,
        starts: Arc<PeerStarts>,
    ) -> Self {
        let reverted = Arc::new(watch::channel(false).0);
        Self { identity, peers, member, log, starts, fenced: Mutex::new(None), reverted }
    }

    /// Returns a receiver of true once a peer has proven that the disk of this node went back to an earlier state, and the
    /// evidence is synced.
    #[must_use]
    pub fn reverted(&self) -> watch::Receiver<bool> {
        self.reverted.subscribe()
    }

    /// Refuses every later frame, with `why` as the reason. The handler keeps the refusal until the process ends.
    pub fn fence(&self, why: &str) {
        *self.fenced.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    fn fence_reason(&self) -> Option<String> {
        self.fenced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Handler for PeerHandler {
    fn handle(&self, from: NodeId, request: Request) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let fenced = self.fence_reason();
        let member = self.member.borrow().clone();
        async move {
            if let Some(why) = fenced {
                return Err(refusal(RefusalKind::Fenced, why));
            }
            let member = member.ok_or_else(|| refusal(RefusalKind::Unavailable, "this node is not a member yet"))?;
            answer(&member, from, &request).await
        }
        .boxed()
    }

    fn catch_up(
        &self,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, Refusal>>, Refusal>> {
        let fenced = self.fence_reason();
        let member = self.member.borrow().clone();
        async move {
            if let Some(why) = fenced {
                return Err(refusal(RefusalKind::Fenced, why));
            }
            let member = member.ok_or_else(|| refusal(RefusalKind::Unavailable, "this node is not a member yet"))?;
            let group = GroupId::new(request.group);
            let db = Arc::clone(&member.parts.db);
            if group == GroupId::SYSTEM {
                return catalogue_machine::send(db, &member.parts.home.catch_ups);
            }
            // The receiver would be one more witness for a state that may be wrong.
            if contradicted(&member.applied(), group) {
                let why =
                    format!("group {group}: replicas contradict each other; no state is sent until a majority agrees");
                return Err(refusal(RefusalKind::Unavailable, why));
            }
            let running = member.running(group);
            let running = running.filter(|r| r.group.key().replica.get() == request.to_replica);
            let running = running.ok_or_else(|| {
                refusal(RefusalKind::NoSuchReplica, "this node has no running replica with the id of the request")
            })?;
            let digest = request.digest.as_ref().try_into().map(Digest);
            let digest = digest.map_err(|_| refusal(RefusalKind::BadFrame, "digest: must have 32 bytes"))?;
            let wanted =
                catch_up::Wanted { group, partition: running.partition, next_position: request.next_position, digest };
            let chunks = catch_up::send(db, wanted, &member.parts.home.catch_ups)?;
            Ok(until(chunks, sending_ends(running.group.stopping(), member.catalogue.clone(), group)))
        }
        .boxed()
    }

    fn identity(&self) -> Option<Identity> {
        let identity = self.identity.borrow().clone()?;
        Some(Identity { floor: Some(starts::to_wire(self.log.floor())), ..identity })
    }

    fn peers(&self) -> Vec<PeerAddress> {
        self.peers.addresses()
    }

    fn meet(&self, peer: &Identity) -> BoxFuture<'static, Result<(), Reverted>> {
        let (starts, peer) = (Arc::clone(&self.starts), peer.clone());
        async move {
            // A fenced node shows that it knows of the evidence, and can only register.
            if peer.reverted {
                return Ok(());
            }
            starts.meet(&peer).await.map_err(|seen| {
                tracing::warn!(
                    peer = %peer.name, node = peer.node_id, place = seen.floor.batch, reason = REVERTED,
                    "the disk of a peer went back to an earlier state; the peer is refused"
                );
                seen.to_wire()
            })
        }
        .boxed()
    }

    fn accused(&self, by: &Identity, evidence: &Reverted) {
        let (own, seen) = (self.identity.borrow().clone(), Seen::from_wire(evidence));
        let Some(own) = own.filter(|own| !seen.is_continued_by(&starts::starts_of(own))) else {
            tracing::warn!(peer = %by.name, "a peer claims that this disk went back to an earlier state; the claim is wrong");
            return;
        };
        let Some(disk) = DiskId::from_slice(&own.disk_id) else { return };
        tracing::error!(peer = %by.name, place = seen.floor.batch, reason = REVERTED, "{REVERTED_TEXT}");
        self.fence(REVERTED_TEXT);
        let (starts, reverted) = (Arc::clone(&self.starts), Arc::clone(&self.reverted));
        rt::spawn_task("accusation", TaskKind::Part, async move {
            starts.accuse(disk, seen).await;
            reverted.send_replace(true);
        });
    }
}

fn contradicted(catalogue: &Catalogue, group: GroupId) -> bool {
    catalogue.groups.get(&group).is_some_and(|g| g.contradicted.is_some())
}

/// Waits until the state of a group may no longer be sent: the sending replica stops, or replicas contradict each other.
async fn sending_ends(stop: CancellationToken, mut catalogue: watch::Receiver<Arc<Catalogue>>, group: GroupId) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // An error means that the node stops.
        _ = catalogue.wait_for(|c| contradicted(c, group)) => {}
    }
}

/// Forwards the chunks of a snapshot until `end`. A fenced replica must not give data to other replicas, not even the
/// rest of a snapshot. The receiver sees that the stream ends early, and asks another replica.
fn until(mut chunks: catch_up::Chunks, end: impl Future<Output = ()> + Send + 'static) -> catch_up::Chunks {
    let (tx, rx) = mpsc::channel(1);
    rt::spawn_task("state sender", TaskKind::Call, async move {
        let pass_on = async {
            while let Some(chunk) = chunks.recv().await {
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = end => {}
            () = pass_on => {}
        }
    });
    rx
}

/// Builds the identity that this node shows in handshakes, without the address for clients and the present place of the
/// log. A node without a node id shows the id 0.
#[must_use]
pub fn identity(
    cluster: taffrail_core::ids::ClusterId,
    disk: DiskId,
    node: Option<NodeId>,
    name: &str,
    address: &str,
    list: &[Start],
    version: &str,
) -> Identity {
    Identity {
        cluster_id: cluster.to_bytes().to_vec().into(),
        disk_id: disk.to_bytes().to_vec().into(),
        node_id: node.map_or(0, NodeId::get),
        name: name.to_owned(),
        nonces: list.iter().map(|start| start.nonce).collect(),
        start_floors: list.iter().map(|start| starts::to_wire(start.floor)).collect(),
        address: address.to_owned(),
        protocol: PROTOCOL,
        version: version.to_owned(),
        lineage: LINEAGE,
        ..Identity::default()
    }
}

async fn answer(member: &Arc<Member>, from: NodeId, request: &Request) -> Result<Bytes, Refusal> {
    match request.kind {
        FrameKind::Append if member.parts.space.now().level == Level::Full && brings_appends(request) => {
            let why = "the disk of this node is nearly full: entries are refused until more is free";
            Err(refusal(RefusalKind::StorageLow, why))
        }
        FrameKind::Append
        | FrameKind::Vote
        | FrameKind::PreVote
        | FrameKind::TransferLeader
        | FrameKind::BeginCatchUp
        | FrameKind::ReadIndex => addressed(member, request)?.answer(request, from).await,
        FrameKind::ChangeMembership => {
            let change = pb::ChangeMembership::decode(request.payload.clone()).map_err(bad)?;
            operations::change_membership(addressed(member, request)?.as_ref(), &change).await?;
            Ok(Bytes::new())
        }
        FrameKind::HandOver => {
            let to = HandOver::decode(request.payload.clone()).map_err(bad)?.to_replica;
            operations::hand_over(addressed(member, request)?.as_ref(), ReplicaId::new(to)).await?;
            Ok(Bytes::new())
        }
        FrameKind::StoreCommand => {
            let command = store_codec::decode_command(request.payload.clone()).map_err(bad)?;
            operations::store_command(addressed(member, request)?.as_ref(), command.kind).await?;
            Ok(Bytes::new())
        }
        FrameKind::Fence => {
            let ask = Fence::decode(request.payload.clone()).map_err(bad)?;
            let key = LogKey { group: request.group, replica: request.to_replica };
            let mark = fence::fence(member, from, key, &ask).await.map_err(not_fenced)?;
            Ok(FenceResponse { divergence: Some(divergence(&mark)) }.encode_to_vec().into())
        }
        FrameKind::FreeReplica => {
            let key = LogKey { group: request.group, replica: request.to_replica };
            free_replica::free(member, from, key).await?;
            Ok(Bytes::new())
        }
        FrameKind::Report => {
            let known = ReportRequest::decode(request.payload.clone()).map_err(bad)?.known_report_id;
            Ok(operations::changed_report(member, known).encode_to_vec().into())
        }
        FrameKind::Register => {
            let register = RegisterRequest::decode(request.payload.clone()).map_err(bad)?;
            Ok(register_node(member, register).await?.encode_to_vec().into())
        }
        FrameKind::Propose => {
            let command = codec::decode_command(request.payload.clone()).map_err(bad)?;
            match member.propose_here(command.kind, Instant::now() + OPERATION_TIMEOUT).await {
                Ok(outcome) => Ok(codec::encode_outcome(&outcome)),
                Err(CatalogueError::NoCoordinator(_)) => Err(member.system.not_leader()),
                // A refusal would tell the caller that nothing was proposed. On the wire, an unknown outcome is
                // a missing answer.
                Err(CatalogueError::Unknown(why)) => {
                    tracing::warn!(%why, "a proposal of a peer has an unknown outcome");
                    std::future::pending().await
                }
            }
        }
        FrameKind::Unspecified | FrameKind::Admin | FrameKind::Piece => {
            Err(refusal(RefusalKind::BadFrame, "unknown kind of frame"))
        }
    }
}

/// Returns true for a request with appends of clients to a store that the present leader has taken. All other entries are small,
/// and reads, deletions and changes of the membership need them: the first entry of a leader, settings, memberships, the
/// catalogue. The first entry of a leader follows the appends of earlier leaders, whose number does not grow any more.
fn brings_appends(request: &Request) -> bool {
    let appends = |entry: &pb::Entry| match &entry.payload {
        Some(Payload::Command(command)) => {
            store_codec::decode_command(command.clone()).is_ok_and(|c| matches!(c.kind, StoreKind::Appends(_)))
        }
        Some(Payload::Blank(_) | Payload::Membership(_)) | None => false,
    };
    let Ok(rpc) = pb::AppendRequest::decode(request.payload.clone()) else { return false };
    let term = rpc.vote.map(|vote| vote.term);
    let present = |entry: &&pb::Entry| entry.log_id.as_ref().map(|id| id.term) == term;
    request.group != GroupId::SYSTEM && rpc.entries.iter().filter(present).any(appends)
}

fn not_fenced(e: FenceError) -> Refusal {
    let kind = match &e {
        FenceError::NotCoordinator(_) | FenceError::Unconfirmed { .. } => RefusalKind::Rejected,
        FenceError::NoSuchReplica(_) => RefusalKind::NoSuchReplica,
        FenceError::BadEvidence(_) => RefusalKind::BadFrame,
        FenceError::Io(_) => RefusalKind::Unavailable,
    };
    refusal(kind, e.to_string())
}

fn bad(why: impl std::fmt::Display) -> Refusal {
    refusal(RefusalKind::BadFrame, why.to_string())
}

/// Returns the replica addressed by a frame. Another replica of the same group has another replica id, which means
/// another lifetime, and never answers for the addressed replica.
fn addressed(member: &Member, request: &Request) -> Result<Arc<Group>, Refusal> {
    let group = member.replica(request.group).filter(|g| g.key().replica == request.to_replica);
    group.ok_or_else(|| {
        let (group, replica) = (request.group, request.to_replica);
        if member.fence_of(LogKey { group, replica }).is_some() {
            let message = format!("group {group}: replica {replica} is fenced ({})", fence::REASON);
            return refusal(RefusalKind::Fenced, message);
        }
        refusal(RefusalKind::NoSuchReplica, format!("group {group}: this node has no running replica {replica}"))
    })
}

async fn register_node(member: &Arc<Member>, r: RegisterRequest) -> Result<RegisterResponse, Refusal> {
    let disk = DiskId::from_slice(&r.disk_id).ok_or_else(|| bad("disk_id: must have 16 bytes"))?;
    if r.reverted {
        return reverted_disk(member, disk).await;
    }
    let known = Rules { catalogue: r.known_catalogue_rules, stores: r.known_store_rules }.max(Rules::FIRST);
    upgraded(known, member.applied().rules).map_err(|why| refusal(RefusalKind::Rejected, why))?;
    let kind = Kind::Register(Registration { disk, name: r.name, address: r.address, version: r.version });
    // Nodes repeat the registration periodically, to learn of their removal, so most registrations change nothing.
    let outcome = member.propose_if_needed(kind, Instant::now() + OPERATION_TIMEOUT).await;
    let outcome = outcome.map_err(|e| refusal(RefusalKind::Unavailable, e.to_string()))?;
    let respond = |answer: Answer, node: NodeId| RegisterResponse { answer: answer.into(), node_id: node.get() };
    match outcome {
        CatalogueOutcome::Node(node) => Ok(respond(Answer::Member, node)),
        CatalogueOutcome::NodeRemoved { forced: false, node } => Ok(respond(Answer::Drained, node)),
        CatalogueOutcome::NodeRemoved { forced: true, node } => {
            // The forced removal completes only after every group has its voters on other nodes, so no group
            // needs the disk.
            Ok(respond(Answer::ForcedWhole, node))
        }
        other @ (CatalogueOutcome::Done
        | CatalogueOutcome::Store(_)
        | CatalogueOutcome::Replica(_)
        | CatalogueOutcome::Refused(_)) => Err(refusal(
            RefusalKind::Rejected,
            format!("unexpected outcome of the registration of disk {disk}: {other:?}"),
        )),
    }
}

/// Checks that a binary knows the rules in force. Without the check, an older binary would join and then stop at the first
/// entry under the newer rules.
fn upgraded(known: Rules, in_force: Rules) -> Result<(), String> {
    if known.min(in_force) == in_force {
        return Ok(());
    }
    let (a, b) = (known.catalogue, known.stores);
    let (c, d) = (in_force.catalogue, in_force.stores);
    Err(format!(
        "the cluster follows the rules {c} of the catalogue and {d} of stores; this binary knows the rules up to {a} and {b}: \
         upgrade the node"
    ))
}

/// Answers a disk that went back to an earlier state. The disk may be retired once every group keeps a caught-up majority
/// on other nodes, because the retired data can no longer be served. A store with a single replica on the node therefore
/// keeps the node fenced, until a person removes the store.
async fn reverted_disk(member: &Arc<Member>, disk: DiskId) -> Result<RegisterResponse, Refusal> {
    if !member.system.leads() {
        return Err(refusal(RefusalKind::Unavailable, "only the coordinator knows whether the data may be retired"));
    }
    let view = cluster_view::fresh(member).await;
    let view = view.map_err(|status| refusal(RefusalKind::Unavailable, status.message()))?;
    let c = member.applied();
    let Some((id, node)) = c.nodes.iter().find(|(_, node)| node.disk == disk) else {
        return Ok(RegisterResponse { answer: Answer::ForcedWhole.into(), node_id: 0 });
    };
    let alone = || c.groups.values().any(|g| g.nodes().count() == 1 && g.nodes().any(|n| n == *id));
    let answer = match node.state {
        NodeState::Removed { forced: false } => Answer::Drained,
        NodeState::Removed { forced: true } => Answer::ForcedWhole,
        NodeState::Member | NodeState::Draining | NodeState::Replacing { .. } => {
            if alone() || nodes::needed(&view, *id).is_some() { Answer::Forced } else { Answer::ForcedWhole }
        }
    };
    Ok(RegisterResponse { answer: answer.into(), node_id: id.get() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk_space::{MeasureSpace, Space},
        member::test_node::{HERE, with_a_store, with_a_store_on},
    };
    use std::sync::atomic::{AtomicU64, Ordering};
    use taffrail_core::stream::{Command, RULES};

    #[test]
    fn a_binary_that_does_not_know_the_rules_in_force_is_refused() {
        let rules = |catalogue, stores| Rules { catalogue, stores };
        for (known, in_force, fits) in [
            (rules(1, 1), rules(1, 1), true),
            (rules(3, 2), rules(2, 1), true),
            (rules(1, 2), rules(2, 2), false),
            (rules(2, 1), rules(2, 2), false),
            (rules(3, 1), rules(2, 2), false),
        ] {
            let answer = upgraded(known, in_force);
            assert_eq!(answer.is_ok(), fits, "{known:?} under {in_force:?}");
            assert!(answer.err().is_none_or(|why| why.contains("upgrade the node")));
        }
    }

    #[tokio::test]
    async fn a_state_that_is_being_sent_ends_with_its_replica() {
        let (source, chunks) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let mut passed_on = until(chunks, stop.clone().cancelled_owned());
        source.send(Ok(CatchUpChunk::default())).await.unwrap();
        assert!(passed_on.recv().await.is_some());
        stop.cancel();
        // The source would keep sending for ever.
        assert!(passed_on.recv().await.is_none());
        source.closed().await;
    }

    /// A disk of a tebibyte with so many free bytes.
    struct Disk(AtomicU64);

    impl MeasureSpace for Disk {
        fn space(&self) -> std::io::Result<Space> {
            Ok(Space { total_bytes: 1 << 40, free_bytes: self.0.load(Ordering::SeqCst) })
        }
    }

    fn append(payload: Option<Payload>) -> Vec<u8> {
        let entries = payload.map(|payload| pb::Entry { payload: Some(payload), ..pb::Entry::default() });
        pb::AppendRequest { entries: entries.into_iter().collect(), ..pb::AppendRequest::default() }.encode_to_vec()
    }

    #[tokio::test]
    async fn only_appends_to_stores_are_refused_on_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk(AtomicU64::new(1 << 39)));
        let (node, key) = with_a_store_on(dir.path(), Arc::clone(&disk) as _).await;
        let stop = CancellationToken::new();
        drop(rt::spawn(Arc::clone(&node.member.parts.space).follow(stop.clone())));
        let level = async |free_bytes, level| {
            disk.0.store(free_bytes, Ordering::SeqCst);
            while node.member.parts.space.now().level != level {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let refused = async |key, payload| {
            let answer = node.frame(FrameKind::Append, HERE, key, append(payload)).await;
            answer.err() == Some(RefusalKind::StorageLow)
        };
        let command = |kind| Some(Payload::Command(store_codec::encode_command(&Command { rules: RULES, kind })));
        let (appends, settings) =
            (|| command(StoreKind::Appends(Vec::new())), || command(StoreKind::RaiseRules(RULES)));
        let system = LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(HERE.get()) };
        for (free_bytes, at, of_appends) in
            [(1 << 39, Level::Enough, false), (1 << 29, Level::Low, false), (1 << 28, Level::Full, true)]
        {
            level(free_bytes, at).await;
            assert_eq!(refused(key, appends()).await, of_appends, "{at:?}");
            assert!(!refused(key, Some(Payload::Blank(pb::Blank {}))).await, "{at:?}");
            assert!(!refused(key, None).await, "{at:?}");
            assert!(!refused(key, settings()).await, "{at:?}");
            assert!(!refused(system, appends()).await, "{at:?}");
        }
        // The first entry of a leader follows an append of the leader before.
        let id = |term, index| Some(pb::LogId { term, leader: 9, index });
        let taken_over = |term_of_append| {
            let entry = |log_id, payload| pb::Entry { log_id, payload };
            let first = entry(id(term_of_append, 90), appends());
            let entries = vec![first, entry(id(7, 91), Some(Payload::Blank(pb::Blank {})))];
            let vote = Some(pb::Vote { term: 7, replica: 9, committed: true });
            pb::AppendRequest { vote, entries, ..pb::AppendRequest::default() }.encode_to_vec()
        };
        for (term_of_append, refuses) in [(6, false), (7, true)] {
            let answer = node.frame(FrameKind::Append, HERE, key, taken_over(term_of_append)).await;
            assert_eq!(answer.err() == Some(RefusalKind::StorageLow), refuses, "an append of term {term_of_append}");
        }
        level(1 << 39, Level::Enough).await;
        assert!(!refused(key, appends()).await);
        stop.cancel();
        node.end().await;
    }

    #[tokio::test]
    async fn no_state_is_sent_while_replicas_contradict_each_other_or_by_a_fenced_node() {
        let dir = tempfile::tempdir().unwrap();
        let (node, key) = with_a_store(dir.path()).await;
        let request = CatchUpRequest {
            group: key.group.get(),
            to_replica: key.replica.get(),
            digest: Bytes::from_static(&[0; 32]),
            ..CatchUpRequest::default()
        };
        let asked = async |index| {
            node.propose(Kind::Contradicted { group: key.group, index }).await;
            node.handler().catch_up(request.clone()).await.err().map(|no| no.kind())
        };
        assert_eq!(asked(Some(5)).await, Some(RefusalKind::Unavailable));
        assert_eq!(asked(None).await, None);
        let fenced = node.handler();
        fenced.fence("the disk went back");
        assert_eq!(fenced.catch_up(request.clone()).await.err().map(|no| no.kind()), Some(RefusalKind::Fenced));
        drop(fenced);
        node.end().await;
    }

    #[tokio::test]
    async fn a_state_that_is_being_sent_ends_when_replicas_contradict_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (node, key) = with_a_store(dir.path()).await;
        let (source, chunks) = mpsc::channel(4);
        let group = key.group;
        let stop = node.member.running(group).unwrap().group.stopping();
        let mut passed_on = until(chunks, sending_ends(stop, node.member.catalogue.clone(), group));
        source.send(Ok(CatchUpChunk::default())).await.unwrap();
        assert!(passed_on.recv().await.is_some());
        node.propose(Kind::Contradicted { group, index: Some(5) }).await;
        assert!(passed_on.recv().await.is_none());
        source.closed().await;
        node.end().await;
    }
}
