//! Names and identities. A name becomes part of Services, pods and revision labels, hence its tight form; an identity
//! is a UUID that outlives the object which shows it.

pub use crate::text::Malformed;
use crate::text::text_type;

/// The longest name of a `Cluster` or an `EventStore`: pods, Services and the 63 characters of a label are made of it.
pub const NAME_LENGTH_MAX: usize = 40;

/// Endings that the Services of a `Cluster` use, so no `EventStore` may have them.
pub const RESERVED_SUFFIXES: [&str; 3] = ["-clients", "-peers", "-ready"];

const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

text_type! {
    /// The name of a `Cluster` or an `EventStore`.
    ResourceName,
    expected: "a name of at most 40 characters: a lower-case letter, then letters, digits and dashes, no dash at the end",
    max: 40, pattern: "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$", accepts: is_name
}

text_type! {
    /// The identity of a store inside its Cluster; it outlives the `EventStore` object.
    StoreId, expected: "a lower-case UUID", max: 36, pattern: UUID, accepts: is_uuid
}

text_type! {
    /// The identity of a Cluster's data, minted once at bootstrap.
    ClusterId, expected: "a lower-case UUID", max: 36, pattern: UUID, accepts: is_uuid
}

text_type! {
    /// The identity of one data directory, minted by the node at its first start.
    DiskId, expected: "a lower-case UUID", max: 36, pattern: UUID, accepts: is_uuid
}

/// Whether a `Cluster` may have this name.
pub fn is_cluster_name(name: &str) -> bool {
    is_name(name)
}

/// Whether an `EventStore` may have this name.
pub fn is_store_name(name: &str) -> bool {
    is_name(name) && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= NAME_LENGTH_MAX
        && first.is_ascii_lowercase()
        && *last != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_published_form() {
        for good in ["a", "main", "a-b", "x9", &"a".repeat(40)] {
            assert!(is_cluster_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "9a", "A", "a_b", "a.b", &"a".repeat(41)] {
            assert!(!is_cluster_name(bad), "{bad}");
        }
    }

    #[test]
    fn store_names_keep_clear_of_the_services_of_a_cluster() {
        assert!(is_store_name("clients"));
        for bad in ["main-clients", "main-peers", "main-ready"] {
            assert!(is_cluster_name(bad) && !is_store_name(bad), "{bad}");
        }
    }

    #[test]
    fn identities_are_lower_case_uuids() {
        let text = "0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a10";
        assert_eq!(text.parse::<StoreId>().map(String::from), Ok(text.to_owned()));
        for bad in ["", "0198F3C2-7d54-7cc2-9b0e-2f6f0f2f9a10", "0198f3c27d547cc29b0e2f6f0f2f9a10", &text[..35]] {
            let refused = bad.parse::<StoreId>().expect_err("a malformed id");
            assert!(refused.to_string().contains("a lower-case UUID"), "{refused}");
        }
    }
}
