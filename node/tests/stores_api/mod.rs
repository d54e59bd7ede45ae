//! A cluster of three nodes with static peers, without an operator: the command line forms the cluster, creates stores
//! through every node, and removes a store with its data.

use crate::{
    common::until,
    deaths::disks,
    harness::{
        cluster::{Cluster, Wanted},
        events::client,
        process::Slot,
    },
};
use serde_json::Value;
use std::process::Stdio;
use taffrail_client::{Error, EventBuilder, Expected, RetryPolicy};
use taffrail_proto::admin::{DeclareStoresRequest, StoreDeclaration, admin_client::AdminClient};
use tokio::{process::Command, task::LocalSet};
use tonic::transport::Channel;

const NAMES: [&str; 3] = ["main-0", "main-1", "main-2"];

/// Result of a command.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Returns the only JSON line of a command that succeeded.
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(self.out.trim()).unwrap()
    }

    /// Checks that the command was refused with this exit code and reason.
    fn refused(&self, code: i32, reason: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(reason), "{self:?}");
    }
}

/// Runs the command line against a node.
async fn taffrail(slot: &Slot, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("TAFFRAIL_")) {
            command.env_remove(name);
        }
    }
    let endpoint = format!("http://127.0.0.1:{}", slot.ports.clients);
    command.args(arguments).args(["--endpoint", &endpoint, "--timeout", "30s"]).stdin(Stdio::null());
    let done = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

#[tokio::test]
async fn a_static_cluster_gets_and_loses_stores_through_the_command_line_of_any_node() {
    LocalSet::new().run_until(story()).await;
}

async fn story() {
    let root = tempfile::Builder::new().prefix("stores-api-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut cluster = Cluster::new(root.path(), &NAMES);
    cluster.points.arm(None);
    cluster.slots.iter_mut().for_each(Slot::start);
    form(&cluster).await;
    cluster.settle(&Wanted { nodes: &NAMES, stores: &[] }).await;

    // At most one of the nodes coordinates, so at least two creations are forwarded.
    let mut ids = Vec::new();
    for (n, slot) in cluster.slots.iter().enumerate() {
        let created = taffrail(slot, &["stores", "create", &format!("orders-{n}"), "--replicas", "3"]).await.json();
        assert_eq!((&created["namespace"], &created["managed_by"]), (&"default".into(), &"api".into()));
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    conflicts_are_refused(&cluster, &ids).await;
    writes_and_reads(&cluster).await;
    declared_stores_stay(&mut cluster, &ids).await;
    a_removed_store_is_gone(&cluster, &ids[0]).await;

    let left = [("kept", 1), ("orders-1", 3), ("orders-2", 3)];
    cluster.settle(&Wanted { nodes: &NAMES, stores: &left }).await;
    assert_eq!(cluster.deaths(), 0);
    for slot in &mut cluster.slots {
        slot.stop(true).await;
    }
    // Fails on any row of a store without a live replica.
    let disks = disks::inspect(&cluster).await;
    let (mut stores, removed) = disks.stores();
    stores.sort_unstable();
    assert_eq!((stores, removed), (vec!["default/kept", "default/orders-1", "default/orders-2"], 1));
}

async fn form(cluster: &Cluster) {
    for slot in 0..NAMES.len() {
        cluster.status(slot).await;
    }
    let admin: Vec<String> = cluster.slots.iter().map(|slot| format!("127.0.0.1:{}", slot.ports.admin)).collect();
    let formed = taffrail(&cluster.slots[0], &["cluster", "bootstrap", "--admin", &admin.join(",")]).await;
    assert_eq!(formed.code, 0, "{formed:?}");
}

/// A repeat gets the same store; other settings, too many replicas and bad names are refused.
async fn conflicts_are_refused(cluster: &Cluster, ids: &[String]) {
    for slot in &cluster.slots {
        let again = taffrail(slot, &["stores", "create", "orders-0"]).await.json();
        assert_eq!(again["id"], ids[0].as_str(), "a repeat created another store");
        let create = async |name: &str, replicas: &str| {
            taffrail(slot, &["stores", "create", name, "--replicas", replicas]).await
        };
        create("orders-0", "1").await.refused(3, "STORE_EXISTS");
        create("large", "5").await.refused(3, "NOT_ENOUGH_NODES");
        create("even", "2").await.refused(3, "replicas: must be 1, 3, 5 or 7");
        create("Orders", "3").await.refused(3, "INVALID_ARGUMENT");
        create("orders-clients", "3").await.refused(3, "INVALID_ARGUMENT");
    }
}

/// Appends through each node, and reads all events through each node.
async fn writes_and_reads(cluster: &Cluster) {
    let policy = RetryPolicy::default();
    for slot in &cluster.slots {
        let client = client(slot.ports.clients, "default/orders-0");
        client.append_retrying("a", Expected::Any, vec![EventBuilder::new("Placed").build()], policy).await.unwrap();
    }
    for slot in &cluster.slots {
        let client = client(slot.ports.clients, "default/orders-0");
        let events = client.read_stream("a", 0).await.unwrap();
        assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), [0, 1, 2], "{}", slot.name);
    }
    own_appends_are_read_by_position(cluster).await;
}

