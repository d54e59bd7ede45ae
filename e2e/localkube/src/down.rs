//! Removal of a cluster in any state, partly started clusters included.

use crate::{
    cgroups::Cgroups,
    error::{Error, Io},
    host_link,
    instance::Instance,
    layout::Layout,
    local_kube::LocalKube,
    lock,
    names::InstanceName,
    process_id::ProcessId,
};
use std::{fs, io, path::Path};

impl LocalKube {
    /// Ends a cluster in any state and removes its files, interface and cgroups. Returns whether there was a cluster.
    ///
    /// # Errors
    /// When a process, a cgroup, the interface or a file of the cluster cannot be removed.
    pub async fn down(state_root: &Path, name: &InstanceName) -> Result<bool, Error> {
        run(state_root, name).await
    }
}

async fn run(state_root: &Path, name: &InstanceName) -> Result<bool, Error> {
    if !state_root.is_dir() {
        return Ok(false);
    }
    let held = lock::acquire(state_root, &|_| {}).await?;
    let state = state_root.join(name.as_str());
    let existed = state.exists();
    if existed {
        end(&state, name).await?;
    }
    // Fails, as intended, if the directory is not empty.
    let _ = fs::remove_dir(state_root);
    drop(held);
    Ok(existed)
}

/// Ends the cluster of the directory `state` for a caller holding the lock.
pub(super) async fn end(state: &Path, name: &InstanceName) -> Result<(), Error> {
    let layout = Layout::new(state);
    if let Some(init) = ProcessId::load(&layout.init()) {
        init.kill().await?;
    }
    // An unreadable file must not prevent the removal of the rest. Its existence proves the ownership of the directory.
    let instance = Instance::load(state).ok().flatten();
    if instance.is_none() && !layout.instance().exists() && !is_empty(state) {
        return Err(Error::ForeignDirectory(state.to_owned()));
    }
    host_link::disconnect(&name.interface()).await?;
    Cgroups::of(name).remove_all().await?;
    for made in instance.iter().flat_map(|instance| &instance.made_directories) {
        // Another program may use the directory by now; a directory with entries stays.
        let _ = fs::remove_dir(made);
    }
    match fs::remove_dir_all(state) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Io::new("remove", state, source).into()),
        _ => Ok(()),
    }
}

pub(super) fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
