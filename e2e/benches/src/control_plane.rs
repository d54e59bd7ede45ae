//! CPU of the control plane by number of stores: resolving a name, applying a catalogue command, and a pass of the
//! coordinator's planner, with and without changed reports. Prints a table. No group runs, so every figure is the work of one thread.
//!
//! Run with `cargo run --release -p taffrail-benches --features bench --bin control-plane`.
#![allow(unreachable_pub, reason = "a binary")]

use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, hint::black_box, path::Path, sync::Arc};
use taffrail_core::{
    catalogue::{Catalogue, Command, Declaration, Kind, RULES, Registration},
    ids::{ClusterId, Digest, DiskId, GroupId, NodeId, ReplicaId, StoreId},
    names::StoreName,
    plan::{self, ClusterObservation, GroupObservation, NodeObservation, Planner, ReplicaObservation},
};
use taffrail_raft::{
    machine::Machine,
    types::{self, Entry, LeaderId, LogId, Payload},
};
use taffrail_storage::{
    catalogue::{catalogue_machine::CatalogueMachine, codec},
    store::state_db::{Medium, StateDb},
};
use tokio::sync::watch;
use uuid::Uuid;

/// The allocator of the node.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NODES: u64 = 5;
const REPLICAS: u32 = 3;
/// CPU time of a figure, nanoseconds.
const ENOUGH_NS: u64 = 300_000_000;

/// Returns the CPU time of this thread, nanoseconds.
fn cpu_ns() -> Result<u64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).context(path)?;
    text.split_whitespace().next().context("schedstat is empty")?.parse().context(path)
}

/// Repeats `work` and returns the CPU time of a single call, nanoseconds.
fn each_ns(mut work: impl FnMut() -> Result<()>) -> Result<u64> {
    work()?;
    let begin = cpu_ns()?;
    let (mut calls, mut batch) = (0, 1);
    loop {
        for _ in 0..batch {
            work()?;
        }
        calls += batch;
        let spent = cpu_ns()?.saturating_sub(begin);
        if spent >= ENOUGH_NS {
            return Ok(spent / calls);
        }
        batch *= 2;
    }
}

fn name(n: u64) -> Result<StoreName> {
    Ok(StoreName::new("default", &format!("store-{n}"))?)
}

fn declare(n: u64, replicas: u32) -> Result<Kind> {
    // The ids of stores are random, so the order of ids is not the order of names.
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let minted = StoreId::new(Uuid::from_u128((u128::from(random) << 64) | u128::from(n)));
    Ok(Kind::Declare(Declaration { name: name(n)?, replicas, adopt: None, minted, declared_by: "uid".into() }))
}

/// A catalogue with its state machine.
struct Cluster {
    machine: CatalogueMachine,
    published: watch::Receiver<Arc<Catalogue>>,
    next: u64,
}

impl Cluster {
    fn new(dir: &Path, stores: u64) -> Result<Self> {
        let db = Arc::new(StateDb::open(dir, &Medium::Disk)?);
        let (publish, published) = watch::channel(Arc::default());
        let machine = CatalogueMachine::open(db, Arc::new(publish))?;
        let mut cluster = Self { machine, published, next: 0 };
        let disk = |n: u64| Registration {
            disk: DiskId::new(Uuid::from_u128(n.into())),
            name: format!("main-{n}"),
            address: format!("10.0.0.{n}:2114"),
            version: "1".into(),
        };
        let mut kinds = vec![Kind::Init { cluster: ClusterId::new(Uuid::from_u128(1)), first: disk(1) }];
        kinds.extend((2..=NODES).map(|n| Kind::Register(disk(n))));
        for n in 0..stores {
            kinds.push(declare(n, REPLICAS)?);
            kinds.push(Kind::GroupFormed(GroupId::new(n + 1)));
        }
        for part in kinds.chunks(1_000) {
            cluster.apply(part)?;
        }
        ensure!(cluster.published.borrow().stores.len() as u64 == stores, "a store was refused");
        Ok(cluster)
    }

