//! Keys and values of the labels on all objects of Taffrail.

/// Key of the application's name; the value is always [`APP`].
pub const NAME: &str = "app.kubernetes.io/name";
/// Key of the Cluster's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Key of the component: `node` or `operator`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Key of the managing program: [`MANAGED_BY_OPERATOR`] on every object from the operator.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Key of the running version. The version changes, so the label is never part of a selector or a claim template.
pub const APP_VERSION: &str = "app.kubernetes.io/version";
/// Key of the name of the Cluster that owns the object.
pub const CLUSTER: &str = "taffrail.io/cluster";
/// Key of the name of the EventStore that owns the object.
pub const STORE: &str = "taffrail.io/store";

/// Value of the label [`NAME`].
pub const APP: &str = "taffrail";
/// Value of the label [`MANAGED_BY`].
pub const MANAGED_BY_OPERATOR: &str = "taffrail-operator";

/// Prefixes of keys that `podTemplate` must not set: selectors and the operator depend on such keys.
pub const RESERVED_PREFIXES: [&str; 2] = ["app.kubernetes.io/", "taffrail.io/"];
