//! [`Table`]: the verified connections to peers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_core::ids::NodeId;
use taffrail_proto::peer::{Identity, PeerAddress};
use tokio::sync::watch;
use tonic::transport::Channel;

/// A verified connection to one peer.
#[derive(Clone)]
pub struct Link {
    /// Address of the peer.
    pub address: String,
    /// Identity that the peer gave in the handshake.
    pub identity: Identity,
    /// Channel that carries the requests.
    pub channel: Channel,
}

#[derive(Default)]
struct State {
    /// Links by address, because a joining peer has no node id yet.
    links: BTreeMap<String, Link>,
}

/// Verified connections by address. Cheap to clone: all clones share the table.
#[derive(Clone)]
pub struct Table {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { state: Arc::default(), changed: Arc::new(watch::channel(0).0) }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a counter that rises whenever a connection is verified, replaced or lost.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Adds or replaces the connection to an address.
    pub fn put(&self, link: Link) {
        let mut state = self.lock();
        let before = state.links.insert(link.address.clone(), link.clone());
        if before.is_none_or(|b| b.identity != link.identity) {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Removes the connection to `address`.
    pub fn remove(&self, address: &str) {
        if self.lock().links.remove(address).is_some() {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Returns the channel to a node, or `None` without a verified connection.
    #[must_use]
    pub fn channel(&self, node: NodeId) -> Option<Channel> {
        self.lock().links.values().find(|l| l.identity.node_id == node.get()).map(|l| l.channel.clone())
    }

    /// Returns all verified connections, ordered by address.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        self.lock().links.values().cloned().collect()
    }

    /// Returns the addresses of all verified peers, as sent to other nodes in a handshake.
    #[must_use]
    pub fn addresses(&self) -> Vec<PeerAddress> {
        let state = self.lock();
        let links = state.links.values();
        links
            .map(|l| PeerAddress {
                node_id: l.identity.node_id,
                name: l.identity.name.clone(),
                address: l.address.clone(),
            })
            .collect()
    }
}
