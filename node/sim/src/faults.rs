//! Faults of a run: crashes of single nodes and of all nodes, network cuts in a single direction or both, message loss and
//! delay, slow disks, and leadership transfers.

use crate::{
    host::Hosts,
    trace,
    world::{NODES, World},
};
use std::sync::Arc;
use taffrail_core::ids::NodeId;
use tokio::{sync::mpsc, time::Instant};

/// Causes faults until the time is over. Disks request crashes at moments with a high chance to find a defect.
pub async fn run(world: Arc<World>, hosts: Arc<Hosts>, until: Instant, mut crash_now: mpsc::Receiver<NodeId>) {
    loop {
        let pause = world.random_ms(50, 1200);
        let wish = tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return,
            Some(node) = crash_now.recv() => Some(node),
            () = tokio::time::sleep(pause) => None,
        };
        match wish {
            Some(node) => {
                world.pause(0, 4).await;
                world.count("aimed crashes");
                crash(&world, &hosts, node);
            }
            None => fault(&world, &hosts),
        }
    }
}

fn any_node(world: &World) -> NodeId {
    NodeId::new(1 + world.below(NODES))
}

fn fault(world: &Arc<World>, hosts: &Arc<Hosts>) {
    let node = any_node(world);
    match world.below(100) {
        0..=27 => crash(world, hosts, node),
        28..=31 => {
            trace!(world, "power cut");
            world.count("power cuts");
            hosts.0.iter().for_each(|h| crash(world, hosts, h.node));
        }
        32..=44 => isolate(world, node, Cut::Both),
        45..=52 => isolate(world, node, Cut::Out),
        53..=60 => isolate(world, node, Cut::In),
        61..=70 => {
            let other = any_node(world);
            trace!(world, "cut n{node} n{other}");
            world.count("cuts");
            world.network.cut(node, other);
            world.network.cut(other, node);
            heal_later(world, node);
        }
        71..=79 => {
            if let Some(host) = hosts.get(node) {
                trace!(world, "slow disk n{node}");
                world.count("slow disks");
                host.log_disk.slow_until(Instant::now() + world.random_ms(200, 2000));
            }
        }
        80..=87 => {
            let (loss, slow) = (world.below(60), world.below(200));
            trace!(world, "weather: {loss} lost, {slow} late");
            world.count("weather changes");
            world.network.weather(loss, slow);
        }
        _ => hand_over(world, hosts),
    }
}

/// Direction of a network cut, seen from the isolated node.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Both,
    Out,
    In,
}

fn isolate(world: &Arc<World>, node: NodeId, cut: Cut) {
    trace!(world, "isolate n{node} {cut:?}");
    world.count("cuts");
    for other in (1..=NODES).map(NodeId::new).filter(|n| *n != node) {
        match cut {
            Cut::Both => {
                world.network.cut(node, other);
                world.network.cut(other, node);
            }
            Cut::Out => world.network.cut(node, other),
            Cut::In => world.network.cut(other, node),
        }
    }
    heal_later(world, node);
}

fn heal_later(world: &Arc<World>, node: NodeId) {
    let after = Arc::clone(world);
    world.spawn(async move {
        after.pause(100, 3000).await;
        trace!(after, "heal n{node}");
        after.network.heal(node);
    });
}

/// Crashes a node. The restart follows at once or after an election timeout.
fn crash(world: &Arc<World>, hosts: &Arc<Hosts>, node: NodeId) {
    let Some(host) = hosts.get(node).filter(|h| h.running().is_some()) else { return };
    host.crash();
    let (after, host) = (Arc::clone(world), Arc::clone(host));
    let down = if world.chance(400) { world.random_ms(1, 60) } else { world.random_ms(60, 2500) };
    world.spawn(async move {
        tokio::time::sleep(down).await;
        trace!(after, "power n{node}");
        host.start();
    });
}

fn hand_over(world: &Arc<World>, hosts: &Arc<Hosts>) {
    let Some((host, hosted)) = hosts.leader() else { return };
    let Some(running) = host.running() else { return };
    trace!(world, "hand over r{}", hosted.replica_id());
    let after = Arc::clone(world);
    running.scope.spawn(async move {
        if hosted.group.hand_over().await {
            after.count("hand-overs");
        }
    });
}
