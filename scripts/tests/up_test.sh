#!/usr/bin/env bash
# Tests of `make up`, `make down` and `make env` with fake commands on PATH: compares the executed commands and arguments with the
# expected ones. Needs no container engine and no cluster, and takes a few seconds.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# Every fake command is a link to this program, which logs the arguments, the kubeconfig and the provider of kind, and then answers
# like the real command. Files in $FAKE control the answers: `clusters` (one name per line) and `fails-NAME` (a pattern of
# arguments that fail).
cat >"$work/fake" <<'FAKE'
#!/usr/bin/env bash
name=$(basename "$0") line="$(basename "$0") $*"
echo "$line${KUBECONFIG:+ [${KUBECONFIG#"$FAKE"/}]}${KIND_EXPERIMENTAL_PROVIDER:+ [$KIND_EXPERIMENTAL_PROVIDER]}" >>"$FAKE/log"
if [ -e "$FAKE/fails-$name" ] && grep -qf "$FAKE/fails-$name" <<<"$*"; then echo "$name: refused" >&2; exit 1; fi
case $line in
  "kind get clusters" | "k3d cluster list --no-headers") cat "$FAKE/clusters" ;;
  "kind create cluster"*) cat >"$FAKE/kind.yaml"; echo taffrail >>"$FAKE/clusters"; echo "context taffrail" >"${KUBECONFIG:-$HOME/.kube/config}" ;;
  "k3d cluster create"*) echo taffrail >>"$FAKE/clusters" ;;
  "kind delete cluster --name taffrail" | "k3d cluster delete taffrail") sed -i '/^taffrail$/d' "$FAKE/clusters" ;;
  "kind get kubeconfig"* | "k3d kubeconfig get"*) echo "kubeconfig of $3" ;;
  "podman save -o "*) : >"$3" ;;
  "docker save -o "*) : >"$3" ;;
  "localkube kubeconfig") echo "$FAKE/kubeconfig" ;;
  "kubectl get pods -l"*) printf 'main-%d node%d True\n' 0 1 1 2 2 3 ;;
  "kubectl get tfc/main"*) echo 3 ;;
  "kubectl get nodes -o name") printf 'node/%d\n' 1 2 3 ;;
  "kubectl get svc"*) echo 10.96.0.9 ;;
  "kubectl get nodes") [ -z "${KUBECONFIG:-}" ] || exit 1 ;;
  "go build"*)
    while [ "$1" != -o ]; do shift; done
    directory=$2
    shift 2
    for package in "$@"; do cp "$FAKE/fake" "$directory/$(basename "$package")"; done
    ;;
esac
exit 0
FAKE
chmod +x "$work/fake"

# begin NAME COMMAND...: starts a test case on a new fake machine with the given commands and a cluster of another user.
begin() {
  case_name=$1
  shift
  FAKE=$work/machine
  rm -rf "$FAKE"
  mkdir -p "$FAKE/bin" "$FAKE/home/.kube"
  cp "$work/fake" "$FAKE/fake"
  echo other >"$FAKE/clusters"
  echo "of the user" >"$FAKE/home/.kube/config"
  : >"$FAKE/log"
  local name
  for name in "$@"; do ln -s ../fake "$FAKE/bin/$name"; done
  # Real commands used by the scripts, without kubectl, docker and kind of this machine.
  for name in bash sh env cat grep sed awk sort cut tr head tail wc mktemp mkdir rm mv cp ln ls basename dirname timeout chmod sleep readlink sha256sum flock; do
    ln -s "$(type -P "$name")" "$FAKE/bin/$name"
  done
}
# run COMMAND...: runs a command on the fake machine; sets $status to the exit code and writes all output to $work/out.
run() {
  status=0
  : >"$FAKE/log"
  env -i HOME="$FAKE/home" FAKE="$FAKE" TAFFRAIL_CACHE="$FAKE/cache" CARGO_TARGET_DIR="$FAKE/target" CLUSTER="${cluster:-}" \
    PATH="$FAKE/cache/k8s-1.36.3/bin:$FAKE/bin${also_path:+:$also_path}" "$@" >"$work/out" 2>&1 </dev/null || status=$?
}
up() { run scripts/up.sh docker.io/local/taffrail:dev "$FAKE/image.tar"; }
ok() { passed=$((passed + 1)); }
bad() {
  failed=$((failed + 1))
  echo "FAIL $case_name: $1" >&2
  sed 's/^/     /' "$FAKE/log" "$work/out" >&2
}
succeeds() { if [ "$status" -eq 0 ]; then ok; else bad "exit code $status"; fi; }
fails() { if [ "$status" -ne 0 ]; then ok; else bad "succeeds"; fi; }
ran() { if grep -qxF "$1" "$FAKE/log"; then ok; else bad "did not run: $1"; fi; }
# never PATTERN: checks that no executed command line matches.
never() { if grep -qE "$1" "$FAKE/log"; then bad "ran: $(grep -E "$1" "$FAKE/log" | head -n 1)"; else ok; fi; }
says() { if grep -qF "$1" "$work/out"; then ok; else bad "does not say: $1"; fi; }
# Checks that the commands for the engine were exactly the lines of standard input, in this order.
engine_ran() {
  if diff <(cat) <(grep -E '^(docker|podman|kind|k3d) ' "$FAKE/log") >"$work/diff"; then ok; else bad "$(cat "$work/diff")"; fi
}
user_untouched() {
  if [ "$(cat "$FAKE/home/.kube/config")" = "of the user" ] && grep -qx other "$FAKE/clusters"; then ok; else bad "the kubeconfig or a cluster of the user changed"; fi
}
own="[cache/up/kubeconfig]"

