//! A missing prerequisite, with its remedy.

use std::path::PathBuf;

/// One thing that is missing, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Namespaces, mounts and interfaces need root.
    #[error("not root: run it as root, for example with sudo")]
    Root,
    /// A program that comes with the system.
    #[error("{program} is not installed: install the package '{package}' (scripts/deps.sh does)")]
    Program {
        /// What was looked for on PATH.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// Programs that are built from source.
    #[error("{} lacks {}: run scripts/k8s-tools.sh to build them", directory.display(), names.join(", "))]
    Built {
        /// Where they are looked for.
        directory: PathBuf,
        /// Which of them are not there.
        names: Vec<&'static str>,
    },
    /// A CNI plugin.
    #[error("{} is not there: install the package 'containernetworking-plugins' (scripts/deps.sh does)", .0.display())]
    NetworkPlugin(PathBuf),
    /// The command that goes inside the namespace.
    #[error("{} is not there: build it with 'cargo build -p taffrail-localkube --bin localkube'", .0.display())]
    Localkube(PathBuf),
    /// The kernel cannot do what containers need.
    #[error("the kernel has no {feature}: {remedy}")]
    Kernel {
        /// What is missing.
        feature: &'static str,
        /// What may help.
        remedy: &'static str,
    },
}
