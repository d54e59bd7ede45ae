//! Which store a call means: metadata, then authority, then the default; any other name is an error, never the default.

use super::{
    GatewayConfig,
    status::{Problem, Reason},
};
use taffrail_core::names::StoreName;
use tonic::metadata::MetadataMap;

/// Metadata that names the store: `name` or `namespace/name`.
pub const STORE: &str = "taffrail-store";

/// The store that a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// This one.
    Store(StoreName),
    /// A bare name in the address: this one, unless a store of another namespace has the name too (`names`).
    Bare(StoreName),
}

/// What an authority (host part) says of the store.
#[derive(Debug, PartialEq, Eq)]
enum Authority {
    /// This store.
    Store(StoreName),
    /// A bare name: this store, if no other one has it.
    Bare(StoreName),
    /// An address or a name of the Cluster itself: no store.
    Own,
    /// A name of nothing we know.
    Other(String),
}

fn host(authority: &str) -> &str {
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split(']').next().unwrap_or(v6);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn parse(namespace: &str, name: &str) -> Authority {
    StoreName::new(namespace, name).map_or_else(|_| Authority::Other(format!("{namespace}/{name}")), Authority::Store)
}

fn authority(config: &GatewayConfig, authority: &str) -> Authority {
    let host = host(authority).trim_end_matches('.').to_ascii_lowercase();
    let numeric = host.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || numeric || host == "localhost" {
        return Authority::Own;
    }
    for domain in &config.domains {
        if let Some(name) = host.strip_suffix(&format!(".{domain}"))
            && !name.contains('.')
        {
            return parse(&config.namespace, name);
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
        [name] if own_service(name) || own_pod(name) => Authority::Own,
        [name] => match parse(&config.namespace, name) {
            Authority::Store(store) => Authority::Bare(store),
            other @ (Authority::Bare(_) | Authority::Own | Authority::Other(_)) => other,
        },
        [name, namespace] if *namespace == config.namespace && own_service(name) => Authority::Own,
        [pod, service, ..] if own_pod(pod) && own_service(service) => Authority::Own,
        [name, namespace] => parse(namespace, name),
        _ => Authority::Other(host),
    }
}

/// The store of a call.
///
/// # Errors
/// `STORE_REQUIRED`, `STORE_NOT_FOUND` for a name that cannot be a store, `INVALID_ARGUMENT` for malformed metadata.
pub fn store_of(config: &GatewayConfig, metadata: &MetadataMap, authority_text: &str) -> Result<Meant, Problem> {
    if let Some(value) = metadata.get(STORE) {
        let text = value.to_str().map_err(|_| Problem::field("taffrail-store", "must be text"))?;
        return named(config, text).map(Meant::Store);
    }
    match authority(config, authority_text) {
        Authority::Store(store) => Ok(Meant::Store(store)),
        Authority::Bare(store) => Ok(Meant::Bare(store)),
        Authority::Other(name) => {
            let message = format!("{name} names no store of cluster {}", config.cluster);
            Err(Problem::new(Reason::StoreNotFound, message).with("store", name))
        }
        Authority::Own => match &config.default_store {
            Some(name) => named(config, name).map(Meant::Store),
            None => Err(Problem::new(Reason::StoreRequired, "the call names no store and there is no default store")),
        },
    }
}

/// `name` or `namespace/name`.
///
/// # Errors
/// `INVALID_ARGUMENT` with the rule.
pub fn named(config: &GatewayConfig, text: &str) -> Result<StoreName, Problem> {
    let (namespace, name) = text.split_once('/').unwrap_or((&config.namespace, text));
    Ok(StoreName::new(namespace, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(default: Option<&str>) -> GatewayConfig {
        GatewayConfig {
            cluster: "main".into(),
            namespace: "default".into(),
            cluster_domain: "cluster.local".into(),
            domains: vec!["events.example.com".into()],
            default_store: default.map(ToOwned::to_owned),
            event_bytes_max: 1,
            batch_bytes_max: 1,
            timeout: Duration::from_secs(1),
        }
    }

    fn resolve(default: Option<&str>, header: Option<&str>, authority: &str) -> Result<String, Reason> {
        let mut metadata = MetadataMap::new();
        if let Some(h) = header {
            metadata.insert(STORE, h.parse().unwrap());
        }
        store_of(&config(default), &metadata, authority).map(shown).map_err(|p| p.reason())
    }

    /// `name?` where the name is bare.
    fn shown(meant: Meant) -> String {
        match meant {
            Meant::Store(store) => store.to_string(),
            Meant::Bare(store) => format!("{store}?"),
        }
    }

    #[test]
    fn metadata_beats_authority_beats_default() {
        assert_eq!(resolve(None, Some("payments"), "orders.default:2113").unwrap(), "default/payments");
        assert_eq!(resolve(None, Some("team-b/payments"), "x").unwrap(), "team-b/payments");
        assert_eq!(resolve(Some("d"), None, "orders.default.svc:2113").unwrap(), "default/orders");
        assert_eq!(resolve(Some("d"), None, "orders.team-b.svc.cluster.local").unwrap(), "team-b/orders");
        assert_eq!(resolve(Some("d"), None, "orders.events.example.com").unwrap(), "default/orders");
        assert_eq!(resolve(Some("d"), None, "orders").unwrap(), "default/orders?", "bare");
        assert_eq!(resolve(Some("d"), Some("orders"), "x").unwrap(), "default/orders", "metadata is never ambiguous");
    }

    #[test]
    fn addresses_and_own_names_fall_through_to_the_default() {
        for own in [
            "10.0.0.1:2113",
            "[fd00::1]:2113",
            "localhost:2113",
            "main-clients:2113",
            "main-clients.default.svc.cluster.local:2113",
            "main-0.main-peers.default.svc:2113",
        ] {
            assert_eq!(resolve(Some("d"), None, own).unwrap(), "default/d", "{own}");
            assert_eq!(resolve(None, None, own).unwrap_err(), Reason::StoreRequired, "{own}");
        }
    }

    #[test]
    fn only_a_store_that_is_named_without_its_namespace_is_bare() {
        let of = |authority: &str| resolve(Some("d"), None, authority).unwrap();
        assert_eq!(of("orders:2113"), "default/orders?");
        assert_eq!(of("orders.team-b:2113"), "team-b/orders");
        assert_eq!(of("main-clients:2113"), "default/d");
        assert_eq!(of("main-0:2113"), "default/d");
    }

    #[test]
    fn own_service_names_of_another_namespace_are_not_ours() {
        assert_eq!(resolve(Some("d"), None, "main-clients.team-b.svc").unwrap(), "team-b/main-clients");
        assert_eq!(resolve(Some("d"), None, "orders.default.svc.svc").unwrap_err(), Reason::StoreNotFound);
    }

    #[test]
    fn other_names_are_never_the_default() {
        assert_eq!(resolve(Some("d"), None, "a.b.c.example.org").unwrap_err(), Reason::StoreNotFound);
        assert_eq!(resolve(Some("d"), Some("Bad_Name"), "localhost").unwrap_err(), Reason::InvalidArgument);
    }
}
