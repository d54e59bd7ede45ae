//! Client of the nodes' admin port. Connections are cached by address and established lazily; each call has a deadline.
//!
//! Connections are plaintext today. TLS arrives with the certificates of the operator and
//! changes `NodeAdmin::connect` alone.

use crate::{metrics::Metrics, resources::services::ADMIN_PORT};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use taffrail_proto::admin::{
    AcquireDisruptionRequest, AcquireDisruptionResponse, BootstrapRequest, CancelDrainRequest, CloseStoreRequest,
    CloseStoreResponse, ClusterView, DeclareResult, DeclareStoresRequest, DrainNodeRequest, DrainNodeResponse,
    JoinRequest, NodeStatus, ReleaseDisruptionRequest, ReplaceNodeRequest, ReplaceNodeResponse, StatusRequest,
    StoreDeclaration, TransferLeadersRequest, ViewRequest, admin_client::AdminClient,
};
use tokio::time::Instant;
use tonic::{
    Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Deadline of a call answered from the local state of a node.
const LOCAL_DEADLINE: Duration = Duration::from_secs(2);
/// Deadline of a command: the command goes through the log of the system group, possibly after an election.
const CLUSTER_DEADLINE: Duration = Duration::from_secs(5);
/// Delay before a pending read is also sent to the next node.
const NEXT_AFTER: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Size limit of a message. A view grows with the stores; 10,000 stores take a few megabytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Maximum number of cached connections. Pods come and go with new addresses, so at the limit all
/// connections are dropped.
const CHANNELS_MAX: usize = 1024;

/// Failure of a call to a node.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer; the outcome on the node is unknown. Every call of the admin port may be repeated.
    #[error("{address} does not answer: {message}")]
    Unreachable {
        address: String,
        /// Error message of the transport.
        message: String,
    },
    /// The node refused the call.
    #[error("{address} refuses: {message}")]
    Refused {
        address: String,
        /// Reason given by the node.
        message: String,
    },
    /// No address of a node is known.
    #[error("no pod has an address yet")]
    Nobody,
}

/// Returns the admin address of a pod.
pub(crate) fn address(pod_ip: &str) -> String {
    if pod_ip.contains(':') { format!("[{pod_ip}]:{ADMIN_PORT}") } else { format!("{pod_ip}:{ADMIN_PORT}") }
}

/// Client of the admin ports of all nodes.
#[derive(Clone)]
pub(crate) struct NodeAdmin {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    metrics: Metrics,
}

impl NodeAdmin {
    /// Creates a client without connections.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { channels: Arc::default(), metrics }
    }

    /// Returns the status of a node, answered from the node's local state.
    ///
    /// # Errors
    /// The node does not answer.
    pub(crate) async fn status(&self, at: &str) -> Result<NodeStatus, Error> {
        self.call("Status", at, LOCAL_DEADLINE, |mut node| async move { node.status(StatusRequest {}).await }).await
    }

    /// Makes a blank node the first node of a new cluster.
    ///
    /// # Errors
    /// The node refuses (not blank, or a different disk) or does not answer.
    pub(crate) async fn bootstrap(&self, at: &str, cluster_id: &str, disk_id: &str) -> Result<u64, Error> {
        let request = BootstrapRequest { cluster_id: cluster_id.to_owned(), disk_id: disk_id.to_owned() };
        let answer = self
            .call("Bootstrap", at, CLUSTER_DEADLINE, |mut node| async move { node.bootstrap(request).await })
            .await?;
        Ok(answer.node_id)
    }

    /// Assigns a blank node to a cluster.
    ///
    /// # Errors
    /// The node refuses (not blank, or a different disk) or does not answer.
    pub(crate) async fn join(&self, at: &str, cluster_id: &str, disk_id: &str) -> Result<(), Error> {
        let request = JoinRequest { cluster_id: cluster_id.to_owned(), disk_id: disk_id.to_owned() };
        self.call("Join", at, LOCAL_DEADLINE, |mut node| async move { node.join(request).await }).await.map(|_| ())
    }

    /// Opens the stream of views of a node.
    ///
    /// # Errors
    /// The node refuses or does not answer.
    pub(crate) async fn watch(&self, at: &str) -> Result<Streaming<ClusterView>, Error> {
        self.call("Watch", at, CLUSTER_DEADLINE, |mut node| async move { node.watch(ViewRequest {}).await }).await
    }

    /// Returns the members of a cluster. A call goes to the first answering member, and this member forwards the call
    /// to the coordinator.
    pub(crate) fn members(&self, addresses: Vec<String>) -> Members {
        Members { admin: self.clone(), addresses }
    }

    async fn call<T, F, Fut>(&self, method: &str, at: &str, deadline: Duration, call: F) -> Result<T, Error>
    where
        F: FnOnce(AdminClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let client = self.connect(at)?;
        let result = match tokio::time::timeout(deadline, call(client)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(classify(at, &status)),
            Err(_) => Err(Error::Unreachable {
                address: at.to_owned(),
                message: format!("no answer within {} s", deadline.as_secs()),
            }),
        };
        self.metrics.node_called(method, result.is_ok());
        result
    }

    fn connect(&self, address: &str) -> Result<AdminClient<Channel>, Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = if let Some(known) = channels.get(address) {
            known.clone()
        } else {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .map_err(|error| Error::Unreachable { address: address.to_owned(), message: error.to_string() })?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .keep_alive_while_idle(true);
            if channels.len() >= CHANNELS_MAX {
                channels.clear();
            }
            let channel = endpoint.connect_lazy();
            channels.insert(address.to_owned(), channel.clone());
            channel
        };
        Ok(AdminClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }
}

