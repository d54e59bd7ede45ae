//! [`Table`]: the verified connections to peers.

use super::{Lane, Peers};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_core::ids::NodeId;
use taffrail_proto::peer::{Identity, PeerAddress};
use taffrail_store_api::{PeerChannel, peer_channel};
use tokio::sync::watch;
use tonic::transport::Channel;

/// A verified connection to a peer.
#[derive(Clone)]
pub struct Link {
    /// Address of the peer.
    pub address: String,
    /// Traffic of the connection.
    pub lane: Lane,
    /// Identity given by the peer in the handshake.
    pub identity: Identity,
    /// Channel for the requests.
    pub channel: Channel,
}

#[derive(Default)]
struct State {
    /// Links by address, because a joining peer has no node id yet.
    links: BTreeMap<(String, Lane), Link>,
}

impl State {
    /// Returns the links on a lane, by address.
    fn on(&self, lane: Lane) -> impl Iterator<Item = &Link> {
        self.links.values().filter(move |link| link.lane == lane)
    }

    fn to(&self, node: NodeId, lane: Lane) -> Option<&Link> {
        self.on(lane).find(|link| link.identity.node_id == node.get())
    }
}

/// Verified connections by address and lane. Cheap to clone: all clones share the table.
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

    /// Returns a counter, raised whenever a connection is verified, replaced or lost.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Adds or replaces the connection to an address on a lane.
    pub fn put(&self, link: Link) {
        let mut state = self.lock();
        let before = state.links.insert((link.address.clone(), link.lane), link.clone());
        if before.is_none_or(|b| b.identity != link.identity) {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Removes the connection to `address` on a lane.
    pub fn remove(&self, address: &str, lane: Lane) {
        if self.lock().links.remove(&(address.to_owned(), lane)).is_some() {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Returns the channel to a node on a lane, or `None` without a verified connection.
    #[must_use]
    pub fn channel(&self, node: NodeId, lane: Lane) -> Option<Channel> {
        self.lock().to(node, lane).map(|link| link.channel.clone())
    }

    /// Waits until the control lane to `address` is verified.
    pub(super) async fn reached(&self, address: &str) {
        let mut changes = self.changes();
        let control = (address.to_owned(), Lane::Control);
        let verified = || self.lock().links.contains_key(&control);
        // The wait for a change never fails: this table holds the sender.
        while !verified() && changes.changed().await.is_ok() {}
    }
}

impl Peers for Table {
    fn connected(&self) -> Vec<NodeId> {
        let state = self.lock();
        let ids = state.on(Lane::Control).map(|l| NodeId::new(l.identity.node_id));
        ids.filter(|id| *id != NodeId::default()).collect()
    }

    fn channel(&self, node: NodeId) -> Option<PeerChannel> {
        Self::channel(self, node, Lane::Client).map(peer_channel)
    }

    fn client_address(&self, node: NodeId) -> Option<String> {
        let state = self.lock();
        let link = state.to(node, Lane::Control)?;
        Some(link.identity.client_address.clone()).filter(|address| !address.is_empty())
    }

    fn addresses(&self) -> Vec<PeerAddress> {
        let state = self.lock();
        let links = state.on(Lane::Control);
        links
            .map(|l| PeerAddress {
                node_id: l.identity.node_id,
                name: l.identity.name.clone(),
                address: l.address.clone(),
            })
            .collect()
    }
}
