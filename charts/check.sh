#!/usr/bin/env bash
# Checks the charts without a cluster: lint, rendering with default values and with all values, refusal of wrong values, and
# properties of the rendered objects. Needs helm on PATH. Leaves no file in the checkout.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data
command -v helm >/dev/null || {
  echo "charts/check.sh: helm is not on PATH; run 'make tools' and 'make check'" >&2
  exit 2
}

# A copy, so that packing the dependency changes no file of the checkout.
cp -r "$here/taffrail" "$here/taffrail-crds" "$work/"
rm -rf "$work/taffrail/charts"
chart=$work/taffrail

passed=0 failed=0
ok() {
  passed=$((passed + 1))
  echo "ok   $1"
}
bad() {
  failed=$((failed + 1))
  echo "FAIL $1" >&2
}
# expect NAME COMMAND...: passes if the command succeeds.
expect() {
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then ok "$name"; else
    bad "$name"
    sed 's/^/     /' "$work/out" >&2
  fi
}
# refuse NAME TEXT COMMAND...: passes if the command fails and prints TEXT.
refuse() {
  local name=$1 text=$2
  shift 2
  if "$@" >"$work/out" 2>&1; then bad "$name: the command succeeded"; elif grep -qF -- "$text" "$work/out"; then ok "$name"; else
    bad "$name: the output does not contain '$text'"
    sed 's/^/     /' "$work/out" >&2
  fi
}
# has NAME FILE TEXT: passes if the file contains TEXT. lacks NAME FILE TEXT: passes if the file does not.
has() { if grep -qF -- "$3" "$2"; then ok "$1"; else bad "$1: $2 does not contain '$3'"; fi; }
lacks() { if grep -qF -- "$3" "$2"; then bad "$1: $2 contains '$3'"; else ok "$1"; fi; }
# count NAME FILE PATTERN NUMBER: passes if NUMBER lines of the file match.
count() {
  local found
  found=$(grep -cE -- "$3" "$2" || true)
  if [ "$found" -eq "$4" ]; then ok "$1"; else bad "$1: $found lines match /$3/, expected $4"; fi
}
render() { helm template taffrail "$chart" --namespace taffrail-system "$@"; }
render_to() {
  local file=$1
  shift
  render "$@" >"$file"
}

expect "the dependency is packed from the checkout" helm dependency build "$chart"
expect "lint" helm lint --strict "$chart" "$work/taffrail-crds"

cat >"$work/all.yaml" <<'YAML'
global: {anything: true}
image: {repository: registry.example.com:5000/a/taffrail, tag: 1.2.3, digest: "", pullPolicy: Never}
imagePullSecrets: [{name: registry-credentials}]
replicaCount: 1
watchNamespaces: [shop, billing]
clusterDomain: k8s.example.com
crds: {enabled: true}
metrics: {serviceMonitor: {enabled: true}}
resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: "2", memory: 1Gi}}
podAnnotations: {example.com/owner: platform}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
YAML
default=$work/default.out all=$work/all.out
expect "renders with defaults" render_to "$default"
expect "renders with all values" render_to "$all" --values "$work/all.yaml"
expect "renders with a digest" render_to "$work/digest.out" --set "image.digest=sha256:$(printf 'a%.0s' {1..64})"
expect "renders without CRDs" render_to "$work/nocrds.out" --set crds.enabled=false

