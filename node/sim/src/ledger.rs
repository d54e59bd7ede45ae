//! [`Ledger`]: the answers to clients, by store, for the checks during and after a run.

use crate::{lock::lock, trace::short};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};
use taffrail_core::ids::{GroupId, StoreId};
use taffrail_proto::v1::{AppendResponse, RecordedEvent};
use tokio::sync::watch;

/// An acknowledged append.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Stream of the append.
    pub stream: String,
    /// Ids of the appended events.
    pub ids: Vec<String>,
    /// Answer to the client.
    pub answer: AppendResponse,
}

/// Place and content of an event: stream, revision, id, and the hash of types and data.
pub type Place = (String, u64, String, u32);

/// The place and content of an event.
#[must_use]
pub fn place_of(event: &RecordedEvent) -> Place {
    let content = short(&[event.r#type.as_bytes(), event.content_type.as_bytes(), &event.data].concat());
    (event.stream.clone(), event.revision, event.id.clone(), content)
}

/// A declared store, and all that clients know about the store.
#[derive(Debug)]
pub struct StoreRecord {
    /// Id of the store.
    pub id: StoreId,
    /// Group of the store.
    pub group: GroupId,
    /// Acknowledged appends, in the order of the answers.
    pub acknowledged: Vec<Acknowledged>,
    /// Events never allowed to appear: refused by the rules, or never proposed and never repeated.
    pub never: BTreeSet<String>,
    /// Events returned by reads, by position. Every read must return the same event at a position.
    pub read: BTreeMap<u64, Place>,
    /// True once the deletion of the store was requested: the replicas may be gone before an acknowledgement arrives.
    pub closing: bool,
    /// Last known revision of the stream that all clients append to with exact revisions.
    pub contended: Option<u64>,
}

impl StoreRecord {
    fn new(id: StoreId, group: GroupId) -> Self {
        let (acknowledged, never, read) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self { id, group, acknowledged, never, read, closing: false, contended: None }
    }

    /// Records the acknowledgement of an append.
    pub fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.acknowledged.push(acknowledged);
    }

    /// Records an event returned by a read.
    ///
    /// # Errors
    /// When an earlier read returned another event at the same position.
    pub fn saw(&mut self, event: &RecordedEvent) -> Result<(), String> {
        let place = place_of(event);
        match self.read.entry(event.position).or_insert_with(|| place.clone()) {
            earlier if *earlier == place => Ok(()),
            earlier => {
                Err(format!("position {} holds {place:?}, but an earlier read returned {earlier:?}", event.position))
            }
        }
    }
}

/// The stores of a run by name.
pub struct Ledger {
    stores: Mutex<BTreeMap<String, StoreRecord>>,
    declared: watch::Sender<usize>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { stores: Mutex::default(), declared: watch::channel(0).0 }
    }
}

impl Ledger {
    /// Records a declared store.
    pub fn declare(&self, name: &str, id: StoreId, group: GroupId) {
        lock(&self.stores).insert(name.to_owned(), StoreRecord::new(id, group));
        self.declared.send_modify(|n| *n += 1);
    }

    /// Forgets a store whose deletion was requested.
    pub fn forget(&self, name: &str) {
        lock(&self.stores).remove(name);
    }

    /// Waits until a store is declared.
    pub async fn wait_for(&self, name: &str) {
        let mut declared = self.declared.subscribe();
        // The sender lives as long as the ledger.
        let _declared = declared.wait_for(|_| lock(&self.stores).contains_key(name)).await;
    }

    /// Reads or changes the record of a store; `None` for an undeclared or deleted store.
    pub fn with<T>(&self, name: &str, work: impl FnOnce(&mut StoreRecord) -> T) -> Option<T> {
        lock(&self.stores).get_mut(name).map(work)
    }

    /// The records of all stores by name.
    pub fn all(&self) -> MutexGuard<'_, BTreeMap<String, StoreRecord>> {
        lock(&self.stores)
    }
}
