//! [`Layout`]: the hosts and the lasting stores of a run, drawn from the seed.

use crate::world::World;
use taffrail_core::ids::NodeId;

/// Namespace of all stores of a run.
pub const NAMESPACE: &str = "sim";

/// Runs per thousand with large events, which cost more time.
const LARGE_PERMILLE: u64 = 30;

/// A store existing from the beginning to the end of a run.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// Name of the store within [`NAMESPACE`].
    pub name: String,
    /// Number of voters.
    pub replicas: u32,
}

/// Hosts and lasting stores of a run.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Number of hosts: 3, 4 or 5.
    pub hosts: u64,
    /// True in a run with many events up to the largest size, with logs larger than the caches.
    pub large_events: bool,
    /// Stores with 1 and 3 voters; in some runs with 5 hosts also a store with 5 voters.
    pub stores: Vec<Lasting>,
}

impl Layout {
    /// Draws a layout.
    #[must_use]
    pub fn draw(world: &World) -> Self {
        let hosts = world.between(3, 6);
        let sizes: &[u32] = if hosts == 5 && world.chance(600) { &[1, 3, 5] } else { &[1, 3] };
        let stores = sizes.iter().map(|n| Lasting { name: format!("size-{n}"), replicas: *n }).collect();
        Self { hosts, large_events: world.chance(LARGE_PERMILLE), stores }
    }

    /// Numbers of all hosts, from 1. A host number is no node id: a drained disk returns under a new node id.
    pub fn numbers(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.hosts).map(NodeId::new)
    }

    /// A random host.
    #[must_use]
    pub fn any(&self, world: &World) -> NodeId {
        NodeId::new(1 + world.below(self.hosts))
    }

    /// True when a node can leave the cluster while every store keeps all voters.
    #[must_use]
    pub fn can_shrink(&self) -> bool {
        self.stores.iter().all(|s| u64::from(s.replicas) < self.hosts)
    }
}
