//! [`play`]: the course of a run, from the faults through the calm to the verdict.

use super::{
    checks,
    clients::Client,
    faults,
    host::{Host, Hosts},
    layout::Layout,
    leftovers, operator, person, reading, replica_checks,
    simulated::Cluster,
};
use crate::{lock::lock, trace, world::World};
use std::{collections::BTreeSet, sync::Arc};
use taffrail_core::ids::GroupId;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// Appending clients of each lasting store.
const CLIENTS: u64 = 2;
/// Capacity of the queue of crash requests.
const WISHES_MAX: usize = 4;
/// Milliseconds between the last fault and the end of the resulting restarts and cuts.
const SETTLE_MS: u64 = 3200;
/// Milliseconds for the restoration of damaged blocks.
const RESTORE_MS: u64 = 30_000;
/// Milliseconds for the replacement of a diverged replica.
const DIVERGENCE_MS: u64 = 40_000;
/// Milliseconds for the operator to finish the last operation after the calm. A drain moves all replicas of a node.
const OPERATOR_MS: u64 = 120_000;

/// Runs the world's seed. Returns the number of acknowledged appends to existing stores.
pub async fn play(world: &Arc<World>) -> usize {
    let (crash_now, wishes) = mpsc::channel(WISHES_MAX);
    let layout = Layout::draw(world);
    trace!(world, "layout {layout:?}");
    let hosts = match Hosts::new(world, layout, &crash_now) {
        Ok(hosts) => hosts,
        Err(e) => {
            world.fail(format!("no memory environment: {e}"));
            return 0;
        }
    };
    let cluster = Arc::new(Cluster::new(Arc::clone(world), hosts));
    replica_checks::begin(&cluster);
    world.network.weather(10, 20);
    world.network.name_hosts(cluster.hosts.layout.numbers());
    cluster.hosts.all().iter().for_each(Host::start);
    let until = Instant::now() + world.ms(u64::from(world.options.fault_seconds) * 1000);
    let (stop, stopped) = watch::channel(false);
    let operating = world.spawn(operator::run(Arc::clone(&cluster), until));
    let freeing = world.spawn(person::run(Arc::clone(&cluster)));
    let working = clients(&cluster, &stopped);
    faults::run(Arc::clone(&cluster), until, wishes).await;

    trace!(world, "calm");
    world.begin_calm();
    world.network.weather(0, 0);
    world.network.limit_bandwidth(None);
    tokio::time::sleep(world.ms(SETTLE_MS)).await;
    world.network.heal_all();
    restored(&cluster).await;
    end("the operator", world, operating, OPERATOR_MS).await;
    stop.send_replace(true);
    for task in working {
        end("a client", world, task, 30_000).await;
    }
    verdict(&cluster).await;
    freeing.abort();
    cluster.hosts.end();
    cluster.ledger.all().values().map(|s| s.acknowledged.len()).sum()
}

/// Waits until no block is damaged.
async fn restored(cluster: &Cluster) {
    let deadline = Instant::now() + cluster.world.ms(RESTORE_MS);
    while *lock(&cluster.damaged) > 0 {
        if Instant::now() >= deadline {
            return cluster.world.fail("a damaged block is not restored after the calm");
        }
        cluster.world.pause(20, 60).await;
    }
}

fn clients(cluster: &Arc<Cluster>, stopped: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
    let (world, mut working) = (&cluster.world, Vec::new());
    for store in &cluster.hosts.layout.stores {
        for n in 0..CLIENTS {
            let client = Client::new(Arc::clone(cluster), store.name.clone(), n);
            working.push(world.spawn(client.run(stopped.clone())));
        }
        working.push(world.spawn(reading::reader(Arc::clone(cluster), store.name.clone(), stopped.clone())));
    }
    working
}

/// Waits for a task of the environment, and fails the run when the task does not end in time.
async fn end(what: &str, world: &World, task: JoinHandle<()>, ms: u64) {
    match tokio::time::timeout(world.ms(ms), task).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => world.fail(format!("{what} ended early: {e}")),
        Err(_) => world.fail(format!("{what} does not end after the calm")),
    }
}

/// Waits until no replica differs from the group. Returns the groups with a differing state against which too few independent
/// replicas speak: the catalogue then records the contradiction, no replica is copied or removed, and a person decides.
async fn left_to_a_person(cluster: &Cluster) -> BTreeSet<GroupId> {
    let world = &cluster.world;
    let deadline = Instant::now() + world.ms(DIVERGENCE_MS);
    while world.diverged.is_active() && Instant::now() < deadline {
        world.pause(50, 100).await;
    }
    if !world.diverged.is_active() {
        return BTreeSet::new();
    }
    let Some(catalogue) = cluster.hosts.coordinator().map(|member| member.applied()) else { return BTreeSet::new() };
    let contradicted = catalogue.groups.iter().filter(|(_, group)| group.contradicted.is_some());
    let left: BTreeSet<GroupId> = contradicted.map(|(id, _)| *id).collect();
    if !left.is_empty() {
        world.count("divergences left to a person");
        world.diverged.let_hosts_answer();
    }
    left
}

async fn verdict(cluster: &Arc<Cluster>) {
    let spared = left_to_a_person(cluster).await;
    checks::converge(cluster, &spared).await;
    checks::accept(cluster, &spared).await;
    if spared.is_empty() && cluster.world.chance(300) {
        // All acknowledged events must be recovered from the disks alone.
        trace!(cluster.world, "last power cut");
        cluster.hosts.all().iter().for_each(|h| h.crash());
        cluster.hosts.all().iter().for_each(Host::start);
        checks::converge(cluster, &spared).await;
        checks::accept(cluster, &spared).await;
    }
    checks::converge(cluster, &spared).await;
    checks::content(cluster, &spared);
    leftovers::check(cluster);
}
