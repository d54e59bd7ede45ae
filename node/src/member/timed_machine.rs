//! A wrapper for state machines with a measurement of the time of each applied batch. The clock is outside the state
//! machine, because the applied state must depend only on the entries.

use prometheus::Histogram;
use std::sync::Arc;
use taffrail_core::{ids::Digest, plan::Lineage};
use taffrail_proto::peer::CatchUpChunk;
use taffrail_raft::{
    log::LogKey,
    machine::{CatchUpPoint, DetachedFlush, Machine, MachineError},
    types::{Entry, LogId, Reply, StoredMembership},
};
use taffrail_store_api::Applied;

/// Wraps the state machine of each replica of a node before the replica starts. Production measures the machines; a
/// simulation compares the machines of all nodes.
pub type WrapMachine = Arc<dyn Fn(LogKey, Box<dyn Machine>) -> Box<dyn Machine> + Send + Sync>;

/// Returns a wrapper that measures each applied batch in `apply_seconds`.
#[must_use]
pub fn timed(apply_seconds: Histogram) -> WrapMachine {
    Arc::new(move |_, machine| Box::new(Timed::new(machine, apply_seconds.clone())))
}

/// A state machine that observes the time of each applied batch in a histogram, in seconds.
pub struct Timed {
    machine: Box<dyn Machine>,
    apply_seconds: Histogram,
}

impl Timed {
    /// Wraps `machine`; each applied batch adds a sample to `apply_seconds`.
    #[must_use]
    pub fn new(machine: Box<dyn Machine>, apply_seconds: Histogram) -> Self {
        Self { machine, apply_seconds }
    }
}

impl Machine for Timed {
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        let timer = self.apply_seconds.start_timer();
        let replies = self.machine.apply(entries)?;
        timer.observe_duration();
        Ok(replies)
    }
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        self.machine.applied()
    }
    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        self.machine.persisted()
    }
    fn flush(&mut self) -> Result<(), MachineError> {
        self.machine.flush()
    }
    fn detached_flush(&self) -> Option<DetachedFlush> {
        self.machine.detached_flush()
    }
    fn progress(&self) -> Applied {
        self.machine.progress()
    }
    fn digest(&self) -> Digest {
        self.machine.digest()
    }
    fn copied_from(&self) -> Option<Lineage> {
        self.machine.copied_from()
    }
    fn catch_up_point(&self) -> CatchUpPoint {
        self.machine.catch_up_point()
    }
    fn must_refill(&self) -> bool {
        self.machine.must_refill()
    }
    fn begin_install(&mut self) -> Result<(), MachineError> {
        self.machine.begin_install()
    }
    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        self.machine.install(chunk)
    }
    fn finish_install(&mut self) -> Result<(), MachineError> {
        self.machine.finish_install()
    }
    fn abort_install(&mut self) -> Result<(), MachineError> {
        self.machine.abort_install()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::HistogramOpts;
    use taffrail_raft::types::{LeaderId, Payload};
    use taffrail_storage::{
        catalogue::catalogue_machine::CatalogueMachine,
        store::state_db::{Medium, StateDb},
    };
    use tokio::sync::watch;

    #[test]
    fn each_batch_is_timed_once() {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap());
        let machine = CatalogueMachine::open(Arc::clone(&db), Arc::new(watch::channel(Arc::default()).0)).unwrap();
        let seconds = Histogram::with_opts(HistogramOpts::new("apply_seconds", "Batches.")).unwrap();
        let mut timed = Timed::new(Box::new(machine), seconds.clone());
        let blank = |index| Entry {
            log_id: LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index },
            payload: Payload::Blank,
        };
        timed.apply(&[blank(0), blank(1)]).unwrap();
        timed.apply(&[blank(2)]).unwrap();
        assert_eq!(seconds.get_sample_count(), 2);
        assert_eq!(timed.progress().index, 2);
        assert!(db.figures().memtable_bytes > 0, "the database counts the bytes of memtables");
        timed.flush().unwrap();
        assert!(db.figures().live_bytes > 0);
    }
}
