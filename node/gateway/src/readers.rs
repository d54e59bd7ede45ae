//! Blocking reads of applied state, a bounded number at a time.

use std::sync::Arc;
use taffrail_runtime as rt;
use taffrail_store_api::{ReadError, StoreReader};
use tokio::sync::Semaphore;

/// Reads that run at the same time.
const READS_MAX: usize = 32;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Readers {
    slots: Arc<Semaphore>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

impl Readers {
    /// Runs one read away from the runtime's threads.
    ///
    /// # Errors
    /// The read's, or `NotServing` when the process is going down.
    pub async fn run<T, F>(&self, reader: Arc<dyn StoreReader>, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn StoreReader) -> Result<T, ReadError> + Send + 'static,
    {
        let down = || ReadError::NotServing("the process is going down".into());
        let _slot = self.slots.acquire().await.map_err(|_| down())?;
        rt::blocking(move || read(&*reader)).await.map_err(|_| down())?
    }
}
