//! The data directory of a node is replaced by an earlier copy, and later copied to another node. Both copies are refused,
//! and their nodes return as new nodes.

use crate::{
    common::until,
    harness::{
        cluster::{Cluster, Wanted},
        events::Writer,
    },
};
use std::{fs, path::Path};
use taffrail_proto::admin::{FenceCause, Lifecycle, NodeStatus};
use tokio::task::LocalSet;

const NAMES: [&str; 4] = ["main-0", "main-1", "main-2", "main-3"];
/// The node that starts with the copy of another node's disk.
const CLONE: usize = 3;
const STORES: [(&str, u32); 1] = [("orders", 3)];
const THREE: Wanted<'static> = Wanted { nodes: &["main-0", "main-1", "main-2"], stores: &STORES };
const FOUR: Wanted<'static> = Wanted { nodes: &NAMES, stores: &STORES };
/// Reason of the fence in the status of a node.
const REASON: &str = "the disk went back to an earlier state";
/// Line of the fence in the log of the fenced node. The reason alone is also in the refusals that other nodes log.
const FENCED: &str = r#""level":"ERROR","message":"the disk went back to an earlier state"#;

#[tokio::test]
async fn restored_and_cloned_disks_are_refused_and_return_as_new_nodes() {
    LocalSet::new().run_until(story()).await;
}

async fn story() {
    let root = tempfile::Builder::new().prefix("reverted-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = Cluster::new(root.path(), &NAMES);
    cluster.form(THREE.nodes).await;
    cluster.declare(&STORES).await;
    let ports: Vec<u16> = cluster.slots[..CLONE].iter().map(|slot| slot.ports.clients).collect();
    let writer = Writer::start("default/orders", &ports);
    cluster.settle(&THREE).await;
    writer.goes_on().await;

    let victim = cluster.follower().await;
    restore(&mut cluster, victim, root.path(), &writer).await;
    clone(&mut cluster, victim, &writer).await;
    writer.finish(&ports).await;
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
}

/// Replaces the disk of a node by an earlier copy. While the only other running node holds the events after the copy, the
/// two nodes must not form a majority.
async fn restore(cluster: &mut Cluster, victim: usize, root: &Path, writer: &Writer) {
    let (data, kept) = (cluster.slots[victim].data(), root.join("copy"));
    let old = cluster.status(victim).await.node_id;
    cluster.slots[victim].stop(true).await;
    copy(&data, &kept);
    cluster.slots[victim].start();
    cluster.settle(&THREE).await;
    writer.goes_on().await;
    let mut others = (0..CLONE).filter(|slot| *slot != victim);
    let (witness, away) = (others.next().unwrap(), others.next().unwrap());
    known(cluster, witness).await;

    cluster.slots[victim].stop(true).await;
    cluster.slots[away].stop(true).await;
    fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    cluster.slots[victim].start();
    let fenced = until("the restored node to be fenced", async || {
        let status = cluster.status(victim).await;
        if status.lifecycle() == Lifecycle::Fenced { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(fenced.fence_cause(), FenceCause::IdentityReverted, "{fenced:?}");
    assert!(!fenced.ready && fenced.node_id == old && fenced.fence_reason.contains(REASON), "{fenced:?}");

    cluster.slots[away].start();
    writer.goes_on().await;
    let new = joined_again(cluster, victim, old).await.node_id;
    cluster.replace(old, new).await;
    cluster.settle(&THREE).await;
    writer.goes_on().await;
    assert!(data.join("retired").join(old.to_string()).join("log").is_dir(), "the data is kept");
    for slot in [witness, away] {
        assert!(!cluster.slots[slot].said().contains(FENCED), "{} was fenced", cluster.slots[slot].name);
    }
}

/// Starts another node with a copy of the disk of a node that runs.
async fn clone(cluster: &mut Cluster, original: usize, writer: &Writer) {
    cluster.slots[original].stop(true).await;
    copy(&cluster.slots[original].data(), &cluster.slots[CLONE].data());
    cluster.slots[original].start();
    cluster.settle(&THREE).await;
    for slot in (0..CLONE).filter(|slot| *slot != original) {
        known(cluster, slot).await;
    }
    let before = cluster.status(original).await;
    let fences = cluster.slots[original].said().matches(FENCED).count();
    cluster.slots[CLONE].start();
    joined_again(cluster, CLONE, before.node_id).await;
    assert!(cluster.slots[CLONE].said().contains(FENCED), "the clone was not fenced");
    cluster.settle(&FOUR).await;
    writer.goes_on().await;
    let after = cluster.status(original).await;
    assert_eq!((after.node_id, &after.incarnation), (before.node_id, &before.incarnation), "the original has ended");
    assert_eq!(cluster.slots[original].said().matches(FENCED).count(), fences, "the original was fenced");
}

/// Waits until a node has met both other nodes since their last starts.
async fn known(cluster: &Cluster, slot: usize) {
    until("the connections of a node", async || {
        let metrics = cluster.slots[slot].metrics().await;
        if metrics.contains("taffrail_peer_connections 2") { Ok(()) } else { Err(metrics) }
    })
    .await;
}

/// Waits until a node is a member under another node id.
async fn joined_again(cluster: &Cluster, slot: usize, old: u64) -> NodeStatus {
    until("the node to join as a new node", async || {
        let status = cluster.status(slot).await;
        let new = status.lifecycle() == Lifecycle::Member && status.node_id != old;
        if new { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            let _bytes = fs::copy(&path, &to).unwrap();
        }
    }
}
