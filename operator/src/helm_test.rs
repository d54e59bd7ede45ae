//! `helm test`: creates a Cluster of a single node and an EventStore, appends and reads an event, and removes both
//! objects with the volume. The test works in a single namespace, on objects of a single name, and only on objects
//! created by the test itself.

use crate::{
    args::TestArgs,
    clock,
    resources::{labels, names, services::CLIENT_PORT},
    runtime,
};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::{
    Client, Resource, ResourceExt,
    api::{Api, DeleteParams, ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{fmt::Debug, time::Duration};
use taffrail_crds::{Cluster, Condition, ConditionType, EventStore};
use taffrail_proto::v1::{
    AppendRequest, ExpectedRevision, NewEvent, ReadRequest, Selector, Unit, expected_revision, read_response, selector,
    streams_client::StreamsClient,
};
use tokio::time::Instant;
use tonic::{metadata::MetadataValue, transport::Endpoint};

/// Annotation of objects created by the test.
const MADE_BY_TEST: &str = "taffrail.io/helm-test";
const STREAM: &str = "helm-test";
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Failure of the test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Kubernetes client cannot be built.
    #[error(transparent)]
    Start(#[from] runtime::Error),
    /// The API server refused a request or did not answer.
    #[error("{doing}: {source}")]
    Api {
        /// Failed step as a phrase.
        doing: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// A foreign object already uses the name of the test.
    #[error("{0} exists and was not made by this test; remove it, or test in another namespace")]
    NotOurs(String),
    /// An expected state was not reached in time.
    #[error("{what} did not happen within {} s; last seen: {last}", .within.as_secs())]
    Timeout {
        /// Expected state as a phrase.
        what: String,
        /// Time limit of the wait.
        within: Duration,
        /// Last observed state.
        last: String,
    },
    /// The store refused a call or did not answer.
    #[error("{doing}: {source}")]
    Store {
        /// Failed call as a phrase.
        doing: &'static str,
        #[source]
        source: Box<tonic::Status>,
    },
    /// The connection to the store failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// The read did not return the appended event exactly once.
    #[error("the read returned the appended event {found} times instead of once")]
    Lost {
        /// Number of returned events with the appended id.
        found: usize,
    },
    /// The objects of the test are malformed.
    #[error("cannot build the objects of the test: {0}")]
    Objects(#[from] serde_json::Error),
}

impl Error {
    /// Returns whether the store was unreachable, a state that may pass in a moment.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. })
            || matches!(self, Self::Store { source, .. } if source.code() == tonic::Code::Unavailable)
    }
}

/// Runs the test and removes its objects.
///
/// # Errors
/// The first failure. The objects of the test are removed in any case.
pub async fn run(args: TestArgs) -> Result<(), Error> {
    run_with(runtime::client().await?, args).await?;
    log_step("passed");
    Ok(())
}

async fn run_with(client: Client, args: TestArgs) -> Result<(), Error> {
    let test = Test { client, args };
    let result = test.run_steps(Deadline::after(test.args.timeout_seconds)).await;
    // A separate time limit: a test that timed out leaves most objects behind.
    let cleaned = test.clean(Deadline::after(test.args.cleanup_seconds)).await;
    if let (Err(_), Err(error)) = (&result, &cleaned) {
        // The cause is returned; the leftovers must be reported as well.
        tracing::warn!(%error, "helm test: the cleanup failed as well");
    }
    result.and(cleaned)
}

fn log_step(text: &str) {
    tracing::info!("helm test: {text}");
}

fn api_error(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let doing = doing.into();
    move |source| Error::Api { doing, source: Box::new(source) }
}

struct Test {
    client: Client,
    args: TestArgs,
}

/// Time limit of a part of the test.
#[derive(Clone, Copy)]
struct Deadline {
    until: Instant,
    within: Duration,
}

impl Deadline {
    fn after(seconds: u64) -> Self {
        let within = Duration::from_secs(seconds);
        Self { until: Instant::now() + within, within }
    }

    /// Waits a moment before the next poll, or fails once the time is over.
    async fn pause(self, what: &str, last: String) -> Result<(), Error> {
        if Instant::now() >= self.until {
            return Err(Error::Timeout { what: what.to_owned(), within: self.within, last });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }
}

impl Test {
    async fn run_steps(&self, deadline: Deadline) -> Result<(), Error> {
        let name = self.args.name.as_str();
        // Leftovers of an earlier run are removed first.
        self.clean(deadline).await?;
        log_step("creating a Cluster of one node and an EventStore");
        let meta = json!({"name": name, "namespace": self.args.namespace, "annotations": {MADE_BY_TEST: "true"}});
        let cluster: Cluster = serde_json::from_value(json!({
            "metadata": meta, "spec": {"replicas": 1, "storage": {"size": "1Gi"}},
        }))?;
        let store: EventStore = serde_json::from_value(json!({
            "metadata": meta,
            "spec": {"clusterRef": {"name": name}, "replicas": 1, "deletionPolicy": "Delete"},
        }))?;
        let params = PostParams::default();
        self.api().create(&params, &cluster).await.map_err(api_error("creating the Cluster"))?;
        self.api().create(&params, &store).await.map_err(api_error("creating the EventStore"))?;
        self.stable::<Cluster>(deadline, "the Cluster to become Stable", |cluster| {
            cluster.status.as_ref().map(|status| status.conditions.as_slice())
        })
        .await?;
        self.stable::<EventStore>(deadline, "the EventStore to become Stable", |store| {
            store.status.as_ref().map(|status| status.conditions.as_slice())
        })
        .await?;
        log_step("appending and reading");
        let address = format!("http://{}.{}.svc:{CLIENT_PORT}", names::clients(name), self.args.namespace);
        self.append_and_read(&address, deadline).await
    }

    /// Appends and reads, and retries while nobody answers: the Service of a Ready pod is known to every machine only
    /// a moment later.
    async fn append_and_read(&self, address: &str, deadline: Deadline) -> Result<(), Error> {
        // A fixed id for all attempts, so that an append without an answer is not stored twice.
        let id = clock::random_uuid();
        loop {
            match self.append_and_read_once(address, &id).await {
                Err(error) if error.is_transient() && Instant::now() < deadline.until => {
                    tracing::warn!(%error, "helm test: retrying");
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                done => return done,
            }
        }
    }

    async fn append_and_read_once(&self, address: &str, id: &str) -> Result<(), Error> {
        let connect = |source| Error::Connect { address: address.to_owned(), source };
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(connect)?
            .connect_timeout(CALL_DEADLINE)
            .timeout(CALL_DEADLINE);
        let mut streams = StreamsClient::new(endpoint.connect().await.map_err(connect)?);
        let append = AppendRequest {
            stream: STREAM.to_owned(),
            expected: Some(ExpectedRevision { kind: Some(expected_revision::Kind::Any(Unit {})) }),
            events: vec![NewEvent {
                id: id.to_owned(),
                r#type: "Tested".to_owned(),
                content_type: "application/json".to_owned(),
                data: br#"{"ok":true}"#.to_vec().into(),
                ..NewEvent::default()
            }],
            ..AppendRequest::default()
        };
        let failed = |doing| move |source| Error::Store { doing, source: Box::new(source) };
        streams.append(self.addressed(append)).await.map_err(failed("appending"))?;
        let read = ReadRequest {
            selector: Some(Selector { kind: Some(selector::Kind::Stream(STREAM.to_owned())) }),
            ..ReadRequest::default()
        };
        let mut pages = streams.read(self.addressed(read)).await.map_err(failed("reading"))?.into_inner();
        let mut found = 0;
        while let Some(page) = pages.message().await.map_err(failed("reading"))? {
            if let Some(read_response::Kind::Events(page)) = page.kind {
                found += page.events.iter().filter(|event| event.id == id).count();
            }
        }
        if found == 1 { Ok(()) } else { Err(Error::Lost { found }) }
    }

    fn addressed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let store = format!("{}/{}", self.args.namespace, self.args.name);
        // Names of Kubernetes objects are always valid metadata.
        if let Ok(value) = MetadataValue::try_from(store) {
            request.metadata_mut().insert("taffrail-store", value);
        }
        request
    }

    async fn stable<K>(
        &self,
        deadline: Deadline,
        what: &str,
        conditions: fn(&K) -> Option<&[Condition]>,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        log_step(&format!("waiting for {what}"));
        let api: Api<K> = self.api();
        loop {
            let object = api.get(&self.args.name).await.map_err(api_error(format!("waiting for {what}")))?;
            let all = conditions(&object).unwrap_or_default();
            let found = taffrail_crds::conditions::find(all, ConditionType::Stable);
            let last = match found {
                Some(found) if found.status == taffrail_crds::conditions::ConditionStatus::True => return Ok(()),
                Some(found) => format!("{}: {}", found.reason, found.message),
                None => "no conditions yet; check that the operator runs and serves this namespace".to_owned(),
            };
            deadline.pause(what, last).await?;
        }
    }

    /// Deletes the store first, while its nodes can still remove the data; then the Cluster, the volume
    /// and the identity.
    async fn clean(&self, deadline: Deadline) -> Result<(), Error> {
        let name = self.args.name.as_str();
        let store = self.delete_ours::<EventStore>(deadline).await?;
        let cluster = self.delete_ours::<Cluster>(deadline).await?;
        if !store && !cluster {
            return Ok(());
        }
        let pods: Api<Pod> = self.api();
        let selector = ListParams::default().labels(&labels::selector_text(name));
        while !pods.list(&selector).await.map_err(api_error("listing pods"))?.items.is_empty() {
            deadline.pause("the end of the pod", "the pod still exists".to_owned()).await?;
        }
        self.delete_named::<PersistentVolumeClaim>(&names::claim(name, 0)).await?;
        self.delete_named::<ConfigMap>(&names::identity(name)).await?;
        log_step("removed everything that the test made");
        Ok(())
    }

    /// Deletes the object and waits until it is gone. Returns whether the object existed.
    async fn delete_ours<K>(&self, deadline: Deadline) -> Result<bool, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let (kind, name) = (K::kind(&()).into_owned(), self.args.name.as_str());
        let api: Api<K> = self.api();
        let mut there = false;
        while let Some(object) = api.get_opt(name).await.map_err(api_error(format!("reading {kind} {name}")))? {
            if !object.annotations().contains_key(MADE_BY_TEST) {
                return Err(Error::NotOurs(format!("{kind} {name}")));
            }
            there = true;
            if object.meta().deletion_timestamp.is_none() {
                self.delete_named::<K>(name).await?;
            }
            deadline.pause(&format!("the deletion of {kind} {name}"), "the object still exists".to_owned()).await?;
        }
        Ok(there)
    }

    async fn delete_named<K>(&self, name: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = self.api();
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(api_error(format!("deleting {} {name}", K::kind(&())))(error)),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.args.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;

    /// No object becomes Stable in this test, and the time limit is zero.
    #[tokio::test]
    async fn what_a_test_made_that_ran_out_of_time_is_removed_all_the_same() {
        let api = FakeApi::start().await;
        let args =
            TestArgs { namespace: "ns".to_owned(), name: "t".to_owned(), timeout_seconds: 0, cleanup_seconds: 30 };
        let result = run_with(api.client(), args).await;
        assert!(matches!(&result, Err(Error::Timeout { what, .. }) if what.contains("Stable")), "{result:?}");
        let writes = api.writes();
        for made in ["POST clusters", "POST eventstores", "DELETE eventstores/t", "DELETE clusters/t"] {
            assert!(writes.iter().any(|write| write == made), "{made}: {writes:?}");
        }
        assert_eq!(api.names(), Vec::<String>::new());
    }

    /// Behaves like a Service that does not lead to its pod yet.
    #[tokio::test]
    async fn an_address_where_nobody_answers_yet_is_tried_again() {
        let api = FakeApi::start().await;
        let args =
            TestArgs { namespace: "ns".to_owned(), name: "t".to_owned(), timeout_seconds: 0, cleanup_seconds: 0 };
        let test = Test { client: api.client(), args };
        let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = format!("http://{address}");
        let mut running = std::pin::pin!(test.append_and_read(&url, Deadline::after(60)));
        let refused = tokio::time::timeout(POLL_INTERVAL / 2, &mut running).await;
        assert!(refused.is_err(), "ended at the first refusal: {refused:?}");
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::select! {
            ended = running => panic!("ended without another attempt: {ended:?}"),
            accepted = listener.accept() => assert!(accepted.is_ok(), "{accepted:?}"),
        }
    }
}