/// A read with the position of an append sees the append on every node, and an unknown position is refused.
async fn own_appends_are_read_by_position(cluster: &Cluster) {
    for (n, slot) in cluster.slots.iter().enumerate() {
        let writer = client(slot.ports.clients, "default/orders-0");
        let stream = format!("own-{n}");
        let events = vec![EventBuilder::new("Placed").build()];
        let appended =
            writer.append_retrying(&stream, Expected::NoStream, events, RetryPolicy::default()).await.unwrap();
        let position = appended.last_position.unwrap();
        for other in &cluster.slots {
            let read = async |position: u64| {
                let at_least = position.to_string();
                let arguments = ["read", &stream, "--at-least-position", &at_least, "--store", "default/orders-0"];
                taffrail(other, &arguments).await
            };
            assert_eq!(read(position).await.json()["position"], position, "{}", other.name);
            read(position + 1_000).await.refused(3, "POSITION_AHEAD");
        }
    }
}

/// A store that an object declares, also after an adoption, is listed as such and is not removed.
async fn declared_stores_stay(cluster: &mut Cluster, ids: &[String]) {
    cluster.declare(&[("kept", 1)]).await;
    let adopt = StoreDeclaration {
        namespace: "default".into(),
        name: "orders-1".into(),
        replicas: 3,
        store_id: ids[1].clone(),
        declared_by: "uid-adopts".into(),
    };
    let request = DeclareStoresRequest { stores: vec![adopt] };
    let declare = async |mut node: AdminClient<Channel>| node.declare_stores(request.clone()).await;
    let answer = cluster.ask_one(0, "an adoption", declare).await;
    assert_eq!((&answer.results[0].store_id, answer.results[0].reason.as_str()), (&ids[1], ""));
    for slot in &cluster.slots {
        let listed = until("the stores to be listed", async || {
            let listed = taffrail(slot, &["stores", "list"]).await;
            let rows: Vec<Value> = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let managed = |row: &Value| format!("{} {}", row["name"], row["managed_by"]).replace('"', "");
            let rows: Vec<String> = rows.iter().map(managed).collect();
            // The list comes from the applied catalogue of the node, which may lag.
            if rows.len() == 4 && rows.contains(&"orders-1 eventstore".to_owned()) {
                Ok(rows)
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
        assert_eq!(listed, ["kept eventstore", "orders-0 api", "orders-1 eventstore", "orders-2 api"]);
        for name in ["kept", "orders-1"] {
            taffrail(slot, &["stores", "remove", name, "--yes"]).await.refused(3, "STORE_DECLARED");
        }
    }
}

/// A removal needs a confirmation. After the removal the store is not found through any node, and a late repeat of
/// the removal succeeds.
async fn a_removed_store_is_gone(cluster: &Cluster, id: &str) {
    let slot = &cluster.slots[2];
    taffrail(slot, &["stores", "remove", "orders-0"]).await.refused(2, "--yes");
    let events = client(slot.ports.clients, "default/orders-0").read_stream("a", 0).await.unwrap();
    assert_eq!(events.len(), 3, "removed without a confirmation");
    let removed = taffrail(slot, &["stores", "remove", "orders-0", "--yes", "--wait", "2m"]).await.json();
    assert_eq!((removed["removed"].as_bool(), removed["id"].as_str()), (Some(true), Some(id)));
    for slot in &cluster.slots {
        let client = client(slot.ports.clients, "default/orders-0");
        let error = client.append("a", Expected::Any, vec![EventBuilder::new("Placed").build()]).await.unwrap_err();
        assert!(matches!(&error, Error::NotFound { reason, .. } if reason == "STORE_NOT_FOUND"), "{error:?}");
        taffrail(slot, &["stores", "remove", "orders-0", "--yes"]).await.refused(4, "STORE_NOT_FOUND");
        assert!(client.remove_store(id).await.unwrap().done, "a late repeat of the removal");
    }
}
