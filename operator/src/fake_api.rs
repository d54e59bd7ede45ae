//! In-memory API server for tests, over HTTP on the loopback interface. The server has no schema and no watch, records
//! every write, and can leave requests unanswered on demand.

use crate::{
    apply::Writer,
    backoff::Backoffs,
    cluster_views::ClusterViews,
    context::{Caches, Context, Options},
    events::Events,
    metrics::Metrics,
    name_conflict::ConflictWatches,
    node_admin::NodeAdmin,
    triggers::Triggers,
    watch::{CacheSync, Guarded},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{
    Client,
    runtime::{reflector, watcher},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};
use taffrail_crds::{Cluster, EventStore};
use tokio::{sync::mpsc, task::JoinSet};

#[derive(Default)]
struct State {
    /// Objects by `plural/name`; all objects are in a single namespace.
    objects: BTreeMap<String, Value>,
    /// Recorded writes: `VERB plural/name`, followed by a subresource such as `/status`.
    writes: Vec<String>,
    /// Plurals whose requests are never answered.
    silent: Vec<String>,
    /// Evictions are refused, like under a disruption budget.
    evictions_refused: bool,
}

/// In-memory API server; ends when dropped.
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    address: std::net::SocketAddr,
    _server: JoinSet<()>,
}

impl FakeApi {
    #[expect(clippy::disallowed_methods, reason = "the set owns these tasks")]
    pub(crate) async fn start() -> Self {
        // Another test may have installed the provider first.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                connections.spawn(async move {
                    let served = hyper::server::conn::http1::Builder::new();
                    // A disconnected client is no failure of the test.
                    let _closed = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { state, address, _server: server }
    }

