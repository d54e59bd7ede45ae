//! Images loaded into every node at the start: the pause process, and busybox for tests.

use crate::{
    archive::{self, Entry, Image},
    command::Run,
    error::{Error, Io},
    instance::Instance,
};
use std::{fs, path::Path};

/// Image of the first process of each pod.
pub(crate) const PAUSE: &str = "docker.io/local/pause:1";

/// Image with busybox, for the pods of tests. Present on every node, so `imagePullPolicy: IfNotPresent` works
/// without a registry.
pub const BUSYBOX: &str = "docker.io/local/busybox:1";

/// Writes both images to an archive, which each node imports.
pub(crate) async fn write(instance: &Instance) -> Result<(), Error> {
    let pause = instance.programs.kubernetes("pause");
    let images = [pause_image(read(&pause)?), busybox_image().await?];
    let path = instance.layout().images().join("00-base.tar");
    archive::write(&path, &images).map_err(|source| Io::new("write", &path, source).into())
}

fn pause_image(program: Vec<u8>) -> Image {
    Image {
        name: PAUSE,
        entrypoint: vec!["/pause".to_owned()],
        entries: vec![Entry::File { path: "pause".to_owned(), mode: 0o755, content: program }],
    }
}

async fn busybox_image() -> Result<Image, Error> {
    let applets = Run::new("busybox").args(["--list"]).output().await?;
    let path = Run::new("sh").args(["-c", "command -v busybox"]).output().await?;
    let program = read(Path::new(path.trim()))?;
    let directory = |path: &str, mode| Entry::Directory { path: path.to_owned(), mode };
    let mut entries = vec![
        directory("bin", 0o755),
        directory("etc", 0o755),
        directory("tmp", 0o1777),
        Entry::File { path: "bin/busybox".to_owned(), mode: 0o755, content: program },
        Entry::File { path: "etc/passwd".to_owned(), mode: 0o644, content: b"root:x:0:0:root:/:/bin/sh\n".to_vec() },
    ];
    let names = applets.lines().filter(|name| *name != "busybox" && !name.contains('/'));
    entries.extend(names.map(|name| Entry::Link { path: format!("bin/{name}"), target: "busybox".to_owned() }));
    Ok(Image { name: BUSYBOX, entrypoint: vec!["/bin/sh".to_owned()], entries })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Io::new("read", path, source).into())
}
