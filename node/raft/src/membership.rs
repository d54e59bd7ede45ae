//! [`Change`]: classifies membership entries. A change of voters takes two entries (joint, uniform), every other change
//! a single entry.

use super::types::{Host, Membership};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Kind of a membership entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Majorities of both the old and the new voters decide.
    Joint,
    /// A majority of the new voters decides.
    Uniform,
    /// Adds learners and keeps the voters.
    Learners,
    /// Removes learners and adds none.
    Removal,
    /// Changes neither voters nor learners.
    Same,
}

impl Change {
    /// Classifies the first entry of a change to `voters` and `learners`.
    pub(super) fn to(from: &Membership, voters: &BTreeSet<u64>, learners: &BTreeMap<u64, Host>) -> Self {
        let is: BTreeSet<u64> = from.learner_ids().collect();
        match from.get_joint_config().as_slice() {
            [now] if now != voters => Self::Joint,
            [_, _, ..] => Self::Uniform,
            _ if learners.keys().any(|id| !is.contains(id)) => Self::Learners,
            _ if is.iter().any(|id| !learners.contains_key(id)) => Self::Removal,
            _ => Self::Same,
        }
    }

    /// Classifies the entry that replaced membership `from` with `to`.
    pub(super) fn between(from: &Membership, to: &Membership) -> Self {
        let nodes = |m: &Membership| m.nodes().map(|(id, _)| *id).collect::<BTreeSet<u64>>();
        let (before, after) = (nodes(from), nodes(to));
        match (from.get_joint_config().len() > 1, to.get_joint_config().len() > 1) {
            (_, true) => Self::Joint,
            (true, false) => Self::Uniform,
            (false, false) if !after.is_subset(&before) => Self::Learners,
            (false, false) if !before.is_subset(&after) => Self::Removal,
            (false, false) => Self::Same,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joint => "joint",
            Self::Uniform => "uniform",
            Self::Learners => "learners",
            Self::Removal => "removal",
            Self::Same => "same",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::ids::NodeId;

    fn membership(configs: &[&[u64]], learners: &[u64]) -> Membership {
        let configs: Vec<BTreeSet<u64>> = configs.iter().map(|c| c.iter().copied().collect()).collect();
        let all = configs.iter().flatten().chain(learners).copied();
        let nodes: BTreeMap<u64, Host> = all.map(|id| (id, Host(NodeId::new(id)))).collect();
        Membership::new(configs, nodes).unwrap()
    }

    #[test]
    fn each_entry_of_a_growing_and_shrinking_group_has_a_name() {
        let steps = [
            (membership(&[&[1]], &[]), Change::Same),
            (membership(&[&[1]], &[2, 3]), Change::Learners),
            (membership(&[&[1], &[1, 2, 3]], &[]), Change::Joint),
            (membership(&[&[1, 2, 3]], &[]), Change::Uniform),
            (membership(&[&[1, 2, 3]], &[4]), Change::Learners),
            (membership(&[&[1, 2, 3]], &[]), Change::Removal),
        ];
        for pair in steps.windows(2) {
            assert_eq!(Change::between(&pair[0].0, &pair[1].0), pair[1].1);
        }
    }

    #[test]
    fn what_is_to_be_written_has_the_name_of_what_is_written() {
        let hosts = |ids: &[u64]| ids.iter().map(|id| (*id, Host(NodeId::new(*id)))).collect();
        let one = membership(&[&[1]], &[2]);
        assert_eq!(Change::to(&one, &[1].into(), &hosts(&[2, 3])), Change::Learners);
        assert_eq!(Change::to(&one, &[1].into(), &hosts(&[])), Change::Removal);
        assert_eq!(Change::to(&one, &[1, 2].into(), &hosts(&[])), Change::Joint);
        assert_eq!(Change::to(&one, &[1].into(), &hosts(&[2])), Change::Same);
        let joint = membership(&[&[1], &[1, 2]], &[]);
        assert_eq!(Change::to(&joint, &[1, 2].into(), &hosts(&[])), Change::Uniform);
    }
}