    pub(crate) fn client(&self) -> Client {
        let uri = format!("http://{}", self.address).parse().expect("a URI");
        let mut config = kube::Config::new(uri);
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// Stores an object under a plural.
    pub(crate) fn put<K: serde::Serialize>(&self, plural: &str, object: &K) {
        let value = serde_json::to_value(object).expect("JSON");
        let name = value["metadata"]["name"].as_str().expect("a name").to_owned();
        self.state.lock().expect("state").objects.insert(format!("{plural}/{name}"), value);
    }

    pub(crate) fn get(&self, key: &str) -> Value {
        self.state.lock().expect("state").objects.get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn silence(&self, plural: &str) {
        self.state.lock().expect("state").silent.push(plural.to_owned());
    }

    pub(crate) fn refuse_evictions(&self) {
        self.state.lock().expect("state").evictions_refused = true;
    }

    /// Returns all recorded writes, except writes of events.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state.lock().expect("state").writes.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().expect("state").objects.keys().cloned().collect()
    }

    /// Returns a context with these objects in the caches.
    pub(crate) fn context(&self, clusters: &[&Cluster], stores: &[&EventStore]) -> Context {
        let (client, metrics) = (self.client(), Metrics::new().expect("metrics"));
        let admin = NodeAdmin::new(metrics.clone());
        let (to_clusters, _) = mpsc::channel(1);
        let (to_stores, _) = mpsc::channel(1);
        let (event_stores, mut writer) = reflector::store::<Guarded<EventStore>>();
        for store in stores {
            writer.apply_watcher_event(&applied(*store));
        }
        let (cluster_cache, mut writer) = reflector::store::<Guarded<Cluster>>();
        for cluster in clusters {
            writer.apply_watcher_event(&applied(*cluster));
        }
        let triggers = Triggers { clusters: to_clusters, stores: to_stores };
        Context {
            writer: Writer::new(client.clone(), metrics.clone()),
            conflict_watches: ConflictWatches::new(client.clone(), triggers.clone()),
            cluster_views: ClusterViews::new(admin.clone(), triggers, event_stores.clone()),
            admin,
            events: Events::new(client.clone()),
            client,
            metrics,
            backoffs: Backoffs::default(),
            gate: Arc::default(),
            caches: Caches {
                cache_sync: CacheSync::default(),
                clusters: cluster_cache,
                event_stores,
                claims: reflector::store().0,
                config_maps: reflector::store().0,
                services: reflector::store().0,
                store_services: reflector::store().0,
                service_accounts: reflector::store().0,
                roles: reflector::store().0,
                role_bindings: reflector::store().0,
                budgets: reflector::store().0,
            },
            options: Options { node_image: "taffrail:test".to_owned(), cluster_domain: "cluster.local".to_owned() },
        }
    }
}

fn applied<K: Clone>(object: &K) -> watcher::Event<Guarded<K>> {
    watcher::Event::Apply(kube::core::DeserializeGuard(Ok(object.clone())))
}

/// Splits a path such as `/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME/SUB` into plural, name and subresource.
fn parse_path(path: &str) -> (String, Option<String>, Option<String>) {
    let all: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let skip = if all[0] == "api" { 2 } else { 3 };
    let rest = all.get(skip..).unwrap_or_default();
    let rest = if rest.first() == Some(&"namespaces") && rest.len() > 2 { &rest[2..] } else { rest };
    let part = |index: usize| rest.get(index).map(|part| (*part).to_owned());
    (part(0).unwrap_or_default(), part(1), part(2))
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (plural, name, sub) = parse_path(request.uri().path());
    let method = request.method().clone();
    let is_silent = state.lock().expect("state").silent.contains(&plural);
    if is_silent {
        std::future::pending::<()>().await;
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, value) = handle(&mut state.lock().expect("state"), &method, &plural, name, sub, body);
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    Ok(response)
}

fn handle(
    state: &mut State,
    method: &Method,
    plural: &str,
    name: Option<String>,
    sub: Option<String>,
    body: Value,
) -> (StatusCode, Value) {
    let name = name.or_else(|| body["metadata"]["name"].as_str().map(str::to_owned));
    let key = format!("{plural}/{}", name.clone().unwrap_or_default());
    let not_found = || {
        let answer = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "", "code": 404});
        (StatusCode::NOT_FOUND, answer)
    };
    if method != Method::GET && plural != "events" {
        let subresource = sub.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
        let what = if method == Method::POST && sub.is_none() { plural.to_owned() } else { key.clone() };
        state.writes.push(format!("{method} {what}{subresource}"));
    }
    match *method {
        // Every namespace exists and is not being deleted.
        Method::GET if plural == "namespaces" => (StatusCode::OK, json!({"metadata": {"name": name}})),
        Method::GET if name.is_none() => {
            let prefix = format!("{plural}/");
            let items: Vec<&Value> =
                state.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object).collect();
            (
                StatusCode::OK,
                json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}),
            )
        }
        Method::GET => state.objects.get(&key).map_or_else(not_found, |object| (StatusCode::OK, object.clone())),
        Method::POST if sub.as_deref() == Some("eviction") => {
            if state.evictions_refused {
                let answer = json!({
                    "kind": "Status", "status": "Failure", "reason": "TooManyRequests", "code": 429,
                    "message": "Cannot evict pod as it would violate the pod's disruption budget.",
                });
                return (StatusCode::TOO_MANY_REQUESTS, answer);
            }
            state.objects.remove(&key);
            (StatusCode::CREATED, json!({"kind": "Status", "status": "Success"}))
        }
        Method::POST => {
            state.objects.insert(key, body.clone());
            (StatusCode::CREATED, body)
        }
        Method::PATCH => {
            let Some(object) = state.objects.get_mut(&key) else { return not_found() };
            if sub.as_deref() == Some("status") {
                object["status"] = body["status"].clone();
            } else if let Some(finalizers) = body["metadata"].get("finalizers") {
                object["metadata"]["finalizers"] = finalizers.clone();
            }
            (StatusCode::OK, object.clone())
        }
        Method::DELETE => match state.objects.remove(&key) {
            Some(_) => (StatusCode::OK, json!({"kind": "Status", "status": "Success"})),
            None => not_found(),
        },
        _ => not_found(),
    }
}
