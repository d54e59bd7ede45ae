//! [`Readers`], a bounded pool for blocking reads of applied state, outside the async threads.

use std::sync::Arc;
use taffrail_runtime as rt;
use taffrail_store_api::{ReadError, StoreReader};
use tokio::sync::Semaphore;

/// Maximum number of reads at the same time.
const READS_MAX: usize = 32;

/// A bounded pool of concurrent blocking reads. Clones share the bound.
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
    /// Runs `read` on a thread for blocking work, after a free slot is available.
    ///
    /// # Errors
    /// The error of `read`, or `NotServing` when the process is stopping.
    pub(crate) async fn run<T, F>(&self, reader: Arc<dyn StoreReader>, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn StoreReader) -> Result<T, ReadError> + Send + 'static,
    {
        let down = || ReadError::NotServing("the process is stopping".into());
        let _slot = self.slots.acquire().await.map_err(|_| down())?;
        rt::blocking(move || read(&*reader)).await.map_err(|_| down())?
    }
}
