//! A Prometheus of a scenario's own, which scrapes Taffrail's pods and answers what it saw. And `promtool`, which knows how
//! metrics should look.
//!
//! Debian builds Prometheus without `kubernetes_sd_configs`. So the pods are listed here, once, and handed over as a file,
//! with the labels that Kubernetes discovery would give them. Which of them are scraped, and under which labels, is decided
//! by relabel rules as in a cluster; Prometheus's own way to the Kubernetes API is not part of what is tested.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    command::{self, Run, search_path},
    kubectl::{self, Kubectl},
    wait,
};

/// How often everything is scraped: as often as a scenario can wait for.
const SCRAPE_INTERVAL: &str = "1s";
/// How long it may take to read its configuration and to answer.
const START_MAX: Duration = Duration::from_secs(30);
/// What stands before the address in the line that says where it listens.
const LISTENING: &str = "msg=\"Listening on\" address=";
/// How much of its log a failure shows.
const LOG_LINES: usize = 8;

/// Why Prometheus has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The pods cannot be listed.
    #[error(transparent)]
    Kubectl(#[from] kubectl::Error),
    /// A file of its directory cannot be written, or Prometheus cannot be started or ended.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// It does not answer; the words of the wait hold the end of its log.
    #[error(transparent)]
    NotReady(#[from] wait::TimedOut),
    /// The answer is not what its API promises.
    #[error("Prometheus answered something else than {expected} to {path}: {answer}")]
    Answer {
        /// What was asked for.
        path: String,
        /// What should have come.
        expected: &'static str,
        /// What came, shortened.
        answer: String,
    },
}

/// One thing that is scraped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The component, as the pod's label says: `node` or `operator`.
    pub component: String,
    /// The pod.
    pub pod: String,
    /// Where it is scraped.
    pub url: String,
    /// Why the last scrape failed; `None` when it is up.
    pub problem: Option<String>,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value now.
    pub value: f64,
}

/// A running Prometheus; it ends with its value.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    address: String,
}

/// The name under which discovery shows a label of a pod.
fn meta(label: &str) -> String {
    let plain = label.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("__meta_kubernetes_pod_label_{plain}")
}

/// Every port of every container of these pods, as Kubernetes discovery with role `pod` shows them; what the relabel rules
/// do not look at is left out.
fn discovered(pods: &[Value]) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for pod in pods {
        // Without an address there is nothing to scrape yet.
        let Some(ip) = pod["status"]["podIP"].as_str() else { continue };
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        for port in list(&pod["spec"]["containers"]).iter().flat_map(|container| list(&container["ports"])) {
            let mut labels = json!({
                "__meta_kubernetes_pod_name": pod["metadata"]["name"],
                "__meta_kubernetes_pod_container_port_name": port["name"].as_str().unwrap_or_default(),
            });
            for (label, value) in pod["metadata"]["labels"].as_object().into_iter().flatten() {
                labels[meta(label)] = value.clone();
            }
            found.push(json!({"targets": [format!("{host}:{}", port["containerPort"])], "labels": labels}));
        }
    }
    found
}

async fn pods(kubectl: &Kubectl, namespaces: &[&str]) -> Result<Vec<Value>, Error> {
    let mut pods = Vec::new();
    for namespace in namespaces {
        let found = kubectl.json(["get", "pods", "--namespace", namespace]).await?;
        pods.extend(found["items"].as_array().cloned().unwrap_or_default());
    }
    Ok(pods)
}

