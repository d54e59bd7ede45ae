#!/usr/bin/env bash
# Runs one node with one store in the foreground, without Kubernetes: called by `make single`. Ctrl-C stops the node; its data
# stay in $TAFFRAIL_CACHE/single for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${TAFFRAIL_CACHE:?}/single
scripts/deps.sh --build
scripts/cargo.sh build --workspace --bin taffrail
taffrail=$CARGO_TARGET_DIR/debug/taffrail
mkdir -p "$data"
cat <<TEXT

A single node, store \`default\`, on http://127.0.0.1:2113. Its data stay in $data (remove the directory to begin again).
Ctrl-C stops it. Try in another terminal:
  alias taffrail=$taffrail
  taffrail append orders-1 --type OrderPlaced --data '{"total": 42}'
  taffrail read orders-1
  taffrail subscribe --all

TEXT
exec "$taffrail" serve --single --data-dir "$data"
