//! Build script of the crates that link RocksDB: says what to do where the archive of `scripts/rocksdb-archive.sh` is missing.
//!
//! `.cargo/config.toml` points `ROCKSDB_LIB_DIR` to `.rocksdb` in the checkout, so that plain `cargo` links the archive and does
//! not compile RocksDB. Checking works without the archive and only linking fails, so this is a warning and no error.

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