# Properties of the rendered objects.
lacks "no object has an emptyDir" "$default" emptyDir
lacks "no rule names secrets" "$default" "secrets"
lacks "no role has a wildcard" "$default" "'*'"
count "both pods are restricted" "$default" "^ *(runAsNonRoot: true|readOnlyRootFilesystem: true|allowPrivilegeEscalation: false|type: RuntimeDefault|drop: \[ALL\])$" 10
has "an upgrade never runs two operators" "$default" "type: Recreate"
has "helm keeps the CRDs" "$default" "helm.sh/resource-policy: keep"
count "both CRDs are rendered" "$default" "^kind: CustomResourceDefinition$" 2
count "no CRD with crds.enabled=false" "$work/nocrds.out" "^kind: CustomResourceDefinition$" 0
has "rights in all namespaces by default" "$default" "resources: [statefulsets]"
count "the only Role by default is the Role of the test" "$default" "^kind: Role$" 1
lacks "no ServiceMonitor by default" "$default" "monitoring.coreos.com"
count "operator, nodes and test have the same image" "$default" 'docker.io/taffrail/taffrail:0.1.0"$' 3
count "the digest replaces the tag" "$work/digest.out" 'docker.io/taffrail/taffrail@sha256:a{64}"$' 3
count "a Role in each watched namespace, and the Role of the test" "$all" "^kind: Role$" 3
has "the operator gets the watched namespaces" "$all" 'value: "shop,billing"'
has "the operator gets the cluster domain" "$all" 'value: "k8s.example.com"'
count "ServiceMonitor and PodMonitor are rendered" "$all" "^kind: (ServiceMonitor|PodMonitor)$" 2
count "pull secrets, selectors and tolerations reach both pods" "$all" "name: registry-credentials|kubernetes.io/os: linux|key: dedicated" 6
awk '/^kind: ClusterRole$/ {inside = 1} /^---/ {inside = 0} inside' "$all" >"$work/clusterroles.out"
lacks "watched namespaces need no rights in other namespaces" "$work/clusterroles.out" "statefulsets"

# Refused values.
refuse "an unknown value" "nonsense" render --set nonsense=1
refuse "an unknown nested value" "nonsense" render --set image.nonsense=1
refuse "a value of the wrong type" "watchNamespaces" render --set watchNamespaces=shop
refuse "more than one replica" "replicaCount" render --set replicaCount=2
refuse "a malformed digest" "digest" render --set image.digest=sha256:abc
refuse "values for the dependency" "nonsense" render --set taffrail-crds.nonsense=1

# Every value of the schema is in the README.
sed -nE 's/^ *"([A-Za-z-]+)": \{.*/\1/p; ' "$chart/values.schema.json" | grep -vE '^(global|taffrail-crds|properties|items|definitions|amounts|requests|limits|cpu|memory|ephemeral-storage|name|key|operator|value|effect|tolerationSeconds|additionalProperties)$' |
  sort -u >"$work/names"
while read -r name; do has "README documents $name" "$chart/README.md" "$name"; done <"$work/names"

# The Containerfile and scripts/image.sh make the same image.
expect "the Containerfile agrees with scripts/image.sh" "$here/check-image.sh"
sed 's/^USER .*/USER 0:0/' "$here/../Containerfile" >"$work/Containerfile"
refuse "a Containerfile with another user" "FAIL user" "$here/check-image.sh" "$work/Containerfile"

# The time limits of test and cleanup together are below the time limit of the pod.
seconds() { sed -nE "s/^ *$1: *\"?([0-9]+)\"?\$/\1/p" "$default" | head -n 1; }
test_seconds=$(awk '/TEST_(TIMEOUT|CLEANUP)_SECONDS/ {getline; gsub(/[^0-9]/, ""); sum += $0} END {print sum}' "$default")
if [ "$test_seconds" -gt 0 ] && [ "$test_seconds" -lt "$(seconds activeDeadlineSeconds)" ]; then
  ok "the pod of the test outlives test and cleanup"
else
  bad "the pod of the test ends before test and cleanup, which may take $test_seconds s"
fi

# The charts and the workspace have the same version.
version=$(sed -nE '/^\[workspace.package\]/,/^\[/s/^version = "(.*)"/\1/p' "$here/../Cargo.toml")
for file in "$chart/Chart.yaml" "$work/taffrail-crds/Chart.yaml"; do
  has "$(basename "$(dirname "$file")") has the version of the workspace" "$file" "appVersion: $version"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
