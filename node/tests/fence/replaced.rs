//! The digest of a replica is changed on the disk of a stopped node; after the restart the replica is fenced. The data stays
//! until a person frees the replica with the command line; a new replica then takes the place.

use super::disk;
use crate::{
    common::until,
    harness::{
        cluster::{Cluster, Wanted},
        events::{Writer, client},
    },
};
use std::{collections::BTreeMap, process::Output};
use taffrail_core::ids::ReplicaId;
use taffrail_raft::log::{ReplicaState, Tombstone};
use tokio::task::LocalSet;

const NAMES: [&str; 3] = ["main-0", "main-1", "main-2"];
const STORES: [(&str, u32); 1] = [("orders", 3)];
const WANTED: Wanted<'static> = Wanted { nodes: &NAMES, stores: &STORES };

#[tokio::test]
async fn a_replica_with_other_data_is_fenced_and_replaced() {
    LocalSet::new().run_until(story()).await;
}

async fn story() {
    let root = tempfile::Builder::new().prefix("fence-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = Cluster::new(root.path(), &NAMES);
    cluster.form(&NAMES).await;
    cluster.declare(&STORES).await;
    let ports: Vec<u16> = cluster.slots.iter().map(|slot| slot.ports.clients).collect();
    let writer = Writer::start("default/orders", &ports);
    cluster.settle(&WANTED).await;
    writer.goes_on().await;

    let odd = cluster.follower().await;
    let old = members(&mut cluster).await;
    let victim = cluster.status(odd).await.node_id;
    cluster.slots[odd].stop(true).await;
    let (before, after) = disk::spoil(&cluster.slots[odd].data()).await;
    assert_ne!(before, after, "the fault did not happen");
    cluster.slots[odd].start();

    let (group, old_replica) = until("the fenced replica to leave its group", async || {
        let view = cluster.view().await;
        let store = view.stores.first().ok_or("no store")?;
        let voters = store.store.iter().flat_map(|s| &s.members).filter(|m| m.voter()).count();
        let kept = store.waiting_for.contains("its data stays until a person frees the replica");
        let named = kept.then(|| ids(&store.waiting_for)).flatten().filter(|_| voters == 2);
        named.ok_or_else(|| format!("{voters} voters, {}", store.waiting_for))
    })
    .await;
    assert_eq!(old_replica, old[&victim]);
    writer.goes_on().await;
    let metrics = cluster.slots[odd].metrics().await;
    assert!(metrics.contains("taffrail_replicas_fenced 1"), "the data of the fenced replica is kept");
    let other = old.iter().find(|(node, _)| **node != victim).map(|(_, replica)| *replica).unwrap();
    let admin = cluster.slots[odd].ports.admin;
    let refused = free(admin, group, other).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(3) && said.contains("is still part of group"), "{refused:?}");
    let freed = free(admin, group, old_replica).await;
    assert!(freed.status.success(), "{freed:?}");

    let new = until("another replica on the node", async || {
        let now = members(&mut cluster).await;
        let new = now.get(&victim).copied().filter(|new| *new != old[&victim]);
        new.ok_or_else(|| format!("{now:?}"))
    })
    .await;
    cluster.settle(&WANTED).await;
    let now = members(&mut cluster).await;
    let others = |of: &BTreeMap<u64, u64>| of.clone().into_iter().filter(|(n, _)| *n != victim).collect::<Vec<_>>();
    assert_eq!(others(&now), others(&old), "a replica without divergence was replaced");
    let said = cluster.slots[odd].said();
    assert!(said.contains("the replica is fenced") && said.contains("ReplicaInconsistent"), "no replica was fenced");
    assert!(cluster.slots.iter().any(|slot| slot.said().contains("a replica was fenced")));
    let fences: usize = cluster.slots.iter().map(|slot| slot.said().matches("the replica is fenced").count()).sum();
    assert_eq!(fences, 1, "exactly one replica is fenced, once");

    writer.goes_on().await;
    writer.finish(&ports).await;
    equal_digests(&ports).await;
    let metrics = cluster.slots[odd].metrics().await;
    assert!(metrics.contains("taffrail_replicas_fenced 0"), "the fenced replica is gone");
    assert_eq!(cluster.deaths(), 0);
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
    let states = disk::replicas(&cluster.slots[odd].data()).await;
    let state = |replica| states.iter().find(|(key, _)| key.replica == ReplicaId::new(replica)).map(|(_, s)| *s);
    let removed = matches!(state(old[&victim]), Some(ReplicaState::Deleted(Tombstone { cleared: true, .. })));
    assert!(removed, "the fenced replica has a tombstone and no rows");
    assert!(matches!(state(new), Some(ReplicaState::Live(_))));
}

/// Frees a replica with the command line.
async fn free(admin: u16, group: u64, replica: u64) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command.args(["cluster", "free-replica", "--admin", &format!("127.0.0.1:{admin}")]);
    command.args(["--group", &group.to_string(), "--replica", &replica.to_string()]);
    command.output().await.unwrap()
}

/// Group and replica in the sentence of a condition: `replica 5 of group 3 on node 2 is fenced ...`.
fn ids(sentence: &str) -> Option<(u64, u64)> {
    let mut numbers = sentence.split(' ').filter_map(|word| word.parse().ok());
    let (replica, group) = (numbers.next()?, numbers.next()?);
    Some((group, replica))
}

/// The replica of the store on each node.
async fn members(cluster: &mut Cluster) -> BTreeMap<u64, u64> {
    let view = cluster.view().await;
    let store = view.stores.iter().find_map(|s| s.store.as_ref()).unwrap();
    store.members.iter().filter(|m| m.voter()).map(|m| (m.node_id, m.replica_id)).collect()
}

async fn equal_digests(ports: &[u16]) {
    let clients: Vec<_> = ports.iter().map(|port| client(*port, "default/orders")).collect();
    until("equal digests", async || {
        let mut all = Vec::new();
        for client in &clients {
            let store = client.store("default/orders").await.map_err(|e| e.to_string())?;
            all.push((store.applied_index(), store.digest.clone(), store.event_count()));
        }
        let equal = !all[0].1.is_empty() && all.iter().all(|one| *one == all[0]);
        if equal { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
}
