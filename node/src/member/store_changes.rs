//! Creation and removal of undeclared stores, for clients of any node.

use super::{member::Member, propose::CatalogueError};
use taffrail_core::{
    catalogue::{CatalogueOutcome, Kind, NewStore},
    ids::StoreId,
    names::StoreName,
};
use taffrail_runtime as rt;
use taffrail_store_api::StoreChangeError;
use tokio::time::Instant;

impl From<CatalogueError> for StoreChangeError {
    fn from(e: CatalogueError) -> Self {
        match e {
            CatalogueError::NoCoordinator(why) => Self::NoCoordinator(why),
            CatalogueError::Unknown(why) => Self::Unknown(why),
        }
    }
}

fn unexpected(outcome: &CatalogueOutcome) -> StoreChangeError {
    StoreChangeError::Unknown(format!("the catalogue gave an unexpected answer: {outcome:?}"))
}

impl Member {
    /// Creates an undeclared store, or returns the store that an earlier equal call has created.
    ///
    /// # Errors
    /// The refusal of the catalogue, or the reason why the outcome is missing.
    pub async fn create_store(
        &self,
        name: &StoreName,
        replicas: u32,
        deadline: Instant,
    ) -> Result<StoreId, StoreChangeError> {
        let new = NewStore { name: name.clone(), replicas, minted: StoreId::new(rt::new_uuid()) };
        let id = match self.propose_if_needed(Kind::CreateStore(new), deadline).await? {
            CatalogueOutcome::Store(id) => id,
            CatalogueOutcome::Refused(why) => return Err(why.into()),
            other @ (CatalogueOutcome::Done
            | CatalogueOutcome::Node(_)
            | CatalogueOutcome::NodeRemoved { .. }
            | CatalogueOutcome::Replica(_)) => return Err(unexpected(&other)),
        };
        self.look.notify_one();
        // For the description of the store; the store exists also if no majority confirms the catalogue now.
        drop(self.system.read_index(deadline).await);
        Ok(id)
    }

    /// Removes an undeclared store. Returns the cause of a wait, or `None` once the data is gone.
    ///
    /// # Errors
    /// The refusal of the catalogue, or the reason why the outcome is missing.
    pub async fn remove_store(&self, id: StoreId, deadline: Instant) -> Result<Option<String>, StoreChangeError> {
        match self.propose_if_needed(Kind::RemoveStore(id), deadline).await? {
            CatalogueOutcome::Done => {}
            CatalogueOutcome::Refused(why) => return Err(why.into()),
            other @ (CatalogueOutcome::Store(_)
            | CatalogueOutcome::Node(_)
            | CatalogueOutcome::NodeRemoved { .. }
            | CatalogueOutcome::Replica(_)) => return Err(unexpected(&other)),
        }
        self.look.notify_one();
        if self.system.read_index(deadline).await.is_err() {
            return Ok(Some("no majority of the system group confirms the state of the removal".to_owned()));
        }
        let catalogue = self.applied();
        let store = catalogue.stores.get(&id);
        let holders = |group| catalogue.groups.get(group).map_or(0, |group| group.replicas.len());
        Ok(store.map(|store| match holders(&store.group) {
            0 => "the catalogue still lists the store".to_owned(),
            nodes => format!("nodes that still remove the data of the store: {nodes}"),
        }))
    }
}
