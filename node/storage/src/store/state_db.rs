//! [`StateDb`]: the state database, in RocksDB without a write-ahead log. Only flushed writes survive a crash. A flush
//! is atomic over all column families, so data and applied log ids never disagree.

use super::{
    repeat_floors::{Hold, RepeatFloors},
    schema::Family,
    shared_flush::SharedFlush,
};
use bytes::Bytes;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBWithThreadMode, Direction, Env, ErrorKind, FlushOptions, IteratorMode, MultiThreaded, Options, ReadOptions,
    ReadTier, WriteBatch, WriteBufferManager, WriteOptions, properties,
};
use rocksdb::{checkpoint::Checkpoint, compaction_filter::Decision};
use std::{path::Path, sync::Arc};
use taffrail_core::ids::PartitionId;

type Db = DBWithThreadMode<MultiThreaded>;

/// Default size of block cache and write buffers together.
const MEMORY_BYTES: usize = 384 << 20;
/// Limit on the writes of compaction and flush, to leave disk bandwidth for the log.
const BACKGROUND_BYTES_PER_SECOND: i64 = 128 << 20;
/// Read-ahead of a scan over a whole partition.
const SCAN_READAHEAD_BYTES: usize = 2 << 20;

/// Failure of the state database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A write, a flush or the disk failed. Later results must not be trusted.
    #[error("state database failed: {0}")]
    Failed(String),
    /// A file does not match its checksums.
    #[error("state database is corrupt: {0}")]
    Corrupt(String),
    /// The database lacks a column family, although opening creates all families.
    #[error("state database: column family {0} is missing")]
    MissingFamily(&'static str),
}

/// Classifies every failed write as a failure of the disk, whatever RocksDB's error kind.
fn failed(e: rocksdb::Error) -> Error {
    Error::Failed(e.into_string())
}

fn unreadable(e: rocksdb::Error) -> Error {
    if e.kind() == ErrorKind::Corruption { Error::Corrupt(e.into_string()) } else { failed(e) }
}

/// Medium of the database files.
#[derive(Clone)]
pub enum Medium {
    /// Files on the disk.
    Disk,
    /// Files in memory without background work: for simulations, whose behaviour depends on the seed only.
    Memory(Env),
}

/// The state database of all groups of a node; shared through [`Arc`].
///
/// Reads and writes are synchronous; callers on the runtime's threads wrap them in [`taffrail_runtime::blocking`].
///
/// ```
/// use taffrail_storage::store::{
///     schema::Family,
///     state_db::{Batch, Medium, StateDb},
/// };
///
/// let dir = tempfile::tempdir().unwrap();
/// let db = StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap();
/// let mut batch = Batch::default();
/// batch.put(Family::Meta, *b"key", *b"value");
/// db.write(batch).unwrap();
/// // The row is readable now, and survives a crash after the flush.
/// assert_eq!(db.get(Family::Meta, b"key").unwrap().unwrap(), "value");
/// db.flush().unwrap();
/// ```
pub struct StateDb {
    db: Db,
    no_wal: WriteOptions,
    flush: SharedFlush,
    repeat_floors: RepeatFloors,
}

impl StateDb {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// When RocksDB cannot open the database.
    pub fn open(path: &Path, medium: &Medium) -> Result<Self, Error> {
        Self::open_within(path, medium, MEMORY_BYTES)
    }

