//! The store that a call addresses. The metadata key [`STORE`] has precedence over the authority of the request, and
//! the authority over the default store. A name that no store can have is an error and never falls through to the
//! default.

use super::{
    GatewayConfig,
    status::{Problem, Reason},
};
use taffrail_client::STORE;
use taffrail_core::names::StoreName;
use tonic::metadata::MetadataMap;

/// The store that a call addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// A store whose namespace is certain.
    Store(StoreName),
    /// The authority is a name without a namespace. It must pass [`unambiguous`] first.
    BareName(StoreName),
}

/// The meaning of the host of an authority.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    /// A store, with its namespace.
    Store(StoreName),
    /// A name without a namespace: the store of that name in the namespace of the Cluster.
    BareName(StoreName),
    /// An IP address, `localhost`, or a Service or pod of the Cluster itself: no store.
    Cluster,
    /// A name that cannot be a store.
    Unknown(String),
}

/// Finds the store that a call addresses.
///
/// # Errors
/// `STORE_REQUIRED`, `STORE_NOT_FOUND` for a name that cannot be a store, `INVALID_ARGUMENT` for malformed metadata.
pub(crate) fn addressee(config: &GatewayConfig, metadata: &MetadataMap, authority: &str) -> Result<Addressee, Problem> {
    if let Some(value) = metadata.get(STORE) {
        let text = value.to_str().map_err(|_| Problem::field(STORE, "must be text"))?;
        return named(config, text).map(Addressee::Store);
    }
    match host(config, authority) {
        Host::Store(store) => Ok(Addressee::Store(store)),
        Host::BareName(store) => Ok(Addressee::BareName(store)),
        Host::Unknown(name) => {
            let message = format!("{name} names no store of cluster {}", config.cluster);
            Err(Problem::new(Reason::StoreNotFound, message).with("store", name))
        }
        Host::Cluster => match &config.default_store {
            Some(name) => named(config, name).map(Addressee::Store),
            None => Err(Problem::new(Reason::StoreRequired, "the call names no store and there is no default store")),
        },
    }
}

/// Returns `bare` unless several namespaces have a store of that name. `candidates` are all stores with the name that
/// are active or being created. The gateway refuses an ambiguous name instead of choosing a store.
///
/// # Errors
/// `STORE_AMBIGUOUS` with all candidates.
pub(crate) fn unambiguous(bare: StoreName, candidates: &[StoreName]) -> Result<StoreName, Problem> {
    if candidates.len() < 2 {
        return Ok(bare);
    }
    let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    let candidates = candidates.join(",");
    let message = format!("{} names no namespace, and could be any of {candidates}", bare.name());
    Err(Problem::new(Reason::StoreAmbiguous, message).with("store", bare.name()).with("candidates", candidates))
}

/// Parses `name` or `namespace/name`. The default namespace is the namespace of the Cluster.
///
/// # Errors
/// `INVALID_ARGUMENT` with the rule that the name breaks.
pub(crate) fn named(config: &GatewayConfig, text: &str) -> Result<StoreName, Problem> {
    let (namespace, name) = text.split_once('/').unwrap_or((&config.namespace, text));
    Ok(StoreName::new(namespace, name)?)
}

fn host(config: &GatewayConfig, authority: &str) -> Host {
    let host = without_port(authority).trim_end_matches('.').to_ascii_lowercase();
    let numeric = host.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || numeric || host == "localhost" {
        return Host::Cluster;
    }
    for domain in &config.domains {
        if let Some(name) = host.strip_suffix(&format!(".{domain}"))
            && !name.contains('.')
        {
            return store(&config.namespace, name);
        }
    }
    let short = host.strip_suffix(&format!(".{}", config.cluster_domain)).unwrap_or(&host);
    let short = short.strip_suffix(".svc").unwrap_or(short);
    let labels: Vec<&str> = short.split('.').collect();
    let own_service =
        |name: &str| ["clients", "peers", "ready"].iter().any(|s| name == format!("{}-{s}", config.cluster));
    let own_pod =
        |name: &str| name.strip_prefix(&format!("{}-", config.cluster)).is_some_and(|n| n.parse::<u32>().is_ok());
    match labels.as_slice() {
        [name] if own_service(name) || own_pod(name) => Host::Cluster,
        [name] => match store(&config.namespace, name) {
            Host::Store(store) => Host::BareName(store),
            other @ (Host::BareName(_) | Host::Cluster | Host::Unknown(_)) => other,
        },
        [name, namespace] if *namespace == config.namespace && own_service(name) => Host::Cluster,
        [pod, service, ..] if own_pod(pod) && own_service(service) => Host::Cluster,
        [name, namespace] => store(namespace, name),
        _ => Host::Unknown(host),
    }
}

fn without_port(authority: &str) -> &str {
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split(']').next().unwrap_or(v6);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn store(namespace: &str, name: &str) -> Host {
    StoreName::new(namespace, name).map_or_else(|_| Host::Unknown(format!("{namespace}/{name}")), Host::Store)
}

#[cfg(test)]
mod tests;
