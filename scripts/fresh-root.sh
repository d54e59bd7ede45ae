#!/usr/bin/env bash
# Tests scripts/deps.sh on a minimal Debian 12: bootstraps a root file system below the cache, runs deps.sh inside and uses every
# prerequisite (scripts/fresh-root-inside.sh). Takes about 4 minutes on two cores. Needs root and a Debian-like host.
#   fresh-root.sh            removes the root file system after success
#   KEEP=1 fresh-root.sh     keeps the root file system below $TAFFRAIL_CACHE/fresh-root; the next run starts from the same base
#   MIRROR=URL               Debian mirror; default: the sources of the host's apt
#
# The host's Rust, Go, crates of Cargo.lock, checkout and resolv.conf are mounted read-only (the crates below a temporary writable
# layer). Sources and proxies of apt are copied from the host's configuration. The script writes nothing to the checkout.
# debootstrap is installed if missing, because only this script uses debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=bookworm
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/fresh-root
base=$cache/base run=$cache/run root=$cache/run/root

say() { echo "fresh-root: $*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=scripts/step.sh
. scripts/step.sh

# Prints the apt sources of the host for this Debian release: URI, suite and component, one source per line.
host_sources() {
  # shellcheck disable=SC2016 # apt expands the variables
  apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$suite" '$2 ~ "^" suite "(-updates|-security)?$" && $3 == "main"' | sort -u
}

bootstrap() {
  rm -rf --one-file-system "$base" "$base.new"
  debootstrap --variant=minbase "$suite" "$base.new" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
    { tail -n 15 "$cache/debootstrap.log" >&2; fail "debootstrap failed; the lines above are the end of $cache/debootstrap.log"; }
  mv "$base.new" "$base"
}

configure_apt() {
  printf '%s\n' "${sources:-$mirror $suite main}" | sed 's/^/deb /' >"$root/etc/apt/sources.list"
  apt-config dump | grep -E '^Acquire::(http|https|ftp)::' >"$root/etc/apt/apt.conf.d/99host" || true
}

# Mounts the folders of the host and enters the root file system. Runs in a separate mount namespace, so that all mounts disappear
# with the last process.
enter() {
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$run/upper,workdir=$run/work" "$root"
  configure_apt
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  # Containers need a folder that is not on an overlay.
  mkdir -p "$run/plain" "$root/mnt/plain"
  mount --bind "$run/plain" "$root/mnt/plain"
  mkdir -p "$root/src" "$root/opt/rust" "$root/opt/go" "$root/root/.cargo/registry"
  touch "$root/etc/resolv.conf"
  local from to
  while read -r from to; do
    mount --bind "$from" "$root/$to"
    mount -o remount,bind,ro "$root/$to"
  done <<<"$PWD src
$(rustc --print sysroot) opt/rust
$(go env GOROOT) opt/go
$(realpath /etc/resolv.conf) etc/resolv.conf"
  mount -t overlay overlay -o "lowerdir=${CARGO_HOME:-$HOME/.cargo}/registry,upperdir=$run/crates,workdir=$run/crates-work" "$root/root/.cargo/registry"
  mkdir -p "$root/.host"
  # Uses pivot_root, because runc must change the root again, and the kernel forbids that inside a chroot.
  cd "$root"
  pivot_root . .host
  exec chroot . /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /bin/bash -c 'umount -l /.host && exec /src/scripts/fresh-root-inside.sh'
}

sources=$(host_sources)
[ -z "${MIRROR:-}" ] || sources=""
mirror=${MIRROR:-$(awk -v suite="$suite" '$2 == suite { print $1; exit }' <<<"$sources")}
mirror=${mirror:-http://deb.debian.org/debian}
if [ "${1:-}" = --enter ]; then enter; fi

[ "$(id -u)" -eq 0 ] || fail "not root: namespaces and mounts need root; run the script as root"
for program in rustc cargo go; do type -P "$program" >/dev/null || fail "$program is not on PATH"; done
mkdir -p "$cache"
exec 9>"$cache/lock"
flock --nonblock 9 || fail "another run is in progress; wait for its end"
if ! type -P debootstrap >/dev/null; then
  say "installing debootstrap"
  apt-get install -y -q --no-install-recommends debootstrap >"$cache/apt.log" 2>&1 || { tail -n 5 "$cache/apt.log" >&2; fail "apt-get failed"; }
fi
step "fresh-root: crates of Cargo.lock" "1 min, 0 s when present" cargo fetch -q --locked
[ -x "$base/bin/bash" ] || step "fresh-root: minimal Debian from $mirror" "1 min" bootstrap
rm -rf --one-file-system "$run"
mkdir -p "$root" "$run/upper" "$run/work" "$run/crates" "$run/crates-work"
step "fresh-root: deps.sh and the use of every prerequisite" "3 min" \
  unshare --mount --propagation private --pid --fork --ipc --uts "$0" --enter
if [ "${KEEP:-}" = 1 ]; then
  say "kept: the base in $base and the changes of this run in $run/upper"
else
  rm -rf --one-file-system "$base" "$run"
fi
say "every prerequisite of scripts/deps.sh --list works on a minimal Debian 12"
