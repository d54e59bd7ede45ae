//! Settings from the environment.

use super::values::{Values, shown};
use std::{collections::BTreeMap, ffi::OsString};

/// Environment names with our prefix that are not settings: the client's own, those of tests, and the service links of
/// Kubernetes.
pub(super) fn is_setting(name: &str) -> bool {
    const CLIENT: &[&str] =
        &["ENDPOINT", "STORE", "CACHE", "OUTPUT", "TIMEOUT", "E2E", "FIX", "FAILPOINT", "FAILPOINT_FILE"];
    let Some(rest) = name.strip_prefix("TAFFRAIL_") else { return false };
    let link = rest.starts_with("SERVICE_")
        || rest.contains("_SERVICE_")
        || rest.ends_with("_PORT")
        || rest.contains("_PORT_")
        || rest.starts_with("PORT");
    !(CLIENT.contains(&rest) || rest.starts_with("OPERATOR_") || link)
}

/// Variables that tell a pod of itself.
const OWN_POD: [&str; 2] = ["POD_IP", "POD_NAME"];

/// The key that a variable sets.
pub(super) fn key_of(variable: &str) -> String {
    variable.trim_start_matches("TAFFRAIL_").to_lowercase().replacen('_', ".", 1)
}

impl Values {
    /// The variables that are texts. What is none of ours may be anything; ours must be UTF-8.
    pub(super) fn environment(&mut self, env: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, value) in env {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(texts.insert(name, value)),
                Err(value) if is_setting(&name) || OWN_POD.contains(&name.as_str()) => {
                    let rule = format!("must be UTF-8, is {}", shown(&value.to_string_lossy()));
                    self.problem(&key_of(&name), &name, rule);
                }
                Err(_) => {}
            }
        }
        texts
    }
}
