//! Benchmarks of the state database: applying entries and reading events. The baselines write and read the same rows
//! with bare RocksDB.

use super::{
    corpus,
    harness::{Case, Side, passes},
    rules::{Streams, Written},
};
use anyhow::{Context, Result, ensure};
use rocksdb::{ColumnFamilyDescriptor, DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use std::{
    collections::BTreeMap,
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use taffrail_core::{
    ids::{GroupId, PartitionId, Position, Revision, StreamNo},
    stream::{self, PartitionMeta},
};
use taffrail_gateway::cursor::PAGE;
use taffrail_raft::{
    machine::Machine,
    types::{Entry, Payload},
};
use taffrail_storage::store::{
    codec,
    group_state::GroupState,
    reader::Reader,
    schema::{self, Family},
    state_db::{Medium, StateDb},
    store_machine::StoreMachine,
};
use taffrail_store_api::{Direction, StoreReader};
use tokio::time::Instant;

const GROUP: GroupId = GroupId::new(1);
const PARTITION: PartitionId = PartitionId::new(1);
/// Generation of a store that never installed a snapshot.
const GENERATION: u8 = 1;

type Row = (Family, Vec<u8>, Vec<u8>);

/// Returns the rows stored for `written`, as plain bytes.
fn rows(written: Written) -> Vec<Row> {
    match written {
        Written::Block(block) => {
            let stream = schema::stream(PARTITION, block.stream_no, block.first_revision);
            let place = codec::encode_append_row(&block.append_row());
            let names = schema::name(PARTITION, GENERATION, block.stream.as_str());
            let data = schema::data(PARTITION, block.first_position);
            vec![
                (Family::Data, data.to_vec(), codec::encode_block(&block)),
                (Family::Stream, stream.to_vec(), place),
                (Family::Names, names, codec::encode_name(block.stream_row())),
            ]
        }
        Written::Repeat(key, row) => {
            vec![(Family::Dedup, schema::repeat(PARTITION, GENERATION, &key), codec::encode_repeat(&row))]
        }
    }
}

/// Returns a batch of rows for each entry.
fn batches(entries: &[Entry]) -> Result<Vec<Vec<Row>>> {
    let (mut meta, mut streams) = (PartitionMeta::default(), Streams::default());
    let mut batches = Vec::with_capacity(entries.len());
    for entry in entries {
        let Payload::Normal(command) = &entry.payload else { continue };
        streams.written = Some(Vec::new());
        stream::apply(&mut meta, &mut streams, &codec::decode_command(command.0.clone())?)?;
        let mut batch: Vec<Row> = streams.written.take().into_iter().flatten().flat_map(rows).collect();
        let state = GroupState { applied: Some(entry.log_id), generation: GENERATION, ..GroupState::default() };
        batch.push((Family::Meta, schema::partition_meta(PARTITION).to_vec(), codec::encode_partition(&meta)));
        batch.push((Family::Meta, schema::group_meta(GROUP).to_vec(), state.encode()));
        batches.push(batch);
    }
    Ok(batches)
}

fn machine(path: &Path) -> Result<(Arc<StateDb>, StoreMachine)> {
    let db = Arc::new(StateDb::open(path, &Medium::Disk)?);
    let machine = StoreMachine::open(Arc::clone(&db), GROUP, PARTITION)?;
    Ok((db, machine))
}

/// Checks that the baseline writes the rows of the store byte for byte. A difference would make
/// the comparison meaningless.
fn same_rows(db: &StateDb, batches: &[Vec<Row>]) -> Result<()> {
    let mut expected: BTreeMap<(Family, &[u8]), &[u8]> = BTreeMap::new();
    for (family, key, value) in batches.iter().flatten() {
        expected.insert((*family, key), value);
    }
    let (view, mut found) = (db.view(), 0);
    for family in Family::ALL {
        for row in view.scan(family, &[], &[u8::MAX; 32])? {
            let (key, value) = row?;
            let same = expected.get(&(family, &*key)).is_some_and(|expected| **expected == *value);
            ensure!(same, "the reference has another row for {key:?} in {}", family.name());
            found += 1;
        }
    }
    ensure!(found == expected.len(), "the store wrote {found} rows, the reference {}", expected.len());
    Ok(())
}

/// Opens a bare database with the same column families.
fn open(path: &Path) -> Result<DB> {
    let mut options = Options::default().get_options_from_string("avoid_flush_during_shutdown=true")?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    let mut family = Options::default();
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size(64 << 20);
    let families = Family::ALL.map(|f| ColumnFamilyDescriptor::new(f.name(), family.clone()));
    Ok(DB::open_cf_descriptors(&options, path, families)?)
}

fn write(db: &DB, batches: &[Vec<Row>]) -> Result<Duration> {
    let mut no_wal = WriteOptions::default();
    no_wal.disable_wal(true);
    let handle = |family: Family| db.cf_handle(family.name()).context("a column family is missing");
    let families = Family::ALL.into_iter().map(handle).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    for rows in batches {
        let mut batch = WriteBatch::default();
        for (family, key, value) in rows {
            batch.put_cf(families[*family as usize], key, value);
        }
        db.write_opt(batch, &no_wal)?;
    }
    Ok(start.elapsed())
}

/// Returns the benchmark of applying log entries: decode, decide, write. Neither side flushes, because the corpus fits
/// into a single write buffer.
pub fn apply_case<'a>(scratch: &Path, entries: &'a [Entry]) -> Result<Case<'a>> {
    let (ours, raw): (PathBuf, PathBuf) = (scratch.join("apply"), scratch.join("apply-rocksdb"));
    let batches = batches(entries)?;
    let (db, mut first) = machine(&ours)?;
    first.apply(entries)?;
    same_rows(&db, &batches)?;
    drop((db, first));
    Ok(Case {
        path: format!("state machine, {} appends an entry", corpus::MERGED),
        unit: "events",
        ours: Box::new(move |time| {
            passes(time, || {
                std::fs::remove_dir_all(&ours)?;
                let (_db, mut machine) = machine(&ours)?;
                let start = Instant::now();
                // One write for each entry, as under moderate load.
                for entry in entries {
                    black_box(machine.apply(std::slice::from_ref(entry))?);
                }
                let took = start.elapsed();
                ensure!(machine.totals().events == corpus::EVENTS, "not every event was accepted");
                Ok((corpus::EVENTS, took))
            })
        }),
        references: vec![(
            "RocksDB, the same rows in batches",
            Box::new(move |time| {
                passes(time, || {
                    if raw.exists() {
                        std::fs::remove_dir_all(&raw)?;
                    }
                    Ok((corpus::EVENTS, write(&open(&raw)?, &batches)?))
                })
            }),
        )],
    })
}

