#!/usr/bin/env bash
# Installs the missing Debian packages for building Taffrail and running its local Kubernetes. If packages cannot be installed
# (not root, no apt-get), prints one line for each missing prerequisite.
#   deps.sh            installs all missing packages
#   deps.sh --build    installs only the packages for compiling Taffrail, for `make single`
#   deps.sh --check    reports missing prerequisites without installing; exit code 1 if any is missing
#   deps.sh --list     prints check, package and purpose of every prerequisite, separated by tabs
#
# A check looks for the program or file itself, not for an entry in dpkg's database, so a check also works on other systems and
# for programs installed by hand. A check that begins with @ is a function below, for cases where a file of the right name may be
# a different program. `make fresh-root` tests the list: on a minimal Debian 12, every prerequisite is used for its purpose.
# Commands of coreutils, findutils, grep, sed, awk, tar and gzip exist on every system and are not listed.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# check | Debian package | purpose
needs_build='
gcc                      gcc               linking, and compiling lz4 and zstd
g++                      g++               building RocksDB
make                     make              the build commands, and building jemalloc
ar                       binutils          building RocksDB
strip                    binutils          binaries of images
@libclang                libclang-dev      generating the RocksDB bindings
@clang-headers           libclang-dev      generating the RocksDB bindings
@certificates            ca-certificates   downloading crates and Go modules
git                      git               versions of builds
jq                       jq                reading JSON in scripts
python3                  python3           checks of pages, licences and language, and the notices
flock                    util-linux        build locks
'
needs_cluster='
curl                     curl              checking HTTP endpoints
unshare                  util-linux        the namespaces of the local Kubernetes
nsenter                  util-linux        the namespaces of the local Kubernetes
setsid                   util-linux        starting the local Kubernetes
mount                    mount             volumes of the local Kubernetes
mkfs.ext4                e2fsprogs         volumes of limited size
kill                     procps            killing processes in tests
containerd               containerd        running containers
containerd-shim-runc-v2  containerd        running containers
ctr                      containerd        loading images
runc                     runc              running containers
@cni-plugins             containernetworking-plugins  pod networks
iptables                 iptables          Services
iptables-save            iptables          kube-proxy
iptables-restore         iptables          kube-proxy, and cutting networks in tests
conntrack                conntrack         kube-proxy
@iproute2                iproute2          pod networks
buildah                  buildah           building images
dpkg-deb                 dpkg              unpacking Debian packages into images
apt-get                  apt               downloading Debian packages for images
@static-busybox          busybox-static    the shell in test images
@promtool                prometheus        checking metrics
openssl                  openssl           certificates in tests
shellcheck               shellcheck        checking the scripts
'

# Prints the libraries that bindgen can load, by the rules of the crate clang-sys: libclang.so, libclang-N.so and versioned names.
# LIBCLANG_PATH, if set, replaces the default folders below. libclang-cpp is a different library of the LLVM packages.
libclang_candidates() {
  local directories directory file
  if [ -n "${LIBCLANG_PATH:-}" ]; then
    directories=("$LIBCLANG_PATH" "$(dirname "$LIBCLANG_PATH")")
  else
    IFS=: read -r -a directories <<<"${LD_LIBRARY_PATH:-}:${LIBRARY_PATH:-}"
    directories+=(/usr/local/llvm*/lib* /usr/local/lib*/*/* /usr/local/lib*/* /usr/local/lib* /usr/lib*/*/* /usr/lib*/* /usr/lib*)
    if type -P llvm-config >/dev/null; then directories+=("$(llvm-config --prefix)"/lib*); fi
  fi
  for directory in "${directories[@]}"; do
    for file in "$directory"/libclang.so* "$directory"/libclang-*.so*; do
      # Excludes unmatched patterns, dangling links and linker scripts.
      if [ -s "$file" ] && [[ $file != *-cpp.* ]] && head -c 4 "$file" | grep -q ELF; then readlink -f "$file"; fi
    done
  done
}

# Prints the major version of the library that bindgen loads, the highest version.
libclang_version() { libclang_candidates | sed -nE 's/.*libclang(-|\.so\.)([0-9]+).*/\2/p' | sort -n | tail -n 1; }

