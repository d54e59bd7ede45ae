//! Errors of Prometheus and `promtool`.

use std::{io, path::PathBuf};
use taffrail_localkube::{command, kubectl, wait};

/// The reasons for a failed start or query of Prometheus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Prometheus is not built, or `TAFFRAIL_PROMETHEUS` is not set.
    #[error("{} does not exist: run `make e2e-long`, or run `scripts/prometheus.sh` and set TAFFRAIL_PROMETHEUS to the printed directory", .0.display())]
    NotBuilt(PathBuf),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A `kubectl` call failed.
    #[error(transparent)]
    Kubectl(#[from] kubectl::Error),
    /// A Kubernetes object lacks a required field.
    #[error("{object} has no {field}")]
    Incomplete {
        /// Name of the object.
        object: &'static str,
        /// Name of the missing field.
        field: &'static str,
    },
    /// A file cannot be written, or Prometheus cannot be started or ended.
    #[error("cannot {what}: {source}")]
    Io {
        /// Description of the failed operation.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Prometheus did not respond in time. The last observation contains the end of the log.
    #[error(transparent)]
    NotReady(#[from] wait::TimedOut),
    /// The response does not have the expected form.
    #[error("unexpected response to {path}: {answer}; expected {expected}")]
    Answer {
        /// The requested path or expression.
        path: String,
        /// Description of the expected response.
        expected: &'static str,
        /// The response, truncated if long.
        answer: String,
    },
}
