//! Ends a cluster and removes everything that it left, however far it had come.

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
    // Only if nothing else is in it.
    let _ = fs::remove_dir(state_root);
    drop(held);
    Ok(existed)
}

/// Ends the cluster of the directory `state` for a caller that holds the lock.
pub(super) async fn end(state: &Path, name: &InstanceName) -> Result<(), Error> {
    let layout = Layout::new(state);
    if let Some(init) = ProcessId::load(&layout.init()) {
        init.kill().await?;
    }
    // A file that cannot be read must not keep the rest from being removed; that it is ours shows by its being there.
    let instance = Instance::load(state).ok().flatten();
    if instance.is_none() && !layout.instance().exists() && !is_empty(state) {
        return Err(Error::ForeignDirectory(state.to_owned()));
    }
    host_link::disconnect(&name.interface()).await?;
    Cgroups::of(name).remove_all().await?;
    for made in instance.iter().flat_map(|instance| &instance.made_directories) {
        // Somebody else may have put it to use since.
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