begin "kind on docker" docker kind helm kubectl
up
succeeds
engine_ran <<TEXT
docker info
docker build -t docker.io/local/taffrail:dev .
kind get clusters $own
kind create cluster --name taffrail --wait 3m --config - $own
kind get kubeconfig --name taffrail $own
docker save -o $FAKE/cache/up/image.tar docker.io/local/taffrail:dev
kind load image-archive $FAKE/cache/up/image.tar --name taffrail $own
TEXT
ran "kubectl create -f crds/examples/minimal.yaml $own"
if [ "$(grep -c 'role: worker' "$FAKE/kind.yaml")" = 3 ]; then ok; else bad "not three workers"; fi
says "loading the image: done in"
user_untouched

case_name="kind again"
up
succeeds
never '^kind (create|delete)'
ran "kind load image-archive $FAKE/cache/up/image.tar --name taffrail $own"
run scripts/env.sh /tools
says "export KUBECONFIG=$FAKE/cache/up/kubeconfig PATH=/tools:"

case_name="down removes the cluster"
run scripts/down.sh
succeeds
engine_ran <<<"kind delete cluster --name taffrail $own"
user_untouched
run scripts/down.sh
succeeds
engine_ran </dev/null

begin "a cluster that was there before" docker kind helm kubectl
echo taffrail >>"$FAKE/clusters"
up
succeeds
never '^kind create'
run scripts/down.sh
succeeds
engine_ran </dev/null
says "was there before 'make up' and is left"

begin "a cluster with a longer name" docker kind helm kubectl
echo taffrail-2 >>"$FAKE/clusters"
up
succeeds
ran "kind create cluster --name taffrail --wait 3m --config - $own"

begin "kind on podman" podman kind helm kubectl
up
succeeds
engine_ran <<TEXT
podman info
podman build -t docker.io/local/taffrail:dev .
kind get clusters $own [podman]
kind create cluster --name taffrail --wait 3m --config - $own [podman]
kind get kubeconfig --name taffrail $own [podman]
podman save -o $FAKE/cache/up/image.tar docker.io/local/taffrail:dev
kind load image-archive $FAKE/cache/up/image.tar --name taffrail $own [podman]
TEXT
run scripts/down.sh
engine_ran <<<"kind delete cluster --name taffrail $own [podman]"

begin "k3d on docker" docker k3d helm kubectl
up
succeeds
engine_ran <<TEXT
docker info
docker build -t docker.io/local/taffrail:dev .
k3d cluster list --no-headers $own
k3d cluster create taffrail --agents 2 --wait --timeout 3m --kubeconfig-update-default=false --kubeconfig-switch-context=false $own
k3d kubeconfig get taffrail $own
k3d image import docker.io/local/taffrail:dev --cluster taffrail $own
TEXT
user_untouched
run scripts/down.sh
engine_ran <<<"k3d cluster delete taffrail $own"

begin "loading fails" docker kind helm kubectl
echo '^load' >"$FAKE/fails-kind"
up
fails
says "loading the image: failed"
says "kind: refused"
never '^kubectl|^helm'
run scripts/down.sh
engine_ran <<<"kind delete cluster --name taffrail $own"

