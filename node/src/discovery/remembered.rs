//! The last peer table, kept in the data directory for a start without the API server.

use crate::atomic_file;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::Path};

const FILE: &str = "peers.json";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    format: u32,
    addresses: BTreeSet<String>,
}

/// The remembered table. An unreadable table counts as empty, since its addresses are only hints.
#[must_use]
pub(crate) fn load(data_dir: &Path) -> BTreeSet<String> {
    let Ok(bytes) = std::fs::read(data_dir.join(FILE)) else { return BTreeSet::new() };
    match serde_json::from_slice::<Remembered>(&bytes) {
        Ok(r) if r.format == FORMAT => r.addresses,
        Ok(r) => {
            tracing::warn!(format = r.format, "the remembered peer table has an unknown format; ignored");
            BTreeSet::new()
        }
        Err(error) => {
            tracing::warn!(%error, "the remembered peer table is not valid JSON of this format; ignored");
            BTreeSet::new()
        }
    }
}

/// Stores the table.
pub(crate) fn save(data_dir: &Path, addresses: &BTreeSet<String>) {
    let remembered = Remembered { format: FORMAT, addresses: addresses.clone() };
    let written = serde_json::to_vec_pretty(&remembered)
        .map_err(|e| e.to_string())
        .and_then(|bytes| atomic_file::write(data_dir, FILE, &bytes).map_err(|e| e.to_string()));
    if let Err(error) = written {
        tracing::warn!(%error, "the peer table could not be stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_remembered_and_rubbish_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_empty());
        let table: BTreeSet<String> = ["10.0.0.1:2114".to_owned()].into();
        save(dir.path(), &table);
        assert_eq!(load(dir.path()), table);
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(load(dir.path()).is_empty());
    }
}
