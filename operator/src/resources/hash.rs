//! Short, stable hash of rendered content.

use serde::Serialize;

/// Returns the first 16 hex digits of the BLAKE3 hash of the JSON form. Maps in rendered objects are ordered, so equal
/// content has an equal hash in every process.
///
/// # Errors
/// The value has no JSON form.
pub fn of(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut hash = blake3::hash(&serde_json::to_vec(value)?).to_hex().to_string();
    hash.truncate(16);
    Ok(hash)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_stable_between_processes_and_versions() {
        let hash = super::of(&serde_json::json!({"a": 1, "b": ["x"]})).expect("a JSON value");
        assert_eq!(hash, "26d8c2132e7021fd");
    }
}
