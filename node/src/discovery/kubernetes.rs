//! Candidates from the EndpointSlices of the headless peer Service.
//!
//! No other module of the node uses the Kubernetes API, and the node serves without the API: a failed watch is retried
//! without end, and the last table stays in force.

use super::{Candidates, remembered};
use futures::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, reflector, watcher},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_CLIENT: Duration = Duration::from_secs(5);
/// Duration of one watch call. Also bounds (plus a margin of the library) the time until a dead connection is noticed; the
/// library's default is almost five minutes.
const WATCH_SECONDS: u32 = 60;
/// Longer than a watch without events. The only timeout of a list call whose answer never arrives.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// The Service to watch, and the use of the found addresses.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Namespace of the Service.
    pub(crate) namespace: String,
    /// Name of the headless Service of the peers.
    pub(crate) service: String,
    /// Port of the peers.
    pub(crate) port: u16,
    /// Directory of the remembered table.
    pub(crate) data_dir: PathBuf,
}

/// Starts with the remembered table and follows the EndpointSlices until `stop`.
#[must_use]
pub(crate) fn candidates(config: Config, stop: CancellationToken) -> Candidates {
    let (tx, rx) = watch::channel(remembered::load(&config.data_dir));
    rt::spawn_task("discovery", TaskKind::Node(stop.clone()), async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = follow(&config, &tx) => {}
        }
    });
    rx
}

async fn follow(config: &Config, tx: &watch::Sender<BTreeSet<String>>) {
    let client = loop {
        match client().await {
            Ok(client) => break client,
            Err(error) => tracing::warn!(%error, "no access to the Kubernetes API; the remembered peers stay in use"),
        }
        tokio::time::sleep(RETRY_CLIENT).await;
    };
    let api: Api<EndpointSlice> = Api::namespaced(client, &config.namespace);
    let selector = format!(
        "kubernetes.io/service-name={},endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io",
        config.service
    );
    let (store, writer) = reflector::store::<EndpointSlice>();
    let events = watcher(api, watcher::Config::default().labels(&selector).timeout(WATCH_SECONDS))
        .default_backoff()
        .reflect(writer);
    let mut events = std::pin::pin!(events);
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Init | watcher::Event::InitApply(_))) => {}
            Ok(Some(_)) => {
                let slices: Vec<_> = store.state();
                let found = addresses(slices.iter().map(AsRef::as_ref), config.port);
                // An empty list means that the Service is new or deleted, not that no peer exists.
                if found.is_empty() || *tx.borrow() == found {
                    continue;
                }
                remembered::save(&config.data_dir, &found);
                tx.send_replace(found);
            }
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "the watch of the peer Service was interrupted"),
        }
    }
}

async fn client() -> Result<Client, String> {
    let mut config = kube::Config::infer().await.map_err(|e| e.to_string())?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).map_err(|e| e.to_string())
}

/// Merges slices and address families into one address per pod. The condition `ready` is ignored, because the Service
/// publishes unready pods as well; a pod counts unless terminating and no longer serving.
fn addresses<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, port: u16) -> BTreeSet<String> {
    let mut by_pod: BTreeMap<String, String> = BTreeMap::new();
    for slice in slices {
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.as_ref();
            let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
            let serving = conditions.and_then(|c| c.serving).unwrap_or(true);
            let Some(address) = endpoint.addresses.first() else { continue };
            if terminating && !serving {
                continue;
            }
            let uid = endpoint.target_ref.as_ref().and_then(|t| t.uid.clone()).unwrap_or_else(|| address.clone());
            let address =
                if slice.address_type == "IPv6" { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
            // IPv4 sorts before IPv6 in brackets: the choice does not depend on the order of the slices.
            let chosen = by_pod.entry(uid).or_insert_with(|| address.clone());
            if address < *chosen {
                *chosen = address;
            }
        }
    }
    by_pod.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(family: &str, endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s"}, "addressType": family, "endpoints": endpoints
        }))
        .unwrap()
    }

    #[test]
    fn slices_and_families_merge_by_pod() {
        let v6 = slice("IPv6", serde_json::json!([{"addresses": ["fd00::1"], "targetRef": {"uid": "a"}}]));
        let v4 = slice(
            "IPv4",
            serde_json::json!([
                {"addresses": ["10.0.0.1"], "targetRef": {"uid": "a"}},
                {"addresses": ["10.0.0.2"], "targetRef": {"uid": "b"}, "conditions": {"ready": false, "serving": false}},
                {"addresses": ["10.0.0.3"], "targetRef": {"uid": "c"},
                 "conditions": {"ready": true, "serving": false, "terminating": true}}
            ]),
        );
        let expected: BTreeSet<String> = ["10.0.0.1:2114".into(), "10.0.0.2:2114".into()].into();
        assert_eq!(addresses([&v6, &v4].into_iter(), 2114), expected);
        assert_eq!(addresses([&v4, &v6].into_iter(), 2114), expected);
    }
}
