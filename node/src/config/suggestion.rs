//! The error text for an unknown key, with the most similar known key.

use super::keys::KEYS;

/// Largest edit distance between an unknown key and a suggestion.
const EDITS_MAX: usize = 3;

/// Returns the text of the problem for an unknown key.
pub(super) fn unknown(name: &str) -> String {
    let close = KEYS.iter().map(|k| (strsim::levenshtein(name, k.name), k.name)).min();
    match close.filter(|(edits, _)| *edits <= EDITS_MAX) {
        Some((_, meant)) => format!("no such key; did you mean {meant}? docs/CONFIG.md lists all"),
        None => "no such key; docs/CONFIG.md lists all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_key_that_was_meant() {
        assert!(unknown("listen.peerssss").contains("did you mean listen.peers?"), "three edits");
        assert!(!unknown("listen.peersssss").contains("did you mean"), "four edits");
        assert!(unknown("listen.clientz").contains("did you mean listen.clients?"));
        assert!(!unknown("something.else").contains("did you mean"));
    }
}