/// A store containing the corpus, flushed to disk.
pub struct Filled {
    db: Arc<StateDb>,
    reader: Reader,
}

impl Filled {
    /// Applies the corpus to a new store.
    pub fn new(scratch: &Path, entries: &[Entry]) -> Result<Self> {
        let (db, mut machine) = machine(&scratch.join("filled"))?;
        machine.apply(entries)?;
        machine.flush()?;
        Ok(Self { reader: Reader::new(Arc::clone(&db), GROUP, PARTITION), db })
    }

    /// Iterates over the first `events` event rows in commit order.
    fn walk_all(&self, events: u64) -> Result<(u64, Duration)> {
        let start = Instant::now();
        let view = self.db.view();
        let (from, to) = schema::partition_bounds(PARTITION);
        let mut rows = 0;
        for row in view.rising(Family::Data, &from, &to)? {
            black_box(row?);
            rows += 1;
            if rows == events {
                break;
            }
        }
        Ok((rows, start.elapsed()))
    }

    /// Returns the baseline for all cases that deliver events in commit order.
    pub fn walk_side(&self, events: u64) -> (&'static str, Side<'_>) {
        ("RocksDB, iterator over the rows", Box::new(move |time| passes(time, || self.walk_all(events))))
    }

    /// Returns the benchmark of reading `$all` in pages.
    pub fn read_all_case(&self) -> Case<'_> {
        let ours = move || {
            let (start, mut events, mut next) = (Instant::now(), 0, Some(Position::START));
            while let Some(from) = next {
                let page = self.reader.read_all(Some(from), Direction::Forward, PAGE)?;
                events += page.events.len() as u64;
                next = black_box(page).next;
            }
            ensure!(events == corpus::EVENTS, "{events} events were read");
            Ok((events, start.elapsed()))
        };
        Case {
            path: "read of $all, in pages".to_owned(),
            unit: "events",
            ours: Box::new(move |time| passes(time, ours)),
            references: vec![self.walk_side(corpus::EVENTS)],
        }
    }

    /// Returns the benchmark of reading every stream in pages.
    pub fn read_streams_case(&self) -> Result<Case<'_>> {
        let names = (0..corpus::STREAMS).map(corpus::stream).collect::<Result<Vec<_>, _>>()?;
        let ours = move || {
            let (start, mut events) = (Instant::now(), 0);
            for name in &names {
                let mut next = Some(Revision::default());
                while let Some(from) = next {
                    let page = self.reader.read_stream(name, Some(from), Direction::Forward, PAGE)?;
                    events += page.events.len() as u64;
                    next = black_box(page).next;
                }
            }
            ensure!(events == corpus::EVENTS, "{events} events were read");
            Ok((events, start.elapsed()))
        };
        Ok(Case {
            path: "read of a stream, in pages".to_owned(),
            unit: "events",
            ours: Box::new(move |time| passes(time, &ours)),
            references: vec![(
                "RocksDB, iterator over the stream's keys, a get for each",
                Box::new(move |time| passes(time, || self.walk_streams())),
            )],
        })
    }

    fn walk_streams(&self) -> Result<(u64, Duration)> {
        let (start, mut rows) = (Instant::now(), 0);
        for no in 1..=corpus::STREAMS {
            let view = self.db.view();
            let (from, to) = schema::stream_bounds(PARTITION, StreamNo::new(no));
            for row in view.rising(Family::Stream, &from, &to)? {
                let first = codec::decode_append_row(&row?.1)?.first_position;
                black_box(view.get(Family::Data, &schema::data(PARTITION, first))?.context("a block is missing")?);
                rows += 1;
            }
        }
        ensure!(rows == corpus::EVENTS, "{rows} rows were walked");
        Ok((rows, start.elapsed()))
    }
}
