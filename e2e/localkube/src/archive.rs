//! Writer of docker-archive files: a tar file with a layer tar, a config and a manifest for each image. `ctr images
//! import` reads this format; no container engine and no registry is needed.
//!
//! The output is reproducible: equal input gives equal bytes. Entries have no time stamps, belong to root and keep
//! the given order.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};
use tar::{Builder, EntryType, Header};

/// An entry in the file system of an image.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Directory { path: String, mode: u32 },
    File { path: String, mode: u32, content: Vec<u8> },
    Link { path: String, target: String },
}

/// A container image with a single layer.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The full name, such as `docker.io/local/pause:1`.
    pub(crate) name: &'static str,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) entries: Vec<Entry>,
}

/// Writes `images` to `path` atomically: a reader sees the complete file or no file.
pub(crate) fn write(path: &Path, images: &[Image]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut out = BufWriter::new(File::create(&unfinished)?);
    pack(&mut out, images)?;
    out.flush()?;
    drop(out);
    std::fs::rename(&unfinished, path)
}

fn pack(out: impl Write, images: &[Image]) -> io::Result<()> {
    let mut archive = Builder::new(out);
    let mut manifest = Vec::new();
    for image in images {
        let layer = layer(&image.entries)?;
        let layer_digest = digest(&layer);
        let config = config(image, &layer_digest).to_string().into_bytes();
        let (layer_name, config_name) = (format!("{layer_digest}.tar"), format!("{}.json", digest(&config)));
        append(&mut archive, EntryType::Regular, &layer_name, 0o644, &layer)?;
        append(&mut archive, EntryType::Regular, &config_name, 0o644, &config)?;
        manifest.push(json!({"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]}));
    }
    append(&mut archive, EntryType::Regular, "manifest.json", 0o644, Value::from(manifest).to_string().as_bytes())?;
    archive.into_inner()?.flush()
}

fn layer(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for entry in entries {
        match entry {
            Entry::Directory { path, mode } => append(&mut layer, EntryType::Directory, path, *mode, &[])?,
            Entry::File { path, mode, content } => append(&mut layer, EntryType::Regular, path, *mode, content)?,
            Entry::Link { path, target } => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                layer.append_link(&mut header, path, target)?;
            }
        }
    }
    layer.into_inner()
}

fn append<W: Write>(out: &mut Builder<W>, kind: EntryType, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = header(kind, mode, content.len() as u64);
    out.append_data(&mut header, path, content)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn config(image: &Image, layer_digest: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn sample() -> Image {
        Image {
            name: "docker.io/local/sample:1",
            entrypoint: vec!["/bin/a".into()],
            entries: vec![
                Entry::Directory { path: "bin".into(), mode: 0o755 },
                Entry::File { path: "bin/a".into(), mode: 0o755, content: b"program".to_vec() },
                Entry::Link { path: "bin/b".into(), target: "a".into() },
            ],
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        pack(&mut first, &[sample()]).unwrap();
        pack(&mut second, &[sample()]).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn the_manifest_names_files_that_are_there_and_digests_that_hold() {
        let mut bytes = Vec::new();
        pack(&mut bytes, &[sample()]).unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "docker.io/local/sample:1");
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        let config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(layer)));
        assert_eq!(tar::Archive::new(layer.as_slice()).entries().unwrap().count(), 3);
    }
}
