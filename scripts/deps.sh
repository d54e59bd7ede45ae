#!/usr/bin/env bash
# Installs the Debian packages that building Taffrail and running its local Kubernetes need: only what is missing, and nothing
# when all is there. Where it may not or cannot install (not root, no apt), it prints one line for each missing thing.
#   deps.sh            installs
#   deps.sh --check    only tells; exit code 1 when something is missing
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# what to look for | Debian package | what it is for
# A name is looked for on PATH; with a slash it is a path (patterns are allowed).
needs='
cc                                   gcc                       linking, and building RocksDB
c++                                  g++                       building RocksDB
make                                 make                      the build commands
/usr/lib/llvm-*/lib/libclang*.so*    libclang-dev              generating the RocksDB bindings
ar                                   binutils                  unpacking Debian packages into images
flock                                util-linux                build locks, and the namespaces of the local Kubernetes
unshare                              util-linux                the namespaces of the local Kubernetes
nsenter                              util-linux                the namespaces of the local Kubernetes
mount                                mount                     volumes of the local Kubernetes
mkfs.ext4                            e2fsprogs                 volumes of limited size
containerd                           containerd                running containers
ctr                                  containerd                loading images
runc                                 runc                      running containers
/usr/lib/cni/ptp                     containernetworking-plugins  pod networks
iptables                             iptables                  Services, and cutting networks in tests
conntrack                            conntrack                 kube-proxy
ip                                   iproute2                  pod networks
buildah                              buildah                   building images
busybox                              busybox-static            the shell in test images
promtool                             prometheus                checking metrics
jq                                   jq                        reading JSON in scripts
openssl                              openssl                   certificates in tests
curl                                 curl                      checking HTTP endpoints
git                                  git                       versions of builds
python3                              python3                   checks of pages, licences and language, and the notices
shellcheck                           shellcheck                checking the scripts
'

present() {
  case $1 in
    */*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing_lines() {
  local what package purpose
  while read -r what package purpose; do
    [ -z "$what" ] || present "$what" || printf '%s\t%s\t%s\n' "$what" "$package" "$purpose"
  done <<<"$needs"
}

explain() {
  local what package purpose
  while IFS=$'\t' read -r what package purpose; do
    echo "deps: $what is missing (Debian package $package; needed for $purpose)" >&2
  done <<<"$1"
}

missing=$(missing_lines)
[ -n "$missing" ] || exit 0
if [ "${1:-}" = --check ]; then
  explain "$missing"
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  explain "$missing"
  echo "deps: this is not a Debian-like system (no apt-get): install the above with its package manager" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  explain "$missing"
  echo "deps: not root: run 'sudo $0' to install them" >&2
  exit 1
fi

mapfile -t packages < <(cut -f2 <<<"$missing" | sort -u)
log=$(mktemp -t taffrail-deps.XXXXXX.log)
echo "deps: installing ${packages[*]} (usually under a minute; log: $log)" >&2
export DEBIAN_FRONTEND=noninteractive
# policy-rc.d would be the clean way to keep services from starting; containers have no init to start them anyway.
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "deps: apt-get failed; the lines above are the end of $log" >&2
  exit 1
fi
missing=$(missing_lines)
if [ -n "$missing" ]; then
  explain "$missing"
  echo "deps: still missing after installing; log: $log" >&2
  exit 1
fi
rm -f "$log"
