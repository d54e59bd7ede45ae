//! A missing prerequisite, with its remedy.

use std::path::PathBuf;

/// A prerequisite missing on this machine. The message contains the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Root privileges, required for namespaces, mounts and interfaces.
    #[error("not running as root: run the command as root, for example with sudo")]
    Root,
    /// A system program.
    #[error("{program} is not installed: install the package '{package}' or run scripts/deps.sh")]
    Program {
        /// Name of the program, looked up on PATH.
        program: &'static str,
        /// Debian package containing the program.
        package: &'static str,
    },
    /// Programs built from source.
    #[error("{} lacks {}: run scripts/k8s-tools.sh to build them", directory.display(), names.join(", "))]
    Built {
        /// Directory searched for the programs.
        directory: PathBuf,
        /// Names of the missing programs.
        names: Vec<&'static str>,
    },
    /// Path of a CNI plugin.
    #[error("{} does not exist: install the package 'containernetworking-plugins' or run scripts/deps.sh", .0.display())]
    NetworkPlugin(PathBuf),
    /// Path of the `localkube` program, which also runs inside the namespace.
    #[error("{} does not exist: build the program with 'cargo build -p taffrail-localkube --bin localkube'", .0.display())]
    Localkube(PathBuf),
    /// A kernel feature required by containers.
    #[error("the kernel has no {feature}: {remedy}")]
    Kernel {
        /// Name of the feature.
        feature: &'static str,
        /// A suggested remedy.
        remedy: &'static str,
    },
}
