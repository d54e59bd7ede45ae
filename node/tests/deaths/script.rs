//! The script of one cluster, phase by phase, and its end.

use super::disks::{self, Disks};
use crate::{
    common::until,
    harness::{
        cluster::{Cluster, Wanted},
        events::{Writer, client},
        points::{Fault, Reached},
        process::Slot,
    },
};
use std::collections::BTreeMap;

/// A part of a cluster's script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Three nodes become one cluster.
    Bootstrap,
    /// Two stores are created, with three replicas and with a single replica.
    Create,
    /// A fourth node joins; the small store grows to three replicas, including a replica on the new node.
    Grow,
    /// The fourth node is drained and removed; the small store shrinks to a single replica.
    Shrink,
    /// A node restarts with an empty disk and replaces its former node id, once no other node is down under a grant.
    Replace,
    /// The small store is removed with its data.
    Remove,
}

/// All phases, in order.
pub(crate) const PHASES: [Phase; 6] =
    [Phase::Bootstrap, Phase::Create, Phase::Grow, Phase::Shrink, Phase::Replace, Phase::Remove];

const NAMES: [&str; 4] = ["main-0", "main-1", "main-2", "main-3"];
const LOST: usize = 1;
const OTHER: usize = 0;
const EXTRA: usize = 3;

/// The planned death of each phase.
pub(crate) type Faults = [Option<Fault>; PHASES.len()];

/// Result of a run.
#[derive(Debug)]
pub(crate) struct Done {
    /// The writes to the log, by phase.
    pub(crate) reached: [Reached; PHASES.len()],
    /// Whether a process died, by phase.
    pub(crate) died: [bool; PHASES.len()],
    /// End of the run.
    pub(crate) end: End,
}

/// The part of the end that no death may change. Ids of nodes and replicas and the leader may differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Name, state and vote in the system group of each node.
    nodes: Vec<(String, i32, bool)>,
    /// State, replicas and voters of each store, by name.
    stores: BTreeMap<String, (i32, u32, usize)>,
    disks: Disks,
}

/// The directory of a run; it stays when the run fails.
struct Root(Option<tempfile::TempDir>);

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take().filter(|_| std::thread::panicking()) {
            println!("the run is kept in {}", dir.keep().display());
        }
    }
}

/// Runs all phases with these deaths.
pub(crate) async fn run(label: &str, faults: &Faults) -> Done {
    let dir =
        tempfile::Builder::new().prefix(&format!("fault-points-{label}-")).tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let root = Root(Some(dir.unwrap()));
    let mut script =
        Script { cluster: Cluster::new(root.0.as_ref().unwrap().path(), &NAMES), orders: None, notes: None };
    let mut reached: [Reached; PHASES.len()] = Default::default();
    let mut died = [false; PHASES.len()];
    for (n, (phase, fault)) in PHASES.into_iter().zip(faults).enumerate() {
        let before = script.cluster.deaths();
        script.cluster.points.arm(fault.as_ref());
        script.pass(phase).await;
        reached[n] = script.cluster.points.reached();
        died[n] = script.died(fault.as_ref(), &reached[n], before).await;
        script.writes_go_on().await;
    }
    let end = script.end().await;
    Done { reached, died, end }
}

struct Script {
    cluster: Cluster,
    orders: Option<Writer>,
    notes: Option<Writer>,
}

impl Script {
    /// Ports of the nodes that stay, and of the node that is lost and replaced.
    fn ports(&self) -> Vec<u16> {
        self.cluster.slots[..EXTRA].iter().map(|slot| slot.ports.clients).collect()
    }

    async fn pass(&mut self, phase: Phase) {
        match phase {
            Phase::Bootstrap => self.bootstrap().await,
            Phase::Create => self.create().await,
            Phase::Grow => self.grow().await,
            Phase::Shrink => self.shrink().await,
            Phase::Replace => self.replace().await,
            Phase::Remove => self.remove().await,
        }
    }

    /// Checks that exactly one process died when the fault point was reached, and none otherwise.
    async fn died(&self, fault: Option<&Fault>, reached: &Reached, before: usize) -> bool {
        let died = fault.is_some_and(|fault| reached.of(&fault.point) >= fault.n);
        let wanted = before + usize::from(died);
        until("the death to be noticed", async || match self.cluster.deaths() {
            now if now == wanted => Ok(()),
            now => Err(format!("{now} deaths, {wanted} wanted: {fault:?}, {reached}")),
        })
        .await;
        died
    }

