use super::{
    Bootstrap, DataDir, Error,
    marker::Marker,
    volume::{MARKER, RETIRED},
};
use std::{fs, path::Path};
use taffrail_core::ids::{ClusterId, DiskId, NodeId};
use taffrail_raft::{log::floor::Floor, peer::starts::Start};
use uuid::Uuid;

fn start(nonce: u64, batch: u64) -> Start {
    Start { nonce, floor: Floor { segment: 0, batch } }
}

fn open(path: &Path) -> Result<DataDir, Error> {
    let mut dir = DataDir::open(path, || Uuid::from_u128(7))?;
    dir.record_start(start(42, 5))?;
    Ok(dir)
}

#[test]
fn identity_survives_a_restart_and_starts_grow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let mut first = open(&path).unwrap();
    first.set_cluster(ClusterId::new(Uuid::from_u128(1))).unwrap();
    first.set_node(NodeId::new(3)).unwrap();
    drop(first);
    let mut again = DataDir::open(&path, || Uuid::from_u128(8)).unwrap();
    again.record_start(start(43, 9)).unwrap();
    assert_eq!(again.disk(), DiskId::new(Uuid::from_u128(7)));
    assert_eq!(again.node(), Some(NodeId::new(3)));
    assert_eq!(again.starts(), [start(42, 5), start(43, 9)]);
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Locked { .. })));
    drop(held);
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("precious"), "x").unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Foreign { found, .. }) if found == "precious"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_or_newer_marker_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join(MARKER);
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("42", "41")).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
    fs::write(&path, good.replacen("\"format\": 1", "\"format\": 9", 1)).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Format { found: 9, .. })));
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn a_bootstrap_without_a_cluster_id_is_damage() {
    let mut marker = Marker::blank(Uuid::from_u128(7));
    marker.bootstrap = Bootstrap::Begun;
    let refused = Marker::decode(Path::new(MARKER), &marker.encode().unwrap());
    assert!(matches!(refused, Err(Error::Damaged { why, .. }) if why.contains("cluster id")));
    marker.cluster_id = Some(Uuid::from_u128(1));
    assert_eq!(Marker::decode(Path::new(MARKER), &marker.encode().unwrap()).unwrap(), marker);
}

#[test]
fn data_without_a_marker_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn another_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = open(dir.path()).unwrap();
    data.set_cluster(ClusterId::new(Uuid::from_u128(1))).unwrap();
    assert!(data.set_cluster(ClusterId::new(Uuid::from_u128(1))).is_ok());
    let other = ClusterId::new(Uuid::from_u128(2));
    assert!(matches!(data.set_cluster(other), Err(Error::OtherCluster { .. })));
    assert!(matches!(data.begin_bootstrap(other, NodeId::new(1)), Err(Error::OtherCluster { .. })));
}

#[test]
fn a_retirement_keeps_the_data_and_makes_a_new_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = open(dir.path()).unwrap();
    data.set_cluster(ClusterId::new(Uuid::from_u128(1))).unwrap();
    data.set_node(NodeId::new(4)).unwrap();
    for name in ["state", "log"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("f"), name).unwrap();
    }
    data.retire(Uuid::from_u128(9)).unwrap();
    assert_eq!((data.node(), data.disk()), (None, DiskId::new(Uuid::from_u128(9))));
    assert!(data.cluster().is_some());
    assert_eq!(fs::read_to_string(dir.path().join("retired/4/state/f")).unwrap(), "state");
    assert!(!dir.path().join("log").exists());
    drop(data);
    assert_eq!(open(dir.path()).unwrap().disk(), DiskId::new(Uuid::from_u128(9)));
}

#[test]
fn a_retirement_cut_short_is_finished_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = open(dir.path()).unwrap();
    data.set_node(NodeId::new(4)).unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    data.retire(Uuid::from_u128(9)).unwrap();
    // as if the process had died after the marker was written and one folder was moved
    data.marker.retiring = Some(4);
    data.save().unwrap();
    fs::rename(dir.path().join("retired/4/log"), dir.path().join("log")).unwrap();
    drop(data);
    let again = open(dir.path()).unwrap();
    assert!(dir.path().join("retired/4/log").exists());
    assert!(!dir.path().join("log").exists());
    assert_eq!(again.marker.retiring, None);
}

#[test]
fn a_retirement_cut_short_after_the_last_move_is_finished_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = open(dir.path()).unwrap();
    data.set_node(NodeId::new(4)).unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    data.retire(Uuid::from_u128(9)).unwrap();
    data.marker.retiring = Some(4);
    data.save().unwrap();
    drop(data);
    assert_eq!(open(dir.path()).unwrap().marker.retiring, None);
    assert!(dir.path().join("retired/4/state").exists());
}

/// Makes the two databases, as a start does before the node has an id.
fn databases(path: &Path, content: &str) {
    for name in ["state", "log"] {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("f"), content).unwrap();
    }
}

#[test]
fn a_blank_node_with_open_databases_can_be_started_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    databases(dir.path(), "blank");
    let again = open(dir.path()).unwrap();
    assert_eq!(again.node(), None);
    assert_eq!(fs::read_to_string(dir.path().join("state/f")).unwrap(), "blank");
    assert!(!dir.path().join(RETIRED).exists());
}

#[test]
fn a_retired_disk_can_be_started_again_before_it_has_a_new_node_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = open(dir.path()).unwrap();
    data.set_node(NodeId::new(4)).unwrap();
    databases(dir.path(), "old");
    data.retire(Uuid::from_u128(9)).unwrap();
    drop(data);
    for _ in 0..2 {
        let again = open(dir.path()).unwrap();
        if !again.state_path().exists() {
            databases(dir.path(), "new");
        }
    }
    assert_eq!(fs::read_to_string(dir.path().join("retired/4/state/f")).unwrap(), "old");
    assert_eq!(fs::read_to_string(dir.path().join("state/f")).unwrap(), "new");
}

#[test]
fn a_marker_outside_of_a_retirement_does_not_name_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!fs::read_to_string(dir.path().join(MARKER)).unwrap().contains("retiring"));
}

#[test]
fn a_file_is_not_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "x").unwrap();
    assert!(matches!(open(&path), Err(Error::NotADirectory { .. })));
}
