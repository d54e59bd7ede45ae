//! Compiles the `.proto` files with protox, a parser in Rust, so the build needs no `protoc`.
use std::path::PathBuf;

const FILES: &[&str] = &[
    "taffrail/v1/events.proto",
    "taffrail/v1/streams.proto",
    "taffrail/v1/subscriptions.proto",
    "taffrail/v1/stores.proto",
    "taffrail/v1/cluster.proto",
    "taffrail/v1/errors.proto",
    "taffrail/admin/v1/admin.proto",
    "taffrail/peer/v1/peer.proto",
    "taffrail/storage/v1/raft.proto",
    "taffrail/storage/v1/store.proto",
    "taffrail/storage/v1/catalogue.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=taffrail");
    let set = protox::compile(FILES, ["."])?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&set))?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Codec").compile_fds(set)?;
    Ok(())
}
