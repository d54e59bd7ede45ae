//! A replica with a database in a directory, crashes on demand, and logs generated from a seed.

use crate::store::{
    codec,
    reader::Reader,
    schema::{self, Family},
    state_db::{Medium, StateDb},
    store_machine::StoreMachine,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::{NewEvent, RecordedEvent},
    ids::{EventId, GroupId, NodeId, PartitionId, Revision},
    limits::REPEAT_WINDOW_US,
    names::{EventType, StreamName},
    stream::{Command as StoreCommand, Kind, RULES, Settings, Stamped},
};
use taffrail_raft::{
    machine::Machine,
    types::{Command, Entry, Host, LeaderId, LogId, Membership, Payload, Reply},
};
use taffrail_store_api::{Direction, PageBounds, StoreReader};
use tempfile::TempDir;
use uuid::Uuid;

pub(super) const GROUP: GroupId = GroupId::new(7);
pub(super) const PARTITION: PartitionId = PartitionId::new(0xff);

/// Content of a partition: family, key without partition and generation, value. Repeat rows that no longer count are left
/// out, because each replica removes these rows in its own time.
pub(super) type Dump = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// A replica; [`crash`](Self::crash) loses all unflushed writes.
pub(super) struct Replica {
    dir: TempDir,
    pub(super) db: Arc<StateDb>,
    pub(super) machine: StoreMachine,
}

impl Replica {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir);
        let machine = StoreMachine::open(Arc::clone(&db), GROUP, PARTITION).unwrap();
        Self { dir, db, machine }
    }

    /// Makes a replica with `log` applied and flushed.
    pub(super) fn with(log: &[Entry]) -> Self {
        let mut this = Self::new();
        this.machine.apply(log).unwrap();
        this.machine.flush().unwrap();
        this
    }

    /// Simulates the death of the process. Returns the replica as reopened from disk, or the reason why the replica
    /// does not open.
    pub(super) fn crash(self) -> Result<Self, crate::store::error::Error> {
        let Self { dir, db, machine } = self;
        drop(machine);
        drop(Arc::try_unwrap(db).map_err(|_| "shared").unwrap());
        let db = open(&dir);
        let machine = StoreMachine::open(Arc::clone(&db), GROUP, PARTITION)?;
        Ok(Self { dir, db, machine })
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.db), GROUP, PARTITION)
    }

    pub(super) fn events(&self) -> Vec<RecordedEvent> {
        let bounds = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };
        self.reader().read_all(None, Direction::Forward, bounds).unwrap().events
    }

    pub(super) fn applied(&self) -> Option<u64> {
        self.machine.applied().0.map(|id| id.index)
    }

    pub(super) fn dump(&self) -> Dump {
        let view = self.db.view();
        let mut out = Dump::new();
        let counters = self.db.get(Family::Meta, &schema::partition_meta(PARTITION)).unwrap();
        let floor = counters.as_deref().map_or(0, |row| codec::decode_partition(row).unwrap().repeat_floor);
        for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
            let (from, to) = schema::partition_bounds(PARTITION);
            let generations = Family::GENERATIONS.contains(&family);
            let prefix = if generations { schema::GENERATION_LEN } else { schema::PARTITION_LEN };
            for row in view.rising(family, &from, &to).unwrap() {
                let (key, value) = row.unwrap();
                if family == Family::Dedup && codec::decode_repeat(&value).unwrap().bucket < floor {
                    continue;
                }
                let twice = out.insert((family.name(), key[prefix..].to_vec()), value.into_vec());
                assert_eq!(twice, None, "the same row in two generations");
            }
        }
        out.extend(counters.map(|row| (("meta", Vec::new()), row.to_vec())));
        out
    }
}

pub(super) fn open(dir: &TempDir) -> Arc<StateDb> {
    Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap())
}

pub(super) fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

pub(super) fn entry(index: u64, kind: Kind) -> Entry {
    raw_entry(index, codec::encode_command(&StoreCommand { rules: RULES, kind }))
}

pub(super) fn raw_entry(index: u64, command: Bytes) -> Entry {
    Entry { log_id: log_id(index), payload: Payload::Normal(Command(command)) }
}

pub(super) fn membership(index: u64) -> Entry {
    let hosts: BTreeMap<u64, Host> = (1..=3).map(|r| (r, Host(NodeId::new(r)))).collect();
    let membership = Membership::new(vec![BTreeSet::from([1, 2])], hosts).unwrap();
    Entry { log_id: log_id(index), payload: Payload::Membership(membership) }
}

pub(super) fn event(id: u64, bytes: usize) -> NewEvent {
    NewEvent {
        id: EventId::new(Uuid::from_u128(id.into())),
        event_type: EventType::new("Placed").unwrap(),
        content_type: "application/json".into(),
        data: Bytes::from(vec![id.to_le_bytes()[0]; bytes]),
        metadata: Bytes::from_static(b"{}"),
        tags: vec!["a".into()],
        correlation_id: id.to_string(),
        causation_id: String::new(),
        occurred_at_us: None,
    }
}

pub(super) fn stamped(stream: &str, expected: ExpectedRevision, events: Vec<NewEvent>, stamp_us: u64) -> Stamped {
    Stamped { append: Append { stream: StreamName::new(stream).unwrap(), expected, events }, stamp_us }
}

/// A pseudo-random number generator; the log of a test follows from the seed.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) % end
    }
}

/// Generates the entries 0.. of a log: memberships, blanks, settings, and appends of all kinds with retries. An hour
/// passes every few dozen entries, so that buckets are dropped.
pub(super) fn log(seed: u64, entries: u64) -> Vec<Entry> {
    let mut n = Numbers(seed);
    let (mut sent, mut next_id, mut now) = (Vec::<Stamped>::new(), seed << 32, 1_700_000_000_000_000);
    let mut out = vec![membership(0)];
    for index in 1..entries {
        now += n.below(REPEAT_WINDOW_US / 4);
        out.push(match n.below(20) {
            0 => Entry { log_id: log_id(index), payload: Payload::Blank },
            1 => membership(index),
            2 => {
                let repeat_window_us = REPEAT_WINDOW_US * (1 + n.below(4));
                entry(index, Kind::Settings(Settings { version: index, repeat_window_us, closed: false }))
            }
            _ => {
                let appends = (0..=n.below(3)).map(|_| {
                    if !sent.is_empty() && n.below(5) == 0 {
                        let which = usize::try_from(n.below(sent.len() as u64)).unwrap();
                        return Stamped { stamp_us: now, ..sent[which].clone() };
                    }
                    let stream = ["orders-1", "orders-2", "users", "$settings"][usize::try_from(n.below(4)).unwrap()];
                    let expected = match n.below(6) {
                        0 => ExpectedRevision::NoStream,
                        1 => ExpectedRevision::StreamExists,
                        2 => ExpectedRevision::Exact(Revision::new(n.below(30)).unwrap()),
                        _ => ExpectedRevision::Any,
                    };
                    let events = (0..=n.below(4)).map(|_| {
                        next_id += 1;
                        event(next_id, usize::try_from(n.below(200)).unwrap())
                    });
                    let append = stamped(stream, expected, events.collect(), now);
                    sent.push(append.clone());
                    append
                });
                entry(index, Kind::Appends(appends.collect()))
            }
        });
    }
    out
}

pub(super) fn apply_in_slices(machine: &mut StoreMachine, log: &[Entry], size: usize) -> Vec<Reply> {
    log.chunks(size).flat_map(|slice| machine.apply(slice).unwrap()).collect()
}
