#!/usr/bin/env bash
# Builds Prometheus and its promtool from the Go module pinned in e2e/tools/prometheus, once, into the cache:
#   $TAFFRAIL_CACHE/prometheus-3.16.0/bin     (TAFFRAIL_CACHE: default ${XDG_CACHE_HOME:-$HOME/.cache}/taffrail)
# Debian's is built without the discovery of Kubernetes' pods; this one is built with that discovery and no other, and without
# the pages for a browser. Only `make e2e-long` needs it. A stamp of all inputs decides whether there is anything to do, so
# calling it again costs nothing. Several at once are safe: the first builds, the others wait for it. Prints the directory of
# the binaries on standard output.
set -euo pipefail

version=3.16.0
tags=remove_all_sd,enable_kubernetes_sd
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=$here/../e2e/tools/prometheus
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/prometheus-$version
bin=$cache/bin
log=$cache/build.log
commands=(prometheus promtool)

say() { echo "prometheus: $*" >&2; }
fail() { say "$*"; exit 1; }

inputs_hash() {
  (cd "$module" && cat go.mod go.sum "$here/prometheus.sh") | sha256sum | cut -d' ' -f1
}

up_to_date() {
  [ "$(cat "$cache/stamp" 2>/dev/null)" = "$stamp" ] || return 1
  local command
  for command in "${commands[@]}"; do [ -x "$bin/$command" ] || return 1; done
}

# What the module asks for is what Go itself compares with; a Go that may fetch a newer one does so.
require_go() {
  command -v go >/dev/null || fail "Go is not installed; install Go 1.26 or newer (https://go.dev/dl) and run this again"
  (cd "$module" && go list -m >/dev/null 2>"$log") || fail "$(tail -n 1 "$log")"
}

# `go build -v` names each package that it compiles: they go to the log, and a line now and then to the reader.
show_progress() {
  awk -v log_file="$log" '{ print >> log_file; fflush(log_file) }
    /^[a-z0-9._-]+(\/|$)/ { if (++n % 250 == 0) { print "prometheus:   " n " packages compiled"; fflush() } }' >&2
}

build() {
  local fresh=$cache/bin.new source=github.com/prometheus/prometheus
  rm -rf "$fresh"
  mkdir -p "$fresh" "$bin"
  : >"$log"
  say "building Prometheus $version from source: once, about 4 minutes on two cores (log: $log)"
  (cd "$module" && CGO_ENABLED=0 go build -v -tags "$tags" -o "$fresh/" \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=$version" \
    "${commands[@]/#/$source/cmd/}") 2>&1 | show_progress ||
    { tail -n 20 "$log" >&2; fail "the build failed; the lines above are the end of $log"; }
  local command
  # A rename replaces each file whole: a scenario that runs the old binary keeps it, and nobody sees half a file.
  for command in "${commands[@]}"; do mv -f "$fresh/$command" "$bin/$command"; done
  rm -rf "$fresh"
  echo "$stamp" >"$cache/stamp.new"
  mv -f "$cache/stamp.new" "$cache/stamp"
  say "done in $SECONDS s"
}

mkdir -p "$cache"
stamp=$(inputs_hash)
if ! up_to_date; then
  exec 9>"$cache/lock"
  flock --nonblock 9 || { say "another build is running; waiting for it"; flock 9; }
  up_to_date || { require_go; build; }
fi
echo "$bin"
