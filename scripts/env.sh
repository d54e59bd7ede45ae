#!/usr/bin/env bash
# Prints the export line for `eval "$(make -s env)"`: the kubeconfig of the cluster of `make up`, and PATH with the tools.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/engine.sh
. scripts/engine.sh
tools=${1:?directory of kubectl and helm}
case $(cat "$engine_state/current" 2>/dev/null) in
  kind | k3d) kubeconfig=$engine_kubeconfig ;;
  *) kubeconfig=$("$CARGO_TARGET_DIR/debug/localkube" kubeconfig) || { echo "env: no cluster of 'make up' is running; run 'make up'" >&2; exit 1; } ;;
esac
echo "export KUBECONFIG=$kubeconfig PATH=$tools:$CARGO_TARGET_DIR/debug:\$PATH"