/// Scrapes every port `http-metrics` of a pod of Taffrail, and nothing else. JSON is YAML.
fn config(pods: &Path) -> Value {
    json!({
        "global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL},
        "scrape_configs": [{
            "job_name": "taffrail",
            "file_sd_configs": [{"files": [pods]}],
            "relabel_configs": [
                {"source_labels": [meta("app.kubernetes.io/name")], "regex": "taffrail", "action": "keep"},
                {
                    "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                    "regex": "http-metrics",
                    "action": "keep",
                },
                {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
                {"source_labels": [meta("app.kubernetes.io/component")], "target_label": "component"},
            ],
        }],
    })
}

/// The address that the log says it listens on.
fn address_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once(LISTENING)?;
    // Without its end the line may be half written.
    let (address, _) = rest.split_once('\n')?;
    Some(address.trim().to_owned())
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

impl Prometheus {
    /// Starts it on a free loopback port, with everything it writes in `directory`, and waits until it answers. It knows
    /// the pods that these namespaces have now.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub async fn start(kubectl: &Kubectl, directory: &Path, namespaces: &[&str]) -> Result<Self, Error> {
        let [targets, file, log, data] =
            ["pods.json", "prometheus.yaml", "prometheus.log", "data"].map(|name| directory.join(name));
        fs::write(&targets, Value::from(discovered(&pods(kubectl, namespaces).await?)).to_string())
            .map_err(|source| Error::Io { what: "write the pods for Prometheus", source })?;
        fs::write(&file, config(&targets).to_string())
            .map_err(|source| Error::Io { what: "write the configuration of Prometheus", source })?;
        let output = File::create(&log).map_err(|source| Error::Io { what: "make the log of Prometheus", source })?;
        let option = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
        let mut command = Command::new("prometheus");
        command.env("PATH", search_path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        command.args([option("config.file", &file), option("storage.tsdb.path", &data)]);
        command.arg("--web.listen-address=127.0.0.1:0");
        let process = command.spawn().map_err(|source| Error::Io { what: "start Prometheus", source })?;
        let mut this = Self { process, address: String::new() };
        let process = &mut this.process;
        this.address = wait::until("Prometheus to answer", START_MAX, || {
            let ended = process.try_wait();
            let log = fs::read_to_string(&log).unwrap_or_default();
            async move {
                if let Ok(Some(status)) = ended {
                    return Err(format!("it ended ({status}): {}", end_of(&log)));
                }
                let address = address_in(&log).ok_or_else(|| end_of(&log))?;
                get(&format!("http://{address}/-/ready")).await.map_err(|e| e.to_string())?;
                Ok(address)
            }
        })
        .await?;
        Ok(this)
    }

    /// Where it answers, as in `127.0.0.1:9090`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Everything that it found and scrapes, in order; what was not scraped yet is not up.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn targets(&self) -> Result<Vec<Target>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Active {
            labels: BTreeMap<String, String>,
            scrape_url: String,
            health: String,
            last_error: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Targets {
            active_targets: Vec<Active>,
        }
        let found: Targets = self.ask("targets?state=active", &[], "targets").await?;
        let mut targets: Vec<Target> = found
            .active_targets
            .into_iter()
            .map(|mut t| Target {
                component: t.labels.remove("component").unwrap_or_default(),
                pod: t.labels.remove("pod").unwrap_or_default(),
                url: t.scrape_url,
                problem: (t.health != "up").then(|| format!("{}: {}", t.health, t.last_error)),
            })
            .collect();
        targets.sort();
        Ok(targets)
    }

    /// What `expression` is now: an instant vector.
    ///
    /// # Errors
    /// When it does not answer, or the expression is none or gives something else.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, Error> {
        #[derive(Deserialize)]
        struct Series {
            metric: BTreeMap<String, String>,
            value: (f64, String),
        }
        #[derive(Deserialize)]
        struct Vector {
            result: Vec<Series>,
        }
        let expected = "a vector of numbers";
        let vector: Vector = self.ask("query", &["--data-urlencode", &format!("query={expression}")], expected).await?;
        let sample = |series: Series| {
            let value = series.value.1.parse().map_err(|_| Error::Answer {
                path: expression.to_owned(),
                expected,
                answer: series.value.1.clone(),
            })?;
            Ok(Sample { labels: series.metric, value })
        };
        vector.result.into_iter().map(sample).collect()
    }

    /// What `expression` is now, when it is one number; `None` when there is no such series.
    ///
    /// # Errors
    /// When it does not answer, or there are several.
    pub async fn number(&self, expression: &str) -> Result<Option<f64>, Error> {
        let found = self.query(expression).await?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.value)),
            several => Err(Error::Answer {
                path: expression.to_owned(),
                expected: "one number",
                answer: format!("{several:?}"),
            }),
        }
    }

    /// Ends it and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn end(mut self) -> Result<(), Error> {
        self.process.kill().await.map_err(|source| Error::Io { what: "end Prometheus", source })
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        more: &[&str],
        expected: &'static str,
    ) -> Result<T, Error> {
        // Without `--fail`: the body of a refusal says what is wrong with the question.
        let url = format!("http://{}/api/v1/{path}", self.address);
        let args = ["--silent", "--show-error", "--max-time", "10"];
        let text = Run::new("curl").args(args).args(more).args([&url]).output().await?;
        parse(&text).ok_or_else(|| Error::Answer {
            path: format!("{path} {}", more.join(" ")),
            expected,
            answer: text.chars().take(500).collect(),
        })
    }
}

