//! Restart and drain against an in-memory coordinator and an in-memory API server: the requests and their order.

use super::*;
use crate::{
    controllers::{
        cluster::{observation::Observation, observe::ReconcileInput},
        reconcile_frame::Progress,
    },
    fake_api::FakeApi,
};
use futures::stream::Empty;
use serde_json::json;
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};
use taffrail_crds::Cluster;
use taffrail_proto::admin::{
    self as pb,
    admin_server::{Admin, AdminServer},
};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// Coordinator that grants or denies, and records all requests.
#[derive(Clone, Default)]
struct Coordinator {
    asked: Arc<Mutex<Vec<String>>>,
    denies: bool,
    /// Numbers of remaining leaders, answered to successive calls from the last element on.
    leaders: Arc<Mutex<Vec<u32>>>,
}

impl Coordinator {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().expect("asked").push(what.into());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("asked"))
    }

    /// Serves on a separate port until the set is dropped.
    #[expect(clippy::disallowed_methods, reason = "the set of the test owns this task")]
    async fn serve(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = tonic::transport::Server::builder().add_service(AdminServer::new(self.clone()));
        tasks.spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("a server");
        });
        address
    }
}

/// Expands to the form written by `async_trait`, because `async_trait` does not look into macros.
macro_rules! not_asked {
    ($($method:ident($request:ident) -> $response:ty;)*) => {
        $(fn $method<'a, 'b>(
            &'a self,
            _: Request<pb::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(std::future::ready(Err(Status::unimplemented(stringify!($method)))))
        })*
    };
}

#[tonic::async_trait]
impl Admin for Coordinator {
    type WatchStream = Empty<Result<pb::ClusterView, Status>>;

    not_asked! {
        status(StatusRequest) -> pb::NodeStatus;
        bootstrap(BootstrapRequest) -> pb::BootstrapResponse;
        join(JoinRequest) -> pb::JoinResponse;
        view(ViewRequest) -> pb::ClusterView;
        watch(ViewRequest) -> Self::WatchStream;
        declare_stores(DeclareStoresRequest) -> pb::DeclareStoresResponse;
        close_store(CloseStoreRequest) -> pb::CloseStoreResponse;
        cancel_drain(CancelDrainRequest) -> pb::CancelDrainResponse;
        replace_node(ReplaceNodeRequest) -> pb::ReplaceNodeResponse;
        release_disruption(ReleaseDisruptionRequest) -> pb::ReleaseDisruptionResponse;
        finalize_upgrade(FinalizeUpgradeRequest) -> pb::FinalizeUpgradeResponse;
        free_replica(FreeReplicaRequest) -> pb::FreeReplicaResponse;
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        self.note(format!("drain {}", request.into_inner().node_id));
        Ok(Response::new(pb::DrainNodeResponse::default()))
    }

    async fn transfer_leaders(
        &self,
        request: Request<pb::TransferLeadersRequest>,
    ) -> Result<Response<pb::TransferLeadersResponse>, Status> {
        self.note(format!("transfer {}", request.into_inner().node_id));
        let remaining = self.leaders.lock().expect("leaders").pop().unwrap_or_default();
        Ok(Response::new(pb::TransferLeadersResponse { remaining }))
    }

    async fn acquire_disruption(
        &self,
        request: Request<pb::AcquireDisruptionRequest>,
    ) -> Result<Response<pb::AcquireDisruptionResponse>, Status> {
        let request = request.into_inner();
        assert_eq!((request.holder.as_str(), request.ttl_ms), (HOLDER, 600_000));
        self.note(format!("acquire {}", request.node_id));
        let denied_by = if self.denies { "node 9 is out under a grant of another" } else { "" };
        Ok(Response::new(pb::AcquireDisruptionResponse { granted: !self.denies, denied_by: denied_by.to_owned() }))
    }
}

/// Carries out a single action.
async fn carry_out(api: &FakeApi, coordinator: &Coordinator, action: Action) -> Outcome {
    let mut tasks = JoinSet::new();
    let address = coordinator.serve(&mut tasks).await;
    let cluster: Cluster = serde_json::from_value(json!({
        "metadata": {"name": "main", "namespace": "ns", "uid": "u"},
        "spec": {"replicas": 3, "storage": {"size": "1Gi"}},
    }))
    .expect("a Cluster");
    api.put("pods", &json!({"metadata": {"name": "main-2", "uid": "p"}}));
    let ctx = api.context(&[], &[]);
    let input = ReconcileInput {
        observation: Observation::default(),
        set: None,
        claims: Vec::new(),
        identity: None,
        members: vec![address.clone()],
    };
    let progress = Progress::default();
    let actor = Actor { ctx: &ctx, cluster: &cluster, input: &input, progress: &progress };
    let mut outcome = Outcome::default();
    actor.carry_out(&action, &ctx.admin.members(vec![address]), &mut outcome).await.expect("carried out");
    outcome
}

fn restart(leads: u32) -> Action {
    Action::Restart { node_id: Some(3), pod: "main-2".to_owned(), uid: "p".to_owned(), ready: true, leads }
}

#[tokio::test]
async fn a_grant_is_renewed_by_each_pass_while_the_eviction_is_refused_and_the_plan_says_so() {
    let (api, coordinator) = (FakeApi::start().await, Coordinator::default());
    api.refuse_evictions();
    for _ in 0..3 {
        let outcome = carry_out(&api, &coordinator, restart(0)).await;
        assert_eq!(coordinator.asked(), ["acquire 3"]);
        let waiting = outcome.waiting.expect("it waits");
        assert!(waiting.contains("disruption budget") && waiting.contains("grant is renewed"), "{waiting}");
    }
    assert_eq!(api.writes(), ["POST pods/main-2/eviction"; 3]);
}

#[tokio::test]
async fn a_pod_is_evicted_only_with_a_grant_and_after_its_leaders_have_moved() {
    let (api, coordinator) = (FakeApi::start().await, Coordinator::default());
    coordinator.leaders.lock().expect("leaders").push(1);
    let outcome = carry_out(&api, &coordinator, restart(2)).await;
    assert_eq!(coordinator.asked(), ["acquire 3", "transfer 3", "transfer 3"]);
    assert_eq!((outcome.waiting, api.writes()), (None, vec!["POST pods/main-2/eviction".to_owned()]));

    let (api, coordinator) = (FakeApi::start().await, Coordinator { denies: true, ..Coordinator::default() });
    let outcome = carry_out(&api, &coordinator, restart(2)).await;
    assert_eq!(coordinator.asked(), ["acquire 3"]);
    assert!(outcome.waiting.is_some_and(|why| why.contains("node 9")) && api.writes().is_empty());
}

#[tokio::test]
async fn a_node_is_drained_only_with_the_grant_that_the_plan_asks_for() {
    let drain = |needs_grant| Action::Drain { node_id: 3, pod: "main-2".to_owned(), needs_grant };
    for (denies, needs_grant, asked) in
        [(false, true, vec!["acquire 3", "drain 3"]), (true, true, vec!["acquire 3"]), (true, false, vec!["drain 3"])]
    {
        let (api, coordinator) = (FakeApi::start().await, Coordinator { denies, ..Coordinator::default() });
        let outcome = carry_out(&api, &coordinator, drain(needs_grant)).await;
        assert_eq!(coordinator.asked(), asked);
        assert_eq!(outcome.waiting.is_some(), denies && needs_grant);
    }
}
