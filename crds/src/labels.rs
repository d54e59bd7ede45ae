//! Labels and annotations that appear on our objects.

/// Always `taffrail`.
pub const NAME: &str = "app.kubernetes.io/name";
/// The Cluster's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// `node` or `operator`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// [`MANAGED_BY_OPERATOR`] on everything the operator applies.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The running version; never part of a selector or a claim template, since it changes.
pub const APP_VERSION: &str = "app.kubernetes.io/version";
/// The Cluster that an object belongs to.
pub const CLUSTER: &str = "taffrail.io/cluster";
/// The EventStore that an object belongs to.
pub const STORE: &str = "taffrail.io/store";

/// Value of [`NAME`].
pub const APP: &str = "taffrail";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_OPERATOR: &str = "taffrail-operator";

/// Key prefixes that users may not set through `podTemplate`, because selectors and the operator's bookkeeping use them.
pub const RESERVED_PREFIXES: [&str; 2] = ["app.kubernetes.io/", "taffrail.io/"];
