//! Opens the two databases of a node.

use crate::{
    exit::{Code, disk_failed},
    identity::DataDir,
    member::lifecycle::End,
};
use std::sync::Arc;
use taffrail_metrics::Metrics;
use taffrail_raft::log::rocksdb_log::RocksdbLog;
use taffrail_storage::store::state_db::{Medium, StateDb};

/// The state database and the log. Each sync of the log is measured; a failed sync ends the process.
pub(super) fn open(
    dir: &DataDir,
    memory_bytes: usize,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<StateDb>, Arc<RocksdbLog>), End> {
    let failed = |why: String| End { code: Code::Disk, why };
    let db = StateDb::open_within(&dir.state_path(), &Medium::Disk, memory_bytes).map_err(|e| failed(e.to_string()))?;
    let sync = metrics.log_sync_seconds.clone();
    let log =
        RocksdbLog::open(&dir.log_path(), Arc::new(|e| disk_failed(e)), Arc::new(move |seconds| sync.observe(seconds)))
            .map_err(|e| failed(e.to_string()))?;
    Ok((Arc::new(db), Arc::new(log)))
}
