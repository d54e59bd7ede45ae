//! The client of the nodes' admin port. Connections are kept by address and made lazily; each call has a deadline.
//!
//! Plaintext today. TLS comes with the certificates of the operator: it changes `NodeAdmin::connect` alone.

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
/// A node answers for itself at once.
const LOCAL_DEADLINE: Duration = Duration::from_secs(2);
/// A command goes through the log of the system group, perhaps over an election.
const CLUSTER_DEADLINE: Duration = Duration::from_secs(5);
/// A read that has taken this long is put to the next node as well.
const NEXT_AFTER: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A view grows with the stores; 10,000 of them are a few megabytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Pods come and go with new addresses; the oldest knowledge is worth nothing.
const CHANNELS_MAX: usize = 1024;

/// A node refused or did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer; whether the node acted is not known. Every call of this port may be repeated.
    #[error("{address} does not answer: {message}")]
    Unreachable {
        /// Which node.
        address: String,
        /// What the transport said.
        message: String,
    },
    /// The node said no.
    #[error("{address} refuses: {message}")]
    Refused {
        /// Which node.
        address: String,
        /// Its words.
        message: String,
    },
    /// There is no node to ask.
    #[error("no pod has an address yet")]
    Nobody,
}

/// The admin address of a pod.
pub(crate) fn address(pod_ip: &str) -> String {
    if pod_ip.contains(':') { format!("[{pod_ip}]:{ADMIN_PORT}") } else { format!("{pod_ip}:{ADMIN_PORT}") }
}

/// Calls nodes.
#[derive(Clone)]
pub(crate) struct NodeAdmin {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    metrics: Metrics,
}

impl NodeAdmin {
    /// A client without connections.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { channels: Arc::default(), metrics }
    }

    /// What a node says about itself.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn status(&self, at: &str) -> Result<NodeStatus, Error> {
        self.call("Status", at, LOCAL_DEADLINE, |mut node| async move { node.status(StatusRequest {}).await }).await
    }

    /// Makes a blank node the first of a new cluster.
    ///
    /// # Errors
    /// It refuses (it is not blank, or another disk) or does not answer.
    pub(crate) async fn bootstrap(&self, at: &str, cluster_id: &str, disk_id: &str) -> Result<u64, Error> {
        let request = BootstrapRequest { cluster_id: cluster_id.to_owned(), disk_id: disk_id.to_owned() };
        let answer = self
            .call("Bootstrap", at, CLUSTER_DEADLINE, |mut node| async move { node.bootstrap(request).await })
            .await?;
        Ok(answer.node_id)
    }

    /// Tells a blank node which cluster it belongs to.
    ///
    /// # Errors
    /// It refuses (it is not blank, or another disk) or does not answer.
    pub(crate) async fn join(&self, at: &str, cluster_id: &str, disk_id: &str) -> Result<(), Error> {
        let request = JoinRequest { cluster_id: cluster_id.to_owned(), disk_id: disk_id.to_owned() };
        self.call("Join", at, LOCAL_DEADLINE, |mut node| async move { node.join(request).await }).await.map(|_| ())
    }

    /// Opens the stream of views of one node.
    ///
    /// # Errors
    /// It refuses or does not answer.
    pub(crate) async fn watch(&self, at: &str) -> Result<Streaming<ClusterView>, Error> {
        self.call("Watch", at, CLUSTER_DEADLINE, |mut node| async move { node.watch(ViewRequest {}).await }).await
    }

    /// The members of one cluster: a call goes to the first that answers, and it passes it on to the coordinator.
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

/// Puts a question that only reads: to the first node, and to the next one as well when the answer takes long or fails.
/// The first answer counts, a refusal included; all of it takes no longer than one call may.
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

/// The members of one cluster, any of which answers for all.
#[derive(Clone)]
pub(crate) struct Members {
    admin: NodeAdmin,
    addresses: Vec<String>,
}

impl Members {
    /// The whole cluster as the coordinator sees it, after a read index.
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

    /// States that these stores exist. One result for each, in order.
    ///
    /// # Errors
    /// No member answers. A store that cannot be is not an error but a reason in the result.
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

    /// Closes a store.
    ///
    /// # Errors
    /// No member answers, or the store is another's.
    pub(crate) async fn close_store(&self, request: CloseStoreRequest) -> Result<CloseStoreResponse, Error> {
        self.any("CloseStore", |mut node| {
            let request = request.clone();
            async move { node.close_store(request).await }
        })
        .await
    }

    /// Moves everything off a node.
    ///
    /// # Errors
    /// No member answers, or there is no such node.
    pub(crate) async fn drain(&self, node_id: u64) -> Result<DrainNodeResponse, Error> {
        self.any("DrainNode", |mut node| async move { node.drain_node(DrainNodeRequest { node_id }).await }).await
    }

    /// Takes a drain back.
    ///
    /// # Errors
    /// No member answers, or there is no such node.
    pub(crate) async fn cancel_drain(&self, node_id: u64) -> Result<(), Error> {
        self.any("CancelDrain", |mut node| async move { node.cancel_drain(CancelDrainRequest { node_id }).await })
            .await
            .map(|_| ())
    }

    /// Puts a node in the place of one that is lost.
    ///
    /// # Errors
    /// No member answers, or the coordinator refuses.
    pub(crate) async fn replace(&self, old_node_id: u64, new_node_id: u64) -> Result<ReplaceNodeResponse, Error> {
        let request = ReplaceNodeRequest { old_node_id, new_node_id };
        self.any("ReplaceNode", |mut node| async move { node.replace_node(request).await }).await
    }

    /// Hands all leaderships of a node to others; says how many are left.
    ///
    /// # Errors
    /// No member answers, or there is no such node.
    pub(crate) async fn transfer_leaders(&self, node_id: u64) -> Result<u32, Error> {
        let request = TransferLeadersRequest { node_id };
        self.any("TransferLeaders", |mut node| async move { node.transfer_leaders(request).await })
            .await
            .map(|answer| answer.remaining)
    }

    /// Asks for the right to take a node's pod.
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

    /// Gives that right back; false while the node has not caught up.
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

    /// Asks one after the other until one answers. Every call of this port is idempotent, so one whose answer was lost
    /// may be put to the next node.
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
