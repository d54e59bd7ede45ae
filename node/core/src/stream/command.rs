//! Commands of a store's log, and the versions of the rules for their execution.

use crate::append::Append;

/// Number of the newest rules known to this version. All older rules stay known. A logged command
/// ([`Kind::RaiseRules`]) raises the rules in force.
pub const RULES: u32 = 1;
/// Number of the initial rules of every partition, independent of the version that creates the partition. The effect of
/// an entry must depend on the log alone, and different versions may create the replicas of the same log.
pub(super) const FIRST_RULES: u32 = 1;

/// An append with the clock of the proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Append to execute.
    pub append: Append,
    /// Clock of the proposer, Unix time in microseconds. The recorded time is the stamp or the time of the last event,
    /// the larger of the two.
    pub stamp_us: u64,
}

/// A command of a store's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Number of the rules in force for the proposer.
    pub rules: u32,
    /// Operation to execute.
    pub kind: Kind,
}

/// Settings of a store that influence outcomes. A command always carries all settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Version of the settings, from 1. A command whose version is not above the version in force changes nothing.
    pub version: u64,
    /// Window in which repeats are recognised, microseconds.
    pub repeat_window_us: u64,
    /// True to refuse all new appends.
    pub closed: bool,
}

/// Operations on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Executes appends of several clients, in order. Each append is stored whole or not at all.
    Appends(Vec<Stamped>),
    /// Changes the settings that influence outcomes; proposed by the coordinator.
    Settings(Settings),
    /// Puts newer rules in force for all later entries; never lowers the rules. Requires that the binaries of all
    /// members know the new rules.
    RaiseRules(u32),
}
