//! Startup of all components in order, followed by the loop which executes requests of the host sequentially.

use super::{component::Component, faults, namespace, node::Node, volume_directories};
use crate::{
    command::Run,
    control_plane,
    error::{Error, Io},
    instance::Instance,
    names::NodeId,
    protocol::{self, Cut, Request, Response, Status},
    wait,
};
use futures::future::{join_all, try_join_all};
use std::{collections::BTreeSet, fs, path::Path, time::Duration};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

/// Time limit for a client to send its request.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Sets up the namespaces, starts the cluster of the directory `state` and serves requests until the process is killed.
///
/// # Errors
/// When a part of the cluster cannot be started.
pub async fn run(state: &Path) -> Result<(), Error> {
    let instance = Instance::load(state)?.ok_or_else(|| {
        Io::new(
            "read",
            state,
            std::io::Error::new(std::io::ErrorKind::NotFound, "no cluster was prepared in this directory"),
        )
    })?;
    namespace::furnish(&instance).await?;
    let mut supervisor = Supervisor::start(instance).await?;
    supervisor.serve().await
}

struct Supervisor {
    instance: Instance,
    tasks: TaskTracker,
    components: Vec<Component>,
    /// `None` while the API server is paused.
    api_server: Option<Component>,
    nodes: Vec<Node>,
    cuts: BTreeSet<Cut>,
}

impl Supervisor {
    async fn start(instance: Instance) -> Result<Self, Error> {
        let layout = instance.layout();
        let tasks = TaskTracker::new();
        let keep = |launch| Component::start(launch, &layout, &tasks);
        println!("starting etcd and the API server");
        let mut components = vec![keep(control_plane::etcd(&instance))];
        let api_server = keep(control_plane::api_server(&instance));
        let mut nodes: Vec<Node> = instance.node_ids().map(Node::new).collect();
        println!("starting {} container runtimes", nodes.len());
        let runtimes = try_join_all(nodes.iter_mut().map(|node| node.start_containerd(&instance, &tasks)));
        let (ready, runtimes) = tokio::join!(api_ready(&instance), runtimes);
        ready?;
        runtimes?;
        println!("starting controllers, scheduler, proxy, DNS and kubelets");
        components.extend(control_plane::behind_the_api(&instance).into_iter().map(keep));
        for node in &mut nodes {
            node.start_kubelet(&instance, &tasks);
        }
        Ok(Self { instance, tasks, components, api_server: Some(api_server), nodes, cuts: BTreeSet::new() })
    }

    async fn serve(&mut self) -> Result<(), Error> {
        let socket = self.instance.layout().control_socket();
        let listener = UnixListener::bind(&socket).map_err(|source| Io::new("listen on", &socket, source))?;
        println!("serving");
        loop {
            let (stream, _) = listener.accept().await.map_err(|source| Io::new("accept on", &socket, source))?;
            self.answer(stream).await;
        }
    }

    async fn answer(&mut self, mut stream: UnixStream) {
        let request: Request = match tokio::time::timeout(CLIENT_PATIENCE, protocol::receive(&mut stream)).await {
            Ok(Ok(request)) => request,
            // The client only checked for the listener, or uses another protocol version. Neither expects a response.
            Ok(Err(_)) | Err(_) => return,
        };
        let is_status = matches!(request, Request::Status);
        let line = request.to_string();
        let response = match self.carry_out(request).await {
            Ok(response) => response,
            Err(error) => Response::Failed { reason: error.to_string() },
        };
        if !is_status {
            println!("{line}: {}", if matches!(response, Response::Failed { .. }) { "failed" } else { "done" });
        }
        if let Err(error) = protocol::send(&mut stream, &response).await {
            println!("{line}: cannot send the response: {error}");
        }
    }

