//! [`Diverged`]: replicas whose state differs from the states of the other replicas on purpose.
//!
//! A diverged replica gives wrong answers until it is fenced or refilled, and no check could tell these answers from the answers
//! of a defective node. The network therefore carries no call of a client to the host of a diverged replica.

use crate::lock::lock;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use taffrail_core::ids::{NodeId, ReplicaId};
use taffrail_raft::log::LogKey;

/// Diverged replicas of a run.
#[derive(Default)]
pub struct Diverged {
    /// Replica about to skip the next command.
    wanted: Mutex<Option<LogKey>>,
    /// Diverged replicas and their hosts.
    replicas: Mutex<BTreeMap<LogKey, NodeId>>,
    /// True after the first divergence of the run.
    any: AtomicBool,
    /// True once the hosts of diverged replicas answer clients again.
    answering: AtomicBool,
}

impl Diverged {
    /// Lets a replica skip the next command.
    pub fn want(&self, key: LogKey) {
        *lock(&self.wanted) = Some(key);
    }

    /// True for a replica about to skip the next command.
    pub(crate) fn is_wanted(&self, key: LogKey) -> bool {
        *lock(&self.wanted) == Some(key)
    }

    /// True while a replica is about to skip a command.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        lock(&self.wanted).is_some()
    }

    /// Cancels the request of [`want`](Self::want); false when the replica has diverged already.
    pub fn cancel(&self) -> bool {
        lock(&self.wanted).take().is_some()
    }

    /// Records a replica on a host with another state than the group.
    pub(crate) fn begin(&self, key: LogKey, host: NodeId) {
        *lock(&self.wanted) = None;
        lock(&self.replicas).insert(key, host);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Records that a replica on a host has taken over the state of another replica of the group.
    pub(crate) fn copied(&self, key: LogKey, host: NodeId, source: Option<ReplicaId>) {
        if source.is_some_and(|replica| self.contains(LogKey { replica, ..key })) {
            self.begin(key, host);
        } else {
            self.end(key);
        }
    }

    /// Records the end of a replica's state.
    pub(crate) fn end(&self, key: LogKey) {
        lock(&self.replicas).remove(&key);
    }

    /// Records the end of all states on the disk of a host.
    pub(crate) fn end_on(&self, host: NodeId) {
        lock(&self.replicas).retain(|_, at| *at != host);
    }

    /// True for a replica with another state than the group.
    #[must_use]
    pub fn contains(&self, key: LogKey) -> bool {
        lock(&self.replicas).contains_key(&key)
    }

    /// Lets the hosts of diverged replicas answer clients again, for checks of other stores.
    pub fn let_hosts_answer(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// True for the host of a diverged replica, until [`let_hosts_answer`](Self::let_hosts_answer).
    #[must_use]
    pub fn is_host(&self, host: NodeId) -> bool {
        self.any() && !self.answering.load(Ordering::Relaxed) && lock(&self.replicas).values().any(|at| *at == host)
    }

    /// True once a replica has diverged in the run.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// True while a replica differs from the group.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !lock(&self.replicas).is_empty()
    }
}
