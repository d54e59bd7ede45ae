#!/usr/bin/env bash
# Builds Prometheus and promtool into the cache from the Go module pinned in e2e/tools/prometheus, and prints the folder of the
# binaries. Kubernetes is the only service discovery in the build. Debian's Prometheus lacks the Kubernetes discovery, which
# `make e2e-long` needs.
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
