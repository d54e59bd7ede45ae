//! Checks of the machine before a cluster is started. A missing prerequisite gives a clear error at the start instead
//! of an obscure failure later.

use crate::{
    command,
    config::{Config, Programs},
    error::Error,
    layout::Layout,
    missing::Missing,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const SYSTEM_PROGRAMS: [(&str, &str); 14] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("iptables-restore", "iptables"),
    ("conntrack", "conntrack"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("busybox", "busybox-static"),
];

const BUILT_PROGRAMS: [&str; 10] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
    "helm",
    "coredns",
    "pause",
];

const NETWORK_PLUGINS: [&str; 4] = ["ptp", "host-local", "portmap", "loopback"];

/// Checks all prerequisites and reports every missing prerequisite at once.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    let mut missing = Vec::new();
    if rustix::process::geteuid().is_root() {
        missing.extend(missing_files(&config.programs));
    } else {
        // Files below root's home are invisible to other users; the next run, as root, checks these files.
        missing.push(Missing::Root);
    }
    missing.extend(missing_programs());
    missing.extend(missing_in_kernel());
    if missing.is_empty() { check_state_root(config) } else { Err(Error::Missing(missing)) }
}

fn missing_programs() -> Vec<Missing> {
    let path = command::search_path();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = |program: &str| directories.iter().any(|directory| is_program(&directory.join(program)));
    let missing = SYSTEM_PROGRAMS.into_iter().filter(|(program, _)| !found(program));
    missing.map(|(program, package)| Missing::Program { program, package }).collect()
}

fn missing_files(programs: &Programs) -> Vec<Missing> {
    let lacks = |path: &PathBuf| !is_program(path);
    let names: Vec<_> = BUILT_PROGRAMS.into_iter().filter(|name| lacks(&programs.kubernetes(name))).collect();
    let directory = programs.kubernetes.clone();
    let built = (!names.is_empty()).then_some(Missing::Built { directory, names });
    let plugins = NETWORK_PLUGINS.iter().map(|name| programs.cni.join(name)).filter(lacks).map(Missing::NetworkPlugin);
    let localkube = Some(programs.localkube.clone()).filter(lacks).map(Missing::Localkube);
    built.into_iter().chain(plugins).chain(localkube).collect()
}

fn missing_in_kernel() -> Vec<Missing> {
    let mut missing = Vec::new();
    // Without /proc/filesystems the check passes; a missing file system then fails later.
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_else(|_| "overlay".to_owned());
    if !filesystems.split_ascii_whitespace().any(|word| word == "overlay") {
        missing.push(Missing::Kernel { feature: "overlay file system", remedy: "try 'modprobe overlay'" });
    }
    if !Path::new("/sys/fs/cgroup").read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        missing.push(Missing::Kernel { feature: "mounted cgroups", remedy: "mount them at /sys/fs/cgroup" });
    }
    missing
}

fn check_state_root(config: &Config) -> Result<(), Error> {
    let path = config.state_root.clone();
    // The supervisor mounts empty directories over /run and /var/log.
    if path.starts_with("/run") || path.starts_with("/var/run") || path.starts_with("/var/log") {
        return Err(Error::NotOnDisk { path, kind: "a directory hidden inside the cluster" });
    }
    if !Layout::new(&path.join(config.name.as_str())).sockets_fit() {
        return Err(Error::PathTooLong(path));
    }
    const TMPFS: i64 = 0x0102_1994;
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    match existing.and_then(|existing| rustix::fs::statfs(existing).ok()) {
        Some(found) if found.f_type == TMPFS => Err(Error::NotOnDisk { path, kind: "tmpfs" }),
        _ => Ok(()),
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_told_at_once_and_in_one_line_each() {
        let nowhere = PathBuf::from("/nonexistent");
        let programs = Programs { kubernetes: nowhere.clone(), cni: nowhere.clone(), localkube: nowhere };
        let missing = missing_files(&programs);
        assert_eq!(missing.len(), 1 + NETWORK_PLUGINS.len() + 1);
        let text = Error::Missing(missing).to_string();
        assert!(text.lines().all(|line| line.contains("/nonexistent")), "{text}");
        assert!(text.contains("scripts/k8s-tools.sh"), "{text}");
    }

    #[test]
    fn a_state_root_that_is_covered_inside_is_refused() {
        let mut config = Config::new("one".parse().unwrap(), PathBuf::from("/bin/sh"));
        config.state_root = PathBuf::from("/run/taffrail");
        assert!(matches!(check_state_root(&config), Err(Error::NotOnDisk { .. })));
        config.state_root = PathBuf::from(format!("/{}", "x".repeat(100)));
        assert!(matches!(check_state_root(&config), Err(Error::PathTooLong(_))));
    }
}
