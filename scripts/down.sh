#!/usr/bin/env bash
# Ends what `make up` started: the cluster in a container engine if `make up` created it, and the local Kubernetes. Volumes and
# events go with it; the caches stay.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/engine.sh
. scripts/engine.sh
kube="$CARGO_TARGET_DIR/debug/localkube"
current=$(cat "$engine_state/current" 2>/dev/null || true)
engine_down
# The scenarios start a local Kubernetes without `make up`, so its state is asked for wherever the command is there.
if [ "$current" = local ] && [ ! -x "$kube" ]; then scripts/cargo.sh build -q --workspace --bin localkube; fi
if [ -x "$kube" ]; then "$kube" down; fi
