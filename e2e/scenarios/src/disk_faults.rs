//! Disk faults of pods. While the process using the disk is stopped, the disk is emptied, or replaced with a copy of
//! another cluster's disk. Then the process is killed.

use crate::{pods::node_process, scenario::Scenario, stopped_process::StoppedProcess};
use anyhow::ensure;
use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

/// The data directory inside a pod, relative to the root directory.
const DATA: &str = "var/lib/taffrail/data";

/// Returns the path of the data directory on the host: `/proc/PID/root` is the root directory of the process.
fn data_directory(process: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root/{DATA}"))
}

/// Empties the disk of a pod and kills the process, which then starts on an empty disk.
///
/// # Errors
/// When the pod has no process or its disk cannot be emptied.
pub async fn wipe(scenario: &Scenario, pod: &str) -> anyhow::Result<()> {
    replace_data(scenario, pod, None).await
}

/// Returns whether the disk of a pod contains the retired state and log of the node id `node`.
///
/// # Errors
/// When the pod has no process.
pub fn has_retired_data(pod: &str, node: u64) -> anyhow::Result<bool> {
    let place = data_directory(node_process(pod)?).join("retired").join(node.to_string());
    Ok(place.join("state").is_dir() && place.join("log").is_dir())
}

/// Replaces the disk of `pod` with a copy of the disk of the pod `other`.
///
/// # Errors
/// When a pod has no process or a disk cannot be written.
pub async fn replace_with_copy_of(scenario: &Scenario, pod: &str, other: &str) -> anyhow::Result<()> {
    replace_data(scenario, pod, Some(other)).await
}

async fn replace_data(scenario: &Scenario, pod: &str, other: Option<&str>) -> anyhow::Result<()> {
    scenario.local_kube()?;
    let stopped = StoppedProcess::of(pod)?;
    let data = data_directory(stopped.id());
    let mut removed = 0;
    for entry in fs::read_dir(&data)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)?
        } else {
            fs::remove_file(&path)?
        }
        removed += 1;
    }
    ensure!(removed > 0, "the disk of {pod} was empty");
    if let Some(other) = other {
        let other = StoppedProcess::of(other)?;
        copy(&data_directory(other.id()), &data)?;
    }
    scenario.kill(pod).await?;
    drop(stopped);
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let (source, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if source.is_dir() {
            fs::create_dir(&target)?;
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
        let owner = fs::metadata(&source)?;
        chown(&target, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}
