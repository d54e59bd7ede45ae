//! Commands of a store's log, and the versions of the rules that apply them.

use crate::append::Append;

/// The rules that this version knows. Apply keeps old rules; the number rises by a logged command.
pub const RULES: u32 = 1;
/// The rules that every partition begins under, whatever version makes it: what an entry does must follow from the log
/// alone, and replicas of one log may be made by different versions.
pub const FIRST_RULES: u32 = 1;

/// One append with the proposer's clock, microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// What to append.
    pub append: Append,
    /// The proposer's clock; apply stores the larger of it and the last recorded time.
    pub stamp_us: u64,
}

/// A command of a store's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The rules it was proposed under.
    pub rules: u32,
    /// What it does.
    pub kind: Kind,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Appends of several clients, in order, each all or nothing.
    Appends(Vec<Stamped>),
    /// Changes what shapes outcomes; proposed by the coordinator.
    Settings {
        /// How long repeats are recognised, microseconds.
        repeat_window_us: u64,
        /// Refuse all new appends.
        closed: bool,
    },
    /// Every member's binary knows these rules: they are in force from here. Never lowers them.
    RaiseRules(u32),
}
