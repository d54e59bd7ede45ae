//! Handle of a running cluster for tests and commands.

use crate::{
    audit::{self, Write},
    error::{Error, Io},
    instance::Instance,
    kubectl::{self, Helm, Kubectl},
    layout::Layout,
    names::{InstanceName, NodeId},
    process_id::ProcessId,
    protocol::{self, Cut, Request, Response, Status},
    volumes, wait,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A running cluster. Dropping this value does not end the cluster.
#[derive(Clone, Debug)]
pub struct LocalKube {
    instance: Instance,
}

impl LocalKube {
    pub(crate) fn of(instance: Instance) -> Self {
        Self { instance }
    }

    /// Opens the running cluster of this name.
    ///
    /// # Errors
    /// When the cluster is not running.
    pub fn open(state_root: &Path, name: &InstanceName) -> Result<Self, Error> {
        let state = state_root.join(name.as_str());
        let alive = ProcessId::load(&Layout::new(&state).init()).is_some_and(ProcessId::is_alive);
        match Instance::load(&state)? {
            Some(instance) if alive => Ok(Self { instance }),
            _ => Err(Error::NotRunning(name.clone())),
        }
    }

    /// The saved description of the cluster.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Path of the kubeconfig with full access.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.instance.layout().admin_kubeconfig()
    }

    /// Returns the id of the first process of the namespaces, for `nsenter`, or `None` if the process has ended.
    #[must_use]
    pub fn init_pid(&self) -> Option<i32> {
        ProcessId::load(&self.instance.layout().init()).filter(|id| id.is_alive()).map(ProcessId::pid)
    }

    /// Returns a `kubectl` client for this cluster.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.instance.programs.kubernetes("kubectl"), Some(self.kubeconfig()))
    }

    /// Returns a `helm` client for this cluster.
    #[must_use]
    pub fn helm(&self) -> Helm {
        Helm::new(self.instance.programs.kubernetes("helm"), Some(self.kubeconfig()))
    }

    async fn ask(&self, request: Request) -> Result<Response, Error> {
        protocol::ask(&self.instance.layout().control_socket(), &request).await
    }

    /// Sends a request with a response that carries no data.
    async fn tell(&self, request: Request) -> Result<(), Error> {
        self.ask(request).await.map(drop)
    }

    fn unexpected(request: &str) -> Error {
        Error::Refused { request: request.to_owned(), reason: "the response belongs to another request".to_owned() }
    }

    /// Returns the state of all components and all active cuts.
    ///
    /// # Errors
    /// When the supervisor does not respond.
    pub async fn status(&self) -> Result<Status, Error> {
        match self.ask(Request::Status).await? {
            Response::Status(status) => Ok(status),
            Response::Done | Response::VolumeAdded { .. } | Response::Failed { .. } => Err(Self::unexpected("status")),
        }
    }

    /// Loads the images of a docker or OCI archive into every node. Stopped nodes import the images when started.
    ///
    /// # Errors
    /// When the file cannot be read or contains no images.
    pub async fn load_image(&self, archive: &Path) -> Result<(), Error> {
        let whole = archive.canonicalize().map_err(|source| Io::new("read", archive, source))?;
        // The name depends on the whole path: loading the same file again replaces its copy, and a file of the same
        // name in another directory gets a copy of its own.
        let digest = Sha256::digest(whole.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let file = format!("loaded-{short}.tar");
        let copy = self.instance.layout().images().join(&file);
        // Copied because the supervisor does not see every directory of the host, and nodes started later
        // need the archive.
        fs::copy(&whole, &copy).map_err(|source| Io::new("copy into the cluster", archive, source))?;
        self.tell(Request::LoadImage { file }).await
    }

    /// Adds cuts to the active cuts.
    ///
    /// # Errors
    /// When a node does not exist.
    pub async fn cut(&self, more: impl IntoIterator<Item = Cut>) -> Result<(), Error> {
        let mut cuts = self.cuts().await?;
        cuts.extend(more);
        self.tell(Request::SetCuts { cuts }).await
    }

    async fn cuts(&self) -> Result<BTreeSet<Cut>, Error> {
        Ok(self.status().await?.cuts.into_iter().map(|cut| cut.cut).collect())
    }

    /// Drops all packets between the pods of two nodes, established connections included.
    ///
    /// # Errors
    /// When a node does not exist.
    pub async fn partition(&self, one: NodeId, other: NodeId) -> Result<(), Error> {
        self.cut([Cut::Pods { from: one, to: other }, Cut::Pods { from: other, to: one }]).await
    }

    /// Drops packets from the pods of `from` to the pods of `to`. The other direction still works.
    ///
    /// # Errors
    /// When a node does not exist.
    pub async fn partition_one_way(&self, from: NodeId, to: NodeId) -> Result<(), Error> {
        self.cut([Cut::Pods { from, to }]).await
    }

    /// Cuts the pods of a node from the pods of all other nodes. The API server stays reachable.
    ///
    /// # Errors
    /// When the node does not exist.
    pub async fn isolate(&self, node: NodeId) -> Result<(), Error> {
        let others = self.instance.node_ids().filter(|other| *other != node);
        self.cut(others.flat_map(|other| [Cut::Pods { from: node, to: other }, Cut::Pods { from: other, to: node }]))
            .await
    }

    /// Removes all cuts.
    ///
    /// # Errors
    /// When the supervisor does not respond.
    pub async fn heal(&self) -> Result<(), Error> {
        self.tell(Request::SetCuts { cuts: BTreeSet::new() }).await
    }

    /// Removes all cuts between two nodes.
    ///
    /// # Errors
    /// When the supervisor does not respond.
    pub async fn heal_between(&self, one: NodeId, other: NodeId) -> Result<(), Error> {
        let mut cuts = self.cuts().await?;
        cuts.retain(
            |cut| !matches!(*cut, Cut::Pods { from, to } if [from, to] == [one, other] || [to, from] == [one, other]),
        );
        self.tell(Request::SetCuts { cuts }).await
    }

    /// Powers off a node: kubelet, containerd and all containers are killed at once. The disk is kept.
    ///
    /// # Errors
    /// When the node does not exist, or a process of the node does not end.
    pub async fn stop_node(&self, node: NodeId) -> Result<(), Error> {
        self.tell(Request::StopNode { node }).await
    }

    /// Powers on a stopped node. The kubelet restarts the pods of the node afterwards.
    ///
    /// # Errors
    /// When a component of the node does not start.
    pub async fn start_node(&self, node: NodeId) -> Result<(), Error> {
        self.tell(Request::StartNode { node }).await
    }

    /// Stops the API server: connections are closed and new connections are refused. The stored objects are kept.
    ///
    /// # Errors
    /// When the supervisor does not respond.
    pub async fn pause_api(&self) -> Result<(), Error> {
        self.tell(Request::PauseApi).await
    }

    /// Starts the API server again and waits for readiness.
    ///
    /// # Errors
    /// When the API server does not become ready.
    pub async fn resume_api(&self) -> Result<(), Error> {
        self.tell(Request::ResumeApi).await
    }

    /// Empties the directory behind a persistent volume, in use or not. A pod then finds an empty disk, as after
    /// a disk replacement.
    ///
    /// # Errors
    /// When the volume does not belong to this cluster.
    pub async fn wipe_volume(&self, persistent_volume: &str) -> Result<(), Error> {
        let (node, volume) = volumes::parse_object_name(persistent_volume)?;
        if !self.instance.has(node) || !self.instance.layout().node(node).volume(volume).is_dir() {
            return Err(Error::UnknownVolume(persistent_volume.to_owned()));
        }
        self.tell(Request::WipeVolume { node, volume: volume.to_owned() }).await
    }

    /// Empties every volume with a deleted claim and makes the volume available again. Returns the names
    /// of these volumes.
    ///
    /// # Errors
    /// When Kubernetes does not respond, or a volume cannot be emptied.
    pub async fn recycle_released_volumes(&self) -> Result<Vec<String>, Error> {
        let kubectl = self.kubectl();
        let mut recycled = Vec::new();
        for volume in volumes::released(&kubectl).await? {
            let name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            kubectl.delete(["persistentvolume", &name]).await?;
            self.wipe_volume(&name).await?;
            kubectl.apply(volumes::unclaimed(&volume).to_string()).await?;
            recycled.push(name);
        }
        Ok(recycled)
    }

    /// Adds a volume of class `local-limited` with an enforced capacity. Returns the name of the PersistentVolume.
    ///
    /// # Errors
    /// When the node does not exist, or a file system of this size cannot be created.
    pub async fn add_limited_volume(&self, node: NodeId, mebibytes: u32) -> Result<String, Error> {
        let added = self.ask(Request::AddLimitedVolume { node, mebibytes }).await?;
        let Response::VolumeAdded { volume } = added else {
            return Err(Self::unexpected("add a volume"));
        };
        let capacity = format!("{mebibytes}Mi");
        let class = volumes::LIMITED_STORAGE_CLASS;
        let object = volumes::persistent_volume(&self.instance, node, &volume, class, &capacity);
        self.kubectl().apply(object.to_string()).await?;
        Ok(volumes::object_name(node, &volume))
    }

    /// Returns all writes received by the API server at `since` or later.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn writes_since(&self, since: Timestamp) -> Result<Vec<Write>, Error> {
        audit::writes_since(&self.instance.layout().audit_log(), since)
    }

    /// Waits until the set of Ready nodes equals `ready`.
    ///
    /// # Errors
    /// When the sets still differ after `deadline`.
    pub async fn nodes_ready(&self, ready: &[NodeId], deadline: Duration) -> Result<(), wait::TimedOut> {
        let wanted: BTreeSet<String> = ready.iter().map(ToString::to_string).collect();
        self.kubectl()
            .until("nodes to be Ready", deadline, &["nodes"], |list| {
                let seen = ready_nodes(list);
                if seen == wanted { Ok(()) } else { Err(format!("Ready nodes are {seen:?} instead of {wanted:?}")) }
            })
            .await
    }
}

fn ready_nodes(list: &serde_json::Value) -> BTreeSet<String> {
    let nodes = list["items"].as_array().into_iter().flatten();
    let ready = nodes.filter(|node| kubectl::condition_is_true(node, "Ready").is_ok());
    ready.filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
