#!/usr/bin/env bash
# cargo with the cached RocksDB archive: linking it takes seconds, compiling it takes a quarter of an hour.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case "${1:-}" in
  fmt | metadata) ;;
  *)
    ROCKSDB_LIB_DIR=$("$here/rocksdb-archive.sh")
    export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
    ;;
esac
# Dependencies are shared between checkouts; our own crates must not be: cargo names them by their path inside the
# workspace, so it would take another checkout's build of them for this one's.
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
if [ "$(cat "$target/.checkout" 2>/dev/null)" != "$root" ]; then
  if [ -d "$target" ]; then
    for crate in core proto crds client node sim operator localkube scenarios benches; do
      cargo clean -q --manifest-path "$root/Cargo.toml" -p "taffrail-$crate"
    done
  fi
  # Also in a directory that is made just now: else the second call would take its own first build for another checkout's.
  mkdir -p "$target"
  echo "$root" >"$target/.checkout"
fi
exec cargo "$@"
