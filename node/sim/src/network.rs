//! [`Network`]: reachable nodes, and network faults: cuts per direction, loss, delay, limited bandwidth and stalled groups.

use crate::lock::lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use taffrail_core::ids::{GroupId, NodeId};
use taffrail_raft::peer::{dispatch::Handler, server::Service};
use taffrail_runtime::Scope;
use taffrail_store_api::PeerChannel;
use tokio::time::Instant;

/// Access to a running node.
#[derive(Clone)]
pub struct Endpoint {
    /// Tasks of the node; answers run and end in this scope.
    pub scope: Arc<Scope>,
    /// The peer service of the node.
    pub service: Arc<Service>,
    /// Counts the starts of the node.
    pub life: u64,
    /// Identity and gRPC ports of the node.
    pub ports: Arc<Ports>,
}

/// Identity and gRPC ports of a node.
pub struct Ports {
    /// Answers frames, and knows the identity of the node.
    pub handler: Arc<dyn Handler>,
    /// The port for clients.
    pub clients: PeerChannel,
    /// The port for calls forwarded by a peer.
    pub forwarded: PeerChannel,
    /// The port for the operator.
    pub admin: PeerChannel,
}

impl Endpoint {
    /// The node id, once the node has an id of the cluster.
    fn node(&self) -> Option<NodeId> {
        self.ports.handler.identity().map(|i| NodeId::new(i.node_id)).filter(|n| *n != NodeId::default())
    }
}

#[derive(Default)]
struct Links {
    endpoints: BTreeMap<NodeId, Endpoint>,
    /// The last known host of each node. A frame to a stopped node has a destination too.
    hosts: BTreeMap<NodeId, NodeId>,
    cut: BTreeSet<(NodeId, NodeId)>,
    loss_permille: u64,
    slow_permille: u64,
    /// Bytes per millisecond; `None` without a limit.
    bandwidth: Option<u64>,
    /// Ends of the stalls of groups: appends with entries to a host are lost, and heartbeats pass.
    stalls: BTreeMap<(GroupId, NodeId), Instant>,
    frames: u64,
    /// Hosts of the run.
    all: BTreeSet<NodeId>,
    /// Verified connections, by the hosts of caller and peer, with the numbers of their starts.
    verified: BTreeMap<(NodeId, NodeId), (u64, u64)>,
}

impl Links {
    fn is_verified(&self, from: NodeId, to: NodeId) -> bool {
        match (self.endpoints.get(&from), self.endpoints.get(&to)) {
            (Some(own), Some(peer)) => self.verified.get(&(from, to)) == Some(&(own.life, peer.life)),
            (None, _) | (_, None) => false,
        }
    }
}

/// Endpoints of the running nodes, and the network faults.
#[derive(Default)]
pub struct Network {
    links: Mutex<Links>,
}

impl Network {
    /// Names all hosts of the run.
    pub fn name_hosts(&self, hosts: impl IntoIterator<Item = NodeId>) {
        lock(&self.links).all = hosts.into_iter().collect();
    }

    /// All hosts of the run.
    pub(crate) fn hosts(&self) -> Vec<NodeId> {
        lock(&self.links).all.iter().copied().collect()
    }

    /// Records a verified connection between two starts.
    pub(crate) fn verified(&self, from: NodeId, to: NodeId, own_life: u64, life: u64) {
        lock(&self.links).verified.insert((from, to), (own_life, life));
    }

    /// Ends a connection after a refusal.
    pub(crate) fn refused(&self, from: NodeId, to: NodeId) {
        lock(&self.links).verified.remove(&(from, to));
    }

    /// True while the connection between the present starts of two hosts is verified.
    pub(crate) fn is_verified(&self, from: NodeId, to: NodeId) -> bool {
        lock(&self.links).is_verified(from, to)
    }

    /// Makes a node reachable.
    pub fn attach(&self, node: NodeId, endpoint: Endpoint) {
        lock(&self.links).endpoints.insert(node, endpoint);
    }

    /// Makes a node unreachable.
    pub fn detach(&self, node: NodeId) {
        lock(&self.links).endpoints.remove(&node);
    }

    /// Cuts the direction from a node to another node.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        lock(&self.links).cut.insert((from, to));
    }

    /// Ends all cuts from and to a node.
    pub fn heal(&self, node: NodeId) {
        lock(&self.links).cut.retain(|(a, b)| *a != node && *b != node);
    }

    /// Ends all cuts.
    pub fn heal_all(&self) {
        lock(&self.links).cut.clear();
    }

    /// Sets how many frames in a thousand are lost, and how many are slow.
    pub fn weather(&self, loss_permille: u64, slow_permille: u64) {
        let mut links = lock(&self.links);
        (links.loss_permille, links.slow_permille) = (loss_permille, slow_permille);
    }

    /// Limits the bytes of a frame per millisecond; `None` ends the limit.
    pub fn limit_bandwidth(&self, bytes_per_ms: Option<u64>) {
        lock(&self.links).bandwidth = bytes_per_ms;
    }

    /// Stalls a group on the way to a host until a time: appends with entries are lost, and heartbeats pass. A path that drops
    /// large packets behaves in this way.
    pub fn stall(&self, group: GroupId, to: NodeId, until: Instant) {
        lock(&self.links).stalls.insert((group, to), until);
    }

    /// True while appends with entries of a group to a host are lost.
    pub(crate) fn is_stalled(&self, group: GroupId, to: NodeId) -> bool {
        lock(&self.links).stalls.get(&(group, to)).is_some_and(|until| *until > Instant::now())
    }

    /// Time for the transfer of a frame beside the delay of the first byte.
    pub(crate) fn transfer_time(&self, bytes: usize) -> Duration {
        let bandwidth = lock(&self.links).bandwidth;
        bandwidth.map_or(Duration::ZERO, |per_ms| Duration::from_micros(bytes as u64 * 1000 / per_ms.max(1)))
    }

    /// The endpoint of the host `to`, when the node runs and the direction is not cut.
    pub(crate) fn endpoint(&self, from: NodeId, to: NodeId) -> Option<Endpoint> {
        let links = lock(&self.links);
        if links.cut.contains(&(from, to)) { None } else { links.endpoints.get(&to).cloned() }
    }

    /// The host of a node; the last known host while the node is down.
    pub(crate) fn host_of(&self, node: NodeId) -> Option<NodeId> {
        let mut links = lock(&self.links);
        let running = links.endpoints.iter().find(|(_, e)| e.node() == Some(node)).map(|(host, _)| *host);
        if let Some(host) = running {
            links.hosts.insert(node, host);
        }
        running.or_else(|| links.hosts.get(&node).copied())
    }

    /// The other running nodes with an id, which a host reaches in both directions over a verified connection.
    pub(crate) fn connected(&self, host: NodeId) -> Vec<NodeId> {
        let links = lock(&self.links);
        let open = |other: &NodeId| !links.cut.contains(&(host, *other)) && !links.cut.contains(&(*other, host));
        let known = |other: &NodeId| open(other) && links.is_verified(host, *other);
        let others = links.endpoints.iter().filter(|(other, _)| **other != host && known(other));
        others.filter_map(|(_, e)| e.node()).collect()
    }

    /// The number of the next frame.
    pub(crate) fn next_frame(&self) -> u64 {
        let mut links = lock(&self.links);
        links.frames += 1;
        links.frames
    }

    /// Lost and slow frames, each per thousand.
    pub(crate) fn loss_and_slowness(&self) -> (u64, u64) {
        let links = lock(&self.links);
        (links.loss_permille, links.slow_permille)
    }
}
