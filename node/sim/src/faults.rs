//! Faults of a run: crashes of single nodes and of all nodes, network cuts in a single direction or both, message loss and
//! delay, limited bandwidth, slow disks, nearly full disks, leadership transfers, frozen processes, and the faults of
//! [`media_faults`] and [`divergence`].

use super::{divergence, media_faults, simulated::Cluster, volume::DISK_BYTES};
use crate::trace;
use std::sync::Arc;
use taffrail_core::ids::NodeId;
use tokio::{sync::mpsc, time::Instant};

/// Free bytes below the soft mark of a simulated disk, 1 GiB, and above the hard mark.
const LOW_BYTES: u64 = 700 << 20;
/// Free bytes below the hard mark of a simulated disk, 512 MiB.
const FULL_BYTES: u64 = 100 << 20;

/// Causes faults until the time is over. Disks request crashes at moments with a high chance to find a defect.
pub async fn run(cluster: Arc<Cluster>, until: Instant, mut crash_now: mpsc::Receiver<NodeId>) {
    let world = &cluster.world;
    loop {
        let pause = world.random_ms(100, 2000);
        let wish = tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return,
            Some(host) = crash_now.recv() => Some(host),
            () = tokio::time::sleep(pause) => None,
        };
        match wish {
            Some(host) => {
                world.pause(0, 4).await;
                world.count("aimed crashes");
                crash(&cluster, host);
            }
            None => fault(&cluster),
        }
    }
}

fn fault(cluster: &Arc<Cluster>) {
    let world = &cluster.world;
    let host = cluster.hosts.layout.any(world);
    match world.below(134) {
        0..=27 => crash(cluster, host),
        28..=31 => {
            trace!(world, "power cut");
            world.count("power cuts");
            cluster.hosts.layout.numbers().for_each(|host| crash(cluster, host));
        }
        32..=44 => isolate(cluster, host, Cut::Both),
        45..=52 => isolate(cluster, host, Cut::Out),
        53..=60 => isolate(cluster, host, Cut::In),
        61..=70 => cut_pair(cluster, host),
        71..=79 => {
            if let Some(host) = cluster.hosts.get(host) {
                trace!(world, "slow disk n{}", host.number);
                world.count("slow disks");
                host.log_disk.slow_until(Instant::now() + world.random_ms(200, 2000));
            }
        }
        80..=83 => {
            let per_ms = world.chance(500).then(|| world.between(50, 2000));
            trace!(world, "bandwidth {per_ms:?}");
            world.count("bandwidth changes");
            world.network.limit_bandwidth(per_ms);
        }
        84..=89 => {
            let (loss, slow) = (world.below(60), world.below(200));
            trace!(world, "weather: {loss} lost, {slow} late");
            world.count("weather changes");
            world.network.weather(loss, slow);
        }
        90..=92 => fill_disks(cluster, host),
        93..=99 => hand_over(cluster),
        100..=104 => media_faults::fail_writes(cluster, host),
        105..=106 => media_faults::fill_disk(cluster, host),
        107..=111 => media_faults::damage_block(cluster, host),
        112..=117 => freeze(cluster, host),
        118..=121 => media_faults::fail_reads(cluster, host),
        122..=125 => media_faults::damage_log(cluster, host),
        _ => divergence::begin(cluster, host),
    }
}

/// Fills the disk of a host, or the disks of all hosts, below the soft or the hard mark, and frees the disks again.
fn fill_disks(cluster: &Arc<Cluster>, host: NodeId) {
    let world = Arc::clone(&cluster.world);
    let (all, free_bytes) = (world.chance(300), if world.chance(500) { LOW_BYTES } else { FULL_BYTES });
    trace!(world, "fill n{host}, all {all}: {free_bytes} free");
    world.count("nearly full disks");
    let hosts = cluster.hosts.all().iter().filter(|h| all || h.number == host).map(Arc::clone);
    let hosts: Vec<_> = hosts.inspect(|h| h.set_free_bytes(free_bytes)).collect();
    cluster.world.spawn(async move {
        world.pause(600, 3000).await;
        trace!(world, "free the disks");
        hosts.iter().for_each(|h| h.set_free_bytes(DISK_BYTES / 2));
    });
}

/// Direction of a network cut, seen from the isolated host.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Both,
    Out,
    In,
}

fn isolate(cluster: &Arc<Cluster>, host: NodeId, cut: Cut) {
    let world = &cluster.world;
    trace!(world, "isolate n{host} {cut:?}");
    world.count(match cut {
        Cut::Both => "cuts",
        Cut::Out | Cut::In => "one-way cuts",
    });
    for other in cluster.hosts.layout.numbers().filter(|n| *n != host) {
        match cut {
            Cut::Both => {
                world.network.cut(host, other);
                world.network.cut(other, host);
            }
            Cut::Out => world.network.cut(host, other),
            Cut::In => world.network.cut(other, host),
        }
    }
    heal_later(cluster, host);
}

fn cut_pair(cluster: &Arc<Cluster>, host: NodeId) {
    let world = &cluster.world;
    let other = cluster.hosts.layout.any(world);
    if other == host {
        return;
    }
    trace!(world, "cut n{host} n{other}");
    world.count("cuts");
    world.network.cut(host, other);
    world.network.cut(other, host);
    heal_later(cluster, host);
}

fn heal_later(cluster: &Arc<Cluster>, host: NodeId) {
    let world = Arc::clone(&cluster.world);
    cluster.world.spawn(async move {
        world.pause(100, 3000).await;
        trace!(world, "heal n{host}");
        world.network.heal(host);
    });
}

/// Crashes a node. The restart follows at once or after an election timeout.
fn crash(cluster: &Arc<Cluster>, host: NodeId) {
    let Some(host) = cluster.hosts.get(host).filter(|h| h.running().is_some()) else { return };
    host.crash();
    let (world, host) = (Arc::clone(&cluster.world), Arc::clone(host));
    let down = if world.chance(400) { world.random_ms(1, 60) } else { world.random_ms(60, 2500) };
    cluster.world.spawn(async move {
        tokio::time::sleep(down).await;
        trace!(world, "power n{}", host.number);
        host.start();
    });
}

/// Freezes the process of a node; the process continues later without having noticed the pause.
fn freeze(cluster: &Arc<Cluster>, host: NodeId) {
    let world = &cluster.world;
    let Some(running) = cluster.hosts.get(host).and_then(|h| h.running()) else { return };
    trace!(world, "freeze n{host}");
    world.count("frozen processes");
    running.scope().freeze();
    let after = Arc::clone(world);
    world.spawn(async move {
        after.pause(50, 3000).await;
        trace!(after, "thaw n{host}");
        running.scope().thaw();
    });
}

/// Lets the node of a host hand over all leaderships, as at a stop.
fn hand_over(cluster: &Arc<Cluster>) {
    let host = cluster.hosts.layout.any(&cluster.world);
    let running = cluster.hosts.get(host).and_then(|h| h.running().zip(h.member()));
    let Some((running, member)) = running else { return };
    trace!(cluster.world, "hand over n{host}");
    cluster.world.count("hand-overs");
    let scope = Arc::clone(running.scope());
    scope.spawn(async move { member.hand_over().await });
}
