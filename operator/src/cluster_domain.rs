//! Detection of the DNS domain of the Kubernetes cluster.

const DEFAULT: &str = "cluster.local";

/// Returns `given`, else the domain in the search list of the pod's `/etc/resolv.conf`, else `cluster.local`.
pub(crate) fn find(given: &str) -> String {
    if !given.is_empty() {
        return given.trim_end_matches('.').to_owned();
    }
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    from_search_list(&resolv_conf).unwrap_or_else(|| DEFAULT.to_owned())
}

/// Extracts the domain from the search list of a pod: `NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN ...`.
fn from_search_list(resolv_conf: &str) -> Option<String> {
    let search = resolv_conf.lines().rfind(|line| line.starts_with("search"))?;
    let domain = search.split_whitespace().find_map(|entry| entry.strip_prefix("svc."))?;
    Some(domain.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_read_from_the_search_list_of_a_pod() {
        let pod = "nameserver 10.0.0.10\nsearch a.svc.corp.example svc.corp.example corp.example\noptions ndots:5\n";
        assert_eq!(from_search_list(pod).as_deref(), Some("corp.example"));
        assert_eq!(from_search_list("search home.arpa\n"), None);
        assert_eq!(from_search_list(""), None);
    }

    #[test]
    fn a_given_domain_wins() {
        assert_eq!(find("k8s.example."), "k8s.example");
    }
}
