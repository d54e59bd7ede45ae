//! Replaces small files so that a crash leaves either the old or the new content.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A failed operation on a file or directory, with the path and a remedy.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; {}", path.display(), remedy(source))]
pub struct Error {
    /// The file or directory.
    pub path: PathBuf,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Adds the path to an error of the operating system.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self { path: path.to_owned(), source }
    }
}

/// Writes `bytes` to `name.new`, syncs the file, renames the file to `name` and syncs the directory.
///
/// # Errors
/// When a step fails.
pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (aside, path) = (dir.join(format!("{name}.new")), dir.join(name));
    let mut file = File::create(&aside).map_err(Error::at(&aside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::at(&aside))?;
    fs::rename(&aside, &path).map_err(Error::at(&path))?;
    sync_dir(dir)
}

/// Makes creations and renames in `dir` durable.
///
/// # Errors
/// When the sync fails.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(Error::at(dir))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "foreign and open-ended; the last arm fits every other error")]
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give the user of this process write access (in Kubernetes: fsGroup)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space, or grow the volume",
        _ => "check the volume and its mount",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        for content in ["old", "new"] {
            write(dir.path(), "file", content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_path_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let text = write(&missing, "file", b"x").unwrap_err().to_string();
        assert!(text.contains("missing/file.new: ") && text.ends_with("; check the volume and its mount"), "{text}");
    }
}
