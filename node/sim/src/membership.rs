//! Moves replicas between nodes in the steps of a coordinator. Each step starts from the observed state, and is
//! repeated until the step is done:
//!
//! 1. Create a replica on the spare node.
//! 2. Add the replica as a learner, and wait until the learner has caught up.
//! 3. Swap the replica for an old voter in a joint change.
//! 4. Remove the old replica under a tombstone.

use crate::{
    host::{Hosted, Hosts, first_members},
    lock::lock,
    trace,
    world::{NODES, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use taffrail_core::ids::{NodeId, ReplicaId};
use taffrail_raft::status::Status;
use tokio::time::Instant;

/// Largest lag of a new voter, in entries.
const LAG_MAX: u64 = 20;

/// A move of a replica: the new replica takes the place of the old replica.
#[derive(Clone, Copy, Debug)]
struct Move {
    new: (ReplicaId, NodeId),
    old: (ReplicaId, NodeId),
}

/// Moves replicas until the time is over, and finishes the last move. Replica ids are never reused.
pub async fn run(world: Arc<World>, hosts: Arc<Hosts>, until: Instant) {
    lock(&world.invariants).roster = first_members();
    create(&world, &hosts).await;
    let mut next = ReplicaId::new(crate::world::VOTERS + 1);
    loop {
        world.pause(100, 2500).await;
        if Instant::now() >= until {
            return;
        }
        let Some(planned) = plan(&world, next) else { continue };
        next = ReplicaId::new(next.get() + 1);
        trace!(world, "move {planned:?}");
        carry_out(&world, &hosts, planned).await;
        world.count("moves");
        trace!(world, "moved {planned:?}");
    }
}

/// The first replicas of the group.
async fn create(world: &Arc<World>, hosts: &Arc<Hosts>) {
    for (replica, node) in first_members() {
        make(world, hosts, replica, node).await;
    }
}

async fn make(world: &Arc<World>, hosts: &Arc<Hosts>, replica: ReplicaId, node: NodeId) {
    loop {
        let making = hosts.get(node).and_then(|h| h.make(replica));
        if let Some(making) = making
            && matches!(making.await, Ok(Ok(())))
        {
            return;
        }
        world.pause(20, 100).await;
    }
}

/// Fences a replica; the group continues with the other voters until the new replica votes.
async fn fence(world: &Arc<World>, hosts: &Arc<Hosts>, replica: ReplicaId, node: NodeId) {
    loop {
        let fencing = hosts.get(node).and_then(|h| h.fence(replica));
        if let Some(fencing) = fencing
            && matches!(fencing.await, Ok(Ok(())))
        {
            world.count("fences");
            return;
        }
        world.pause(20, 100).await;
    }
}

/// Plans a move from a random member to the spare node.
fn plan(world: &World, new: ReplicaId) -> Option<Move> {
    let roster = lock(&world.invariants).roster.clone();
    let taken: BTreeSet<NodeId> = roster.values().copied().collect();
    let spare = (1..=NODES).map(NodeId::new).find(|n| !taken.contains(n))?;
    let which = usize::try_from(world.below(roster.len() as u64)).ok()?;
    let (replica, node) = roster.into_iter().nth(which)?;
    Some(Move { new: (new, spare), old: (replica, node) })
}

async fn carry_out(world: &Arc<World>, hosts: &Arc<Hosts>, planned: Move) {
    if world.options.fences && world.chance(500) {
        fence(world, hosts, planned.old.0, planned.old.1).await;
    }
    make(world, hosts, planned.new.0, planned.new.1).await;
    while !step(world, hosts, planned).await {
        world.pause(20, 200).await;
    }
    {
        let mut invariants = lock(&world.invariants);
        invariants.roster.remove(&planned.old.0);
        invariants.roster.insert(planned.new.0, planned.new.1);
    }
    loop {
        let removing = hosts.get(planned.old.1).and_then(|h| h.remove(planned.old.0));
        if let Some(removing) = removing
            && matches!(removing.await, Ok(Ok(())))
        {
            return;
        }
        world.pause(20, 100).await;
    }
}

/// Observes the group and makes at most one change; true when the committed membership has the new replica and not the old.
async fn step(world: &Arc<World>, hosts: &Arc<Hosts>, planned: Move) -> bool {
    let (new, old) = (planned.new.0.get(), planned.old.0.get());
    let Some((host, leader)) = hosts.leader() else { return false };
    let status = leader.group.status();
    let membership = status.membership.membership();
    let set_at = status.membership.log_id().map_or(0, |id| id.index);
    if set_at > status.committed {
        return false;
    }
    let configs = membership.get_joint_config();
    let voters: BTreeSet<u64> = configs.last().cloned().unwrap_or_default();
    let known = membership.get_node(&new).is_some();
    let left = membership.get_node(&old).is_none();
    if configs.len() == 1 && voters.contains(&new) && left {
        return true;
    }
    let change = if configs.len() > 1 {
        // The leader of the change was lost before the change ended.
        world.count("joint changes ended by another leader");
        (voters, BTreeMap::new())
    } else if !known {
        (voters, BTreeMap::from([planned.new]))
    } else if voters.contains(&new) {
        // The old replica no longer votes but is still a member.
        (voters, BTreeMap::new())
    } else if caught_up(&status, new) {
        (voters.into_iter().filter(|v| *v != old).chain([new]).collect(), BTreeMap::new())
    } else {
        return false;
    };
    change_membership(world, &host, leader, status, change).await;
    false
}

fn caught_up(status: &Status, replica: u64) -> bool {
    status.matched.get(&replica).is_some_and(|matched| matched + LAG_MAX >= status.committed)
}

async fn change_membership(
    world: &Arc<World>,
    host: &crate::host::Host,
    leader: Arc<Hosted>,
    seen: Status,
    (voters, learners): (BTreeSet<u64>, BTreeMap<ReplicaId, NodeId>),
) {
    let Some(running) = host.running() else { return };
    trace!(world, "change to {voters:?} with {learners:?}");
    let deadline = Instant::now() + world.ms(3000);
    let voters: BTreeSet<ReplicaId> = voters.into_iter().map(ReplicaId::new).collect();
    let expected = *seen.membership.log_id();
    let changing = running.scope.spawn(async move {
        leader.group.change_membership(expected, &voters, &learners, deadline).await.map_err(|e| e.to_string())
    });
    match changing.await {
        Ok(Ok(())) => trace!(world, "changed"),
        Ok(Err(why)) => trace!(world, "not changed: {why}"),
        Err(_) => trace!(world, "not changed: the leader crashed"),
    }
}
