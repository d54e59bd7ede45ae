//! Gauges set from samples: [`StoreGauges`] from the [`StoreSample`] of each replica, and [`StateGauges`] from the
//! [`StateSample`] of the node.

use crate::{registrar::Registrar, store_labels::StoreLabels};
use prometheus::{IntGauge, IntGaugeVec};
use taffrail_store_api::StoreTotals;

/// Observed state of a local replica.
#[derive(Clone, Debug, Default)]
pub struct StoreSample {
    /// `namespace/name`; `system` for the system group.
    pub store: String,
    /// Counters of the store, as applied by this replica.
    pub totals: StoreTotals,
    /// True while this replica leads.
    pub leads: bool,
    /// Current Raft term.
    pub term: u64,
    /// Highest log index known to be committed.
    pub committed: u64,
    /// Highest applied log index.
    pub applied: u64,
    /// Leader: a majority answers. Follower: a leader is known.
    pub quorum: bool,
    /// Leader: number of log entries missing on the slowest replica.
    pub worst_lag: u64,
    /// Advance of the last recorded time over the clock of the node, in whole seconds.
    pub recorded_ahead_seconds: u64,
}

/// Size of the state database in bytes, over all column families.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateSample {
    /// Live data in files, as estimated by RocksDB.
    pub live_bytes: u64,
    /// Data in memory, not flushed to a file yet.
    pub memtable_bytes: u64,
    /// Data to be rewritten by compaction.
    pub pending_compaction_bytes: u64,
}

/// Room on the disk of the node.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskSample {
    /// Size of the file system of the data directory, in bytes.
    pub total_bytes: u64,
    /// Bytes that the node may still write.
    pub free_bytes: u64,
    /// True while the node refuses appends because the disk is nearly full.
    pub low: bool,
}

/// Gauges of the disk.
pub(crate) struct DiskGauges {
    total_bytes: IntGauge,
    free_bytes: IntGauge,
    low: IntGauge,
}

impl DiskGauges {
    pub(crate) fn register(r: &Registrar) -> Result<Self, prometheus::Error> {
        Ok(Self {
            total_bytes: r.gauge("disk_total_bytes", "Size of the file system of the data directory, in bytes.")?,
            free_bytes: r.gauge("disk_free_bytes", "Bytes that the node may still write to the file system.")?,
            low: r.gauge("storage_low", "1 while the node refuses appends because the disk is nearly full.")?,
        })
    }

    pub(crate) fn set(&self, sample: &DiskSample) {
        self.total_bytes.set(signed(sample.total_bytes));
        self.free_bytes.set(signed(sample.free_bytes));
        self.low.set(sample.low.into());
    }
}

/// Gauges of the local replicas.
pub(crate) struct StoreGauges {
    events: IntGaugeVec,
    last_position: IntGaugeVec,
    leader: IntGaugeVec,
    term: IntGaugeVec,
    commit_index: IntGaugeVec,
    applied_index: IntGaugeVec,
    quorum: IntGaugeVec,
    lag: IntGaugeVec,
    recorded_ahead: IntGaugeVec,
    groups: IntGauge,
    coordinator: IntGauge,
}

impl StoreGauges {
    pub(crate) fn register(r: &Registrar) -> Result<Self, prometheus::Error> {
        Ok(Self {
            events: r.store_gauges("store_events", "Events in the store, as applied by the replica of this node.")?,
            last_position: r
                .store_gauges("store_last_position", "Last position, as applied by the replica of this node.")?,
            leader: r.store_gauges("store_leader", "1 while the replica of this node leads.")?,
            term: r.store_gauges("store_term", "Current Raft term.")?,
            commit_index: r.store_gauges("store_commit_index", "Highest log index known to be committed.")?,
            applied_index: r.store_gauges("store_applied_index", "Highest applied log index.")?,
            quorum: r
                .store_gauges("store_quorum", "1 while a majority answers (leader) or a leader is known (follower).")?,
            lag: r.store_gauges("store_worst_lag", "Leader only: log entries missing on the slowest replica.")?,
            recorded_ahead: r.store_gauges(
                "store_recorded_ahead_seconds",
                "Advance of the last recorded time over the clock of this node. New events get the last recorded time.",
            )?,
            groups: r.gauge("groups", "Replicas of groups on this node.")?,
            coordinator: r.gauge("coordinator", "1 while this node leads the system group.")?,
        })
    }

    /// Sets the gauges of all local replicas. The series of replicas without a sample disappear.
    pub(crate) fn set(&self, coordinator: bool, samples: &[StoreSample], labels: &StoreLabels) {
        self.groups.set(i64::try_from(samples.len()).unwrap_or(i64::MAX));
        self.coordinator.set(coordinator.into());
        let all = [
            &self.events,
            &self.last_position,
            &self.leader,
            &self.term,
            &self.commit_index,
            &self.applied_index,
            &self.quorum,
            &self.lag,
            &self.recorded_ahead,
        ];
        all.iter().for_each(|g| g.reset());
        for s in samples {
            let label = labels.label(&s.store);
            let label = &[label.as_str()];
            self.events.with_label_values(label).set(signed(s.totals.events));
            self.last_position.with_label_values(label).set(signed(s.totals.last_position.get()));
            self.leader.with_label_values(label).set(s.leads.into());
            self.term.with_label_values(label).set(signed(s.term));
            self.commit_index.with_label_values(label).set(signed(s.committed));
            self.applied_index.with_label_values(label).set(signed(s.applied));
            self.quorum.with_label_values(label).set(s.quorum.into());
            self.recorded_ahead.with_label_values(label).set(signed(s.recorded_ahead_seconds));
            if s.leads {
                self.lag.with_label_values(label).set(signed(s.worst_lag));
            }
        }
    }
}

/// Gauges of the state database.
pub(crate) struct StateGauges {
    live_bytes: IntGauge,
    memtable_bytes: IntGauge,
    pending_compaction_bytes: IntGauge,
}

impl StateGauges {
    pub(crate) fn register(r: &Registrar) -> Result<Self, prometheus::Error> {
        Ok(Self {
            live_bytes: r.gauge(
                "state_bytes",
                "Bytes of live data in the files of the state database, without obsolete data.",
            )?,
            memtable_bytes: r.gauge("state_memtable_bytes", "Bytes of state in memory, not flushed to a file yet.")?,
            pending_compaction_bytes: r.gauge(
                "state_pending_compaction_bytes",
                "Bytes of state to be rewritten by compaction, as estimated by RocksDB.",
            )?,
        })
    }

    pub(crate) fn set(&self, sample: &StateSample) {
        self.live_bytes.set(signed(sample.live_bytes));
        self.memtable_bytes.set(signed(sample.memtable_bytes));
        self.pending_compaction_bytes.set(signed(sample.pending_compaction_bytes));
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