begin "the creation fails" docker kind helm kubectl
echo '^create' >"$FAKE/fails-kind"
up
fails
says "cluster taffrail (kind on docker): failed"
never '^kubectl|^helm|^kind load'
run scripts/down.sh
engine_ran <<<"kind delete cluster --name taffrail $own"

begin "the clusters cannot be listed" docker kind helm kubectl
echo taffrail >>"$FAKE/clusters"
echo '^get clusters' >"$FAKE/fails-kind"
up
fails
says "kind cannot list its clusters on docker"
never '^kind create|^kubectl|^helm'
rm "$FAKE/fails-kind"
run scripts/down.sh
succeeds
engine_ran </dev/null
user_untouched

begin "a cluster of another tool" docker kind k3d helm kubectl
cluster=k3d up
succeeds
echo other >"$FAKE/clusters"
cluster=kind up
fails
says "created the cluster taffrail with k3d docker; run 'make down' first"
never '^kind create'
run scripts/down.sh
engine_ran <<<"k3d cluster delete taffrail $own"

begin "an engine that does not answer, kind wanted" docker podman kind helm kubectl
echo '^info' | tee "$FAKE/fails-docker" >"$FAKE/fails-podman"
cluster=kind up
fails
says "neither 'docker info' nor 'podman info' answers"
engine_ran <<<"docker info
podman info"

# chooses CLUSTER: checks the default for an unset variable CLUSTER.
chooses() {
  # shellcheck disable=SC2016 # the inner shell expands the variables
  run bash -c '. scripts/engine.sh; choose_cluster && echo "chose $cluster${engine:+ on $engine}"'
  if grep -qx "chose $1" "$work/out"; then ok; else bad "does not choose $1"; fi
}
begin "nothing on the machine"
chooses local
begin "kind without an engine" kind k3d
chooses local
begin "an engine without kind" docker
chooses local
begin "an engine that does not answer" docker kind
echo '^info' >"$FAKE/fails-docker"
chooses local
begin "docker does not answer, podman does" docker podman kind
echo '^info' >"$FAKE/fails-docker"
chooses "kind on podman"
begin "k3d does not speak to podman" podman k3d
chooses local
begin "kind before k3d" docker kind k3d
chooses "kind on docker"
cluster=k3d chooses "k3d on docker"
cluster=local chooses local
case_name="an unknown cluster"
cluster=minikube up
fails
says "CLUSTER=minikube is not known"

begin "an existing cluster" docker kind helm kubectl go
cluster=existing up
succeeds
engine_ran </dev/null
never '^go '
ran "kubectl get nodes"
run scripts/down.sh
engine_ran </dev/null
user_untouched

# Uses the real deps.sh, which needs the packages of this machine. `make check` has installed the packages.
begin "the local Kubernetes" make helm kubectl taffrail
mkdir -p "$FAKE/target/debug"
ln -s "$FAKE/fake" "$FAKE/target/debug/localkube"
touch "$FAKE/target/debug/taffrail" "$FAKE/target/debug/taffrail-operator" "$FAKE/image.tar"
cluster=local also_path=$PATH up
succeeds
if diff - <(grep -E '^(make|localkube|taffrail) ' "$FAKE/log") >"$work/diff" <<TEXT; then ok; else bad "$(cat "$work/diff")"; fi
make --no-print-directory -j2 tools up-binaries
localkube up
localkube kubeconfig
localkube load-image $FAKE/image.tar
taffrail stores list --endpoint http://10.96.0.9:2113 [kubeconfig]
taffrail append orders-1 --endpoint http://10.96.0.9:2113 --store orders --type OrderPaid --data {"total": 42} [kubeconfig]
taffrail read orders-1 --endpoint http://10.96.0.9:2113 --store orders --output jsonl [kubeconfig]
TEXT
says "together"
user_untouched
run scripts/env.sh /tools
says "export KUBECONFIG=$FAKE/kubeconfig PATH=/tools:"
run scripts/down.sh
ran "localkube down"

begin "helm missing" docker kind kubectl go
cluster=existing up
succeeds
if grep '^go build' "$FAKE/log" | grep -q ' helm.sh/helm/v3/cmd/helm k8s.io/kubernetes/cmd/kubectl$'; then ok; else bad "go builds something else"; fi
ran "helm dependency build charts/taffrail"
cluster=existing up
never '^go '

echo "up_test: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