fn classify(at: &str, status: &Status) -> Error {
    let address = at.to_owned();
    let message = status.message().to_owned();
    use tonic::Code::{Cancelled, DeadlineExceeded, Unavailable, Unknown};
    if matches!(status.code(), Unavailable | DeadlineExceeded | Cancelled | Unknown) {
        Error::Unreachable { address, message }
    } else {
        Error::Refused { address, message }
    }
}

/// Sends a read to the first node, and also to the next node when the answer is slow or fails. The first answer counts,
/// a refusal included; the whole read takes no longer than the deadline of a single call.
async fn first_answer<T, F, Fut>(addresses: Vec<String>, ask: F) -> Result<T, Error>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let until = Instant::now() + CLUSTER_DEADLINE;
    let mut rest = addresses.into_iter();
    let mut asking = FuturesUnordered::new();
    let mut last = Error::Nobody;
    loop {
        match rest.next() {
            Some(address) => asking.push(ask(address)),
            None if asking.is_empty() => return Err(last),
            None => {}
        }
        let patience = if rest.len() == 0 { until } else { until.min(Instant::now() + NEXT_AFTER) };
        match tokio::time::timeout_at(patience, asking.next()).await {
            Ok(Some(Err(error @ Error::Unreachable { .. }))) => last = error,
            Ok(Some(answer)) => return answer,
            Ok(None) => {}
            Err(_) if Instant::now() >= until => {
                let message = format!("no member answers within {} s", CLUSTER_DEADLINE.as_secs());
                return Err(match last {
                    Error::Nobody => Error::Unreachable { address: "the cluster".to_owned(), message },
                    last @ (Error::Unreachable { .. } | Error::Refused { .. }) => last,
                });
            }
            Err(_) => {}
        }
    }
}

/// Members of a cluster; any member answers for the whole cluster.
#[derive(Clone)]
pub(crate) struct Members {
    admin: NodeAdmin,
    addresses: Vec<String>,
}

impl Members {
    /// Returns the whole cluster as seen by the coordinator, after a read index.
    ///
    /// # Errors
    /// No member answers, or there is no quorum.
    pub(crate) async fn view(&self) -> Result<ClusterView, Error> {
        let ask = |address: String| async move {
            let view = |mut node: AdminClient<Channel>| async move { node.view(ViewRequest {}).await };
            self.admin.call("View", &address, CLUSTER_DEADLINE, view).await
        };
        first_answer(self.addresses.clone(), ask).await
    }

    /// Declares stores. Returns a result for each store, in order.
    ///
    /// # Errors
    /// No member answers. An impossible store is no error: its result carries the reason.
    pub(crate) async fn declare(&self, stores: Vec<StoreDeclaration>) -> Result<Vec<DeclareResult>, Error> {
        let request = DeclareStoresRequest { stores };
        let answer = self
            .any("DeclareStores", |mut node| {
                let request = request.clone();
                async move { node.declare_stores(request).await }
            })
            .await?;
        Ok(answer.results)
    }

    /// Closes a store, by retaining or deleting its data.
    ///
    /// # Errors
    /// No member answers, or another object declared the store.
    pub(crate) async fn close_store(&self, request: CloseStoreRequest) -> Result<CloseStoreResponse, Error> {
        self.any("CloseStore", |mut node| {
            let request = request.clone();
            async move { node.close_store(request).await }
        })
        .await
    }

    /// Drains a node: moves everything off the node.
    ///
    /// # Errors
    /// No member answers, or the node does not exist.
    pub(crate) async fn drain(&self, node_id: u64) -> Result<DrainNodeResponse, Error> {
        self.any("DrainNode", |mut node| async move { node.drain_node(DrainNodeRequest { node_id }).await }).await
    }

