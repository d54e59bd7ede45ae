//! Benchmarks of the log: groups append single entries through the node's log, each waiting for its sync. The
//! baselines write the same bytes to a plain file and to a bare RocksDB, with entries of all groups in every
//! sync by construction.

use super::{
    corpus,
    harness::{Case, Turn, histogram, micros},
};
use anyhow::{Context, Result};
use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use prost::Message;
use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use std::{fs::File, io::Write, path::Path, sync::Arc, time::Duration};
use taffrail_core::ids::{GroupId, PartitionId, ReplicaId};
use taffrail_raft::{
    codec,
    log::{LogKey, LogOp, log_storage::LogStorage, rocksdb_log::RocksdbLog, write_synced},
};
use taffrail_storage::store::codec::encode_command;
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

/// The log of a group, and the next index.
struct Group {
    log: LogStorage,
    next: u64,
}

impl Group {
    async fn open(disk: Arc<RocksdbLog>, group: u64) -> Result<Self> {
        let key = LogKey { group: GroupId::new(group), replica: ReplicaId::new(1) };
        write_synced(&*disk, key, LogOp::Created(PartitionId::new(group))).await?;
        Ok(Self { log: LogStorage::open(disk, key).await?, next: 0 })
    }

    /// Appends entries sequentially until `end`; each is synced before the next.
    async fn append(mut self, command: Bytes, end: Instant) -> Result<(Self, hdrhistogram::Histogram<u64>)> {
        let mut calls = histogram()?;
        loop {
            let start = Instant::now();
            if start >= end {
                return Ok((self, calls));
            }
            self.log.blocking_append([corpus::entry(self.next, command.clone())]).await?;
            self.next += 1;
            calls.saturating_record(micros(start));
        }
    }

    /// Purges the measured entries, as a node does with applied entries.
    async fn purge(&mut self) -> Result<()> {
        let last = corpus::entry(self.next.checked_sub(1).context("nothing was appended")?, Bytes::new());
        Ok(self.log.purge(last.log_id).await?)
    }
}

/// Closes the writer of the log when the case is dropped.
struct Closing(Arc<RocksdbLog>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[expect(clippy::disallowed_methods, reason = "no part of a simulation; the set owns these tasks")]
fn ours(runtime: &Runtime, groups: &mut Vec<Group>, command: &Bytes, time: Duration) -> Result<Turn> {
    runtime.block_on(async {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for group in groups.drain(..) {
            tasks.spawn(group.append(command.clone(), start + time));
        }
        let mut calls = histogram()?;
        while let Some(ended) = tasks.join_next().await {
            let (group, of_group) = ended??;
            calls.add(of_group)?;
            groups.push(group);
        }
        let took = start.elapsed();
        for group in groups {
            group.purge().await?;
        }
        Ok(Turn { units: calls.len(), took, calls: Some(calls) })
    })
}

/// Repeats a write and sync of `at_once` entries.
fn repeat(time: Duration, at_once: u64, mut sync: impl FnMut() -> Result<()>) -> Result<Turn> {
    let (start, mut units) = (Instant::now(), 0);
    while start.elapsed() < time {
        sync()?;
        units += at_once;
    }
    Ok(Turn { units, took: start.elapsed(), calls: None })
}

fn key(group: u64, index: u64) -> [u8; 25] {
    let mut key = [b'e'; 25];
    key[1..9].copy_from_slice(&group.to_be_bytes());
    key[17..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Opens a database with the options of the node's log.
fn open(path: &Path) -> Result<DB> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(64 << 20);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_total_wal_size(256 << 20);
    Ok(DB::open(&options, path)?)
}

/// Returns the benchmark of the node's log with `groups` groups.
pub fn case<'a>(scratch: &Path, runtime: &'a Runtime, groups: u64) -> Result<Case<'a>> {
    let here = scratch.join(format!("log-{groups}"));
    std::fs::create_dir(&here)?;
    let fatal = Arc::new(|error: &std::io::Error| eprintln!("the log has failed: {error}"));
    let disk = Arc::new(RocksdbLog::open(&here.join("ours"), fatal, Arc::new(|_| {}))?);
    let mut logs = Vec::new();
    for group in 1..=groups {
        logs.push(runtime.block_on(Group::open(Arc::clone(&disk), group))?);
    }
    let command = encode_command(&corpus::one_append());
    let closing = Closing(disk);
    let bytes = Bytes::from(codec::entry_to(&corpus::entry(1_000, command.clone())).encode_to_vec());
    let together: Vec<u8> = (0..groups).flat_map(|_| bytes.to_vec()).collect();
    let mut file = File::create(here.join("file"))?;
    let db = open(&here.join("rocksdb"))?;
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let mut next = 0;
    Ok(Case {
        path: format!("log, {groups} {}", if groups == 1 { "group" } else { "groups" }),
        unit: "entries",
        ours: Box::new(move |time| {
            let _open = &closing;
            ours(runtime, &mut logs, &command, time)
        }),
        references: vec![
            (
                "file and fdatasync",
                Box::new(move |time| {
                    file.set_len(0)?;
                    std::io::Seek::rewind(&mut file)?;
                    repeat(time, groups, || {
                        file.write_all(&together)?;
                        Ok(file.sync_data()?)
                    })
                }),
            ),
            (
                "RocksDB, synced batches",
                Box::new(move |time| {
                    let first = next;
                    let turn = repeat(time, groups, || {
                        let mut batch = WriteBatch::default();
                        (0..groups).for_each(|group| batch.put(key(group, next), &bytes));
                        next += 1;
                        Ok(db.write_opt(batch, &synced)?)
                    })?;
                    let mut gone = WriteBatch::default();
                    (0..groups).for_each(|group| gone.delete_range(key(group, first), key(group, next)));
                    db.write_opt(gone, &synced)?;
                    Ok(turn)
                }),
            ),
        ],
    })
}
