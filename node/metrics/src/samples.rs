//! Gauges that are set from samples: [`StoreGauges`] from one [`StoreSample`] per replica, [`StateGauges`] from a
//! [`StateSample`].

use crate::{registrar::Registrar, store_labels::StoreLabels};
use prometheus::{IntGauge, IntGaugeVec};
use taffrail_store_api::StoreTotals;

/// Observed state of one local replica.
#[derive(Clone, Debug, Default)]
pub struct StoreSample {
    /// `namespace/name`; `system` for the system group.
    pub store: String,
    /// Counters of the store, as applied by this replica.
    pub totals: StoreTotals,
    /// True while this replica leads.
    pub leads: bool,
    /// Current term.
    pub term: u64,
    /// Highest log index that this replica knows to be committed.
    pub committed: u64,
    /// Highest log index that this replica has applied.
    pub applied: u64,
    /// Leader: a majority answers. Follower: a leader is known.
    pub quorum: bool,
    /// Leader: log entries that the slowest replica lacks.
    pub worst_lag: u64,
}

/// Size of the state database in bytes, over all column families.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateSample {
    /// Live data in files.
    pub live_bytes: u64,
    /// Data in memory that is not flushed to a file yet.
    pub memtable_bytes: u64,
    /// Data that compaction has to rewrite.
    pub pending_compaction_bytes: u64,
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
    groups: IntGauge,
    coordinator: IntGauge,
}

impl StoreGauges {
    pub(crate) fn register(r: &Registrar) -> Result<Self, prometheus::Error> {
        Ok(Self {
            events: r.store_gauges("store_events", "Events stored, as applied here.")?,
            last_position: r.store_gauges("store_last_position", "Last position, as applied here.")?,
            leader: r.store_gauges("store_leader", "1 while the replica here leads.")?,
            term: r.store_gauges("store_term", "Raft term.")?,
            commit_index: r.store_gauges("store_commit_index", "Committed log index, as known here.")?,
            applied_index: r.store_gauges("store_applied_index", "Applied log index.")?,
            quorum: r
                .store_gauges("store_quorum", "1 while a majority answers (leader) or a leader is known (others).")?,
            lag: r.store_gauges("store_worst_lag", "Leader only: log entries that the slowest replica lacks.")?,
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
            live_bytes: r
                .gauge("state_bytes", "Live data of the state database, without what compaction will drop.")?,
            memtable_bytes: r.gauge("state_memtable_bytes", "State that is in memory and not flushed yet.")?,
            pending_compaction_bytes: r.gauge(
                "state_pending_compaction_bytes",
                "State that compaction has to rewrite, as RocksDB estimates.",
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
