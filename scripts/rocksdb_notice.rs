//! Build script of the crates that link RocksDB: warns if the archive of `scripts/rocksdb-archive.sh` is missing.
//!
//! `.cargo/config.toml` sets `ROCKSDB_LIB_DIR` to `.rocksdb` in the checkout, so plain `cargo` links the archive instead of
//! compiling RocksDB. A missing archive is only a warning, because `cargo check` works without the archive and only linking fails.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=ROCKSDB_LIB_DIR");
    let Ok(directory) = env::var("ROCKSDB_LIB_DIR") else { return };
    let archive = Path::new(&directory).join("librocksdb.a");
    println!("cargo::rerun-if-changed={}", archive.display());
    if !archive.exists() {
        println!(
            "cargo::warning={} is missing, so linking will fail: run scripts/rocksdb-archive.sh once (7 minutes on two cores)",
            archive.display()
        );
    }
}
