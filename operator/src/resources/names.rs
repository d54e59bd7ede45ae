//! Names of the objects of a Cluster.

/// Name of the StatefulSet and of the disruption budget.
pub(crate) fn set(cluster: &str) -> String {
    cluster.to_owned()
}

/// Name of the pod of an ordinal.
pub(crate) fn pod(cluster: &str, ordinal: i32) -> String {
    format!("{cluster}-{ordinal}")
}

/// Ordinal of a pod; `None` if the name belongs to no pod of the Cluster.
pub(crate) fn ordinal(cluster: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(cluster)?.strip_prefix('-')?;
    let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    if canonical { digits.parse().ok() } else { None }
}

/// Name of the volume claim of an ordinal.
pub(crate) fn claim(cluster: &str, ordinal: i32) -> String {
    format!("data-{cluster}-{ordinal}")
}

/// Name of the Service for clients.
pub(crate) fn clients(cluster: &str) -> String {
    format!("{cluster}-clients")
}

/// Name of the headless Service of all nodes.
pub(crate) fn peers(cluster: &str) -> String {
    format!("{cluster}-peers")
}

/// Name of the headless Service of ready nodes.
pub(crate) fn ready(cluster: &str) -> String {
    format!("{cluster}-ready")
}

/// Name of the ConfigMap, ServiceAccount, Role and RoleBinding of the nodes.
pub(crate) fn config(cluster: &str) -> String {
    format!("{cluster}-node")
}

/// Name of the ConfigMap with the identity of the Cluster's data.
pub(crate) fn identity(cluster: &str) -> String {
    format!("{cluster}-identity")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ordinal_is_only_read_from_a_pod_of_the_cluster() {
        assert_eq!(super::ordinal("main", "main-12"), Some(12));
        for other in ["main", "main-", "main-01", "main-x", "main-2-3", "mainly-2", "main-+1"] {
            assert_eq!(super::ordinal("main", other), None, "{other}");
        }
    }
}
