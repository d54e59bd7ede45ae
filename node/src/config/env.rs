//! Settings from the environment: `TAFFRAIL_SECTION_KEY` sets `section.key`.

use super::values::{Values, shown};
use std::{collections::BTreeMap, ffi::OsString};

/// False for variables with the prefix `TAFFRAIL_` that belong to the client commands, the operator or tests, and for the
/// variables that Kubernetes sets for each Service.
pub(super) fn is_setting(name: &str) -> bool {
    const OTHERS: &[&str] =
        &["ENDPOINT", "STORE", "CACHE", "OUTPUT", "TIMEOUT", "E2E", "FIX", "FAILPOINT", "FAILPOINT_FILE"];
    let Some(rest) = name.strip_prefix("TAFFRAIL_") else { return false };
    let link = rest.starts_with("SERVICE_")
        || rest.contains("_SERVICE_")
        || rest.ends_with("_PORT")
        || rest.contains("_PORT_")
        || rest.starts_with("PORT");
    !(OTHERS.contains(&rest) || rest.starts_with("OPERATOR_") || link)
}

/// Variables in which the pod template passes address and name of the pod.
const OWN_POD: [&str; 2] = ["POD_IP", "POD_NAME"];

/// The key that a variable sets.
pub(super) fn key_of(variable: &str) -> String {
    variable.trim_start_matches("TAFFRAIL_").to_lowercase().replacen('_', ".", 1)
}

impl Values {
    /// The variables that are UTF-8. A setting that is not UTF-8 is a problem; other variables are ignored.
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
