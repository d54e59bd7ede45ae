#!/usr/bin/env bash
# Builds Kubernetes, etcd, helm, CoreDNS and the pause process into the cache from the Go modules pinned in e2e/tools, and prints
# the folder of the binaries: $TAFFRAIL_CACHE/k8s-1.36.3/bin (default of TAFFRAIL_CACHE: ~/.cache/taffrail).
#   k8s-tools.sh               builds all commands: 10 minutes on two cores
#   k8s-tools.sh COMMAND...    builds only the named commands, for example helm and kubectl for an existing cluster: 4 minutes
set -euo pipefail

kubernetes=1.36.3
helm=3.21.4
tool=k8s-tools
module=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e/tools" && pwd)
mapfile -t sources < <(cd "$module" && printf '%s\n' go.mod go.sum coredns/*.go pause/*.go)
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/k8s-$kubernetes
usual="10 min on two cores"
declare -A packages=([helm]=helm.sh/helm/v3/cmd/helm [etcd]=go.etcd.io/etcd/server/v3 [coredns]=./coredns [pause]=./pause)
for command in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  packages[$command]=k8s.io/kubernetes/cmd/$command
done

# Without a linked version, a component reports v0.0.0 and refuses clients because of version skew, and helm assumes Kubernetes
# 1.20.
link_flags() {
  local version=k8s.io/component-base/version helm_module=helm.sh/helm/v3
  local major=${kubernetes%%.*} minor=${kubernetes#*.}
  minor=${minor%%.*}
  echo -s -w \
    -X "$version.gitVersion=v$kubernetes" -X "$version.gitMajor=$major" -X "$version.gitMinor=$minor" \
    -X "$helm_module/internal/version.version=v$helm" \
    -X "$helm_module/pkg/chartutil.k8sVersionMajor=$major" -X "$helm_module/pkg/chartutil.k8sVersionMinor=$minor" \
    -X "$helm_module/pkg/lint/rules.k8sVersionMajor=$major" -X "$helm_module/pkg/lint/rules.k8sVersionMinor=$minor"
}
flags=(-ldflags "$(link_flags)")

# shellcheck source=scripts/go-build.sh
. "$(dirname "${BASH_SOURCE[0]}")/go-build.sh"
for command in "$@"; do [ -n "${packages[$command]:-}" ] || fail "unknown command $command; known commands: ${!packages[*]}"; done
if [ $# -eq 0 ]; then set -- "${!packages[@]}"; else usual="4 min on two cores"; fi
go_build "$@"
