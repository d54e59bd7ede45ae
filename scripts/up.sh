#!/usr/bin/env bash
# Installs Taffrail on a real Kubernetes and stores the first events. Idempotent: existing objects are left unchanged.
# usage: up.sh IMAGE ARCHIVE, called by `make up`. The variable CLUSTER selects the cluster:
#   (unset)     kind or k3d, if on PATH and a container engine answers; otherwise the local Kubernetes
#   local       the local Kubernetes with three nodes, built from source (needs root and Debian, but no container engine)
#   kind, k3d   a cluster named `taffrail` in docker or podman; no other cluster or kubeconfig is changed
#   existing    the present cluster of kubectl, which must be able to pull the image; builds only helm and kubectl, if missing
set -euo pipefail
image=${1:?image}; archive=${2:?archive}
cd "$(dirname "$0")/.."
# shellcheck source=scripts/step.sh
. scripts/step.sh
# shellcheck source=scripts/engine.sh
. scripts/engine.sh
kube="$CARGO_TARGET_DIR/debug/localkube"
TAFFRAIL_STEPS=$(mktemp); export TAFFRAIL_STEPS
trap 'step_table; rm -f "$TAFFRAIL_STEPS"' EXIT
# The inner make has its own job server.
unset MAKEFLAGS MFLAGS MAKELEVEL
title() { printf '==> %s\n' "$*"; }

# Builds helm and kubectl from source, unless both are on PATH.
kubernetes_clients() {
  if type -P helm >/dev/null && type -P kubectl >/dev/null; then return; fi
  scripts/k8s-tools.sh helm kubectl >/dev/null
}

pack_image() {
  if [ ! -e "$archive" ] || [ "$CARGO_TARGET_DIR/debug/taffrail" -nt "$archive" ] || [ "$CARGO_TARGET_DIR/debug/taffrail-operator" -nt "$archive" ]; then
    scripts/image.sh "$CARGO_TARGET_DIR/debug" "$archive" "$image" >/dev/null
  fi
  "$kube" load-image "$archive" >/dev/null
}

choose_cluster
case $cluster in
  local)
    step "Debian packages" "1 min, 1 s when installed" scripts/deps.sh
    # Built in parallel, because on two cores one build uses the time in which the other build links. make stops both builds if
    # either fails.
    step "Kubernetes and the binaries" "21 min, 2 s when nothing changed" \
      make --no-print-directory -j2 tools up-binaries
    step "local Kubernetes of three nodes" "10 s" "$kube" up >/dev/null
    KUBECONFIG=$("$kube" kubeconfig)
    step "image $image" "10 s" pack_image
    ;;
  kind | k3d)
    step "helm and kubectl" "nothing; 4 min where missing on PATH" kubernetes_clients
    # The Containerfile mounts caches. Docker 20.10 of Debian 12 supports cache mounts only with BuildKit.
    step "image $image from the Containerfile ($engine)" "25 min, seconds when nothing changed" env DOCKER_BUILDKIT=1 "$engine" build -t "$image" .
    step "cluster taffrail ($cluster on $engine)" "2 min" engine_up "$cluster" "$engine"
    step "loading the image" "20 s" engine_load "$cluster" "$engine" "$image"
    KUBECONFIG=$engine_kubeconfig
    ;;
  existing)
    step "helm and kubectl" "nothing; 4 min where missing on PATH" kubernetes_clients
    title "using the cluster that kubectl points at"
    kubectl get nodes >/dev/null
    ;;
esac
if [ "$cluster" != existing ]; then
  export KUBECONFIG
  mkdir -p "$engine_state"
  echo "$cluster" >"$engine_state/current"
fi

install_operator() {
  helm dependency build charts/taffrail >/dev/null
  helm upgrade --install taffrail charts/taffrail -n taffrail-system --create-namespace \
    --set image.repository="${image%:*}" --set image.tag="${image##*:}" --set image.pullPolicy=IfNotPresent \
    --wait --timeout 3m >/dev/null
}
step "operator" "5 s" install_operator

title "Cluster main and EventStore orders (usually 10 s)"
# Creates the objects only if absent, so that a second run does not revert a scaled Cluster.
if ! created=$(kubectl create -f crds/examples/minimal.yaml 2>&1) && grep '^Error' <<<"$created" | grep -qv AlreadyExists; then
  echo "$created" >&2
  exit 1
fi
if ! kubectl wait --for=condition=Stable tfc/main evs/orders --timeout=5m; then
  kubectl get tfc,evs,pods -o wide
  echo "up: the Cluster or the EventStore is not Stable after 5 min; for the reason, see 'kubectl describe tfc main' and 'kubectl -n taffrail-system logs deploy/taffrail-operator'" >&2
  exit 1
fi

title "pods, each on a separate node"
placed=$(kubectl get pods -l taffrail.io/cluster=main -o 'jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}')
awk '{ print $1, ($3 == "True" ? "is Ready on" : "is NOT Ready on"), $2 }' <<<"$placed"
# Three pods on three nodes, unless the Cluster was scaled or an existing cluster has fewer nodes.
replicas=$(kubectl get tfc/main -o 'jsonpath={.spec.replicas}')
nodes=$(kubectl get nodes -o name | wc -l)
ready=$(awk '$3 == "True"' <<<"$placed" | wc -l)
apart=$(awk '$3 == "True" { print $2 }' <<<"$placed" | sort -u | wc -l)
if [ "$ready" -ne "$replicas" ] || [ "$apart" -lt "$((replicas < nodes ? replicas : nodes))" ]; then
  echo "up: $ready of $replicas pods are Ready, on $apart of $nodes nodes; for the reason, see 'kubectl describe pods -l taffrail.io/cluster=main'" >&2
  exit 1
fi

title "an event from a pod"
kubectl exec main-0 -- taffrail append orders-1 --store orders --type OrderPlaced --data '{"total": 42}'
endpoint="http://$(kubectl get svc main-clients -o 'jsonpath={.spec.clusterIP}'):2113"
if [ "$cluster" = local ]; then
  second="the host" reader=() nodes_command="taffrail cluster nodes --endpoint $endpoint"
else
  # Addresses of Services are not reachable from outside such a cluster.
  second="another pod, through the Service" reader=(kubectl exec main-2 --) nodes_command="kubectl exec main-0 -- taffrail cluster nodes"
fi
title "an event from $second"
# A new Service refuses connections until every machine has its endpoints, shortly after the pods are Ready.
for _ in {1..20}; do
  "${reader[@]}" taffrail stores list --endpoint "$endpoint" >/dev/null 2>&1 && break
  sleep 0.5
done
"${reader[@]}" taffrail append orders-1 --endpoint "$endpoint" --store orders --type OrderPaid --data '{"total": 42}'
title "all events of the stream, from $second and from a pod"
"${reader[@]}" taffrail read orders-1 --endpoint "$endpoint" --store orders --output jsonl
kubectl exec main-1 -- taffrail read orders-1 --store orders --output jsonl | tail -n 1

cat <<TEXT

Taffrail is up. Try next:
  eval "\$(make -s env)"
  kubectl get tfc,evs,pods -o wide
  kubectl exec -it main-2 -- taffrail subscribe --all --store orders
  kubectl scale tfc/main --replicas=5
  $nodes_command
TEXT
