//! Setup of the new namespaces before any component starts.

use super::{faults, mounts};
use crate::{
    error::{Error, Io},
    host_link::{INSIDE, ip},
    instance::Instance,
    wait,
};
use std::{fs, path::Path, time::Duration};

/// Directories of the host to which components write regardless of their configuration.
const COVERED: [&str; 3] = ["/run", "/var/log", "/var/lib/cni"];

/// Values of sysctls required by the kubelet. Sysctls apply to the whole machine, so the kubelet is shown files with
/// the required values instead, and the machine keeps its values.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Returns the mount point directories missing on this host.
pub(crate) fn directories_to_make() -> impl Iterator<Item = &'static Path> {
    COVERED.into_iter().map(Path::new).filter(|path| !path.exists())
}

/// Sets up mounts, addresses, IP forwarding and the iptables chain for faults.
pub(super) async fn furnish(instance: &Instance) -> Result<(), Error> {
    for path in COVERED {
        mounts::cover(Path::new(path))?;
    }
    cover_sysctls(instance)?;
    addresses(instance).await?;
    let forwarding = Path::new("/proc/sys/net/ipv4/ip_forward");
    fs::write(forwarding, "1").map_err(|source| Io::new("write", forwarding, source))?;
    faults::prepare().await
}

fn cover_sysctls(instance: &Instance) -> Result<(), Error> {
    let directory = instance.layout().sysctl_covers();
    fs::create_dir_all(&directory).map_err(|source| Io::new("create", &directory, source))?;
    for (name, value) in SYSCTLS {
        let real = Path::new("/proc/sys").join(name);
        let shown = directory.join(name.replace('/', "."));
        fs::write(&shown, format!("{value}\n")).map_err(|source| Io::new("write", &shown, source))?;
        if real.exists() {
            mounts::show_instead(&real, &shown)?;
        }
    }
    Ok(())
}

/// Configures the addresses, after waiting for the interface: the host moves the interface into the namespace
/// shortly after creation.
async fn addresses(instance: &Instance) -> Result<(), Error> {
    let network = &instance.network;
    wait::until("the interface to the host", Duration::from_secs(20), || ip(&["link", "show", INSIDE])).await?;
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["addr", "add", &format!("{}/{}", network.api(), network.link().prefix()), "dev", INSIDE]).await?;
    for node in instance.node_ids() {
        ip(&["addr", "add", &format!("{}/32", network.node(node)), "dev", INSIDE]).await?;
    }
    ip(&["link", "set", INSIDE, "up"]).await?;
    ip(&["route", "add", "default", "via", &network.host().to_string()]).await?;
    Ok(())
}
