//! Validated names of streams, event types and stores.

use std::{fmt, sync::Arc};

/// Reason why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct NameError {
    /// Name of the request field with the invalid name.
    pub field: &'static str,
    /// Violated rule, in words.
    pub rule: String,
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest allowed length, bytes.
            const MAX_BYTES: usize = $max;

            /// Validates and wraps a name.
            ///
            /// # Errors
            /// [`NameError`] if the name is empty, too long or contains control characters.
            pub fn new(name: &str) -> Result<Self, NameError> {
                bounded($field, name, Self::MAX_BYTES)?;
                Ok(Self(name.into()))
            }
            /// Returns the name as a string slice.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_name!(
    /// Name of a stream: 1 to 512 bytes, no control characters. Names with a leading `$` belong to the store itself.
    ///
    /// ```
    /// use taffrail_core::names::StreamName;
    ///
    /// let stream = StreamName::new("orders-1").unwrap();
    /// assert_eq!(stream.as_str(), "orders-1");
    /// assert_eq!(StreamName::new("").unwrap_err().to_string(), "stream: must not be empty");
    /// ```
    StreamName, "stream", 512
);
text_name!(
    /// Type of an event, such as `OrderPlaced`: 1 to 255 bytes, no control characters.
    EventType, "type", 255
);

impl StreamName {
    /// True for a stream of the store itself: the name starts with `$`.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

/// Maximum length of the name of a Cluster or an EventStore. Pods, Services and labels of at most
/// 63 characters contain the name.
pub const RESOURCE_NAME_LENGTH_MAX: usize = 40;

/// Endings of the Services of a Cluster; the name of an EventStore must not have such an ending.
pub const RESERVED_SUFFIXES: [&str; 3] = ["-clients", "-peers", "-ready"];

/// Returns true if a Cluster may have this name.
#[must_use]
pub fn is_resource_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= RESOURCE_NAME_LENGTH_MAX
        && first.is_ascii_lowercase()
        && *last != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Returns true if an EventStore may have this name.
#[must_use]
pub fn is_event_store_name(name: &str) -> bool {
    is_resource_name(name) && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Namespace and name of a store, each a DNS label: at most 63 and at most 40 characters.
///
/// ```
/// use taffrail_core::names::StoreName;
///
/// let store = StoreName::new("default", "orders").unwrap();
/// assert_eq!(store.to_string(), "default/orders");
/// assert!(StoreName::new("default", "Orders").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl StoreName {
    /// Validates and wraps a namespace and a name.
    ///
    /// # Errors
    /// [`NameError`] with the invalid part and the violated rule.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        dns_label("namespace", namespace, 63)?;
        dns_label("store", name, RESOURCE_NAME_LENGTH_MAX)?;
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }
    /// Checks that a new store may have this name. The rule is the rule for the name of an EventStore, so every store
    /// can be adopted by an EventStore later.
    ///
    /// # Errors
    /// [`NameError`] with the violated rule.
    pub fn check_new(&self) -> Result<(), NameError> {
        let error = |rule: &str| Err(NameError { field: "store", rule: rule.to_owned() });
        if !is_resource_name(&self.name) {
            return error(
                "must be the name of an EventStore: a lower-case letter, then lower-case letters, digits and dashes",
            );
        }
        if !is_event_store_name(&self.name) {
            return error(
                "must not end in -clients, -peers or -ready: these endings belong to the Services of a Cluster",
            );
        }
        Ok(())
    }
    /// Returns the Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
    /// Returns the name within the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
impl fmt::Debug for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreName({self})")
    }
}

fn dns_label(field: &'static str, s: &str, max: usize) -> Result<(), NameError> {
    bounded(field, s, max)?;
    let inner = s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !inner || s.starts_with('-') || s.ends_with('-') {
        return Err(NameError { field, rule: "must be lower-case letters, digits and inner dashes".into() });
    }
    Ok(())
}

fn bounded(field: &'static str, s: &str, max_bytes: usize) -> Result<(), NameError> {
    if s.is_empty() {
        return Err(NameError { field, rule: "must not be empty".into() });
    }
    if s.len() > max_bytes {
        return Err(NameError { field, rule: format!("must be at most {max_bytes} bytes, is {}", s.len()) });
    }
    if s.chars().any(char::is_control) {
        return Err(NameError { field, rule: "must not hold control characters".into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_bounded_and_printable() {
        assert!(StreamName::new("orders-1").is_ok());
        assert!(StreamName::new("").is_err());
        assert!(StreamName::new(&"x".repeat(513)).is_err());
        assert!(StreamName::new("a\nb").is_err());
        assert!(StreamName::new(&"x".repeat(512)).is_ok());
    }

    #[test]
    fn only_names_with_a_leading_dollar_belong_to_the_store() {
        let system = |name: &str| StreamName::new(name).unwrap().is_system();
        assert!(system("$$meta") && system("$") && !system("orders-1") && !system("orders-$"));
    }

    #[test]
    fn the_name_of_a_cluster_begins_with_a_letter_and_fits_into_a_label() {
        for good in ["a", "main", "main-2", "a--b", "z9", &"x".repeat(40)] {
            assert!(is_resource_name(good), "{good}");
        }
        for bad in ["", "2main", "-main", "main-", "Main", "mAin", "main.a", "main_a", &"x".repeat(41)] {
            assert!(!is_resource_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_name_of_an_event_store_is_no_service_of_a_cluster() {
        assert!(is_event_store_name("orders") && is_event_store_name("peers"));
        for bad in ["Orders", "main-clients", "main-peers", "main-ready"] {
            assert!(!is_event_store_name(bad), "{bad}");
        }
    }

    #[test]
    fn store_names_are_dns_labels() {
        assert!(StoreName::new("default", "orders").is_ok());
        for bad in ["Orders", "-a", "a-", "a.b", ""] {
            assert!(StoreName::new("default", bad).is_err(), "{bad}");
            assert!(StoreName::new(bad, "orders").is_err(), "{bad}");
        }
        let digit = StoreName::new("team-1", "2-orders").unwrap();
        assert_eq!((digit.namespace(), digit.name()), ("team-1", "2-orders"));
        assert_eq!(
            (digit.to_string(), format!("{digit:?}")),
            ("team-1/2-orders".into(), "StoreName(team-1/2-orders)".into())
        );
        assert!(StoreName::new(&"n".repeat(63), &"s".repeat(40)).is_ok());
        assert_eq!(StoreName::new(&"n".repeat(64), "s").unwrap_err().field, "namespace");
        assert_eq!(StoreName::new("n", &"s".repeat(41)).unwrap_err().field, "store");
    }

    #[test]
    fn a_new_store_has_a_name_that_an_event_store_may_have() {
        let check = |name: &str| StoreName::new("default", name).unwrap().check_new();
        for good in ["orders", "o", "orders-2", "clients", "a234567890-234567890-234567890-234567890"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["2-orders", "main-clients", "main-peers", "main-ready"] {
            assert_eq!(check(bad).unwrap_err().field, "store", "{bad}");
        }
    }
}
