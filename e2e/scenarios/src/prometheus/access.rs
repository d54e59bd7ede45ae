//! The rights that Prometheus has in the cluster, and the means to use them.

use super::Error;
use serde_json::{Value, json};
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use taffrail_localkube::kubectl::Kubectl;

/// The name of everything that is made in the cluster.
const NAME: &str = "taffrail-e2e-prometheus";
/// How long the token is good for: longer than any scenario.
const TOKEN_LIFE: &str = "--duration=1h";

/// What Prometheus needs to find pods: the API server, and files with the token of a ServiceAccount and with the authority
/// that signed the API server's certificate.
#[derive(Clone, Debug)]
pub struct Access {
    /// The URL of the API server.
    pub server: String,
    /// The file with the authority's certificate.
    pub authority: PathBuf,
    /// The file with the token.
    pub token: PathBuf,
    /// Where it may look at pods.
    pub namespaces: Vec<String>,
}

fn account(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}})
}

/// What discovery asks for and nothing else: a list of the pods of a namespace, and what changes in it.
fn rights(namespace: &str, account_namespace: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    let api = format!("{group}/v1");
    let metadata = json!({"name": NAME, "namespace": namespace});
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": account_namespace}]);
    let role = json!({"apiGroup": group, "kind": "Role", "name": NAME});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": subjects},
    ]})
}

/// A secret is nobody else's to read.
fn write(file: &Path, content: &str, what: &'static str) -> Result<(), Error> {
    let done = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    done.and_then(|mut file| file.write_all(content.as_bytes())).map_err(|source| Error::Io { what, source })
}

impl Access {
    /// Makes a ServiceAccount in the first of these namespaces, lets it look at the pods of all of them, and writes its
    /// token to `directory`, with the authority that a pod of it would be given.
    ///
    /// # Errors
    /// When the API server refuses something, or a file cannot be written.
    pub async fn grant(kubectl: &Kubectl, directory: &Path, namespaces: &[&str]) -> Result<Self, Error> {
        let [home, ..] = namespaces else {
            return Err(Error::Incomplete { object: "the list of namespaces", field: "first one" });
        };
        let at_home = kubectl.in_namespace(home);
        at_home.apply(account(home).to_string()).await?;
        for namespace in namespaces {
            kubectl.in_namespace(namespace).apply(rights(namespace, home).to_string()).await?;
        }
        let [authority, token] = ["authority.pem", "token"].map(|name| directory.join(name));
        let secret = at_home.run(["create", "token", NAME, TOKEN_LIFE]).await?;
        write(&token, secret.trim(), "write the token for Prometheus")?;
        let published = at_home.json(["get", "configmap", "kube-root-ca.crt"]).await?;
        let certificate = published["data"]["ca.crt"]
            .as_str()
            .ok_or(Error::Incomplete { object: "ConfigMap kube-root-ca.crt", field: "ca.crt" })?;
        write(&authority, certificate, "write the authority for Prometheus")?;
        let config = kubectl.json(["config", "view", "--minify"]).await?;
        let server = config["clusters"][0]["cluster"]["server"]
            .as_str()
            .ok_or(Error::Incomplete { object: "the kubeconfig", field: "server" })?;
        let namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        Ok(Self { server: server.to_owned(), authority, token, namespaces })
    }

    /// Whether the account of this namespace may do this there, as in `list secrets`.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn may(kubectl: &Kubectl, namespace: &str, verb: &str, resource: &str) -> Result<bool, Error> {
        let account = format!("--as=system:serviceaccount:{namespace}:{NAME}");
        // A "no" is an exit code as well.
        let run = kubectl.in_namespace(namespace).command().args(["auth", "can-i", verb, resource, &account]);
        let output = run.raw().await?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => Err(Error::Answer {
                path: format!("auth can-i {verb} {resource}"),
                expected: "yes or no",
                answer: [other.into(), String::from_utf8_lossy(&output.stderr)].concat(),
            }),
        }
    }

    /// Takes all of it back.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn revoke(&self, kubectl: &Kubectl) -> Result<(), Error> {
        for namespace in &self.namespaces {
            // The account is in one of them; elsewhere it is as good as deleted.
            kubectl.in_namespace(namespace).delete(["serviceaccount,role,rolebinding", NAME]).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_may_list_and_watch_pods_and_nothing_else() {
        let rights = rights("there", "here");
        let [role, binding] = rights["items"].as_array().unwrap().as_slice() else { panic!("{rights}") };
        assert_eq!(role["rules"], json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]));
        assert_eq!(role["metadata"]["namespace"], "there");
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["namespace"], "here");
        assert_eq!(binding["subjects"][0]["name"], account("here")["metadata"]["name"]);
    }

    #[test]
    fn nobody_else_reads_a_token() {
        use std::{fs, os::unix::fs::PermissionsExt};

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        write(&file, "secret", "write").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "secret");
    }
}