    /// Cancels the drain of a node.
    ///
    /// # Errors
    /// No member answers, or the node does not exist.
    pub(crate) async fn cancel_drain(&self, node_id: u64) -> Result<(), Error> {
        self.any("CancelDrain", |mut node| async move { node.cancel_drain(CancelDrainRequest { node_id }).await })
            .await
            .map(|_| ())
    }

    /// Replaces a lost node by a new node.
    ///
    /// # Errors
    /// No member answers, or the coordinator refuses.
    pub(crate) async fn replace(&self, old_node_id: u64, new_node_id: u64) -> Result<ReplaceNodeResponse, Error> {
        let request = ReplaceNodeRequest { old_node_id, new_node_id };
        self.any("ReplaceNode", |mut node| async move { node.replace_node(request).await }).await
    }

    /// Moves all leaders off a node. Returns the number of leaders left.
    ///
    /// # Errors
    /// No member answers, or the node does not exist.
    pub(crate) async fn transfer_leaders(&self, node_id: u64) -> Result<u32, Error> {
        let request = TransferLeadersRequest { node_id };
        self.any("TransferLeaders", |mut node| async move { node.transfer_leaders(request).await })
            .await
            .map(|answer| answer.remaining)
    }

    /// Requests the disruption grant of a node.
    ///
    /// # Errors
    /// No member answers. A denial is an answer.
    pub(crate) async fn acquire(
        &self,
        node_id: u64,
        holder: &str,
        ttl: Duration,
    ) -> Result<AcquireDisruptionResponse, Error> {
        let request = AcquireDisruptionRequest {
            node_id,
            holder: holder.to_owned(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        };
        self.any("AcquireDisruption", |mut node| {
            let request = request.clone();
            async move { node.acquire_disruption(request).await }
        })
        .await
    }

    /// Releases the disruption grant of a node. Returns false while the node has not caught up.
    ///
    /// # Errors
    /// No member answers.
    pub(crate) async fn release(&self, node_id: u64, holder: &str) -> Result<bool, Error> {
        let request = ReleaseDisruptionRequest { node_id, holder: holder.to_owned() };
        self.any("ReleaseDisruption", |mut node| {
            let request = request.clone();
            async move { node.release_disruption(request).await }
        })
        .await
        .map(|answer| answer.released)
    }

    /// Asks the members in turn until a member answers. Every call of the admin port is idempotent, so a call without
    /// an answer may be repeated at the next member.
    async fn any<T, F, Fut>(&self, method: &str, call: F) -> Result<T, Error>
    where
        F: Fn(AdminClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = Error::Nobody;
        for address in &self.addresses {
            match self.admin.call(method, address, CLUSTER_DEADLINE, &call).await {
                Ok(answer) => return Ok(answer),
                Err(refused @ Error::Refused { .. }) => return Err(refused),
                Err(other) => last = other,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_written_as_authorities() {
        assert_eq!(address("10.1.2.3"), "10.1.2.3:2115");
        assert_eq!(address("fd00::1"), "[fd00::1]:2115");
    }

    async fn answers(address: String) -> Result<u8, Error> {
        match address.as_str() {
            "hangs" => std::future::pending().await,
            "refuses" => Err(Error::Refused { address, message: String::new() }),
            "breaks" => Err(Error::Unreachable { address, message: String::new() }),
            _ => Ok(1),
        }
    }

    #[tokio::test]
    async fn a_read_goes_to_the_next_node_while_the_first_hangs_or_when_it_breaks() {
        let ask = |nodes: &[&str]| first_answer(nodes.iter().map(|node| (*node).to_owned()).collect(), answers);
        let start = Instant::now();
        assert!(matches!(ask(&["breaks", "answers"]).await, Ok(1)));
        assert!(start.elapsed() < NEXT_AFTER);
        assert!(matches!(ask(&["hangs", "answers"]).await, Ok(1)));
        assert!(matches!(ask(&["hangs", "refuses", "answers"]).await, Err(Error::Refused { .. })));
        assert!(start.elapsed() < CLUSTER_DEADLINE);
        assert!(matches!(ask(&["breaks"]).await, Err(Error::Unreachable { .. })));
        assert!(matches!(ask(&[]).await, Err(Error::Nobody)));
    }

    #[test]
    fn only_a_spoken_no_is_a_refusal() {
        for code in [tonic::Code::Unavailable, tonic::Code::DeadlineExceeded, tonic::Code::Cancelled] {
            let error = classify("a", &Status::new(code, ""));
            assert!(matches!(error, Error::Unreachable { .. }), "{code:?}");
        }
        let error = classify("a", &Status::failed_precondition("not blank"));
        assert!(matches!(error, Error::Refused { .. }));
    }
}
