//! A node is lost after the declaration of a store and before the first membership of its group, which this node should
//! write.

use crate::{
    common::until,
    harness::{
        cluster::{Cluster, Wanted},
        events::Writer,
    },
};
use tokio::task::LocalSet;

const NAMES: [&str; 3] = ["main-0", "main-1", "main-2"];
/// The node of the second replica, which forms the group of the first store.
const LOST: usize = 1;
const STORE: (&str, u32) = ("orders", 3);

#[tokio::test]
async fn a_store_comes_and_its_replica_is_replaced_though_the_node_that_was_to_form_it_is_lost() {
    LocalSet::new().run_until(lost_before_it_forms()).await;
}

async fn lost_before_it_forms() {
    let dir = tempfile::Builder::new().prefix("unborn-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = Cluster::new(dir.path(), &NAMES);
    cluster.form(&NAMES).await;
    let old = cluster.status(LOST).await.node_id;
    cluster.slots[LOST].stop(false).await;

    cluster.points.arm(None);
    cluster.declare(&[STORE]).await;
    let waits = format!("node {old}, which forms the group, does not answer");
    until("the group to wait for the node that forms the group", async || {
        let stores = cluster.view().await.stores;
        if stores.iter().any(|s| s.waiting_for.starts_with(&waits)) { Ok(()) } else { Err(format!("{stores:?}")) }
    })
    .await;
    assert_eq!(cluster.points.reached().of("membership-first-written"), 0, "the group is formed already");
    until("another replica to form the group", async || {
        let stores = cluster.view().await.stores;
        let led = |s: &taffrail_proto::admin::StoreView| {
            s.quorum && s.store.as_ref().is_some_and(|s| s.leader_node_id.is_some())
        };
        if stores.iter().any(led) { Ok(()) } else { Err(format!("{stores:?}")) }
    })
    .await;
    let ports: Vec<u16> = cluster.slots.iter().map(|slot| slot.ports.clients).collect();
    let writer = Writer::start("default/orders", &ports);
    writer.goes_on().await;

    let lost = &mut cluster.slots[LOST];
    std::fs::remove_dir_all(lost.data()).unwrap();
    lost.start();
    let new = cluster.join(LOST).await;
    cluster.replace(old, new).await;
    cluster.settle(&Wanted { nodes: &NAMES, stores: &[STORE] }).await;
    writer.goes_on().await;
    writer.finish(&ports).await;
    assert_eq!(cluster.deaths(), 0);
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
}

#[tokio::test]
async fn a_store_of_one_replica_is_formed_elsewhere_if_its_node_is_lost_before() {
    LocalSet::new().run_until(only_replica_lost_before_it_forms()).await;
}

async fn only_replica_lost_before_it_forms() {
    // The first store occupies the first node, so the second store is placed on the second node.
    let stores = [("first", 1), ("orders", 1)];
    let dir = tempfile::Builder::new().prefix("unborn-one-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = Cluster::new(dir.path(), &NAMES);
    cluster.form(&NAMES).await;
    cluster.declare(&stores[..1]).await;
    cluster.settle(&Wanted { nodes: &NAMES, stores: &stores[..1] }).await;
    let old = cluster.status(LOST).await.node_id;
    cluster.slots[LOST].stop(false).await;
    cluster.declare(&stores).await;
    let waits = format!("node {old}, which forms the group, does not answer");
    until("the group to wait for the only node that can form the group", async || {
        let seen = cluster.view().await.stores;
        if seen.iter().any(|s| s.waiting_for == waits) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;

    let lost = &mut cluster.slots[LOST];
    std::fs::remove_dir_all(lost.data()).unwrap();
    lost.start();
    let new = cluster.join(LOST).await;
    cluster.points.arm(None);
    cluster.replace(old, new).await;
    cluster.settle(&Wanted { nodes: &NAMES, stores: &stores }).await;
    assert_eq!(cluster.points.reached().of("catalogue-form-again-written"), 1, "the store has a new group");
    let ports: Vec<u16> = cluster.slots.iter().map(|slot| slot.ports.clients).collect();
    let writer = Writer::start("default/orders", &ports);
    writer.goes_on().await;
    writer.finish(&ports).await;
    assert_eq!(cluster.deaths(), 0);
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
}
