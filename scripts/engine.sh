# shellcheck shell=bash
# Functions for the cluster named `taffrail` in a container engine, created by kind or k3d. Sourced by up.sh, down.sh and env.sh.
# No command changes another cluster or the kubeconfig of the user: all commands use the file $engine_kubeconfig.
#   $engine_state/current    kind of cluster of the last `make up`: kind, k3d or local
#   $engine_state/made       "TOOL ENGINE", if `make up` created the cluster; `make down` removes only such a cluster
engine_cluster=taffrail
engine_state=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/up
engine_kubeconfig=$engine_state/kubeconfig

# Prints the first container engine that answers: docker, then podman.
engine_that_answers() {
  local engine
  for engine in docker podman; do
    if type -P "$engine" >/dev/null && timeout 5 "$engine" info >/dev/null 2>&1; then
      echo "$engine"
      return
    fi
  done
  return 1
}

# Sets `cluster` (local, existing, kind or k3d) and `engine` from the variable CLUSTER, or, if unset, from the installed tools.
choose_cluster() {
  cluster=${CLUSTER:-} engine=""
  case $cluster in
    local | existing) return ;;
    "" | kind | k3d) engine=$(engine_that_answers) || engine="" ;;
    *) echo "up: CLUSTER=$cluster is not known; use local, kind, k3d or existing" >&2; return 1 ;;
  esac
  if [ -z "$cluster" ]; then
    cluster=local
    # k3d supports only docker.
    if [ "$engine" = docker ] && type -P k3d >/dev/null; then cluster=k3d; fi
    if [ -n "$engine" ] && type -P kind >/dev/null; then cluster=kind; fi
    if [ "$cluster" = local ]; then engine=""; fi
    return
  fi
  type -P "$cluster" >/dev/null || { echo "up: CLUSTER=$cluster, but $cluster is not on PATH" >&2; return 1; }
  [ -n "$engine" ] || { echo "up: CLUSTER=$cluster, but neither 'docker info' nor 'podman info' answers within 5 s" >&2; return 1; }
}

# in_engine TOOL ENGINE ARGUMENTS...: runs kind or k3d with the engine and the separate kubeconfig.
in_engine() {
  local tool=$1 engine=$2
  shift 2
  if [ "$tool" = kind ] && [ "$engine" = podman ]; then export KIND_EXPERIMENTAL_PROVIDER=podman; fi
  KUBECONFIG=$engine_kubeconfig "$tool" "$@"
}

# engine_clusters TOOL ENGINE: prints the names of all clusters of the tool, one per line.
engine_clusters() {
  case $1 in
    kind) in_engine "$@" get clusters ;;
    k3d) in_engine "$@" cluster list --no-headers | awk '{ print $1 }' ;;
  esac
}

# engine_up TOOL ENGINE: creates or reuses the cluster, and writes the kubeconfig.
engine_up() {
  local clusters
  mkdir -p "$engine_state"
  # A failed list is an error and not an empty list: otherwise the file `made` would claim a cluster of somebody else, and
  # `make down` would remove that cluster.
  clusters=$(engine_clusters "$@") || { echo "up: $1 cannot list its clusters on $2; see the output above" >&2; return 1; }
  if grep -qx "$engine_cluster" <<<"$clusters"; then
    echo "up: the cluster $engine_cluster exists already and is reused" >&2
    if [ "$1" = k3d ]; then in_engine "$@" cluster start "$engine_cluster"; fi
  else
    # The file `made` has room for a single cluster.
    if [ -e "$engine_state/made" ] && [ "$(cat "$engine_state/made")" != "$*" ]; then
      echo "up: an earlier 'make up' created the cluster $engine_cluster with $(cat "$engine_state/made"); run 'make down' first" >&2
      return 1
    fi
    # Recorded before the creation, so that `make down` also removes a partly created cluster.
    echo "$*" >"$engine_state/made"
    case $1 in
      kind) in_engine "$@" create cluster --name "$engine_cluster" --wait 3m --config - <<TEXT
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
  - role: worker
  - role: worker
  - role: worker
TEXT
        ;;
      k3d) in_engine "$@" cluster create "$engine_cluster" --agents 2 --wait --timeout 3m \
        --kubeconfig-update-default=false --kubeconfig-switch-context=false ;;
    esac
  fi
  # The kubeconfig contains a private key.
  rm -f "$engine_kubeconfig.new"
  (umask 077 && : >"$engine_kubeconfig.new")
  case $1 in
    kind) in_engine "$@" get kubeconfig --name "$engine_cluster" ;;
    k3d) in_engine "$@" kubeconfig get "$engine_cluster" ;;
  esac >"$engine_kubeconfig.new"
  mv "$engine_kubeconfig.new" "$engine_kubeconfig"
}

# engine_load TOOL ENGINE IMAGE: copies an image of the engine to the nodes of the cluster.
engine_load() {
  local tool=$1 engine=$2 image=$3 archive=$engine_state/image.tar
  case $tool in
    k3d) in_engine "$tool" "$engine" image import "$image" --cluster "$engine_cluster" ;;
    # `kind load docker-image` requires docker even if the nodes are podman containers.
    kind)
      rm -f "$archive"
      "$engine" save -o "$archive" "$image"
      in_engine "$tool" "$engine" load image-archive "$archive" --name "$engine_cluster"
      rm -f "$archive"
      ;;
  esac
}

# Removes the cluster, but only if `make up` created the cluster.
engine_down() {
  local tool engine
  if [ ! -e "$engine_state/made" ]; then
    case $(cat "$engine_state/current" 2>/dev/null) in
      kind | k3d) echo "down: the cluster $engine_cluster was there before 'make up' and is left" >&2 ;;
    esac
    rm -f "$engine_state/current" "$engine_kubeconfig"
    return
  fi
  read -r tool engine <"$engine_state/made"
  case $tool in
    kind) in_engine "$tool" "$engine" delete cluster --name "$engine_cluster" ;;
    k3d) in_engine "$tool" "$engine" cluster delete "$engine_cluster" ;;
  esac
  rm -f "$engine_state/made" "$engine_state/current" "$engine_kubeconfig"
}
