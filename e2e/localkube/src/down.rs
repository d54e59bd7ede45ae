//! Ends a cluster and removes everything that it left, however far it had come.

use std::fs;
use std::io;
use std::path::Path;

use super::cgroups::Cgroups;
use super::config::InstanceName;
use super::error::{Error, Io};
use super::host;
use super::layout::Layout;
use super::machine::Machine;
use super::process::ProcessId;
use super::up::lock;

/// Answers whether there was anything to end.
pub(super) async fn run(state_root: &Path, name: &InstanceName) -> Result<bool, Error> {
    if !state_root.is_dir() {
        return Ok(false);
    }
    let held = lock(state_root, &|_| {}).await?;
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

/// As [`run`], for whoever holds the lock.
pub(super) async fn end(state: &Path, name: &InstanceName) -> Result<(), Error> {
    let layout = Layout::new(state);
    if let Some(init) = ProcessId::load(&layout.init()) {
        init.kill().await?;
    }
    // A file that cannot be read must not keep the rest from being removed; that it is ours shows by its being there.
    let machine = Machine::load(state).ok().flatten();
    if machine.is_none() && !layout.machine().exists() && !is_empty(state) {
        return Err(Error::ForeignDirectory(state.to_owned()));
    }
    host::disconnect(&name.interface()).await?;
    Cgroups::of(name).remove_all().await?;
    for made in machine.iter().flat_map(|machine| &machine.made_directories) {
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
