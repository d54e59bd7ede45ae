//! A node: containerd, kubelet and all their child processes.

use super::{component::Component, mounts};
use crate::{
    cgroups::Cgroups,
    command::{self, Run},
    error::{Error, Io},
    instance::Instance,
    layout::NodeLayout,
    names::NodeId,
    node_files,
    protocol::NodeStatus,
    wait,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// A node in any power state.
#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    power: Power,
    /// Archives imported by containerd. Images are on the disk, so the set is kept when the node is powered off.
    imported: BTreeSet<String>,
}

#[derive(Debug)]
enum Power {
    Off,
    /// containerd is running; the kubelet is not started yet.
    Starting {
        containerd: Component,
        cgroup: PathBuf,
    },
    On {
        containerd: Component,
        kubelet: Component,
    },
}

impl Node {
    pub(super) fn new(id: NodeId) -> Self {
        Self { id, power: Power::Off, imported: BTreeSet::new() }
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn is_off(&self) -> bool {
        matches!(self.power, Power::Off)
    }

    /// Starts containerd and imports every missing image. Does nothing unless the node is off.
    pub(super) async fn start_containerd(&mut self, instance: &Instance, tasks: &TaskTracker) -> Result<(), Error> {
        if !self.is_off() {
            return Ok(());
        }
        let cgroup = Cgroups::of(&instance.name).make_for_node(self.id)?;
        let launch = node_files::containerd(instance, self.id, cgroup.clone());
        let containerd = Component::start(launch, &instance.layout(), tasks);
        self.power = Power::Starting { containerd, cgroup };
        let files = instance.layout().node(self.id);
        let answers = || ctr(&files).args(["version"]).timeout(Duration::from_secs(5)).output();
        wait::until("containerd to answer", Duration::from_secs(30), answers).await?;
        for archive in archives(&instance.layout().images())? {
            self.import(instance, &archive).await?;
        }
        Ok(())
    }

    /// Starts the kubelet if containerd was started before.
    pub(super) fn start_kubelet(&mut self, instance: &Instance, tasks: &TaskTracker) {
        self.power = match std::mem::replace(&mut self.power, Power::Off) {
            Power::Starting { containerd, cgroup } => {
                let launch = node_files::kubelet(instance, self.id, cgroup);
                Power::On { containerd, kubelet: Component::start(launch, &instance.layout(), tasks) }
            }
            other @ (Power::Off | Power::On { .. }) => other,
        };
    }

    /// Powers off the node. All processes are killed at once without notice, and all state of a real machine's memory
    /// is removed. The disk is kept: images, volumes and the files of the kubelet.
    pub(super) async fn power_off(&mut self, instance: &Instance) -> Result<(), Error> {
        match std::mem::replace(&mut self.power, Power::Off) {
            Power::Off => return Ok(()),
            Power::Starting { containerd, .. } => containerd.stop().await,
            Power::On { containerd, kubelet } => {
                tokio::join!(kubelet.stop(), containerd.stop());
            }
        }
        Cgroups::of(&instance.name).end_node(self.id).await?;
        let files = instance.layout().node(self.id);
        mounts::unmount_below(files.directory(), &files.volumes())?;
        for path in [files.containerd_state(), files.cni_leases()] {
            remove(&path)?;
        }
        Ok(())
    }

    /// Imports an archive, even if imported before. A stopped node imports the archive when started.
    pub(super) async fn reimport(&mut self, instance: &Instance, archive: &str) -> Result<(), Error> {
        self.imported.remove(archive);
        if self.is_off() { Ok(()) } else { self.import(instance, archive).await }
    }

    async fn import(&mut self, instance: &Instance, archive: &str) -> Result<(), Error> {
        if self.imported.contains(archive) {
            return Ok(());
        }
        let path = instance.layout().images().join(archive);
        let run = ctr(&instance.layout().node(self.id)).args(["images", "import"]).args([path]);
        run.timeout(Duration::from_secs(240)).output().await?;
        self.imported.insert(archive.to_owned());
        Ok(())
    }

    pub(super) fn status(&self) -> NodeStatus {
        let components = match &self.power {
            Power::Off => Vec::new(),
            Power::Starting { containerd, .. } => vec![containerd.status()],
            Power::On { containerd, kubelet } => vec![containerd.status(), kubelet.status()],
        };
        NodeStatus { node: self.id, stopped: self.is_off(), components }
    }
}

fn ctr(files: &NodeLayout) -> Run {
    Run::new("ctr").args(["--namespace", "k8s.io", "--address"]).args([files.containerd_socket()])
}

/// Returns the archives to import, in order of name.
fn archives(directory: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Io::new("list", directory, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tar") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Io::new("remove", path, source).into()),
        _ => Ok(()),
    }
}

/// Formats an error with the node; of a failed command only the output is shown.
pub(super) fn describe(node: NodeId, error: &Error) -> String {
    if let Error::Command(command::Error::Failed { output, .. }) = error {
        format!("{node}: {output}")
    } else {
        format!("{node}: {error}")
    }
}
