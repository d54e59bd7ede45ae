//! [`Network`]: reachable nodes, and network faults: cuts per direction, loss and delay.

use crate::lock::lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use taffrail_core::ids::NodeId;
use taffrail_raft::peer::server::Service;
use taffrail_runtime::Scope;

/// Access to a running node.
#[derive(Clone)]
pub struct Endpoint {
    /// Tasks of the node; answers run and end in this scope.
    pub scope: Arc<Scope>,
    /// The peer service of the node.
    pub service: Arc<Service>,
    /// Counts the starts of the node.
    pub life: u64,
}

#[derive(Default)]
struct Links {
    endpoints: BTreeMap<NodeId, Endpoint>,
    cut: BTreeSet<(NodeId, NodeId)>,
    loss_permille: u64,
    slow_permille: u64,
    frames: u64,
}

/// Endpoints of the running nodes, and the network faults.
#[derive(Default)]
pub struct Network {
    links: Mutex<Links>,
}

impl Network {
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

    /// The endpoint of `to`, when the node runs and the direction is not cut.
    pub(crate) fn endpoint(&self, from: NodeId, to: NodeId) -> Option<Endpoint> {
        let links = lock(&self.links);
        if links.cut.contains(&(from, to)) { None } else { links.endpoints.get(&to).cloned() }
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
