//! An append of 16 MiB over links of 8 MiB per second: the transfer to a follower takes two seconds, more than ten
//! heartbeat intervals and more than two election timeouts.

use super::proxy::Proxy;
use crate::{
    common::until,
    harness::{
        cluster::{Cluster, Wanted},
        events::client,
    },
};
use std::{path::Path, time::Duration};
use taffrail_client::{EventBuilder, Expected};
use tokio::{task::LocalSet, time::Instant};

const NAMES: [&str; 3] = ["main-0", "main-1", "main-2"];
const STORES: [(&str, u32); 1] = [("orders", 3)];
const WANTED: Wanted<'static> = Wanted { nodes: &NAMES, stores: &STORES };
const STORE: &str = "default/orders";
const MIB: u64 = 1 << 20;
const BYTES_PER_SECOND: u64 = 8 * MIB;
/// 16 events of 1 MiB: the largest append of the default configuration.
const EVENTS: usize = 16;

#[tokio::test]
async fn an_append_that_needs_seconds_on_the_link_commits_under_the_same_leader() {
    LocalSet::new().run_until(story()).await;
}

async fn story() {
    let root = tempfile::Builder::new().prefix("slow-link-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = Cluster::new(root.path(), &NAMES);
    let proxies = put_proxies_between(&cluster, root.path()).await;
    cluster.form(&NAMES).await;
    cluster.declare(&STORES).await;
    cluster.settle(&WANTED).await;

    let leader = leader(&mut cluster).await;
    let term = term(&cluster, leader).await;
    let carried: Vec<u64> = proxies.iter().map(Proxy::carried).collect();
    let data = vec![7; usize::try_from(MIB).unwrap()];
    let events: Vec<_> =
        (0..EVENTS).map(|_| EventBuilder::new("Scanned").bytes("application/pdf", data.clone()).build()).collect();
    let to_leader = client(cluster.slots[leader].ports.clients, STORE).with_timeout(Duration::from_secs(60));
    let begin = Instant::now();
    let appended = to_leader.append("scans", Expected::NoStream, events).await.unwrap();
    let took = begin.elapsed();
    assert_eq!((appended.first_revision, appended.last_revision), (Some(0), Some(EVENTS as u64 - 1)));
    assert!(took > Duration::from_secs(1), "the link was not slow: {took:?}");

    // One follower has all bytes by now; the other gets them as well.
    until("both followers to get the append", async || {
        let more: Vec<u64> = proxies.iter().zip(&carried).map(|(p, before)| p.carried() - before).collect();
        let all = more.iter().enumerate().all(|(slot, bytes)| slot == leader || *bytes >= EVENTS as u64 * MIB);
        if all { Ok(()) } else { Err(format!("{more:?}")) }
    })
    .await;
    cluster.settle(&WANTED).await;
    let (led, in_term) = (self::leader(&mut cluster).await, self::term(&cluster, leader).await);
    assert_eq!((led, in_term), (leader, term), "the transfer cost the leader its office");
    for slot in &cluster.slots {
        let client = client(slot.ports.clients, STORE).with_timeout(Duration::from_secs(60));
        until("the append to be applied", async || {
            let store = client.store(STORE).await.map_err(|e| e.to_string())?;
            if store.event_count == Some(EVENTS as u64) { Ok(()) } else { Err(format!("{}: {store:?}", slot.name)) }
        })
        .await;
    }
    assert_eq!(cluster.deaths(), 0);
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
}

/// Lets the nodes reach one another only through proxies.
async fn put_proxies_between(cluster: &Cluster, root: &Path) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for slot in &cluster.slots {
        proxies.push(Proxy::start(slot.ports.peers, BYTES_PER_SECOND).await);
    }
    for slot in &cluster.slots {
        let path = root.join(&slot.name).join("node.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let listens = format!("peers = \"127.0.0.1:{}\"", slot.ports.peers);
        assert!(config.contains(&listens));
        let through_proxies = |line: &str| {
            let mut line = line.to_owned();
            for (other, proxy) in cluster.slots.iter().zip(&proxies) {
                let (direct, proxied) = (other.ports.peers, proxy.port);
                line = line.replace(&format!("\"127.0.0.1:{direct}\""), &format!("\"127.0.0.1:{proxied}\""));
            }
            line
        };
        let lines = config.lines().map(|line| if line == listens { line.to_owned() } else { through_proxies(line) });
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    }
    proxies
}

/// The node that leads the store.
async fn leader(cluster: &mut Cluster) -> usize {
    let view = cluster.view().await;
    let leader = view.stores[0].store.as_ref().unwrap().leader_node_id;
    for slot in 0..NAMES.len() {
        if Some(cluster.status(slot).await.node_id) == leader {
            return slot;
        }
    }
    panic!("no node leads the store: {view:?}");
}

/// The term of the store as its leader reports it.
async fn term(cluster: &Cluster, slot: usize) -> u64 {
    let port = cluster.slots[slot].ports.clients;
    client(port, STORE).store(STORE).await.unwrap().term.unwrap()
}
