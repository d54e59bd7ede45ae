//! The directories behind persistent volumes.

use super::mounts;
use crate::{
    command::Run,
    error::{Error, Io},
    instance::Instance,
    names::NodeId,
};
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

/// Empties a volume and resets owner and mode of its directory.
pub(super) fn wipe(instance: &Instance, node: NodeId, volume: &str) -> Result<(), Error> {
    let path = instance.layout().node(node).volume(volume);
    empty(&path).map_err(|source| Io::new("empty", &path, source).into())
}

fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    // The fsGroup of a pod changes group and mode.
    chown(path, Some(0), Some(0))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Creates a volume with an enforced capacity, backed by a file system in a file. Returns the name of the volume.
pub(super) async fn add_limited(instance: &Instance, node: NodeId, mebibytes: u32) -> Result<String, Error> {
    let files = instance.layout().node(node);
    let mut number = 0;
    let name = loop {
        let name = format!("limited-{number:02}");
        if !files.volume(&name).exists() {
            break name;
        }
        number += 1;
    };
    let (directory, image) = (files.volume(&name), files.volume_image(&name));
    fs::create_dir(&directory).map_err(|source| Io::new("create", &directory, source))?;
    let made = make_and_mount(&directory, &image, mebibytes).await;
    if made.is_err() {
        let _ = fs::remove_file(&image);
        let _ = fs::remove_dir(&directory);
    }
    made.map(|()| name)
}

async fn make_and_mount(directory: &Path, image: &Path, mebibytes: u32) -> Result<(), Error> {
    let file = fs::File::create_new(image).map_err(|source| Io::new("create", image, source))?;
    file.set_len(u64::from(mebibytes) << 20).map_err(|source| Io::new("set the size of", image, source))?;
    // No blocks are reserved for root, so a full volume is full for every user.
    Run::new("mkfs.ext4").args(["-q", "-m", "0"]).args([image]).output().await?;
    Run::new("mount").args(["-o", "loop"]).args([image, directory]).output().await?;
    let lost = directory.join("lost+found");
    fs::remove_dir(&lost).map_err(|source| Io::new("remove", &lost, source))?;
    debug_assert!(mounts::is_mount_point(directory));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_directory_stays_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir_all(volume.path().join("a/b")).unwrap();
        fs::write(volume.path().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), volume.path().join("link")).unwrap();
        // Changing the owner needs root and fails otherwise, after the directory was emptied.
        let _ = empty(volume.path());
        assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }
}
