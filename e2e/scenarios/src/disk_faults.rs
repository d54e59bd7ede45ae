//! What happens to the disks of pods: emptied, or swapped for one of another cluster, while the process that used it
//! stands still and then dies.

use crate::scene::{Scene, process_of};
use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

/// The data directory inside a pod.
const DATA: &str = "var/lib/taffrail/data";

fn signal(process: i32, signal: Signal) -> anyhow::Result<()> {
    Ok(kill_process(Pid::from_raw(process).context("no process")?, signal)?)
}

/// As the process itself sees it: the kernel shows every process's root below its number.
fn data_of(process: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root/{DATA}"))
}

/// Stops a process; it goes on when this is dropped, dead or alive.
struct Frozen(i32);

impl Frozen {
    fn new(process: i32) -> anyhow::Result<Self> {
        signal(process, Signal::STOP)?;
        Ok(Self(process))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _gone = signal(self.0, Signal::CONT);
    }
}

/// Empties the disk of a pod, whose process then dies and starts again on what is there.
///
/// # Errors
/// When the pod has no process or its disk cannot be emptied.
pub async fn empty(scene: &Scene, pod: &str) -> anyhow::Result<()> {
    swap(scene, pod, None).await
}

/// Whether the disk of a pod keeps what it was as this node, retired.
///
/// # Errors
/// When the pod has no process.
pub fn keeps_retired(pod: &str, node: u64) -> anyhow::Result<bool> {
    let place = data_of(process_of(pod)?).join("retired").join(node.to_string());
    Ok(place.join("state").is_dir() && place.join("log").is_dir())
}

/// Puts a copy of another pod's disk in place of a pod's own.
///
/// # Errors
/// When a pod has no process or a disk cannot be written.
pub async fn replace_by(scene: &Scene, pod: &str, other: &str) -> anyhow::Result<()> {
    swap(scene, pod, Some(other)).await
}

async fn swap(scene: &Scene, pod: &str, other: Option<&str>) -> anyhow::Result<()> {
    scene.kube()?;
    let process = process_of(pod)?;
    let data = data_of(process);
    let frozen = Frozen::new(process)?;
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
        let other = Frozen::new(process_of(other)?)?;
        copy(&data_of(other.0), &data)?;
    }
    scene.kill(pod).await?;
    drop(frozen);
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
