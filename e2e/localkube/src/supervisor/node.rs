//! One node: its containerd, its kubelet and everything that these start.

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

/// A node, running or stopped.
#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    power: Power,
    /// The archives that its containerd has imported. They survive a stop, as images on a disk do.
    imported: BTreeSet<String>,
}

#[derive(Debug)]
enum Power {
    Off,
    /// containerd runs; the kubelet is not started yet.
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

    /// Starts containerd and gives it every image that it lacks. Nothing if the node is not off.
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

    /// Starts the kubelet once containerd runs.
    pub(super) fn start_kubelet(&mut self, instance: &Instance, tasks: &TaskTracker) {
        self.power = match std::mem::replace(&mut self.power, Power::Off) {
            Power::Starting { containerd, cgroup } => {
                let launch = node_files::kubelet(instance, self.id, cgroup);
                Power::On { containerd, kubelet: Component::start(launch, &instance.layout(), tasks) }
            }
            other @ (Power::Off | Power::On { .. }) => other,
        };
    }

    /// Ends the node as a loss of power would: everything is killed at once, nothing is told, and what a real machine keeps in
    /// memory is gone. Its disk stays: images, volumes, what the kubelet wrote.
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

    /// Imports an archive again, or for the first time. A stopped node does so when it starts.
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

/// The archives to import, in order of name.
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

/// What a start without a kubelet or an answer would look like to a person.
pub(super) fn describe(node: NodeId, error: &Error) -> String {
    if let Error::Command(command::Error::Failed { output, .. }) = error {
        format!("{node}: {output}")
    } else {
        format!("{node}: {error}")
    }
}
