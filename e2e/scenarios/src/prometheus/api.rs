//! Queries to the HTTP API of Prometheus.

use super::{Error, Prometheus};
use serde::Deserialize;
use std::collections::BTreeMap;
use taffrail_localkube::command::Run;

/// A scrape target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The component, from the pod's label: `node` or `operator`.
    pub component: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod; distinguishes pods of the same name.
    pub uid: String,
    /// URL of the metrics page.
    pub url: String,
    /// Error of the last scrape; `None` when the target is up.
    pub problem: Option<String>,
}

/// A time series in a query result.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Labels of the series.
    pub labels: BTreeMap<String, String>,
    /// Current value of the series.
    pub value: f64,
}

impl Prometheus {
    /// Returns all active targets, sorted. A target without a completed scrape is not up.
    ///
    /// # Errors
    /// When Prometheus does not respond.
    pub async fn targets(&self) -> Result<Vec<Target>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Active {
            labels: BTreeMap<String, String>,
            discovered_labels: BTreeMap<String, String>,
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
                uid: t.discovered_labels.remove("__meta_kubernetes_pod_uid").unwrap_or_default(),
                url: t.scrape_url,
                problem: (t.health != "up").then(|| format!("{}: {}", t.health, t.last_error)),
            })
            .collect();
        targets.sort();
        Ok(targets)
    }

    /// Returns the time of the last configuration load.
    ///
    /// # Errors
    /// When Prometheus does not respond.
    pub async fn configured_at(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Runtime {
            last_config_time: String,
        }
        let runtime: Runtime = self.ask("status/runtimeinfo", &[], "the time of the last configuration load").await?;
        Ok(runtime.last_config_time)
    }

    /// Evaluates `expression` to an instant vector.
    ///
    /// # Errors
    /// When Prometheus does not respond, or the expression is invalid or has another type.
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

    /// Evaluates `expression` to a single number; `None` if the result is empty.
    ///
    /// # Errors
    /// When Prometheus does not respond, or the result has several series.
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

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        more: &[&str],
        expected: &'static str,
    ) -> Result<T, Error> {
        // Runs without `--fail`, because the body of an error response describes the error in the query.
        let url = format!("http://{}/api/v1/{path}", self.address());
        let args = ["--silent", "--show-error", "--max-time", "10"];
        let text = Run::new("curl").args(args).args(more).args([&url]).output().await?;
        parse(&text).ok_or_else(|| Error::Answer {
            path: format!("{path} {}", more.join(" ")),
            expected,
            answer: text.chars().take(500).collect(),
        })
    }
}

/// Extracts the data of a successful response.
fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    #[derive(Deserialize)]
    struct Answer<T> {
        status: String,
        data: T,
    }
    let answer: Answer<T> = serde_json::from_str(text).ok()?;
    (answer.status == "success").then_some(answer.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_no_answer() {
        assert_eq!(parse::<Vec<u8>>("{\"status\":\"success\",\"data\":[1]}"), Some(vec![1]));
        assert_eq!(parse::<Vec<u8>>("{\"status\":\"error\",\"data\":[1]}"), None);
        assert_eq!(parse::<Vec<u8>>("{\"status\":\"error\",\"errorType\":\"bad_data\"}"), None);
    }
}