/// The data of a successful answer.
fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    #[derive(Deserialize)]
    struct Answer<T> {
        status: String,
        data: T,
    }
    let answer: Answer<T> = serde_json::from_str(text).ok()?;
    (answer.status == "success").then_some(answer.data)
}

/// A page over HTTP.
///
/// # Errors
/// When the answer is not a success.
pub async fn get(url: &str) -> Result<String, command::Error> {
    let args = ["--silent", "--show-error", "--fail", "--max-time", "10", url];
    Run::new("curl").args(args).output().await
}

/// What `promtool` has to say against a page of metrics; empty when there is nothing.
///
/// # Errors
/// When it cannot be run.
pub async fn lint(page: String) -> Result<String, command::Error> {
    let output = Run::new("promtool").args(["check", "metrics"]).stdin(page).raw().await?;
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    // A failure without words is one too.
    Ok(if output.status.success() || !words.is_empty() { words } else { output.status.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_a_whole_line() {
        let line = "level=info component=web msg=\"Listening on\" address=127.0.0.1:43789\n";
        assert_eq!(address_in(line).as_deref(), Some("127.0.0.1:43789"));
        assert_eq!(address_in(line.trim_end()), None, "a line that may be half written");
        assert_eq!(address_in("msg=\"Start listening for connections\" address=127.0.0.1:0\n"), None);
    }

    #[test]
    fn every_port_of_a_pod_with_an_address_is_shown_as_kubernetes_discovery_does() {
        let ports = json!([{"name": "grpc", "containerPort": 2113}, {"containerPort": 9090}]);
        let pod = |ip: Value| {
            json!({
                "metadata": {"name": "main-0", "labels": {"app.kubernetes.io/name": "taffrail"}},
                "spec": {"containers": [{"ports": ports}, {}]},
                "status": {"podIP": ip},
            })
        };
        let found = discovered(&[pod(json!("10.0.0.1")), pod(json!("fd00::1")), pod(Value::Null)]);
        let addresses: Vec<_> = found.iter().map(|t| t["targets"][0].as_str().unwrap()).collect();
        assert_eq!(addresses, ["10.0.0.1:2113", "10.0.0.1:9090", "[fd00::1]:2113", "[fd00::1]:9090"]);
        let labels = |port: &str| {
            json!({
                "__meta_kubernetes_pod_name": "main-0",
                "__meta_kubernetes_pod_container_port_name": port,
                "__meta_kubernetes_pod_label_app_kubernetes_io_name": "taffrail",
            })
        };
        assert_eq!((&found[0]["labels"], &found[1]["labels"]), (&labels("grpc"), &labels("")));
    }

    #[test]
    fn a_refusal_is_no_answer() {
        assert_eq!(parse::<Vec<u8>>("{\"status\":\"success\",\"data\":[1]}"), Some(vec![1]));
        assert_eq!(parse::<Vec<u8>>("{\"status\":\"error\",\"data\":[1]}"), None);
        assert_eq!(parse::<Vec<u8>>("{\"status\":\"error\",\"errorType\":\"bad_data\"}"), None);
    }
}
