#!/usr/bin/env bash
# From nothing to stored events on a real Kubernetes. Idempotent: what is there already is left as it is.
set -euo pipefail
image=${1:?image}; archive=${2:?archive}
cd "$(dirname "$0")/.."
kube="$CARGO_TARGET_DIR/debug/localkube"
step() { printf '==> %s\n' "$*"; }

if [ "${CLUSTER:-local}" = existing ]; then
  step "using the cluster that kubectl points at"
  kubectl get nodes >/dev/null
else
  step "local Kubernetes: three nodes (about 8 s)"
  "$kube" up >/dev/null
  KUBECONFIG=$("$kube" kubeconfig); export KUBECONFIG
  if [ ! -e "$archive" ] || [ "$CARGO_TARGET_DIR/debug/taffrail" -nt "$archive" ] || [ "$CARGO_TARGET_DIR/debug/taffrail-operator" -nt "$archive" ]; then
    step "image $image (about 5 s)"
    scripts/image.sh "$CARGO_TARGET_DIR/debug" "$archive" "$image" >/dev/null
  fi
  "$kube" load-image "$archive" >/dev/null
fi

step "operator"
helm dependency build charts/taffrail >/dev/null
helm upgrade --install taffrail charts/taffrail -n taffrail-system --create-namespace \
  --set image.repository="${image%:*}" --set image.tag="${image##*:}" --set image.pullPolicy=IfNotPresent \
  --wait --timeout 3m >/dev/null

step "Cluster main and EventStore orders"
# only where absent, so that a second run does not undo a scale
if ! created=$(kubectl create -f crds/examples/minimal.yaml 2>&1) && grep '^Error' <<<"$created" | grep -qv AlreadyExists; then
  echo "$created" >&2
  exit 1
fi
if ! kubectl wait --for=condition=Stable tfc/main evs/orders --timeout=5m; then
  kubectl get tfc,evs,pods -o wide
  echo "up: not Stable; 'kubectl describe tfc main' and 'kubectl -n taffrail-system logs deploy/taffrail-operator' say why" >&2
  exit 1
fi

step "pods, each on a node of its own"
placed=$(kubectl get pods -l taffrail.io/cluster=main -o 'jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}')
awk '{ print $1, ($3 == "True" ? "is Ready on" : "is NOT Ready on"), $2 }' <<<"$placed"
# three of each, unless the Cluster was scaled since or the cluster of somebody else has fewer nodes
replicas=$(kubectl get tfc/main -o 'jsonpath={.spec.replicas}')
nodes=$(kubectl get nodes -o name | wc -l)
ready=$(awk '$3 == "True"' <<<"$placed" | wc -l)
apart=$(awk '$3 == "True" { print $2 }' <<<"$placed" | sort -u | wc -l)
if [ "$ready" -ne "$replicas" ] || [ "$apart" -lt "$((replicas < nodes ? replicas : nodes))" ]; then
  echo "up: $ready of $replicas pods are Ready, on $apart of $nodes nodes; 'kubectl describe pods -l taffrail.io/cluster=main' says why" >&2
  exit 1
fi

step "an event from a pod"
kubectl exec main-0 -- taffrail append orders-1 --store orders --type OrderPlaced --data '{"total": 42}'
step "an event from the host"
endpoint="http://$(kubectl get svc main-clients -o 'jsonpath={.spec.clusterIP}'):2113"
# a new Service is known to every machine only a moment after its pods are Ready; until then it refuses
for _ in {1..20}; do
  taffrail stores list --endpoint "$endpoint" >/dev/null 2>&1 && break
  sleep 0.5
done
taffrail append orders-1 --endpoint "$endpoint" --store orders --type OrderPaid --data '{"total": 42}'
step "all events of the stream, from the host and from a pod"
taffrail read orders-1 --endpoint "$endpoint" --store orders --output jsonl
kubectl exec main-1 -- taffrail read orders-1 --store orders --output jsonl | tail -n 1

cat <<TEXT

Taffrail is up. Try next:
  eval "\$(make -s env)"
  kubectl get tfc,evs,pods -o wide
  kubectl exec -it main-2 -- taffrail subscribe --all --store orders
  kubectl scale tfc/main --replicas=5
  taffrail cluster nodes --endpoint $endpoint
TEXT
