#!/usr/bin/env bash
# Builds Kubernetes, etcd, helm, CoreDNS and the pause process from the Go modules pinned in e2e/tools, once, into the cache:
#   $TAFFRAIL_CACHE/k8s-1.36.3/bin     (TAFFRAIL_CACHE: default ${XDG_CACHE_HOME:-$HOME/.cache}/taffrail)
# A stamp of all inputs decides whether there is anything to do, so calling it again costs nothing. Several at once are safe:
# the first builds, the others wait for it. Prints the directory of the binaries on standard output.
set -euo pipefail

kubernetes=1.36.3
helm=3.21.4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
modules=$here/../e2e/tools
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/k8s-$kubernetes
bin=$cache/bin
log=$cache/build.log
commands=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl helm etcd coredns pause)

say() { echo "k8s-tools: $*" >&2; }
fail() { say "$*"; exit 1; }

inputs_hash() {
  (cd "$modules" && cat go.mod go.sum tools.go coredns/*.go pause/*.go "$here/k8s-tools.sh") | sha256sum | cut -d' ' -f1
}

up_to_date() {
  [ "$(cat "$cache/stamp" 2>/dev/null)" = "$stamp" ] || return 1
  local command
  for command in "${commands[@]}"; do [ -x "$bin/$command" ] || return 1; done
}

require_go() {
  command -v go >/dev/null || fail "Go is not installed; install Go 1.26 or newer (https://go.dev/dl) and run this again"
  local minor
  minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [ "${minor:-0}" -ge 26 ] || [ "$(go env GOTOOLCHAIN)" != local ] ||
    fail "Go 1.26 or newer is needed, found $(go env GOVERSION)"
}

# Without its version a component calls itself v0.0.0 and refuses clients by version skew; helm would assume Kubernetes 1.20.
link_flags() {
  local version=k8s.io/component-base/version helm_module=helm.sh/helm/v3
  local major=${kubernetes%%.*} minor=${kubernetes#*.}
  minor=${minor%%.*}
  printf '%s ' -s -w \
    -X "$version.gitVersion=v$kubernetes" -X "$version.gitMajor=$major" -X "$version.gitMinor=$minor" \
    -X "$helm_module/internal/version.version=v$helm" \
    -X "$helm_module/pkg/chartutil.k8sVersionMajor=$major" -X "$helm_module/pkg/chartutil.k8sVersionMinor=$minor" \
    -X "$helm_module/pkg/lint/rules.k8sVersionMajor=$major" -X "$helm_module/pkg/lint/rules.k8sVersionMinor=$minor"
}

# `go build -v` names each package that it compiles: they go to the log, and a line now and then to the reader.
show_progress() {
  awk -v log_file="$log" '{ print >> log_file; fflush(log_file) }
    /^[a-z0-9._-]+(\/|$)/ { if (++n % 250 == 0) { print "k8s-tools:   " n " packages compiled"; fflush() } }' >&2
}

build() {
  local fresh=$cache/bin.new
  rm -rf "$fresh"
  mkdir -p "$fresh" "$bin"
  : >"$log"
  say "building Kubernetes $kubernetes, etcd, helm $helm and CoreDNS from source: once, about 9 minutes on two cores (log: $log)"
  (cd "$modules" && CGO_ENABLED=0 go build -v -o "$fresh/" -ldflags "$(link_flags)" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl} \
    helm.sh/helm/v3/cmd/helm go.etcd.io/etcd/server/v3 ./coredns ./pause) 2>&1 | show_progress ||
    { tail -n 20 "$log" >&2; fail "the build failed; the lines above are the end of $log"; }
  mv "$fresh/server" "$fresh/etcd"
  local command
  # A rename replaces each file whole: a cluster that runs the old binary keeps it, and nobody sees half a file.
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
