#!/usr/bin/env bash
# Builds librocksdb.a once, with the flags of the crate's own build script, into the cache outside the checkout, and
# prints the directory that holds it. Later builds link it (ROCKSDB_LIB_DIR), which takes seconds instead of minutes.
# Keyed by crate version, features and C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}
version=$(awk '/^name = "librocksdb-sys"/{getline; gsub(/"/,"",$3); print $3}' Cargo.lock)
[ -n "$version" ] || { echo "rocksdb-archive: Cargo.lock names no librocksdb-sys" >&2; exit 1; }
compiler=$(c++ -dumpfullversion -dumpversion 2>/dev/null) || { echo "rocksdb-archive: no C++ compiler (c++) found; run scripts/deps.sh" >&2; exit 1; }
out="$cache/rocksdb/$version-lz4-zstd-gcc$compiler"
if [ ! -e "$out/librocksdb.a" ]; then
  mkdir -p "$out"
  exec 9>"$out/.lock"
  flock 9
  if [ ! -e "$out/librocksdb.a" ]; then
    echo "rocksdb-archive: building RocksDB once into $out (about 13 minutes on two cores) ..." >&2
    start=$SECONDS
    # CRC32C and carry-less multiplication are in every x86-64 server of the last decade; without them checksums are slow
    flags=""
    [ "$(uname -m)" = x86_64 ] && flags="-msse4.2 -mpclmul"
    target="$out/build"
    if ! env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CXXFLAGS="$flags" CARGO_TARGET_DIR="$target" \
      cargo build --locked --release -p librocksdb-sys --config 'profile.release.debug=false' >"$out/build.log" 2>&1; then
      echo "rocksdb-archive: the build failed; see $out/build.log (a missing libclang is the usual cause: run scripts/deps.sh)" >&2
      exit 1
    fi
    archive=$(find "$target" -name librocksdb.a | head -n 1)
    [ -n "$archive" ] || { echo "rocksdb-archive: the build made no librocksdb.a; see $out/build.log" >&2; exit 1; }
    mv "$archive" "$out/librocksdb.a.new"
    mv "$out/librocksdb.a.new" "$out/librocksdb.a"
    rm -rf "$target"
    echo "rocksdb-archive: done in $((SECONDS - start)) s" >&2
  fi
fi
echo "$out"