    async fn writes_go_on(&self) {
        for writer in [&self.orders, &self.notes].into_iter().flatten() {
            writer.goes_on().await;
        }
    }

    async fn bootstrap(&mut self) {
        self.cluster.slots[..EXTRA].iter_mut().for_each(Slot::start);
        self.cluster.bootstrap(0).await;
        for slot in 1..EXTRA {
            self.cluster.join(slot).await;
        }
        self.cluster.settle(&Wanted { nodes: &NAMES[..EXTRA], stores: &[] }).await;
    }

    async fn create(&mut self) {
        let stores = [("notes", 1), ("orders", 3)];
        self.cluster.declare(&stores).await;
        self.orders = Some(Writer::start("default/orders", &self.ports()));
        self.notes = Some(Writer::start("default/notes", &self.ports()));
        self.cluster.settle(&Wanted { nodes: &NAMES[..EXTRA], stores: &stores }).await;
    }

    async fn grow(&mut self) {
        let stores = [("notes", 3), ("orders", 3)];
        self.cluster.slots[EXTRA].start();
        self.cluster.join(EXTRA).await;
        self.cluster.declare(&stores).await;
        self.cluster.settle(&Wanted { nodes: &NAMES, stores: &stores }).await;
    }

    async fn shrink(&mut self) {
        let stores = [("notes", 1), ("orders", 3)];
        let drained = self.cluster.drain(NAMES[EXTRA]).await;
        self.cluster.slots[EXTRA].stop(true).await;
        self.cluster.release(drained.unwrap()).await;
        // The node may have registered as a new one just before it was stopped.
        if let Some(drained) = self.cluster.drain(NAMES[EXTRA]).await {
            self.cluster.release(drained).await;
        }
        self.cluster.declare(&stores).await;
        self.cluster.settle(&Wanted { nodes: &NAMES[..EXTRA], stores: &stores }).await;
    }

    async fn replace(&mut self) {
        // A store with one replica would be lost with the only node that holds it, so it grows to three replicas again.
        let stores = [("notes", 3), ("orders", 3)];
        self.cluster.declare(&stores).await;
        let wanted = Wanted { nodes: &NAMES[..EXTRA], stores: &stores };
        self.cluster.settle(&wanted).await;
        let old = self.cluster.status(LOST).await.node_id;
        let other = self.cluster.status(OTHER).await.node_id;
        self.cluster.acquire(other).await;
        let lost = &mut self.cluster.slots[LOST];
        lost.stop(false).await;
        std::fs::remove_dir_all(lost.data()).unwrap();
        lost.start();
        let new = self.cluster.join(LOST).await;
        assert_ne!(old, new, "an empty disk got the node id of another disk");
        self.cluster.replacement_is_held_up(old, new).await;
        self.cluster.release(other).await;
        self.cluster.replace(old, new).await;
        self.cluster.settle(&wanted).await;
    }

    async fn remove(&mut self) {
        self.notes.take().unwrap().finish(&self.ports()).await;
        self.cluster.remove("notes").await;
        self.cluster.settle(&Wanted { nodes: &NAMES[..EXTRA], stores: &[("orders", 3)] }).await;
    }

    async fn end(mut self) -> End {
        self.orders.take().unwrap().finish(&self.ports()).await;
        self.digests_are_equal().await;
        let view = self.cluster.view().await;
        let mut nodes: Vec<_> = view
            .nodes
            .iter()
            .filter_map(|n| n.node.as_ref())
            .map(|n| (n.name.clone(), n.state, n.system_voter))
            .collect();
        nodes.sort_unstable();
        let stores = view
            .stores
            .iter()
            .filter_map(|s| s.store.as_ref())
            .map(|s| (s.name.clone(), (s.state, s.replicas, s.members.iter().filter(|m| m.voter()).count())))
            .collect();
        for slot in &mut self.cluster.slots {
            slot.stop(true).await;
        }
        let disks = disks::inspect(&self.cluster).await;
        End { nodes, stores, disks }
    }

    /// Checks that all nodes have applied the same entries with the same digests.
    async fn digests_are_equal(&self) {
        let clients: Vec<_> = self.ports().iter().map(|port| client(*port, "default/orders")).collect();
        until("equal digests", async || {
            let mut all = Vec::new();
            for client in &clients {
                let store = client.store("default/orders").await.map_err(|e| e.to_string())?;
                all.push((store.applied_index(), store.digest.clone(), store.event_count()));
            }
            let (_, digest, _) = &all[0];
            let equal = !digest.is_empty() && all.iter().all(|one| *one == all[0]);
            if equal { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    }
}
