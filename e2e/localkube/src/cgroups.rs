//! The cgroups of a cluster: a subtree named after the cluster below the root of each hierarchy. Other cgroups
//! are never changed.

use crate::{
    error::{Error, Io},
    names::{InstanceName, NodeId},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// Time limit for the kernel to release a cgroup after its processes were killed.
const RELEASE: Duration = Duration::from_secs(20);

/// The cgroup hierarchies of this machine: a single hierarchy with cgroup v2, several with v1.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    hierarchies: Vec<PathBuf>,
    /// The hierarchy used for finding the processes of a node.
    tracking: PathBuf,
    top: String,
}

impl Cgroups {
    pub(crate) fn of(name: &InstanceName) -> Self {
        Self::below(Path::new(MOUNT_POINT), name)
    }

    fn below(mount_point: &Path, name: &InstanceName) -> Self {
        let unified = mount_point.join("cgroup.controllers").exists();
        let hierarchies = if unified { vec![mount_point.to_owned()] } else { directories(mount_point) };
        let preferred = ["pids", "memory", "freezer"].map(|controller| mount_point.join(controller));
        let tracking = preferred.into_iter().find(|path| hierarchies.contains(path));
        let tracking = tracking.or_else(|| hierarchies.first().cloned()).unwrap_or_else(|| mount_point.to_owned());
        Self { hierarchies, tracking, top: name.cgroup() }
    }

    /// Creates the cgroups of a node in every hierarchy, at the path given to the kubelet as `cgroupRoot`. Returns the
    /// directory of the cgroup for the node's own programs.
    pub(crate) fn make_for_node(&self, node: NodeId) -> Result<PathBuf, Error> {
        let make = |path: &Path| fs::create_dir_all(path).map_err(|source| Io::new("create", path, source));
        for hierarchy in &self.hierarchies {
            let path = hierarchy.join(&self.top).join(node.to_string());
            make(&path)?;
            pass_controllers_down(hierarchy, &path);
        }
        let own = self.tracking.join(&self.top).join(node.to_string()).join("system");
        make(&own)?;
        Ok(own)
    }

    /// Kills every process of a node and removes the cgroups of the node.
    pub(crate) async fn end_node(&self, node: NodeId) -> Result<(), Error> {
        let below = Path::new(&self.top).join(node.to_string());
        let tracked = self.tracking.join(&below);
        // A killed parent may have started another process just before, so the loop continues until no process is left.
        wait::until("the node's processes to end", RELEASE, || async {
            let members = members(&tracked);
            for pid in &members {
                let _ = kill_process(*pid, Signal::KILL);
            }
            if members.is_empty() { Ok(()) } else { Err(format!("{} processes", members.len())) }
        })
        .await?;
        self.remove(&below).await
    }

    /// Removes all cgroups of the cluster. The caller must have killed the processes in these cgroups.
    pub(crate) async fn remove_all(&self) -> Result<(), Error> {
        self.remove(Path::new(&self.top)).await
    }

    async fn remove(&self, below: &Path) -> Result<(), Error> {
        for hierarchy in &self.hierarchies {
            let path = hierarchy.join(below);
            // The kernel reports EBUSY until the last process is torn down.
            let mut last = None;
            let removed = wait::until("a cgroup to be released", RELEASE, || {
                let outcome = remove_tree(&path);
                let seen = outcome.as_ref().err().map(ToString::to_string);
                last = outcome.err();
                async move { seen.map_or(Ok(()), Err) }
            })
            .await;
            if let (Err(_), Some(source)) = (removed, last) {
                return Err(Error::Cgroup { path, source });
            }
        }
        Ok(())
    }
}

/// Enables all available controllers along the path from `root` to `node`.
///
/// In the unified hierarchy, a cgroup has only the controllers enabled by its parent. Errors are ignored: the kubelet
/// reports a missing controller. With cgroup v1 the loop finds no controllers and does nothing.
fn pass_controllers_down(root: &Path, node: &Path) {
    let Ok(below) = node.strip_prefix(root) else { return };
    let mut path = root.to_owned();
    let parts = std::iter::once(Path::new("")).chain(below.iter().map(Path::new));
    for part in parts {
        path.push(part);
        let available = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
        for controller in available.split_ascii_whitespace() {
            let _ = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

/// Returns the subdirectories of `path`, sorted. Files belong to the kernel; links such as `cpu,cpuacct` are skipped.
fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let entries = entries.filter_map(Result::ok);
    let mut found: Vec<_> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Returns the processes of a cgroup and its descendants, as far as visible from the PID namespace of this process.
fn members(path: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = own.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect();
    pids.extend(directories(path).iter().flat_map(|below| members(below)));
    pids
}

/// Removes a cgroup after its descendants. A cgroup has no files of its own to remove; an absent cgroup
/// counts as removed.
fn remove_tree(path: &Path) -> io::Result<()> {
    for below in directories(path) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> InstanceName {
        "one".parse().unwrap()
    }

    #[test]
    fn separate_hierarchies_are_all_cleaned_and_others_cgroups_stay() {
        let root = tempfile::tempdir().unwrap();
        for path in ["pids/taffrail-one/node1/pod", "memory/taffrail-one/node1", "memory/taffrail-two", "cpu"] {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        let cgroups = Cgroups::below(root.path(), &name());
        assert_eq!(cgroups.tracking, root.path().join("pids"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(cgroups.remove_all()).unwrap();
        assert!(!root.path().join("pids/taffrail-one").exists() && !root.path().join("memory/taffrail-one").exists());
        assert!(root.path().join("memory/taffrail-two").exists());
    }

    #[test]
    fn a_unified_hierarchy_is_recognised() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
        let cgroups = Cgroups::below(root.path(), &name());
        assert_eq!(cgroups.hierarchies, [root.path().to_owned()]);
        let made = cgroups.make_for_node(NodeId::try_from(2).unwrap()).unwrap();
        assert_eq!(made, root.path().join("taffrail-one/node2/system"));
    }
}
