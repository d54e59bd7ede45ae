#!/usr/bin/env bash
# Finds declared dependencies that no source names, with the pinned version of cargo-machete. The first call compiles
# cargo-machete into the cache ($TAFFRAIL_CACHE, default ${XDG_CACHE_HOME:-$HOME/.cache}/taffrail).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/step.sh
. scripts/step.sh
version=0.9.2
root=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/cargo-machete-$version

install() {
  local log=$root/install.log
  # Without optimisation: the check of this workspace takes seconds either way, and compiling takes half the time.
  if ! env -u RUSTFLAGS -u MAKEFLAGS -u MFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$root/target" cargo install --quiet --locked --debug --root "$root" \
    --version "$version" cargo-machete >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "machete: cannot install cargo-machete $version; the lines above are the end of $log" >&2
    return 1
  fi
  rm -rf "$root/target"
}

mkdir -p "$root"
exec 9>"$root/lock"
flock 9
[ -x "$root/bin/cargo-machete" ] || step "cargo-machete $version, once" "1 min on two cores" install
# The tool prints its findings on standard output, and a remark about false positives after them.
findings=$("$root/bin/cargo-machete" --skip-target-dir . 2>&1) || {
  echo "$findings" >&2
  echo "machete: remove the dependencies above from their Cargo.toml, or name why they stay in [package.metadata.cargo-machete]" >&2
  exit 1
}
