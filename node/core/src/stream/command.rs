//! Commands of a store's log, and the versions of the rules that apply them.

use crate::append::Append;

/// Newest rules that this version knows. Old rules stay known; the number in force rises by a logged command.
pub const RULES: u32 = 1;
/// Rules that every partition begins under, whichever version creates it: the effect of an entry must follow from the
/// log alone, and the replicas of one log may be created by different versions.
pub(super) const FIRST_RULES: u32 = 1;

/// One append with the proposer's clock, microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The append.
    pub append: Append,
    /// Clock of the proposer. The larger of the stamp and the last recorded time is stored.
    pub stamp_us: u64,
}

/// A command of a store's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Rules that the command was proposed under.
    pub rules: u32,
    /// Kind of the command.
    pub kind: Kind,
}

/// Kinds of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Appends of several clients, in order, each all or nothing.
    Appends(Vec<Stamped>),
    /// Changes settings that outcomes depend on; proposed by the coordinator.
    Settings {
        /// How long repeats are recognised, microseconds.
        repeat_window_us: u64,
        /// True to refuse all new appends.
        closed: bool,
    },
    /// Puts these rules, which every member's binary knows, in force from here on. Never lowers them.
    RaiseRules(u32),
}
