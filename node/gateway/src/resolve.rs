//! Resolution of the store name of a call. The metadata key [`STORE`] has precedence over the authority of the request,
//! and the authority over the default store. An invalid store name is an error and never leads to the default store.

use super::{
    GatewayConfig,
    status::{Problem, Reason},
};
use taffrail_client::STORE;
use taffrail_core::names::StoreName;
use tonic::metadata::MetadataMap;

/// The store addressed by a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// A store whose namespace is certain.
    Store(StoreName),
    /// A name without a namespace, from the authority; usable only after [`unambiguous`].
    BareName(StoreName),
}

/// The meaning of the host of an authority.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    /// A store with a namespace.
    Store(StoreName),
    /// A name without a namespace, taken as a store in the namespace of the Cluster.
    BareName(StoreName),
    /// An IP address, `localhost`, or a Service or pod of the Cluster itself: no store.
    Cluster,
    /// A host without a valid store name.
    Unknown(String),
}

/// Returns the store addressed by the metadata or the authority of a request, or else the default store.
///
/// # Errors
/// - `STORE_REQUIRED` without an address and without a default store.
/// - `STORE_NOT_FOUND` for a host without a valid store name.
/// - `INVALID_ARGUMENT` for an invalid name in the metadata or as default store.
pub(crate) fn addressee(config: &GatewayConfig, metadata: &MetadataMap, authority: &str) -> Result<Addressee, Problem> {
    if let Some(value) = metadata.get(STORE) {
        let text = value.to_str().map_err(|_| Problem::field(STORE, "must consist of visible ASCII characters"))?;
        return named(config, text).map(Addressee::Store);
    }
    match host(config, authority) {
        Host::Store(store) => Ok(Addressee::Store(store)),
        Host::BareName(store) => Ok(Addressee::BareName(store)),
        Host::Unknown(name) => {
            let message = format!("{name} names no store of cluster {}; address it as STORE.NAMESPACE", config.cluster);
            Err(Problem::new(Reason::StoreNotFound, message).with("store", name))
        }
        Host::Cluster => match &config.default_store {
            Some(name) => named(config, name).map(Addressee::Store),
            None => Err(Problem::new(Reason::StoreRequired, "the call names no store and no default store is set")),
        },
    }
}

/// Returns `bare` unless several namespaces have a store with this name. `candidates` are all active stores with the
/// name, including stores in creation. An ambiguous name is refused, because any choice could be the wrong store.
///
/// # Errors
/// `STORE_AMBIGUOUS` with all candidates.
pub(crate) fn unambiguous(bare: StoreName, candidates: &[StoreName]) -> Result<StoreName, Problem> {
    if candidates.len() < 2 {
        return Ok(bare);
    }
    let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    let candidates = candidates.join(",");
    let message = format!("{} is ambiguous between {candidates}; name the namespace", bare.name());
    Err(Problem::new(Reason::StoreAmbiguous, message).with("store", bare.name()).with("candidates", candidates))
}

/// Parses `name` or `namespace/name`. The default namespace is the namespace of the Cluster.
///
/// # Errors
/// `INVALID_ARGUMENT` with the broken rule for names.
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
