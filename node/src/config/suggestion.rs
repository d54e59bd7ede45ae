//! The error text for a key that does not exist, with the key that was probably meant.

use super::keys::KEYS;

/// Largest edit distance between an unknown key and the key that is suggested for it.
const EDITS_MAX: usize = 3;

/// The rule that an unknown key breaks.
pub(super) fn unknown(name: &str) -> String {
    let close = KEYS.iter().map(|k| (edits(name, k.name), k.name)).min();
    match close.filter(|(edits, _)| *edits <= EDITS_MAX) {
        Some((_, meant)) => format!("no such key; did you mean {meant}? docs/CONFIG.md lists all"),
        None => "no such key; docs/CONFIG.md lists all".to_owned(),
    }
}

/// The Levenshtein distance: characters to insert, remove or replace to turn one string into the other.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_key_that_was_meant() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert!(unknown("listen.clientz").contains("did you mean listen.clients?"));
        assert!(!unknown("something.else").contains("did you mean"));
    }
}
