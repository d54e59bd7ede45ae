//! [`SimPeers`]: the verified peers of a simulated node, and channels for forwarded calls.

use super::port::{Port, VirtualPort};
use crate::world::World;
use std::sync::Arc;
use taffrail_core::ids::NodeId;
use taffrail_proto::peer::PeerAddress;
use taffrail_raft::peer::Peers;
use taffrail_store_api::{PeerChannel, peer_channel};

/// The peers of the node on a host. A node counts as connected while the connection is verified and lets frames pass in both directions.
pub struct SimPeers {
    /// World of the run.
    pub world: Arc<World>,
    /// Number of the host.
    pub host: NodeId,
}

impl Peers for SimPeers {
    fn connected(&self) -> Vec<NodeId> {
        self.world.network.connected(self.host)
    }

    fn channel(&self, node: NodeId) -> Option<PeerChannel> {
        self.connected().contains(&node).then_some(())?;
        let to = self.world.network.host_of(node)?;
        let world = Arc::clone(&self.world);
        Some(peer_channel(VirtualPort { world, from: Some(self.host), to, port: Port::Forwarded }))
    }

    fn client_address(&self, _: NodeId) -> Option<String> {
        None
    }

    fn addresses(&self) -> Vec<PeerAddress> {
        let address =
            |node: NodeId| PeerAddress { node_id: node.get(), name: format!("n{node}"), address: String::new() };
        self.connected().into_iter().map(address).collect()
    }
}
