#!/usr/bin/env bash
# Removes the clusters of `make up`, including volumes and events: a cluster in a container engine, if `make up` created the
# cluster, and the local Kubernetes. Caches are kept.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/engine.sh
. scripts/engine.sh
kube="$CARGO_TARGET_DIR/debug/localkube"
current=$(cat "$engine_state/current" 2>/dev/null || true)
engine_down
# Scenarios start a local Kubernetes without `make up`, so the command runs whenever it has been built.
if [ "$current" = local ] && [ ! -x "$kube" ]; then scripts/cargo.sh build -q --workspace --bin localkube; fi
if [ -x "$kube" ]; then "$kube" down; fi
