//! Mounts inside the mount namespace, invisible on the host.

use crate::error::{Error, Io};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use std::{
    ffi::CStr,
    fs,
    path::{Path, PathBuf},
};

/// Mounts an empty tmpfs over a directory, so writes do not reach the directory of the host.
pub(super) fn cover(path: &Path) -> Result<(), Error> {
    const OPTIONS: &CStr = c"mode=755";
    mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, OPTIONS)
        .map_err(|error| Io::new("mount an empty directory on", path, error.into()).into())
}

/// Bind mounts the file `shown` over `path`.
pub(super) fn show_instead(path: &Path, shown: &Path) -> Result<(), Error> {
    mount_bind(shown, path).map_err(|error| Io::new("mount a file on", path, error.into()).into())
}

/// Unmounts everything below `directory`, newest first, except below `keep`.
pub(super) fn unmount_below(directory: &Path, keep: &Path) -> Result<(), Error> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read_to_string(path).map_err(|source| Io::new("read", path, source))?;
    for target in mount_points(&table).into_iter().rev() {
        if target.starts_with(directory) && !target.starts_with(keep) {
            unmount(&target, UnmountFlags::DETACH).map_err(|error| Io::new("unmount", &target, error.into()))?;
        }
    }
    Ok(())
}

/// Returns whether `path` is a mount point.
pub(super) fn is_mount_point(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|table| mount_points(&table).iter().any(|found| found == path))
}

/// Extracts the fifth field of each line of mountinfo and decodes octal escapes.
fn mount_points(table: &str) -> Vec<PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field))).collect()
}

fn unescape(field: &str) -> String {
    const ESCAPES: [(&str, &str); 3] = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")];
    let plain = ESCAPES.iter().fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain));
    plain.replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_spaces() {
        let table =
            "36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 - ext3 /dev/root rw\n37 35 0:1 / /c rw - tmpfs tmpfs rw\n";
        assert_eq!(mount_points(table), [PathBuf::from("/a b"), PathBuf::from("/c")]);
    }
}
