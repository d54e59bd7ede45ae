//! Reads and changes the disk of a stopped node.

use std::{path::Path, sync::Arc};
use taffrail_core::ids::{Digest, GroupId};
use taffrail_raft::log::{LogDisk, LogKey, ReplicaState, rocksdb_log::RocksdbLog};
use taffrail_storage::store::{
    codec,
    schema::{self, Family},
    state_db::{Batch, Medium, StateDb},
};

/// All replicas that the log of the node knows.
pub(crate) async fn replicas(data: &Path) -> Vec<(LogKey, ReplicaState)> {
    let log = RocksdbLog::open(&data.join("log"), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let log = Arc::new(log);
    let replicas = log.replicas().await.unwrap();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    replicas
}

/// Changes the digest of the only store's replica, as if the replica had applied another entry. Returns the digests before
/// and after, as read back.
pub(crate) async fn spoil(data: &Path) -> (Digest, Digest) {
    let live = replicas(data).await.into_iter().find_map(|(key, state)| match state {
        ReplicaState::Live(partition) if key.group != GroupId::SYSTEM => Some(partition),
        ReplicaState::Live(_) | ReplicaState::Fenced(_) | ReplicaState::Deleted(_) => None,
    });
    let key = schema::partition_meta(live.unwrap());
    let read = |db: &StateDb| codec::decode_partition(&db.get(Family::Meta, &key).unwrap().unwrap()).unwrap();
    let db = StateDb::open(&data.join("state"), &Medium::Disk).unwrap();
    let mut meta = read(&db);
    let before = meta.digest;
    meta.digest.0[0] ^= 1;
    let mut batch = Batch::default();
    batch.put(Family::Meta, key, codec::encode_partition(&meta));
    db.write(batch).unwrap();
    db.flush().unwrap();
    drop(db);
    let db = StateDb::open(&data.join("state"), &Medium::Disk).unwrap();
    (before, read(&db).digest)
}
