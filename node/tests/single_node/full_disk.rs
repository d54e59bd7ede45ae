//! A node whose disk is filled from outside: appends are refused in time, everything else goes on, and the node takes
//! appends again once the disk has room.

use super::node::Node;
use crate::common::until;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use taffrail_client::{Client, Error, EventBuilder, Expected, Proposed};
use taffrail_proto::admin::{
    CloseMode, CloseStoreRequest, DeclareStoresRequest, NodeStatus, StatusRequest, StoreDeclaration,
    admin_client::AdminClient,
};
use tonic::transport::Channel;

const MIB: u64 = 1 << 20;
/// Bytes of a write to the filler.
const BLOCK: usize = 1 << 20;
/// Size of the disk, with room for the files that RocksDB allocates in advance.
const DISK_MIB: u64 = 1024;
/// The soft mark of the disk, an eighth.
const SOFT_MIB: u64 = 128;

/// A small file system in memory, until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        let options = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success(), "a file system must be mounted: run the test as root");
        Self(at.to_owned())
    }

    fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Writes a file that leaves at most so many bytes.
    fn fill(&self, leave_bytes: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let block = vec![1; BLOCK];
        while self.free_bytes() > leave_bytes {
            file.write_all(&block).unwrap();
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A node that is still ending keeps the file system alive.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

async fn append(client: &Client) -> Result<(), Error> {
    client.append("orders-1", Expected::Any, vec![EventBuilder::new("Placed").build()]).await.map(drop)
}

async fn status(admin: &mut AdminClient<Channel>) -> NodeStatus {
    admin.status(StatusRequest {}).await.unwrap().into_inner()
}

fn of_spare() -> StoreDeclaration {
    StoreDeclaration {
        namespace: "default".into(),
        name: "spare".into(),
        replicas: 1,
        store_id: String::new(),
        declared_by: "uid".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_refuses_appends_only_and_only_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&dir.path().join("disk"));
    let mut node = Node::start(&disk.0.join("data")).await;
    let client = node.client();
    let mut admin = AdminClient::connect(format!("http://127.0.0.1:{}", node.ports.admin)).await.unwrap();
    let spare = admin.declare_stores(DeclareStoresRequest { stores: vec![of_spare()] }).await.unwrap().into_inner();
    node.serves("default/spare").await;
    append(&client).await.unwrap();
    let before = status(&mut admin).await;
    assert_eq!(before.disk_total_bytes, Some(DISK_MIB * MIB));
    assert!(!before.storage_low && before.disk_free_bytes() > 2 * SOFT_MIB * MIB, "{before:?}");

    let filler = disk.fill(8 * MIB);
    let mut stored = 1;
    let refused = until("an append to be refused", async || match append(&client).await {
        Err(error) => Ok(error),
        Ok(()) => {
            stored += 1;
            Err("stored".to_owned())
        }
    })
    .await;
    let Error::Unavailable { reason, proposed, message, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((reason.as_str(), *proposed), ("STORAGE_LOW", Proposed::No), "{message}");
    assert!(message.contains(&format!("{} are needed", SOFT_MIB * MIB)), "{message}");
    assert!(append(&client).await.is_err());
    assert_eq!(client.read_stream("orders-1", 0).await.unwrap().len(), stored, "reads go on");
    let full = status(&mut admin).await;
    assert!(full.storage_low && full.ready && full.disk_free_bytes() < SOFT_MIB * MIB, "{full:?}");
    let page = node.get("/metrics").await.unwrap();
    assert!(page.contains("\ntaffrail_storage_low 1") && page.contains("taffrail_disk_free_bytes "), "{page}");
    assert!(page.contains(&format!("taffrail_disk_total_bytes {}", DISK_MIB * MIB)), "{page}");
    let shown = until("the view to show the disk", async || match client.cluster_status().await {
        Ok(status) if status.nodes.iter().any(|n| n.storage_low) => Ok(status.nodes[0].clone()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(shown.disk_total_bytes, Some(DISK_MIB * MIB));
    assert!(shown.disk_free_bytes() < SOFT_MIB * MIB, "{shown:?}");
    until("a store to be deleted", async || {
        let request = CloseStoreRequest {
            store_id: spare.results[0].store_id.clone(),
            mode: CloseMode::Delete.into(),
            declared_by: "uid".into(),
        };
        let answer = admin.close_store(request).await.map_err(|e| e.to_string())?.into_inner();
        if answer.done { Ok(()) } else { Err(answer.waiting_for) }
    })
    .await;
    assert!(append(&client).await.is_err(), "the filler is still there");

    std::fs::remove_file(filler).unwrap();
    until("an append to be stored", async || append(&client).await.map_err(|e| e.to_string())).await;
    assert_eq!(client.read_stream("orders-1", 0).await.unwrap().len(), stored + 1);
    assert!(!status(&mut admin).await.storage_low);
    assert_eq!(status(&mut admin).await.incarnation, before.incarnation, "the node was not restarted");
    node.alive();
    node.kill().await;
}
