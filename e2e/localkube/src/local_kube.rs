//! A running cluster, as tests and commands hold it.

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

/// A cluster that is up. Dropping it leaves the cluster running.
#[derive(Clone, Debug)]
pub struct LocalKube {
    instance: Instance,
}

impl LocalKube {
    pub(crate) fn of(instance: Instance) -> Self {
        Self { instance }
    }

    /// The running cluster of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(state_root: &Path, name: &InstanceName) -> Result<Self, Error> {
        let state = state_root.join(name.as_str());
        let alive = ProcessId::load(&Layout::new(&state).init()).is_some_and(ProcessId::is_alive);
        match Instance::load(&state)? {
            Some(instance) if alive => Ok(Self { instance }),
            _ => Err(Error::NotRunning(name.clone())),
        }
    }

    /// The stored description of the cluster.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Full access from the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.instance.layout().admin_kubeconfig()
    }

    /// The first process of its namespaces, for `nsenter`.
    #[must_use]
    pub fn init_pid(&self) -> Option<i32> {
        ProcessId::load(&self.instance.layout().init()).filter(|id| id.is_alive()).map(ProcessId::pid)
    }

    /// `kubectl` for it.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.instance.programs.kubernetes("kubectl"), Some(self.kubeconfig()))
    }

    /// `helm` for it.
    #[must_use]
    pub fn helm(&self) -> Helm {
        Helm::new(self.instance.programs.kubernetes("helm"), Some(self.kubeconfig()))
    }

    async fn ask(&self, request: Request) -> Result<Response, Error> {
        protocol::ask(&self.instance.layout().control_socket(), &request).await
    }

    /// For requests whose answer is that they were done.
    async fn tell(&self, request: Request) -> Result<(), Error> {
        self.ask(request).await.map(drop)
    }

    fn unexpected(request: &str) -> Error {
        Error::Refused { request: request.to_owned(), reason: "it gave an answer to something else".to_owned() }
    }

    /// What runs, what is stopped and what is cut.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        match self.ask(Request::Status).await? {
            Response::Status(status) => Ok(status),
            Response::Done | Response::VolumeAdded { .. } | Response::Failed { .. } => Err(Self::unexpected("status")),
        }
    }

    /// Brings the images of a docker or OCI archive to every node. Stopped nodes get them when they start.
    ///
    /// # Errors
    /// When the file cannot be read or holds no images.
    pub async fn load_image(&self, archive: &Path) -> Result<(), Error> {
        let whole = archive.canonicalize().map_err(|source| Io::new("read", archive, source))?;
        // The same file replaces itself; another one of the same name does not.
        let digest = Sha256::digest(whole.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let file = format!("loaded-{short}.tar");
        let copy = self.instance.layout().images().join(&file);
        // A copy, because the supervisor does not see every directory of the host, and a node that starts later needs it.
        fs::copy(&whole, &copy).map_err(|source| Io::new("copy into the cluster", archive, source))?;
        self.tell(Request::LoadImage { file }).await
    }

    /// Cuts these connections in addition to those that are cut.
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

    /// Cuts the pods of two nodes from each other, in both directions, established connections too.
    ///
    /// # Errors
    /// When a node does not exist.
    pub async fn partition(&self, one: NodeId, other: NodeId) -> Result<(), Error> {
        self.cut([Cut::Pods { from: one, to: other }, Cut::Pods { from: other, to: one }]).await
    }

    /// Keeps packets of the pods of `from` from the pods of `to`; the other direction stays.
    ///
    /// # Errors
    /// When a node does not exist.
    pub async fn partition_one_way(&self, from: NodeId, to: NodeId) -> Result<(), Error> {
        self.cut([Cut::Pods { from, to }]).await
    }

    /// Cuts the pods of a node from the pods of all others. The API server stays reachable.
    ///
    /// # Errors
    /// When the node does not exist.
    pub async fn isolate(&self, node: NodeId) -> Result<(), Error> {
        let others = self.instance.node_ids().filter(|other| *other != node);
        self.cut(others.flat_map(|other| [Cut::Pods { from: node, to: other }, Cut::Pods { from: other, to: node }]))
            .await
    }

    /// Ends every cut.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub async fn heal(&self) -> Result<(), Error> {
        self.tell(Request::SetCuts { cuts: BTreeSet::new() }).await
    }

    /// Ends every cut between two nodes.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub async fn heal_between(&self, one: NodeId, other: NodeId) -> Result<(), Error> {
        let mut cuts = self.cuts().await?;
        cuts.retain(
            |cut| !matches!(*cut, Cut::Pods { from, to } if [from, to] == [one, other] || [to, from] == [one, other]),
        );
        self.tell(Request::SetCuts { cuts }).await
    }

    /// Takes the power from a node: kubelet, containerd and every container are killed at once. Its disk stays.
    ///
    /// # Errors
    /// When the node does not exist or something of it does not end.
    pub async fn stop_node(&self, node: NodeId) -> Result<(), Error> {
        self.tell(Request::StopNode { node }).await
    }

    /// Starts a stopped node. Its pods come back when its kubelet has seen them.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_node(&self, node: NodeId) -> Result<(), Error> {
        self.tell(Request::StartNode { node }).await
    }

    /// Stops the API server: connections to it end and new ones are refused. What it stored stays.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub async fn pause_api(&self) -> Result<(), Error> {
        self.tell(Request::PauseApi).await
    }

    /// Starts the API server again and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn resume_api(&self) -> Result<(), Error> {
        self.tell(Request::ResumeApi).await
    }

    /// Empties the directory behind a persistent volume, in use or not: what a pod finds after its disk was replaced.
    ///
    /// # Errors
    /// When the volume is not one of this cluster.
    pub async fn wipe_volume(&self, persistent_volume: &str) -> Result<(), Error> {
        let (node, volume) = volumes::parse_object_name(persistent_volume)?;
        if !self.instance.has(node) || !self.instance.layout().node(node).volume(volume).is_dir() {
            return Err(Error::UnknownVolume(persistent_volume.to_owned()));
        }
        self.tell(Request::WipeVolume { node, volume: volume.to_owned() }).await
    }

    /// Empties every volume whose claim was deleted and offers it again. Answers their names.
    ///
    /// # Errors
    /// When Kubernetes does not answer, or a volume cannot be emptied.
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

    /// Adds a volume of class `local-limited` that ends at its size. Answers the name of its object.
    ///
    /// # Errors
    /// When the node does not exist, or no file system of this size can be made.
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

    /// Every write that the API server received at `since` or later.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn writes_since(&self, since: Timestamp) -> Result<Vec<Write>, Error> {
        audit::writes_since(&self.instance.layout().audit_log(), since)
    }

    /// Waits until exactly these nodes are Ready.
    ///
    /// # Errors
    /// When they are not within `deadline`.
    pub async fn nodes_ready(&self, ready: &[NodeId], deadline: Duration) -> Result<(), wait::TimedOut> {
        let wanted: BTreeSet<String> = ready.iter().map(ToString::to_string).collect();
        self.kubectl()
            .until("nodes to be Ready", deadline, &["nodes"], |list| {
                let seen = ready_nodes(list);
                if seen == wanted { Ok(()) } else { Err(format!("Ready are {seen:?}, wanted are {wanted:?}")) }
            })
            .await
    }
}

fn ready_nodes(list: &serde_json::Value) -> BTreeSet<String> {
    let nodes = list["items"].as_array().into_iter().flatten();
    let ready = nodes.filter(|node| kubectl::condition_is_true(node, "Ready").is_ok());
    ready.filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
