//! Permissions and credentials of Prometheus in the cluster.

use super::Error;
use serde_json::{Value, json};
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use taffrail_localkube::kubectl::Kubectl;

/// Name of all objects created in the cluster.
const NAME: &str = "taffrail-e2e-prometheus";
/// Lifetime of the token, longer than any scenario.
const TOKEN_LIFE: &str = "--duration=1h";

/// Parameters of the pod discovery: the API server, and files with the token of a ServiceAccount and the certificate
/// authority of the API server.
#[derive(Clone, Debug)]
pub struct Access {
    /// URL of the API server.
    pub server: String,
    /// Path of the certificate of the authority.
    pub authority: PathBuf,
    /// Path of the token.
    pub token: PathBuf,
    /// Namespaces with permission to list and watch pods.
    pub namespaces: Vec<String>,
}

fn account(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}})
}

/// Returns a Role and a RoleBinding with exactly the permissions of the discovery: list and watch pods of a namespace.
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

/// Writes a secret to a file readable only by its owner.
fn write(file: &Path, content: &str, what: &'static str) -> Result<(), Error> {
    let done = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    done.and_then(|mut file| file.write_all(content.as_bytes())).map_err(|source| Error::Io { what, source })
}

impl Access {
    /// Creates a ServiceAccount in the first of `namespaces` and allows it to list and watch the pods of all
    /// `namespaces`. Writes the token, and the certificate authority mounted into pods, to `directory`.
    ///
    /// # Errors
    /// When the API server refuses a request, or a file cannot be written.
    pub async fn grant(kubectl: &Kubectl, directory: &Path, namespaces: &[&str]) -> Result<Self, Error> {
        let [home, ..] = namespaces else {
            return Err(Error::Incomplete { object: "the list of namespaces", field: "first entry" });
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

    /// Returns whether the ServiceAccount in `namespace` is allowed an action there, as in `list secrets`.
    ///
    /// # Errors
    /// When the API server does not respond.
    pub async fn may(kubectl: &Kubectl, namespace: &str, verb: &str, resource: &str) -> Result<bool, Error> {
        let account = format!("--as=system:serviceaccount:{namespace}:{NAME}");
        // `kubectl auth can-i` exits with an error code for "no".
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

    /// Deletes the created objects.
    ///
    /// # Errors
    /// When the API server does not respond.
    pub async fn revoke(&self, kubectl: &Kubectl) -> Result<(), Error> {
        for namespace in &self.namespaces {
            // The ServiceAccount exists in a single namespace; deleting an absent object succeeds.
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
