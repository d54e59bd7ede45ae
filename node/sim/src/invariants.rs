//! [`Invariants`]: conditions for every moment of a run, checked at each event.
//!
//! - All replicas apply the same entry at an index, and have the same digest after the entry.
//! - A granted vote is synced and survives a crash.
//! - A replica id of a group is used once.
//! - An acknowledged append is on the disks of a majority. [`crate::clients`] checks this condition.

use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::ids::{Digest, GroupId, NodeId, Position, ReplicaId};
use taffrail_raft::{
    log::LogKey,
    types::{LogId, Vote},
};

/// Sets of voters of a membership; two sets in a joint membership.
pub type Voters = Vec<BTreeSet<u64>>;

/// Kinds of a change of an applied membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipChange {
    /// True for the end of a joint membership by another leader than the leader that began the joint membership.
    pub ended_by_another_leader: bool,
    /// True for a replacement of voters by as many other voters.
    pub is_move: bool,
}

/// Record of a run. Each event is checked against the record.
#[derive(Default)]
pub struct Invariants {
    leaders: BTreeSet<(u64, ReplicaId)>,
    chosen: BTreeMap<(GroupId, u64), (LogId, u32)>,
    digests: BTreeMap<(GroupId, u64), Digest>,
    persisted: BTreeMap<ReplicaId, u64>,
    votes: BTreeMap<ReplicaId, Vote>,
    entry_of: BTreeMap<(GroupId, Position), LogId>,
    memberships: BTreeMap<GroupId, BTreeMap<u64, (LogId, Voters)>>,
    created: BTreeMap<LogKey, (NodeId, u64)>,
}

impl Invariants {
    /// Records that a replica leads a term; true for the first record. Several replicas may lead the same term in sequence:
    /// votes and log ids are ordered by term and replica.
    pub fn leads(&mut self, term: u64, replica: ReplicaId) -> bool {
        self.leaders.insert((term, replica))
    }

    /// Records an entry applied by a replica.
    ///
    /// # Errors
    /// When another replica has applied another entry at the same index.
    pub fn applied(&mut self, LogKey { group, replica }: LogKey, id: LogId, content: u32) -> Result<(), String> {
        match self.chosen.entry((group, id.index)).or_insert((id, content)) {
            (i, c) if *i == id && *c == content => Ok(()),
            (i, c) => {
                Err(format!("replica {replica} of group {group} applied {id} ({content:08x}), another {i} ({c:08x})"))
            }
        }
    }

    /// Records the digest of a replica after an index.
    ///
    /// # Errors
    /// When another replica has another digest after the same index.
    pub fn digest(&mut self, LogKey { group, replica }: LogKey, index: u64, digest: Digest) -> Result<(), String> {
        if *self.digests.entry((group, index)).or_insert(digest) == digest {
            return Ok(());
        }
        Err(format!("replica {replica} has another digest than others after entry {index}"))
    }

    /// Records the creation of a replica on the disk of a host, with the number of the disk.
    ///
    /// # Errors
    /// When a replica with the same id was created on another disk before: the new replica has forgotten
    /// the votes of the earlier replica.
    pub fn created(&mut self, key: LogKey, host: NodeId, disk: u64) -> Result<(), String> {
        let (first, first_disk) = *self.created.entry(key).or_insert((host, disk));
        if (first, first_disk) == (host, disk) {
            return Ok(());
        }
        let LogKey { group, replica } = key;
        Err(format!(
            "replica {replica} of group {group} is created on disk {disk} of n{host}, but was on disk {first_disk} of n{first}"
        ))
    }

    /// Records a synced vote of a replica.
    pub fn voted(&mut self, replica: ReplicaId, vote: Vote) {
        self.votes.insert(replica, vote);
    }

    /// Checks a vote granted by a replica.
    ///
    /// # Errors
    /// When the vote would not survive a crash.
    pub fn granted(&self, replica: ReplicaId, vote: Vote) -> Result<(), String> {
        match self.votes.get(&replica) {
            Some(synced) if *synced >= vote => Ok(()),
            synced => Err(format!("r{replica} granted vote {vote}, but only {synced:?} is synced")),
        }
    }

    /// Records the log entry of an append, by the last position of the append.
    pub fn placed(&mut self, group: GroupId, last: Position, id: LogId) {
        self.entry_of.insert((group, last), id);
    }