    async fn carry_out(&mut self, request: Request) -> Result<Response, Error> {
        match request {
            Request::Status => Ok(Response::Status(self.status().await?)),
            Request::LoadImage { file } => self.load_image(&file).await,
            Request::SetCuts { cuts } => self.set_cuts(cuts).await,
            Request::StopNode { node } => {
                let instance = self.instance.clone();
                self.node(node)?.power_off(&instance).await?;
                Ok(Response::Done)
            }
            Request::StartNode { node } => self.start_node(node).await,
            Request::PauseApi => {
                if let Some(api_server) = self.api_server.take() {
                    api_server.stop().await;
                }
                Ok(Response::Done)
            }
            Request::ResumeApi => self.resume_api().await,
            Request::WipeVolume { node, volume } => {
                self.node(node)?;
                volume_directories::wipe(&self.instance, node, &volume)?;
                Ok(Response::Done)
            }
            Request::AddLimitedVolume { node, mebibytes } => {
                self.node(node)?;
                let volume = volume_directories::add_limited(&self.instance, node, mebibytes).await?;
                Ok(Response::VolumeAdded { volume })
            }
        }
    }

    fn node(&mut self, id: NodeId) -> Result<&mut Node, Error> {
        self.nodes.iter_mut().find(|node| node.id() == id).ok_or(Error::NoSuchNode(id))
    }

    async fn status(&self) -> Result<Status, Error> {
        let paused_name = || control_plane::api_server(&self.instance).name;
        let api_server = self.api_server.as_ref().map_or_else(
            || protocol::ComponentStatus { name: paused_name(), running: false, restarts: 0, last_exit: None },
            Component::status,
        );
        let mut components: Vec<_> = self.components.iter().map(Component::status).collect();
        components.push(api_server);
        Ok(Status {
            components,
            nodes: self.nodes.iter().map(Node::status).collect(),
            api_paused: self.api_server.is_none(),
            cuts: faults::dropped(&self.instance, &self.cuts).await?,
        })
    }

    async fn load_image(&mut self, file: &str) -> Result<Response, Error> {
        let instance = &self.instance;
        let imports = self.nodes.iter_mut().map(|node| async move {
            let id = node.id();
            node.reimport(instance, file).await.map_err(|error| super::node::describe(id, &error))
        });
        let failures: Vec<String> = join_all(imports).await.into_iter().filter_map(Result::err).collect();
        if !failures.is_empty() {
            // Otherwise, a node started later would fail to import the archive.
            let path = self.instance.layout().images().join(file);
            fs::remove_file(&path).map_err(|source| Io::new("remove", &path, source))?;
            return Ok(Response::Failed { reason: failures.join("; ") });
        }
        Ok(Response::Done)
    }

    async fn set_cuts(&mut self, cuts: BTreeSet<Cut>) -> Result<Response, Error> {
        for node in cuts.iter().flat_map(|cut| cut.nodes()) {
            self.node(node)?;
        }
        faults::set(&self.instance, &cuts).await?;
        self.cuts = cuts;
        Ok(Response::Done)
    }

    async fn start_node(&mut self, id: NodeId) -> Result<Response, Error> {
        let (instance, tasks) = (self.instance.clone(), self.tasks.clone());
        let node = self.node(id)?;
        node.start_containerd(&instance, &tasks).await?;
        node.start_kubelet(&instance, &tasks);
        Ok(Response::Done)
    }

    async fn resume_api(&mut self) -> Result<Response, Error> {
        if self.api_server.is_none() {
            let launch = control_plane::api_server(&self.instance);
            self.api_server = Some(Component::start(launch, &self.instance.layout(), &self.tasks));
        }
        api_ready(&self.instance).await?;
        Ok(Response::Done)
    }
}

/// Waits for readiness of the API server at `/readyz`.
async fn api_ready(instance: &Instance) -> Result<(), Error> {
    let kubectl = instance.programs.kubernetes("kubectl");
    let kubeconfig = instance.layout().admin_kubeconfig();
    let ready = || {
        let run = Run::new(&kubectl).env("KUBECONFIG", &kubeconfig).timeout(Duration::from_secs(10));
        run.args(["--request-timeout=5s", "get", "--raw", "/readyz"]).output()
    };
    let waited = wait::until("the API server to be ready", Duration::from_secs(90), ready).await;
    let log = instance.layout().log("kube-apiserver");
    waited.map(drop).map_err(|source| Error::Slow { component: "kube-apiserver", log, source })
}