    /// Opens like [`open`](Self::open), with `memory_bytes` for the block cache and unflushed writes together;
    /// unflushed writes of all families may use half.
    ///
    /// # Errors
    /// When RocksDB cannot open the database.
    pub fn open_within(path: &Path, medium: &Medium, memory_bytes: usize) -> Result<Self, Error> {
        // The `rocksdb` crate has no setter for this option. With the default, closing flushes, and a simulated crash
        // would lose nothing.
        let mut options =
            Options::default().get_options_from_string("avoid_flush_during_shutdown=true").map_err(failed)?;
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_keep_log_file_num(4);
        options.set_max_open_files(2048);
        let cache = Cache::new_lru_cache(memory_bytes);
        match medium {
            Medium::Disk => {
                options.set_max_background_jobs(2);
                options.set_bytes_per_sync(1 << 20);
                options.set_ratelimiter(BACKGROUND_BYTES_PER_SECOND, 100_000, 10);
                options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
                    memory_bytes / 2,
                    false,
                    cache.clone(),
                ));
            }
            Medium::Memory(env) => options.set_env(env),
        }
        let repeat_floors = RepeatFloors::default();
        let families = Family::ALL.map(|f| {
            let mut options = family_options(medium, &cache);
            if f == Family::Dedup {
                remove_old_repeats(&mut options, repeat_floors.clone());
            }
            ColumnFamilyDescriptor::new(f.name(), options)
        });
        let db = Db::open_cf_descriptors(&options, path, families).map_err(unreadable)?;
        let mut no_wal = WriteOptions::default();
        no_wal.disable_wal(true);
        Ok(Self { db, no_wal, flush: SharedFlush::default(), repeat_floors })
    }

    fn family(&self, family: Family) -> Result<Arc<BoundColumnFamily<'_>>, Error> {
        self.db.cf_handle(family.name()).ok_or_else(|| Error::MissingFamily(family.name()))
    }

    /// Reads a single row.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.db.get_cf(&self.family(family)?, key).map_err(unreadable)?.map(Bytes::from))
    }

    /// Reads a single row as of the last flush: the value after a crash.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub(crate) fn get_persisted(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        Ok(self.db.get_cf_opt(&self.family(family)?, key, &options).map_err(unreadable)?.map(Bytes::from))
    }

    /// Carries out all writes of a batch or none.
    ///
    /// # Errors
    /// When RocksDB fails. Later results must not be trusted.
    pub fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut out = WriteBatch::default();
        for op in batch.ops {
            match op {
                Op::Put(f, key, value) => out.put_cf(&self.family(f)?, key, value),
                Op::Delete(f, key) => out.delete_cf(&self.family(f)?, key),
                Op::DeleteRange(f, from, to) => out.delete_range_cf(&self.family(f)?, from, to),
            }
        }
        self.db.write_opt(out, &self.no_wal).map_err(failed)
    }

    /// Makes all earlier writes of all groups survive a crash. Concurrent calls share a flush.
    ///
    /// # Errors
    /// When RocksDB fails. Later results must not be trusted.
    pub fn flush(&self) -> Result<(), Error> {
        self.flush.run(|| self.flush_families())
    }

    fn flush_families(&self) -> Result<(), Error> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.into_iter().map(|f| self.family(f)).collect::<Result<Vec<_>, _>>()?;
        let families: Vec<_> = families.iter().collect();
        self.db.flush_cfs_opt(&families, &options).map_err(failed)
    }

    /// Writes a consistent copy of the database into a new directory of the same medium. The copy flushes all earlier writes.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub fn copy_to(&self, path: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.db).and_then(|copy| copy.create_checkpoint(path)).map_err(failed)
    }

    /// Allows compaction to remove the repeat rows of a partition below the bucket `floor`. The floor must be flushed.
    pub(super) fn set_repeat_floor(&self, partition: PartitionId, floor: u64) {
        self.repeat_floors.set(partition, floor);
    }

    /// Forgets the floor of a deleted partition.
    pub(super) fn forget_repeat_floor(&self, partition: PartitionId) {
        self.repeat_floors.remove(partition);
    }

    /// Compacts all rows of a family now.
    #[cfg(test)]
    pub(super) fn compact(&self, family: Family) {
        self.db.compact_range_cf(&self.family(family).unwrap(), None::<&[u8]>, None::<&[u8]>);
    }

    /// Keeps the repeat rows of a partition that count in every view taken from now on, until the answer is dropped.
    pub(super) fn hold_repeats(&self, partition: PartitionId) -> Hold {
        self.repeat_floors.hold(partition)
    }

    /// Returns size figures of the database. RocksDB maintains the figures, so the call is cheap; an unavailable figure
    /// counts as 0.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let sum = |property: &properties::PropName| {
            let of = |f| self.db.property_int_value_cf(&self.family(f).ok()?, property).ok().flatten();
            Family::ALL.into_iter().filter_map(of).sum()
        };
        Figures {
            live_bytes: sum(properties::ESTIMATE_LIVE_DATA_SIZE),
            memtable_bytes: sum(properties::CUR_SIZE_ALL_MEM_TABLES),
            pending_compaction_bytes: sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        }
    }

    /// Takes a view of the database; later writes do not change the view.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { db: self, snapshot: self.db.snapshot() }
    }
}

