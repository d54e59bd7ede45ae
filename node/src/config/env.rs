//! Settings from the environment: `TAFFRAIL_SECTION_KEY` sets `section.key`.

use super::values::{Values, shown};
use std::{collections::BTreeMap, ffi::OsString};

/// True for a variable with the prefix `TAFFRAIL_`, except the variables of the client commands, of the operator and of
/// tests, and the variables of Kubernetes for each Service.
pub(super) fn is_setting(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "ENDPOINT",
        "STORE",
        "CACHE",
        "OUTPUT",
        "TIMEOUT",
        "E2E",
        "FIX",
        "FAILPOINT",
        "FAILPOINT_FILE",
        "PANIC_POINT",
    ];
    let Some(rest) = name.strip_prefix("TAFFRAIL_") else { return false };
    let link = rest.starts_with("SERVICE_")
        || rest.contains("_SERVICE_")
        || rest.ends_with("_PORT")
        || rest.contains("_PORT_")
        || rest.starts_with("PORT");
    !(OTHERS.contains(&rest) || rest.starts_with("OPERATOR_") || link)
}

/// Variables from the pod template with address and name of the pod.
const OWN_POD: [&str; 2] = ["POD_IP", "POD_NAME"];

/// Returns the key of a variable: `raft.heartbeat_ms` for `TAFFRAIL_RAFT_HEARTBEAT_MS`.
pub(super) fn key_of(variable: &str) -> String {
    variable.trim_start_matches("TAFFRAIL_").to_lowercase().replacen('_', ".", 1)
}

impl Values {
    /// Returns all UTF-8 variables. A setting in another encoding is a problem; other variables are ignored.
    pub(super) fn environment(&mut self, env: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
        let mut strings = BTreeMap::new();
        for (name, value) in env {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(strings.insert(name, value)),
                Err(value) if is_setting(&name) || OWN_POD.contains(&name.as_str()) => {
                    let rule = format!("must be UTF-8, is {}", shown(&value.to_string_lossy()));
                    self.problem(&key_of(&name), &name, rule);
                }
                Err(_) => {}
            }
        }
        strings
    }
}
