#!/usr/bin/env bash
# Runs a single node with a single store in the foreground, without Kubernetes. Called by `make single`. Ctrl-C stops the node; the
# data stay in $TAFFRAIL_CACHE/single for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${TAFFRAIL_CACHE:?}/single
scripts/deps.sh --build
scripts/cargo.sh build --workspace --bin taffrail
taffrail=$CARGO_TARGET_DIR/debug/taffrail
mkdir -p "$data"
cat <<TEXT

A single node with the store \`default\` listens on http://127.0.0.1:2113. The data stay in $data; remove this folder to start with
an empty store. Ctrl-C stops the node. Try in another terminal:
  alias taffrail=$taffrail
  taffrail append orders-1 --type OrderPlaced --data '{"total": 42}'
  taffrail read orders-1
  taffrail subscribe --all

TEXT
exec "$taffrail" serve --single --data-dir "$data"
