//! Command lines and configuration files of the components outside the nodes.

use crate::{
    error::{Error, Io},
    instance::Instance,
    layout::Layout,
    pki,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A program for the supervisor to keep running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Name of the component and of its log file.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Directory of the cgroup to start the program in; `None` inherits the cgroup of the supervisor.
    pub(crate) cgroup: Option<PathBuf>,
}

impl Launch {
    fn new(instance: &Instance, name: &str, program: &str, args: Vec<String>) -> Self {
        Self { name: name.to_owned(), program: instance.programs.kubernetes(program), args, cgroup: None }
    }
}

/// Formats a flag with a value.
fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// Formats a flag with the path of a file as its value.
fn file(name: &str, path: &Path) -> String {
    flag(name, path.display())
}

/// The database of the API server. Runs without fsync: a cluster does not outlive its machine, and the latency of
/// etcd's disk must not influence test results.
pub(crate) fn etcd(instance: &Instance) -> Launch {
    let args = vec![
        file("data-dir", &instance.layout().etcd()),
        flag("listen-client-urls", "http://127.0.0.1:2379"),
        flag("advertise-client-urls", "http://127.0.0.1:2379"),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        flag("log-level", "warn"),
        "--unsafe-no-fsync".to_owned(),
    ];
    Launch::new(instance, "etcd", "etcd", args)
}

/// The API server, with authentication by certificate and a blocking audit log.
pub(crate) fn api_server(instance: &Instance) -> Launch {
    let layout = instance.layout();
    let network = &instance.network;
    let args = vec![
        flag("etcd-servers", "http://127.0.0.1:2379"),
        flag("secure-port", Instance::API_PORT),
        flag("advertise-address", network.api()),
        flag("service-cluster-ip-range", network.services()),
        file("tls-cert-file", &layout.certificate(pki::API_SERVER)),
        file("tls-private-key-file", &layout.key(pki::API_SERVER)),
        file("client-ca-file", &layout.certificate(pki::AUTHORITY)),
        file("service-account-key-file", &layout.service_account_public_key()),
        file("service-account-signing-key-file", &layout.key(pki::SERVICE_ACCOUNT)),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        file("kubelet-client-certificate", &layout.certificate(pki::API_TO_KUBELET)),
        file("kubelet-client-key", &layout.key(pki::API_TO_KUBELET)),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("allow-privileged", true),
        flag("profiling", false),
        file("audit-policy-file", &layout.audit_policy()),
        file("audit-log-path", &layout.audit_log()),
        // Written before the response, so a count taken right after a request includes the request.
        flag("audit-log-mode", "blocking"),
        flag("audit-log-maxsize", 500),
        flag("audit-log-maxbackup", 1),
    ];
    Launch::new(instance, "kube-apiserver", "kube-apiserver", args)
}

/// Components to start after the API server is ready: controllers, scheduler, Service routing and DNS.
pub(crate) fn behind_the_api(instance: &Instance) -> Vec<Launch> {
    let layout = instance.layout();
    let kubeconfig = |who: &str| file("kubeconfig", &layout.kubeconfig(who));
    let controller_manager = vec![
        kubeconfig("controller-manager"),
        file("service-account-private-key-file", &layout.key(pki::SERVICE_ACCOUNT)),
        file("root-ca-file", &layout.certificate(pki::AUTHORITY)),
        file("cluster-signing-cert-file", &layout.certificate(pki::AUTHORITY)),
        file("cluster-signing-key-file", &layout.key(pki::AUTHORITY)),
        file("flex-volume-plugin-dir", &layout.plugins()),
        flag("use-service-account-credentials", true),
        flag("leader-elect", false),
        flag("bind-address", "127.0.0.1"),
        flag("profiling", false),
        // The default limits suit a shared control plane. A test which creates fifty objects at once would
        // measure these limits.
        flag("kube-api-qps", 200),
        flag("kube-api-burst", 400),
    ];
    let scheduler = vec![
        kubeconfig("scheduler"),
        flag("leader-elect", false),
        flag("bind-address", "127.0.0.1"),
        flag("profiling", false),
        flag("kube-api-qps", 200),
        flag("kube-api-burst", 400),
    ];
    let proxy = vec![
        kubeconfig("kube-proxy"),
        flag("proxy-mode", "iptables"),
        flag("hostname-override", "node1"),
        flag("metrics-bind-address", "127.0.0.1:10249"),
        flag("healthz-bind-address", "127.0.0.1:10256"),
        flag("iptables-localhost-nodeports", false),
        // Connection tracking limits apply to the whole machine and are left unchanged.
        flag("conntrack-max-per-core", 0),
        flag("conntrack-tcp-timeout-established", "0s"),
        flag("conntrack-tcp-timeout-close-wait", "0s"),
    ];
    let dns = vec!["-conf".to_owned(), layout.corefile().display().to_string()];
    vec![
        Launch::new(instance, "kube-controller-manager", "kube-controller-manager", controller_manager),
        Launch::new(instance, "kube-scheduler", "kube-scheduler", scheduler),
        Launch::new(instance, "kube-proxy", "kube-proxy", proxy),
        Launch::new(instance, "coredns", "coredns", dns),
    ]
}

/// Writes the configuration files of the components.
pub(crate) fn write_files(instance: &Instance) -> Result<(), Error> {
    let layout = instance.layout();
    let files = [
        (layout.audit_policy(), AUDIT_POLICY.to_owned()),
        (layout.corefile(), corefile(instance, &layout)),
        // The resolver configuration of the nodes names the cluster DNS: no other name server is reachable inside.
        (layout.resolv_conf(), format!("nameserver {}\n", instance.network.dns_service())),
    ];
    for (path, text) in files {
        fs::write(&path, text).map_err(|source| Io::new("write", &path, source))?;
    }
    Ok(())
}

/// Logs every write with its user and nothing else, for counting writes by user.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

fn corefile(instance: &Instance, layout: &Layout) -> String {
    let address = instance.network.api();
    let kubeconfig = layout.kubeconfig("coredns");
    format!(
        "\
.:53 {{
  bind {address}
  errors
  health {address}:8080
  ready {address}:{ready_port}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
    ttl 5
  }}
  cache 5
  loadbalance
}}
",
        ready_port = Instance::DNS_READY_PORT,
        kubeconfig = kubeconfig.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::sample;

    #[test]
    fn two_clusters_share_no_address_and_no_file() {
        let (one, other) = (sample("one", 0), sample("two", 1));
        let words = |instance: &Instance| api_server(instance).args;
        let own = |words: Vec<String>, needle: &str| words.into_iter().filter(|word| word.contains(needle)).count();
        assert_eq!(own(words(&one), "/state/two/"), 0);
        assert_eq!(own(words(&other), "/state/one/"), 0);
        assert!(words(&other).contains(&"--advertise-address=10.192.1.2".to_owned()));
        assert!(words(&one).contains(&"--service-cluster-ip-range=10.224.0.0/16".to_owned()));
    }

    #[test]
    fn dns_answers_on_the_link() {
        let instance = sample("one", 2);
        let text = corefile(&instance, &instance.layout());
        assert!(
            text.contains("bind 10.192.2.2\n") && text.contains("kubeconfig /state/one/coredns.kubeconfig\n"),
            "{text}"
        );
    }

    #[test]
    fn every_component_has_its_own_name_and_so_its_own_log() {
        let instance = sample("one", 0);
        let mut names: Vec<_> = behind_the_api(&instance).into_iter().map(|launch| launch.name).collect();
        names.extend([etcd(&instance).name, api_server(&instance).name]);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
