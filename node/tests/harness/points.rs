//! [`Points`]: the file in which all processes of a run count their writes to the log.
//!
//! - `catalogue-KIND-write`, `catalogue-KIND-written`: before and after a command for the catalogue, of any origin.
//! - `membership-CHANGE-write`, `membership-CHANGE-written`: before and after a change of a group's membership, at the
//!   group's leader. A change of voters is two writes; between them lies `membership-joint-written`.
//! - `replica-tombstone-written`, `replica-rows-deleted`: the two durable steps of the removal of a replica, before the
//!   third step marks the tombstone as cleared.
//! - `coordinator-change`, `coordinator-changed`: before and after the coordinator's request for a membership change
//!   or another leader, on any node.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

/// A planned death: the n-th arrival at a fault point.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) point: String,
    pub(crate) n: u64,
}

/// Arrivals by fault point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(BTreeMap<String, u64>);

impl Reached {
    pub(crate) fn of(&self, point: &str) -> u64 {
        self.0.get(point).copied().unwrap_or(0)
    }
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
    /// Each arrival at each point.
    pub(crate) fn all(&self) -> impl Iterator<Item = Fault> {
        self.0.iter().flat_map(|(point, last)| (1..=*last).map(|n| Fault { point: point.clone(), n }))
    }
    pub(crate) fn points(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, n) in &self.0 {
            write!(f, "{name} {n} ")?;
        }
        Ok(())
    }
}

/// The file with counts and the planned death.
#[derive(Clone, Debug)]
pub(crate) struct Points(PathBuf);

impl Points {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.join("points"))
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Resets the counts and plans the death at `fault`.
    pub(crate) fn arm(&self, fault: Option<&Fault>) {
        let armed = fault.map_or_else(|| "none".to_owned(), |fault| format!("{}:{}", fault.point, fault.n));
        // By a rename: a process that is counting at this moment writes to the file of the previous phase.
        let aside = self.0.with_extension("new");
        fs::write(&aside, format!("{armed}\n")).unwrap();
        fs::rename(&aside, &self.0).unwrap();
    }

    pub(crate) fn reached(&self) -> Reached {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let mut reached = Reached::default();
        for line in text.lines().skip(1) {
            *reached.0.entry(line.to_owned()).or_default() += 1;
        }
        reached
    }
}
