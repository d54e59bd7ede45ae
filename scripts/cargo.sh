#!/usr/bin/env bash
# cargo with the cached RocksDB archive: linking it takes seconds, compiling it takes minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# make's job server is for make's own jobs; cargo would share its few slots
unset MAKEFLAGS MFLAGS MAKELEVEL
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
    metadata=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml")
    mapfile -t ours < <(jq -r '.packages[] | "--package", .name' <<<"$metadata")
    cargo clean -q --manifest-path "$root/Cargo.toml" "${ours[@]}"
  fi
  # Also in a directory that is made just now: else the second call would take its own first build for another checkout's.
  mkdir -p "$target"
  echo "$root" >"$target/.checkout"
fi
exec cargo "$@"
