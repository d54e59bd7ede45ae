//! Command line of the operator. Every option has an environment variable, set by the chart.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;

/// Kubernetes operator of the Taffrail event store.
#[derive(Debug, Parser)]
#[command(name = "taffrail-operator", version, about)]
pub struct Args {
    #[command(flatten)]
    pub logging: Logging,
    #[command(subcommand)]
    pub command: Command,
}

/// Log options, shared by all commands.
#[derive(Clone, Debug, ClapArgs)]
pub struct Logging {
    /// Log filter, for example `info,taffrail_operator=debug`.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Format of the log lines.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LOG_FORMAT", default_value = "json", global = true)]
    pub log_format: LogFormat,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A JSON object per line.
    Json,
    /// Plain text for a terminal.
    Text,
}

/// Subcommands of the operator.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the controllers until SIGTERM or SIGINT.
    Run(RunArgs),
    /// Create a small Cluster and an EventStore, append and read an event, and remove both objects.
    HelmTest(TestArgs),
}

/// Options of `run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Node image of Clusters without `spec.image`; `spec.version` replaces the tag.
    #[arg(long, env = "TAFFRAIL_OPERATOR_NODE_IMAGE")]
    pub node_image: String,
    /// Namespaces to serve, comma-separated; empty means all.
    #[arg(long, env = "TAFFRAIL_OPERATOR_WATCH_NAMESPACES", default_value = "")]
    pub watch_namespaces: String,
    /// DNS domain of the Kubernetes cluster; when empty, the domain is read from /etc/resolv.conf.
    #[arg(long, env = "TAFFRAIL_OPERATOR_CLUSTER_DOMAIN", default_value = "")]
    pub cluster_domain: String,
    /// Listen address of the HTTP server for metrics and probes.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
}

impl RunArgs {
    /// Returns the namespaces to serve, sorted and without duplicates; a single `None` means all namespaces.
    pub fn scopes(&self) -> Vec<Option<String>> {
        let mut named: Vec<String> = self.watch_namespaces.split(',').map(|n| n.trim().to_owned()).collect();
        named.retain(|name| !name.is_empty());
        named.sort();
        named.dedup();
        if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() }
    }
}

/// Options of `helm-test`.
#[derive(Clone, Debug, ClapArgs)]
pub struct TestArgs {
    /// Namespace in which the test creates its objects.
    #[arg(long, env = "TAFFRAIL_OPERATOR_NAMESPACE")]
    pub namespace: String,
    /// Name of the Cluster and of the EventStore created by the test.
    #[arg(long, env = "TAFFRAIL_OPERATOR_TEST_NAME", default_value = "taffrail-helm-test")]
    pub name: String,
    /// Maximum duration of the test in seconds, without the cleanup.
    #[arg(long, env = "TAFFRAIL_OPERATOR_TEST_TIMEOUT_SECONDS", default_value_t = 200)]
    pub timeout_seconds: u64,
    /// Maximum duration of the cleanup in seconds, available even if the test used up its own time.
    #[arg(long, env = "TAFFRAIL_OPERATOR_TEST_CLEANUP_SECONDS", default_value_t = 80)]
    pub cleanup_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Vec<Option<String>> {
        let args = ["x", "run", "--node-image", "i", "--watch-namespaces", text];
        match Args::try_parse_from(args).expect("valid arguments").command {
            Command::Run(run) => run.scopes(),
            Command::HelmTest(_) => Vec::new(),
        }
    }

    #[test]
    fn no_namespace_means_all_and_each_is_served_once() {
        assert_eq!(scopes(""), [None]);
        assert_eq!(scopes(" , "), [None]);
        assert_eq!(scopes("b, a,b"), [Some("a".to_owned()), Some("b".to_owned())]);
    }
}