    fn apply(&mut self, kinds: &[Kind]) -> Result<()> {
        let entry = |(index, kind): (u64, &Kind)| {
            let command = Command { rules: RULES, stamp_us: index + 1, kind: kind.clone() };
            let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
            Entry { log_id, payload: Payload::Normal(types::Command(codec::encode_command(&command))) }
        };
        let entries: Vec<Entry> = (self.next..).zip(kinds).map(entry).collect();
        self.next += kinds.len() as u64;
        black_box(self.machine.apply(&entries)?);
        Ok(())
    }
}

/// Returns the observation of a settled cluster, in which every replica runs and leaders are spread evenly.
fn settled(c: &Catalogue) -> ClusterObservation {
    let mut o = ClusterObservation { now_us: 10_000_000, coordinator: NodeId::new(1), ..ClusterObservation::default() };
    for id in c.nodes.keys() {
        o.nodes.insert(*id, NodeObservation { reachable: true, ..NodeObservation::default() });
    }
    let system = c.nodes.keys().map(|n| (ReplicaId::new(n.get()), *n)).collect();
    group(&mut o, GroupId::SYSTEM, system);
    for (id, record) in &c.groups {
        group(&mut o, *id, record.replicas.iter().map(|(replica, r)| (*replica, r.node)).collect());
    }
    o
}

fn group(o: &mut ClusterObservation, id: GroupId, hosts: std::collections::BTreeMap<ReplicaId, NodeId>) {
    let turn = usize::try_from(id.get()).unwrap_or_default() % hosts.len();
    let Some((leader, leader_node)) = hosts.iter().nth(turn).map(|(r, n)| (*r, *n)) else { return };
    for (replica, node) in &hosts {
        let report = ReplicaObservation { applied: 100, digest: Digest([7; 32]), ..ReplicaObservation::default() };
        if let Some(seen) = o.nodes.get_mut(node) {
            seen.replicas.insert((id, *replica), report);
        }
        o.close_since_us.insert((id, *replica), 1);
    }
    let matched = hosts.keys().map(|r| (*r, 100)).collect();
    let (membership, configs) = (Some((1, 1, 1)), vec![hosts.keys().copied().collect()]);
    let seen = GroupObservation {
        leader,
        leader_node,
        term: 1,
        membership,
        configs,
        hosts,
        matched,
        committed: 100,
        quorum: true,
        ..GroupObservation::default()
    };
    o.groups.insert(id, seen);
}

fn main() -> Result<()> {
    println!(
        "| stores | resolve, µs | catalogue command, µs | planner pass, µs | idle planner pass, µs | of both: copy, µs |\n\
         |---|---|---|---|---|---|"
    );
    let scratch = tempfile::tempdir()?;
    for stores in [10, 100, 1_000, 10_000] {
        let mut cluster = Cluster::new(&scratch.path().join(stores.to_string()), stores)?;
        let catalogue = Arc::clone(&cluster.published.borrow());
        let mut n = 0;
        let resolve = each_ns(|| {
            n = (n + 7) % stores;
            black_box(catalogue.store_named(&name(n)?)).map(drop).context("a store is missing")
        })?;
        let mut before = settled(&catalogue);
        before.settle(&catalogue, &before.clone());
        let pass = each_ns(|| {
            let mut observed = before.clone();
            observed.settle(&catalogue, &before);
            black_box(plan::plan(&catalogue, &observed));
            Ok(())
        })?;
        let mut planner = Planner::default();
        let idle = each_ns(|| {
            let mut observed = before.clone();
            observed.changed = Some(BTreeSet::new());
            observed.settle(&catalogue, &before);
            black_box(planner.plan(&catalogue, &observed));
            Ok(())
        })?;
        let copy = each_ns(|| {
            black_box(before.clone());
            Ok(())
        })?;
        drop(catalogue);
        let mut replicas = REPLICAS;
        let command = each_ns(|| {
            replicas = if replicas == REPLICAS { 1 } else { REPLICAS };
            cluster.apply(&[declare(stores / 2, replicas)?])
        })?;
        let us = |ns: u64| format!("{}.{:02}", ns / 1_000, ns % 1_000 / 10);
        let (resolve, command, copy) = (us(resolve), us(command), us(copy));
        println!("| {stores} | {resolve} | {command} | {} | {} | {copy} |", us(pass), us(idle));
    }
    Ok(())
}
