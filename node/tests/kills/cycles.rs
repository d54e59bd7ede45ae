//! Cycles of SIGKILL and restart under writers. After every cycle both stores must take appends again, and at the end each
//! node must hold exactly the acknowledged events.
//!
//! A cycle kills the leader of a store, another node, the two other nodes, all nodes, or a node once more right after its
//! restart. The default is one cycle of each kind; `TAFFRAIL_KILL_CYCLES` sets the number of cycles.

use crate::harness::{
    cluster::{Cluster, Wanted},
    events::Writer,
    process::Slot,
};
use tokio::{
    task::LocalSet,
    time::{Duration, Instant},
};

const NAMES: [&str; 3] = ["main-0", "main-1", "main-2"];
const STORES: [(&str, u32); 2] = [("orders", 3), ("payments", 3)];
const WANTED: Wanted<'static> = Wanted { nodes: &NAMES, stores: &STORES };

/// Victims of a cycle.
#[derive(Clone, Copy, Debug)]
enum Victims {
    Leader,
    Other,
    BothOthers,
    All,
    /// The leader, and its next process while that process starts.
    LeaderTwice,
}

const KINDS: [Victims; 5] = [Victims::Leader, Victims::Other, Victims::BothOthers, Victims::All, Victims::LeaderTwice];

#[tokio::test]
async fn killed_processes_lose_no_acknowledged_event() {
    let cycles = std::env::var("TAFFRAIL_KILL_CYCLES").ok().map_or(KINDS.len(), |n| n.parse().unwrap());
    LocalSet::new().run_until(story(cycles)).await;
}

async fn story(cycles: usize) {
    let root = tempfile::Builder::new().prefix("kills-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = started(root.path()).await;
    let ports: Vec<u16> = cluster.slots.iter().map(|slot| slot.ports.clients).collect();
    let writers = STORES.map(|(name, _)| Writer::start(&format!("default/{name}"), &ports));
    let (mut kills, mut longest) = (0, Duration::ZERO);
    for cycle in 0..cycles {
        for writer in &writers {
            writer.goes_on().await;
        }
        let leader = leader(&mut cluster, STORES[cycle % STORES.len()].0).await;
        let begun = Instant::now();
        kills += run(&mut cluster, KINDS[cycle % KINDS.len()], leader).await;
        for writer in &writers {
            writer.goes_on().await;
        }
        longest = longest.max(begun.elapsed());
    }
    cluster.settle(&WANTED).await;
    let mut events = 0;
    for writer in writers {
        events += writer.finish(&ports).await;
    }
    assert_eq!(cluster.deaths(), 0, "no process ends by itself");
    assert_eq!(cluster.slots.iter().map(Slot::kills).sum::<usize>(), kills);
    println!("{cycles} cycles, {kills} kills, {events} acknowledged events, longest cycle {longest:?}");
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
}

async fn started(root: &std::path::Path) -> Cluster {
    let mut cluster = Cluster::new(root, &NAMES);
    cluster.form(&NAMES).await;
    cluster.declare(&STORES).await;
    cluster.settle(&WANTED).await;
    cluster
}

/// Kills the victims, all at the same moment, and starts them again. Returns the number of kills.
async fn run(cluster: &mut Cluster, kind: Victims, leader: usize) -> usize {
    let others: Vec<usize> = (0..NAMES.len()).filter(|slot| *slot != leader).collect();
    let victims = match kind {
        Victims::Leader | Victims::LeaderTwice => vec![leader],
        Victims::Other => vec![others[0]],
        Victims::BothOthers => others,
        Victims::All => (0..NAMES.len()).collect(),
    };
    let mut kills = kill(cluster, &victims).await;
    if matches!(kind, Victims::LeaderTwice) {
        kills += kill(cluster, &victims).await;
    }
    kills
}

async fn kill(cluster: &mut Cluster, victims: &[usize]) -> usize {
    let slots = cluster.slots.iter_mut().enumerate().filter(|(n, _)| victims.contains(n));
    let killed = futures::future::join_all(slots.map(async |(_, slot)| {
        slot.stop(false).await;
        slot.start();
    }));
    killed.await.len()
}

/// The node that leads a store.
async fn leader(cluster: &mut Cluster, store: &str) -> usize {
    let leader = crate::common::until("a leader", async || {
        let view = cluster.view().await;
        let record = view.stores.iter().filter_map(|s| s.store.as_ref()).find(|s| s.name == store);
        record.and_then(|s| s.leader_node_id).ok_or_else(|| format!("{record:?}"))
    })
    .await;
    for slot in 0..NAMES.len() {
        if cluster.status(slot).await.node_id == leader {
            return slot;
        }
    }
    panic!("no process has the node id {leader}");
}