/// Size figures as estimated by RocksDB, in bytes over all column families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Size of the live data in files.
    pub live_bytes: u64,
    /// Size of writes that are not flushed yet.
    pub memtable_bytes: u64,
    /// Size of the data to be rewritten by compaction.
    pub pending_compaction_bytes: u64,
}

fn family_options(medium: &Medium, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    options.set_block_based_table_factory(&table);
    match medium {
        Medium::Disk => {
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
            options.set_write_buffer_size(64 << 20);
            options.set_max_write_buffer_number(4);
        }
        Medium::Memory(_) => {
            // No flush or compaction may start in the background: the time would depend on threads.
            options.set_write_buffer_size(1 << 30);
            options.set_disable_auto_compactions(true);
        }
    }
    options
}

/// Lets compaction remove the repeat rows that no longer count.
fn remove_old_repeats(options: &mut Options, floors: RepeatFloors) {
    options.set_compaction_filter("taffrail.repeat-rows", move |_level, key, value| {
        if floors.keeps(key, value) { Decision::Keep } else { Decision::Remove }
    });
}

enum Op {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Writes to be carried out together or not at all.
#[derive(Default)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// Adds the write of a row.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put(family, key.into(), value.into()));
    }
    /// Adds the deletion of a row.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete(family, key.into()));
    }
    /// Adds the deletion of the rows in `from..to`; an empty range is ignored.
    pub fn delete_range(&mut self, family: Family, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        if from < to {
            self.ops.push(Op::DeleteRange(family, from, to));
        }
    }
}

/// A consistent view of the database; made by [`StateDb::view`].
pub struct View<'a> {
    db: &'a StateDb,
    snapshot: rocksdb::SnapshotWithThreadMode<'a, Db>,
}

/// A row: key and value.
pub type Row = (Box<[u8]>, Box<[u8]>);

impl View<'_> {
    /// Reads a single row.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.snapshot.get_cf(&self.db.family(family)?, key).map_err(unreadable)?.map(Bytes::from))
    }

    /// Reads the rows in `from..to` in ascending order.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub fn rising(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Rows<'_>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to.to_vec());
        self.rows(family, options, IteratorMode::From(from, Direction::Forward))
    }

    /// Reads the rows in `from..to` in ascending order, for a walk over all rows. The block cache stays available for
    /// readers of single rows.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub fn scan(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Rows<'_>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to.to_vec());
        options.fill_cache(false);
        options.set_readahead_size(SCAN_READAHEAD_BYTES);
        self.rows(family, options, IteratorMode::From(from, Direction::Forward))
    }

    /// Reads the rows in `from..=at` in descending order.
    ///
    /// # Errors
    /// When RocksDB fails.
    pub(crate) fn falling(&self, family: Family, from: &[u8], at: &[u8]) -> Result<Rows<'_>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from.to_vec());
        self.rows(family, options, IteratorMode::From(at, Direction::Reverse))
    }

    fn rows(&self, family: Family, options: ReadOptions, mode: IteratorMode<'_>) -> Result<Rows<'_>, Error> {
        Ok(Rows { rows: self.snapshot.iterator_cf_opt(&self.db.family(family)?, options, mode) })
    }
}

/// Iterator over rows in key order; ends after the first error.
pub struct Rows<'a> {
    rows: rocksdb::DBIteratorWithThreadMode<'a, Db>,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.rows.next()?.map_err(unreadable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flush_survives_and_it_is_atomic() {
        let env = Env::mem_env().unwrap();
        for medium in [Medium::Disk, Medium::Memory(env)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state");
            let put = |db: &StateDb, n: u8| {
                let mut batch = Batch::default();
                batch.put(Family::Meta, [n], [n]);
                batch.put(Family::Data, [n], [n]);
                db.write(batch).unwrap();
            };
            let db = StateDb::open(&path, &medium).unwrap();
            put(&db, 1);
            db.flush().unwrap();
            put(&db, 2);
            assert!(db.get(Family::Data, &[2]).unwrap().is_some());
            assert!(db.get_persisted(Family::Data, &[2]).unwrap().is_none());
            assert!(db.get_persisted(Family::Data, &[1]).unwrap().is_some());
            drop(db);
            let db = StateDb::open(&path, &medium).unwrap();
            for family in [Family::Meta, Family::Data] {
                assert!(db.get(family, &[1]).unwrap().is_some());
                assert!(db.get(family, &[2]).unwrap().is_none(), "unflushed rows must be gone");
            }
        }
    }
}
