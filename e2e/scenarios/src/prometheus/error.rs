//! Why Prometheus has no usable answer.

use std::{io, path::PathBuf};
use taffrail_localkube::{command, kubectl, wait};

/// Why Prometheus has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not built, or the scenario was not told where.
    #[error("no {} (TAFFRAIL_PROMETHEUS names its directory): run `make e2e-long`, or `scripts/prometheus.sh`, which builds it and prints the directory", .0.display())]
    NotBuilt(PathBuf),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// Kubernetes does not answer.
    #[error(transparent)]
    Kubectl(#[from] kubectl::Error),
    /// An object of Kubernetes lacks what Prometheus needs.
    #[error("{object} has no {field}")]
    Incomplete {
        /// Which object.
        object: &'static str,
        /// What it lacks.
        field: &'static str,
    },
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
    #[error("something else than {expected} was answered to {path}: {answer}")]
    Answer {
        /// What was asked for.
        path: String,
        /// What should have come.
        expected: &'static str,
        /// What came, shortened.
        answer: String,
    },
}
