//! Faults of the media: writes and reads that fail, full disks, and damaged bytes in the events and in the log of a store.

use super::{host::Host, simulated::Cluster};
use crate::{lock::lock, trace};
use bytes::Bytes;
use std::{io, sync::Arc, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_raft::status::Status;
use taffrail_storage::store::{
    schema::{Family, partition_bounds},
    state_db::Batch,
};
use tokio::time::Instant;

/// Bytes at the start of a block without damage: a wrong format number is another failure than a wrong checksum.
const UNDAMAGED_BYTES: u64 = 1;
/// Blocks of a partition among which a damaged block is chosen.
const BLOCKS_MAX: usize = 64;

/// Lets all writes of a host fail for a moment.
pub fn fail_writes(cluster: &Cluster, host: NodeId) {
    fail(cluster, host, "failing disks", io::ErrorKind::Other, cluster.world.random_ms(1, 150));
}

/// Fills the disk of a host for a few seconds.
pub fn fill_disk(cluster: &Cluster, host: NodeId) {
    fail(cluster, host, "full disks", io::ErrorKind::StorageFull, cluster.world.random_ms(500, 4000));
}

fn fail(cluster: &Cluster, host: NodeId, what: &'static str, kind: io::ErrorKind, during: Duration) {
    let Some(host) = cluster.hosts.get(host) else { return };
    trace!(cluster.world, "{what} n{} {during:?}", host.number);
    cluster.world.count(what);
    host.log_disk.faults.fail_until(Instant::now() + during, kind);
}

/// Lets all reads of the logs on a host fail for a moment.
pub fn fail_reads(cluster: &Cluster, host: NodeId) {
    let Some(host) = cluster.hosts.get(host) else { return };
    let during = cluster.world.random_ms(1, 600);
    trace!(cluster.world, "failing reads n{} {during:?}", host.number);
    cluster.world.count("failing reads");
    host.log_disk.damage.fail_until(Instant::now() + during);
}

/// Damages an entry in the log of a voter for good, at most once per run: a node replaces a broken replica of a group at
/// most once within an hour.
pub fn damage_log(cluster: &Cluster, host: NodeId) {
    let world = &cluster.world;
    if cluster.is_endangered() || world.counted("damaged log entries") > 0 {
        return;
    }
    let Some((host, member)) = cluster.hosts.get(host).and_then(|h| Some((h, h.member()?))) else { return };
    let whole = |status: &Status| {
        let configs = status.membership.membership().get_joint_config();
        configs.len() == 1 && configs.iter().all(|voters| voters.len() >= 3)
    };
    let running = member.all_running();
    let fits = running.iter().map(|r| &r.group).find(|group| whole(&group.status()));
    let Some(key) = fits.map(|group| group.key()) else { return };
    let Some(index) = host.log_disk.damage_entry(key) else { return };
    trace!(world, "damage entry {index} in the log of r{} of group {} on n{}", key.replica, key.group, host.number);
    world.count("damaged log entries");
}

/// A damaged block of a host.
struct Damage {
    host: Arc<Host>,
    key: Vec<u8>,
    before: Bytes,
    after: Bytes,
}

/// Flips a bit of a random block of a store on a host, and restores the block after some time.
pub fn damage_block(cluster: &Arc<Cluster>, host: NodeId) {
    let Some(damage) = choose(cluster, host) else { return };
    let Some(db) = damage.host.db() else { return };
    let mut batch = Batch::default();
    batch.put(Family::Data, damage.key.clone(), damage.after.to_vec());
    if db.write(batch).is_err() {
        return;
    }
    trace!(cluster.world, "damage a block of {} bytes on n{host}", damage.before.len());
    cluster.world.count("damaged blocks");
    *lock(&cluster.damaged) += 1;
    let cluster = Arc::clone(cluster);
    let world = Arc::clone(&cluster.world);
    world.spawn(async move {
        cluster.world.pause(200, 4000).await;
        while !restore(&damage) {
            cluster.world.pause(20, 100).await;
        }
        trace!(cluster.world, "restore a block on n{}", damage.host.number);
        // Reads that began before the restoration may still end with an error.
        cluster.world.pause(2_000, 2_001).await;
        *lock(&cluster.damaged) -= 1;
    });
}

/// Chooses a block of a random store on a host, but not the last block, which a start of the replica reads.
fn choose(cluster: &Cluster, host: NodeId) -> Option<Damage> {
    let world = &cluster.world;
    let host = cluster.hosts.get(host)?;
    let (member, db) = (host.member()?, host.db()?);
    let running = member.all_running();
    let running = running.get(usize::try_from(world.below(running.len() as u64)).ok()?)?;
    let (from, to) = partition_bounds(running.partition);
    let view = db.view();
    let rows = view.rising(Family::Data, &from, &to).ok()?.take(BLOCKS_MAX).collect::<Result<Vec<_>, _>>().ok()?;
    let at = usize::try_from(world.below(rows.len().checked_sub(1)? as u64)).ok()?;
    let (key, value) = rows.get(at).filter(|_| at + 1 < rows.len())?;
    let before = Bytes::copy_from_slice(value);
    let mut after = value.to_vec();
    let byte = usize::try_from(world.between(UNDAMAGED_BYTES, after.len() as u64)).ok()?;
    *after.get_mut(byte)? ^= 1 << world.below(8);
    Some(Damage { host: Arc::clone(host), key: key.to_vec(), before, after: after.into() })
}

/// Restores a damaged block; false while the host is down.
fn restore(damage: &Damage) -> bool {
    let Some(db) = damage.host.db() else { return false };
    if db.get(Family::Data, &damage.key).ok().flatten().is_none_or(|row| row != damage.after) {
        // The damage was lost in a crash, or the replica has left the disk.
        return true;
    }
    let mut batch = Batch::default();
    batch.put(Family::Data, damage.key.clone(), damage.before.to_vec());
    // Without the flush, a crash would bring the damage back.
    db.write(batch).and_then(|()| db.flush()).is_ok()
}
