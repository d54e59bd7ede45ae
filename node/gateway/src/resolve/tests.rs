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
    addressee(&config(default), &metadata, authority).map(shown).map_err(|p| p.reason())
}

/// Formats an addressee; a trailing `?` marks a bare name.
fn shown(addressee: Addressee) -> String {
    match addressee {
        Addressee::Store(store) => store.to_string(),
        Addressee::BareName(store) => format!("{store}?"),
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
