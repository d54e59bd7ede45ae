//! Starts the components in order, then carries out what the host asks, one request after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

use super::component::Component;
use super::node::Node;
use super::{faults, namespace, volumes};
use crate::command::Run;
use crate::localkube::config::NodeId;
use crate::localkube::control::{self, Cut, Request, Response, Status};
use crate::localkube::control_plane;
use crate::localkube::error::{Error, Io};
use crate::localkube::machine::Machine;
use crate::wait;

/// How long a client may take to write its one line.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Furnishes the namespaces, starts the cluster of `state` and serves it until the process is killed.
///
/// # Errors
/// When a part of the cluster cannot be started.
pub async fn run(state: &Path) -> Result<(), Error> {
    let machine = Machine::load(state)?.ok_or_else(|| {
        Io::new("read", state, std::io::Error::new(std::io::ErrorKind::NotFound, "no cluster was prepared there"))
    })?;
    namespace::furnish(&machine).await?;
    let mut supervisor = Supervisor::start(machine).await?;
    supervisor.serve().await
}

struct Supervisor {
    machine: Machine,
    tasks: TaskTracker,
    components: Vec<Component>,
    /// `None` while it is paused.
    api_server: Option<Component>,
    nodes: Vec<Node>,
    cuts: BTreeSet<Cut>,
}

impl Supervisor {
    async fn start(machine: Machine) -> Result<Self, Error> {
        let layout = machine.layout();
        let tasks = TaskTracker::new();
        let keep = |launch| Component::start(launch, &layout, &tasks);
        println!("starting etcd and the API server");
        let mut components = vec![keep(control_plane::etcd(&machine))];
        let api_server = keep(control_plane::api_server(&machine));
        let mut nodes: Vec<Node> = machine.node_ids().map(Node::new).collect();
        println!("starting {} container runtimes", nodes.len());
        let runtimes = try_join_all(nodes.iter_mut().map(|node| node.start_containerd(&machine, &tasks)));
        let (ready, runtimes) = tokio::join!(api_ready(&machine), runtimes);
        ready?;
        runtimes?;
        println!("starting controllers, scheduler, proxy, DNS and kubelets");
        components.extend(control_plane::behind_the_api(&machine).into_iter().map(keep));
        for node in &mut nodes {
            node.start_kubelet(&machine, &tasks);
        }
        Ok(Self { machine, tasks, components, api_server: Some(api_server), nodes, cuts: BTreeSet::new() })
    }

    async fn serve(&mut self) -> Result<(), Error> {
        let socket = self.machine.layout().control_socket();
        let listener = UnixListener::bind(&socket).map_err(|source| Io::new("listen on", &socket, source))?;
        println!("serving");
        loop {
            let (stream, _) = listener.accept().await.map_err(|source| Io::new("accept on", &socket, source))?;
            self.answer(stream).await;
        }
    }

    async fn answer(&mut self, mut stream: UnixStream) {
        let request: Request = match tokio::time::timeout(CLIENT_PATIENCE, control::receive(&mut stream)).await {
            Ok(Ok(request)) => request,
            // Somebody who only looked whether we listen, or spoke another version; there is nobody to answer.
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
        if let Err(error) = control::send(&mut stream, &response).await {
            println!("{line}: the answer was not taken: {error}");
        }
    }

    async fn carry_out(&mut self, request: Request) -> Result<Response, Error> {
        match request {
            Request::Status => Ok(Response::Status(self.status().await?)),
            Request::LoadImage { file } => self.load_image(&file).await,
            Request::SetCuts { cuts } => self.set_cuts(cuts).await,
            Request::StopNode { node } => {
                let machine = self.machine.clone();
                self.node(node)?.power_off(&machine).await?;
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
                volumes::wipe(&self.machine, node, &volume)?;
                Ok(Response::Done)
            }
            Request::AddLimitedVolume { node, mebibytes } => {
                self.node(node)?;
                let volume = volumes::add_limited(&self.machine, node, mebibytes).await?;
                Ok(Response::VolumeAdded { volume })
            }
        }
    }

    fn node(&mut self, id: NodeId) -> Result<&mut Node, Error> {
        self.nodes.iter_mut().find(|node| node.id() == id).ok_or(Error::NoSuchNode(id))
    }

    async fn status(&self) -> Result<Status, Error> {
        let paused_name = || control_plane::api_server(&self.machine).name;
        let api_server = self.api_server.as_ref().map_or_else(
            || control::ComponentStatus { name: paused_name(), running: false, restarts: 0, last_exit: None },
            Component::status,
        );
        let mut components: Vec<_> = self.components.iter().map(Component::status).collect();
        components.push(api_server);
        Ok(Status {
            components,
            nodes: self.nodes.iter().map(Node::status).collect(),
            api_paused: self.api_server.is_none(),
            cuts: faults::dropped(&self.machine, &self.cuts).await?,
        })
    }

    async fn load_image(&mut self, file: &str) -> Result<Response, Error> {
        let machine = &self.machine;
        let imports = self.nodes.iter_mut().map(|node| async move {
            let id = node.id();
            node.reimport(machine, file).await.map_err(|error| super::node::describe(id, &error))
        });
        let failures: Vec<String> = join_all(imports).await.into_iter().filter_map(Result::err).collect();
        if !failures.is_empty() {
            // A node that starts later must not stumble over an archive that cannot be imported.
            let path = self.machine.layout().images().join(file);
            fs::remove_file(&path).map_err(|source| Io::new("remove", &path, source))?;
            return Ok(Response::Failed { reason: failures.join("; ") });
        }
        Ok(Response::Done)
    }

    async fn set_cuts(&mut self, cuts: BTreeSet<Cut>) -> Result<Response, Error> {
        for node in cuts.iter().flat_map(|cut| cut.nodes()) {
            self.node(node)?;
        }
        faults::set(&self.machine, &cuts).await?;
        self.cuts = cuts;
        Ok(Response::Done)
    }

    async fn start_node(&mut self, id: NodeId) -> Result<Response, Error> {
        let (machine, tasks) = (self.machine.clone(), self.tasks.clone());
        let node = self.node(id)?;
        node.start_containerd(&machine, &tasks).await?;
        node.start_kubelet(&machine, &tasks);
        Ok(Response::Done)
    }

    async fn resume_api(&mut self) -> Result<Response, Error> {
        if self.api_server.is_none() {
            let launch = control_plane::api_server(&self.machine);
            self.api_server = Some(Component::start(launch, &self.machine.layout(), &self.tasks));
        }
        api_ready(&self.machine).await?;
        Ok(Response::Done)
    }
}

/// Waits until the API server says that it is ready for everything.
async fn api_ready(machine: &Machine) -> Result<(), Error> {
    let kubectl = machine.programs.kubernetes("kubectl");
    let kubeconfig = machine.layout().admin_kubeconfig();
    let ready = || {
        let run = Run::new(&kubectl).env("KUBECONFIG", &kubeconfig).timeout(Duration::from_secs(10));
        run.args(["--request-timeout=5s", "get", "--raw", "/readyz"]).output()
    };
    let waited = wait::until("the API server to be ready", Duration::from_secs(90), ready).await;
    let log = machine.layout().log("kube-apiserver");
    waited.map(drop).map_err(|source| Error::Slow { component: "kube-apiserver", log, source })
}
