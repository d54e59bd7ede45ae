#!/usr/bin/env bash
# Checks the charts without a cluster: lint, rendering with default and with all values, refusal of bad values, and the
# promises that the rendered objects make. Needs helm on PATH. Leaves nothing in the tree.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data
command -v helm >/dev/null || {
  echo "charts/check.sh: helm is not on PATH" >&2
  exit 2
}

# A copy, so that packing the dependency touches no file of the checkout.
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
# expect NAME COMMAND...: the command succeeds.
expect() {
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then ok "$name"; else
    bad "$name"
    sed 's/^/     /' "$work/out" >&2
  fi
}
# refuse NAME TEXT COMMAND...: the command fails and says TEXT.
refuse() {
  local name=$1 text=$2
  shift 2
  if "$@" >"$work/out" 2>&1; then bad "$name: accepted"; elif grep -qF -- "$text" "$work/out"; then ok "$name"; else
    bad "$name: does not say '$text'"
    sed 's/^/     /' "$work/out" >&2
  fi
}
# has NAME FILE TEXT and lacks NAME FILE TEXT
has() { if grep -qF -- "$3" "$2"; then ok "$1"; else bad "$1: no '$3'"; fi; }
lacks() { if grep -qF -- "$3" "$2"; then bad "$1: '$3'"; else ok "$1"; fi; }
count() {
  local found
  found=$(grep -cE -- "$3" "$2" || true)
  if [ "$found" -eq "$4" ]; then ok "$1"; else bad "$1: $found times /$3/, not $4"; fi
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
expect "renders without definitions" render_to "$work/nocrds.out" --set crds.enabled=false

# What the objects promise.
lacks "no emptyDir" "$default" emptyDir
lacks "no secrets" "$default" "secrets"
lacks "no wildcard in roles" "$default" "'*'"
count "both pods are restricted" "$default" "^ *(runAsNonRoot: true|readOnlyRootFilesystem: true|allowPrivilegeEscalation: false|type: RuntimeDefault|drop: \[ALL\])$" 10
has "never two operators" "$default" "type: Recreate"
has "definitions are kept" "$default" "helm.sh/resource-policy: keep"
count "both definitions" "$default" "^kind: CustomResourceDefinition$" 2
count "no definitions on request" "$work/nocrds.out" "^kind: CustomResourceDefinition$" 0
has "all namespaces by default" "$default" "resources: [statefulsets]"
count "no Role but the test's by default" "$default" "^kind: Role$" 1
lacks "no monitors by default" "$default" "monitoring.coreos.com"
count "image of the operator, of the nodes and of the test" "$default" 'docker.io/taffrail/taffrail:0.1.0"$' 3
count "digest takes the place of the tag" "$work/digest.out" 'docker.io/taffrail/taffrail@sha256:a{64}"$' 3
count "a Role in each watched namespace, and the test's" "$all" "^kind: Role$" 3
has "the operator knows its namespaces" "$all" 'value: "shop,billing"'
has "the operator knows the domain" "$all" 'value: "k8s.example.com"'
count "monitors" "$all" "^kind: (ServiceMonitor|PodMonitor)$" 2
count "pull secrets, selectors and tolerations reach both pods" "$all" "name: registry-credentials|kubernetes.io/os: linux|key: dedicated" 6
awk '/^kind: ClusterRole$/ {inside = 1} /^---/ {inside = 0} inside' "$all" >"$work/clusterroles.out"
lacks "watched namespaces need no rights elsewhere" "$work/clusterroles.out" "statefulsets"

# What is refused.
refuse "an unknown value" "nonsense" render --set nonsense=1
refuse "an unknown nested value" "nonsense" render --set image.nonsense=1
refuse "a value of the wrong type" "watchNamespaces" render --set watchNamespaces=shop
refuse "more than one replica" "replicaCount" render --set replicaCount=2
refuse "a malformed digest" "digest" render --set image.digest=sha256:abc
refuse "values for the dependency" "nonsense" render --set taffrail-crds.nonsense=1

# Each value is documented.
sed -nE 's/^ *"([A-Za-z-]+)": \{.*/\1/p; ' "$chart/values.schema.json" | grep -vE '^(global|taffrail-crds|properties|items|definitions|amounts|requests|limits|cpu|memory|ephemeral-storage|name|key|operator|value|effect|tolerationSeconds|additionalProperties)$' |
  sort -u >"$work/names"
while read -r name; do has "README knows $name" "$chart/README.md" "$name"; done <"$work/names"

# Both ways to the image lead to the same one.
expect "the Containerfile agrees with scripts/image.sh" "$here/check-image.sh"
sed 's/^USER .*/USER 0:0/' "$here/../Containerfile" >"$work/Containerfile"
refuse "a Containerfile with another user" "FAIL user" "$here/check-image.sh" "$work/Containerfile"

# The clean-up of the test has a time of its own within that of its pod.
seconds() { sed -nE "s/^ *$1: *\"?([0-9]+)\"?\$/\1/p" "$default" | head -n 1; }
test_seconds=$(awk '/TEST_(TIMEOUT|CLEANUP)_SECONDS/ {getline; gsub(/[^0-9]/, ""); sum += $0} END {print sum}' "$default")
if [ "$test_seconds" -gt 0 ] && [ "$test_seconds" -lt "$(seconds activeDeadlineSeconds)" ]; then
  ok "the pod of the test outlives test and clean-up"
else
  bad "the pod of the test ends before test and clean-up: $test_seconds"
fi

# One version everywhere.
version=$(sed -nE '/^\[workspace.package\]/,/^\[/s/^version = "(.*)"/\1/p' "$here/../Cargo.toml")
for file in "$chart/Chart.yaml" "$work/taffrail-crds/Chart.yaml"; do
  has "$(basename "$(dirname "$file")") has the version of the workspace" "$file" "appVersion: $version"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
