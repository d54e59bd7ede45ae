#!/usr/bin/env bash
# Runs cargo with the cached RocksDB archive. Linking the archive takes seconds; compiling RocksDB takes minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Hides make's job server from cargo, which would otherwise share the few job slots of make.
unset MAKEFLAGS MFLAGS MAKELEVEL
case "${1:-}" in
  fmt | metadata) ;;
  *)
    ROCKSDB_LIB_DIR=$("$here/rocksdb-archive.sh")
    export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
    ;;
esac
# Checkouts may share built dependencies, but not the crates of the workspace: cargo identifies a workspace crate by its
# path inside the workspace, so a build of another checkout would be mistaken for a build of this checkout.
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
if [ "$(cat "$target/.checkout" 2>/dev/null)" != "$root" ]; then
  existed=""
  if [ -d "$target" ]; then existed=1; fi
  mkdir -p "$target"
  # Parallel calls (make -j) must not discard what the first call has started to build.
  exec 9>"$target/.checkout.lock"
  flock 9
  if [ "$(cat "$target/.checkout" 2>/dev/null)" != "$root" ]; then
    if [ -n "$existed" ]; then
      metadata=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml")
      ours=$(jq -r '.packages[] | "--package", .name' <<<"$metadata")
      # Without a package, `cargo clean` would discard the dependencies as well.
      [ -n "$ours" ] || { echo "cargo.sh: cargo metadata lists no package of $root" >&2; exit 1; }
      mapfile -t ours <<<"$ours"
      cargo clean -q --manifest-path "$root/Cargo.toml" "${ours[@]}"
    fi
    # Also recorded for a new directory; otherwise the second call would discard the first build of the same checkout.
    echo "$root" >"$target/.checkout"
  fi
  exec 9>&-
fi
exec cargo "$@"