    /// Records an applied membership of a group: the set of voters, or both sets of a joint membership. Returns the kinds of the
    /// change at the first record of an index. All other replicas of the group apply the same entry later.
    pub fn membership(&mut self, group: GroupId, id: LogId, voters: Voters) -> MembershipChange {
        let of_group = self.memberships.entry(group).or_default();
        let change = change_of(of_group, id, &voters);
        let known = of_group.insert(id.index, (id, voters)).is_some();
        if known { MembershipChange::default() } else { change }
    }

    /// The last applied membership of a group, with its index.
    #[must_use]
    pub fn last_membership(&self, group: GroupId) -> Option<(u64, &Voters)> {
        self.memberships.get(&group)?.last_key_value().map(|(index, (_, voters))| (*index, voters))
    }

    /// Records the first log index that is missing in the flushed state of a replica.
    pub fn persisted(&mut self, replica: ReplicaId, next_index: u64) {
        self.persisted.insert(replica, next_index);
    }

    /// Index of the first entry to apply again after a crash of the replica.
    #[must_use]
    pub fn persisted_next(&self, replica: ReplicaId) -> u64 {
        self.persisted.get(&replica).copied().unwrap_or(0)
    }

    /// The log entry of an acknowledged append, by the last position of the append.
    #[must_use]
    pub fn entry(&self, group: GroupId, last: Position) -> Option<LogId> {
        self.entry_of.get(&(group, last)).copied()
    }
}

/// The kinds of the change from the memberships before `id` to the membership `voters`. A joint membership begins a change and
/// has no kind.
fn change_of(memberships: &BTreeMap<u64, (LogId, Voters)>, id: LogId, voters: &Voters) -> MembershipChange {
    let [voters] = voters.as_slice() else { return MembershipChange::default() };
    let earlier = || memberships.range(..id.index).rev().map(|(_, earlier)| earlier);
    let joint = earlier().next().filter(|(_, sets)| sets.len() > 1);
    let uniform = earlier().find_map(|(_, sets)| match sets.as_slice() {
        [before] => Some(before),
        _ => None,
    });
    MembershipChange {
        ended_by_another_leader: joint.is_some_and(|(began, _)| began.leader_id != id.leader_id),
        is_move: uniform.is_some_and(|before| before != voters && before.len() == voters.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_raft::types::LeaderId;

    const GROUP: GroupId = GroupId::new(2);

    fn id(term: u64, leader: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId { term, node_id: leader }, index }
    }

    fn sets<const N: usize>(sets: [[u64; 3]; N]) -> Voters {
        sets.map(BTreeSet::from).into()
    }

    #[test]
    fn a_move_and_an_end_by_another_leader_count_once() {
        let (old, new) = ([1, 2, 3], [1, 2, 4]);
        let mut invariants = Invariants::default();
        let mut add = |id, voters| invariants.membership(GROUP, id, voters);
        let none = MembershipChange::default();
        assert_eq!(add(id(0, 0, 0), sets([old])), none);
        assert_eq!(add(id(1, 1, 5), sets([old, new])), none);
        let both = MembershipChange { ended_by_another_leader: true, is_move: true };
        assert_eq!(add(id(2, 2, 8), sets([new])), both);
        assert_eq!(add(id(2, 2, 8), sets([new])), none, "another replica applies the same entry");
        assert_eq!(add(id(2, 2, 9), sets([new, old])), none);
        assert_eq!(add(id(2, 2, 10), sets([old])), MembershipChange { is_move: true, ..none });
        assert_eq!(add(id(3, 1, 11), sets([old])), none, "a change of the learners alone");
        assert_eq!(invariants.last_membership(GROUP), Some((11, &sets([old]))));
    }

    #[test]
    fn a_joint_change_back_to_the_older_voters_is_no_move() {
        let (old, new) = ([1, 2, 3], [1, 2, 4]);
        let mut invariants = Invariants::default();
        invariants.membership(GROUP, id(0, 0, 0), sets([old]));
        invariants.membership(GROUP, id(1, 1, 5), sets([old, new]));
        let change = invariants.membership(GROUP, id(1, 2, 6), sets([old]));
        assert_eq!(change, MembershipChange { ended_by_another_leader: true, is_move: false });
    }
}
