#!/usr/bin/env bash
# Finds declared dependencies that no source names, with the pinned version of cargo-machete. The first call compiles
# cargo-machete into the cache ($TAFFRAIL_CACHE, default ${XDG_CACHE_HOME:-$HOME/.cache}/taffrail).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/cargo-tool.sh
. scripts/cargo-tool.sh
cargo_tool cargo-machete 0.9.2 "1 min on two cores"
# The tool prints its findings on standard output, and a remark about false positives after them.
findings=$("$tool" --skip-target-dir . 2>&1) || {
  echo "$findings" >&2
  echo "machete: remove the dependencies above from their Cargo.toml, or name why they stay in [package.metadata.cargo-machete]" >&2
  exit 1
}
