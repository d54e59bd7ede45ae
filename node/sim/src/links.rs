//! Connections between nodes: each node verifies each peer by a handshake about every second, like the connections of
//! processes. Frames and calls travel only over verified connections.

use crate::{network::Endpoint, trace, world::World};
use std::sync::Arc;
use taffrail_core::ids::NodeId;
use taffrail_proto::peer::{HandshakeRequest, HandshakeResponse, Identity, peer_server::Peer};
use taffrail_raft::peer::handshake::verify;
use taffrail_runtime::{self as rt, TaskKind};

/// Number of looks at a verified connection between two handshakes.
const LOOKS: u32 = 10;

/// Keeps connections from the node on a host to all other hosts, until the node ends. Call in the scope of the node.
pub fn keep(world: &Arc<World>, from: NodeId) {
    for to in world.network.hosts().into_iter().filter(|to| *to != from) {
        rt::spawn_task("peer link", TaskKind::Part, keep_one(Arc::clone(world), from, to));
    }
}

async fn keep_one(world: Arc<World>, from: NodeId, to: NodeId) {
    loop {
        if !handshake(&world, from, to).await {
            world.pause(50, 150).await;
            continue;
        }
        for _ in 0..LOOKS {
            world.pause(80, 120).await;
            if !world.network.is_verified(from, to) {
                break;
            }
        }
    }
}

/// Verifies the peer once. A lost message changes nothing; a refusal ends the connection.
async fn handshake(world: &Arc<World>, from: NodeId, to: NodeId) -> bool {
    let (Some((own, own_life)), Some(life)) = (identity(world, from), life(world, from, to)) else { return false };
    let Some(answer) = ask(world, from, to, own.clone()).await else { return false };
    let Some(Endpoint { ports, life: own_life_now, .. }) = world.network.endpoint(from, from) else {
        return false;
    };
    if own_life_now != own_life || world.network.endpoint(to, from).is_none() {
        return false;
    }
    // The task belongs to the node, so the handler ends with the node.
    let handler = Arc::clone(&ports.handler);
    drop(ports);
    match verify(&*handler, &own, answer).await {
        Ok(_) => {
            world.network.verified(from, to, own_life, life);
            true
        }
        Err(why) => {
            trace!(world, "n{from} does not verify n{to}: {why}");
            world.network.refused(from, to);
            false
        }
    }
}

/// The identity of a running node, and the number of the start.
fn identity(world: &World, host: NodeId) -> Option<(Identity, u64)> {
    let Endpoint { ports, life, .. } = world.network.endpoint(host, host)?;
    Some((ports.handler.identity()?, life))
}

fn life(world: &World, from: NodeId, to: NodeId) -> Option<u64> {
    world.network.endpoint(from, to).map(|endpoint| endpoint.life)
}

/// Sends a handshake and returns the answer. `None` when a message is lost or the peer does not answer.
async fn ask(world: &Arc<World>, from: NodeId, to: NodeId, own: Identity) -> Option<HandshakeResponse> {
    tokio::time::sleep(world.travel()?).await;
    let Endpoint { scope, service, ports, .. } = world.network.endpoint(from, to)?;
    drop(ports);
    let request = tonic::Request::new(HandshakeRequest { from: Some(own) });
    let answered = scope.spawn(async move { service.handshake(request).await });
    let answer = answered.await.ok()?.ok()?.into_inner();
    tokio::time::sleep(world.travel()?).await;
    Some(answer)
}
