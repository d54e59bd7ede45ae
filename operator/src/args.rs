//! The command line. Every option has an environment variable, which is what the chart sets.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;

/// The Taffrail operator.
#[derive(Debug, Parser)]
#[command(name = "taffrail-operator", version, about)]
pub struct Args {
    /// How it logs.
    #[command(flatten)]
    pub logging: Logging,
    /// What it does.
    #[command(subcommand)]
    pub command: Command,
}

/// How the process logs.
#[derive(Clone, Debug, ClapArgs)]
pub struct Logging {
    /// Filter of the log, for example `info,taffrail_operator=debug`.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Form of the log lines.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LOG_FORMAT", default_value = "json", global = true)]
    pub log_format: LogFormat,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

/// What the process does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the controllers until told to stop.
    Run(RunArgs),
    /// Make a small Cluster and store, append, read, and remove both again.
    HelmTest(TestArgs),
}

/// Options of `run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Image of Clusters that name none; `spec.version` replaces its tag.
    #[arg(long, env = "TAFFRAIL_OPERATOR_NODE_IMAGE")]
    pub node_image: String,
    /// Namespaces to serve, comma-separated; empty means all.
    #[arg(long, env = "TAFFRAIL_OPERATOR_WATCH_NAMESPACES", default_value = "")]
    pub watch_namespaces: String,
    /// DNS domain of the Kubernetes cluster; empty means: from /etc/resolv.conf.
    #[arg(long, env = "TAFFRAIL_OPERATOR_CLUSTER_DOMAIN", default_value = "")]
    pub cluster_domain: String,
    /// Address of metrics and probes.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
}

impl RunArgs {
    /// The namespaces to serve; `None` stands for all of them.
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
    /// Namespace in which the test works.
    #[arg(long, env = "TAFFRAIL_OPERATOR_NAMESPACE")]
    pub namespace: String,
    /// Name of the Cluster and of the EventStore that the test makes.
    #[arg(long, env = "TAFFRAIL_OPERATOR_TEST_NAME", default_value = "taffrail-helm-test")]
    pub name: String,
    /// How long the test may take, in seconds, without the clean-up after it.
    #[arg(long, env = "TAFFRAIL_OPERATOR_TEST_TIMEOUT_SECONDS", default_value_t = 200)]
    pub timeout_seconds: u64,
    /// How long the clean-up may take, in seconds, even when the test used up all its time.
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
