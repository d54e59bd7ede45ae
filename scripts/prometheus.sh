#!/usr/bin/env bash
# Builds Prometheus and promtool with their Kubernetes discovery and no other from the Go module pinned in e2e/tools/prometheus,
# once, into the cache, and prints the directory of the binaries. Debian's Prometheus is built without that discovery;
# `make e2e-long` needs it.
set -euo pipefail

version=3.16.0
tool=prometheus
module=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e/tools/prometheus" && pwd)
sources=(go.mod go.sum)
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/prometheus-$version
usual="4 min on two cores"
flags=(-tags "remove_all_sd,enable_kubernetes_sd" -ldflags "-s -w -X github.com/prometheus/common/version.Version=$version")
declare -A packages=([prometheus]=github.com/prometheus/prometheus/cmd/prometheus [promtool]=github.com/prometheus/prometheus/cmd/promtool)

# shellcheck source=scripts/go-build.sh
. "$(dirname "${BASH_SOURCE[0]}")/go-build.sh"
go_build "${!packages[@]}"