libclang() { [ -n "$(libclang_candidates)" ]; }

# Checks for the headers that belong to the compiler, such as stddef.h. The library searches for headers of its own version, and
# bindgen adds the headers of a clang on PATH.
clang_headers() {
  local version
  if type -P clang >/dev/null && [ -e "$(clang -print-resource-dir)/include/stddef.h" ]; then return; fi
  version=$(libclang_version)
  compgen -G "/usr/*lib*/clang/${version:-*}/include/stddef.h" || compgen -G "/usr/*lib*/clang/${version:-*}.*/include/stddef.h" ||
    compgen -G "/usr/lib*/llvm*/lib*/clang/${version:-*}/include/stddef.h" ||
    compgen -G "/usr/lib*/llvm*/lib*/clang/${version:-*}.*/include/stddef.h"
}

# Checks the certificate bundles that cargo and Go read.
certificates() {
  local bundle
  for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
    /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
    if grep -qs 'BEGIN CERTIFICATE' "$bundle"; then return; fi
  done
  return 1
}

# Checks the folders and plugins that the local Kubernetes uses.
cni_plugins() {
  local directory
  for directory in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    [ -x "$directory/ptp" ] && [ -x "$directory/host-local" ] && [ -x "$directory/portmap" ] &&
      [ -x "$directory/loopback" ] && return
  done
  return 1
}

# The `ip` command of busybox does not count, because it cannot print JSON.
iproute2() { ip -V 2>/dev/null | grep -q iproute2; }

# The test images contain only busybox, so busybox must run without a C library.
static_busybox() { type -P busybox >/dev/null && ! ldd "$(type -P busybox)" 2>/dev/null | grep -q '=>'; }

promtool() { command promtool --version 2>/dev/null | grep -q '^promtool, version'; }

present() {
  case $1 in
    @libclang) libclang ;;
    @clang-headers) clang_headers ;;
    @certificates) certificates ;;
    @cni-plugins) cni_plugins ;;
    @iproute2) iproute2 ;;
    @static-busybox) static_busybox ;;
    @promtool) promtool ;;
    @*) echo "deps: the list names the check $1, which does not exist" >&2; exit 2 ;;
    # Searches PATH, because `command -v` would find the builtin `kill` of the shell.
    *) type -P "$1" ;;
  esac >/dev/null
}

lines() {
  local check package purpose
  while read -r check package purpose; do
    [ -z "$check" ] || printf '%s\t%s\t%s\n' "$check" "$package" "$purpose"
  done <<<"$needs_build$needs_cluster"
}

missing_lines() {
  local check package purpose
  lines | while IFS=$'\t' read -r check package purpose; do
    present "$check" || printf '%s\t%s\t%s\n' "$check" "$package" "$purpose"
  done
}

explain() {
  local check package purpose
  while IFS=$'\t' read -r check package purpose; do
    echo "deps: ${check#@} is missing (Debian package $package; needed for $purpose)" >&2
  done <<<"$1"
}

case ${1:-} in
  --list) lines && exit ;;
  --build) needs_cluster="" ;;
  --check | "") ;;
  *) echo "usage: deps.sh [--build | --check | --list]" >&2; exit 2 ;;
esac
missing=$(missing_lines)
[ -n "$missing" ] || exit 0
if [ "${1:-}" = --check ]; then
  explain "$missing"
  exit 1
fi
if ! type -P apt-get >/dev/null; then
  explain "$missing"
  echo "deps: this system has no apt-get; install the prerequisites above with its own package manager" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  explain "$missing"
  echo "deps: installing packages needs root; run 'sudo $0'" >&2
  exit 1
fi

mapfile -t packages < <(cut -f2 <<<"$missing" | sort -u)
log=$(mktemp -t taffrail-deps.XXXXXX.log)
echo "deps: installing ${packages[*]}: usually 1 min (log: $log)" >&2
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "deps: apt-get failed; the lines above are the end of $log" >&2
  exit 1
fi
missing=$(missing_lines)
if [ -n "$missing" ]; then
  explain "$missing"
  echo "deps: still missing after installing ${packages[*]}; log: $log" >&2
  exit 1
fi
rm -f "$log"
echo "deps: done in $SECONDS s" >&2
