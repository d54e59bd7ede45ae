#!/usr/bin/env bash
# Part of scripts/fresh-root.sh that runs inside the minimal Debian. Verifies that:
#   - a bare system lacks exactly the prerequisites that deps.sh reports,
#   - related packages do not satisfy a check by mistake,
#   - deps.sh installs all prerequisites, and every prerequisite works for its purpose.
# The function use_NAME uses the prerequisite NAME; a prerequisite without a function is an error.
set -euo pipefail
deps=/src/scripts/deps.sh
work=/mnt/plain
failed=0

say() { echo "fresh-root: $*"; }
bad() { say "FAIL $*"; failed=$((failed + 1)); }
quietly() { "$@" >"$work/out" 2>&1 || { cat "$work/out"; return 1; }; }
reported_missing() { { "$deps" --check 2>&1 || true; } | sed -n 's/^deps: \(.*\) is missing .*/\1/p' | sort; }
lacks() { reported_missing | grep -qxF "$1"; }
install() { quietly apt-get install -y -q --no-install-recommends "$@"; }

use_gcc() {
  echo 'int main(void) { return 7; }' >seven.c
  gcc -o seven seven.c && cc -c -o seven.o seven.c
  ./seven || [ $? -eq 7 ]
}
use_gxx() {
  printf '#include <filesystem>\n#include <iostream>\nint main() { std::cout << std::filesystem::path("/a/b").filename().string(); }\n' >name.cc
  c++ -std=c++20 -o name name.cc
  [ "$(./name)" = b ]
}
use_make() { printf 'all:\n\t@echo made\n' | make -s -f - | grep -qx made; }
use_ar() {
  use_gcc && ar crs libseven.a seven.o && gcc -o seven-again -Wl,--whole-archive libseven.a -Wl,--no-whole-archive
  ./seven-again || [ $? -eq 7 ]
}
use_strip() { use_gxx && strip -o name-stripped name && [ "$(./name-stripped)" = b ] && [ "$(stat -c %s name-stripped)" -lt "$(stat -c %s name)" ]; }
# Generates bindings of a header that includes a compiler header, with the version of bindgen that RocksDB uses.
use_libclang() {
  local version
  version=$(awk '$1 == "name" { found = $3 == "\"bindgen\"" } found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' /src/Cargo.lock)
  mkdir -p probe/src
  cat >probe/Cargo.toml <<TEXT
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[build-dependencies]
bindgen = { version = "=$version", default-features = false, features = ["runtime"] }
TEXT
  echo '#include <stddef.h>
size_t probe_size(size_t);' >probe/probe.h
  cat >probe/build.rs <<'TEXT'
fn main() {
    let bindings = bindgen::Builder::default().header("probe.h").generate().expect("bindings of probe.h");
    bindings.write_to_file(std::path::Path::new(&std::env::var("OUT_DIR").unwrap()).join("probe.rs")).unwrap();
}
TEXT
  echo 'fn main() { assert!(include_str!(concat!(env!("OUT_DIR"), "/probe.rs")).contains("fn probe_size(")) }' >probe/src/main.rs
  (cd probe && quietly cargo run -q --offline)
}
use_clang_headers() { use_libclang; }
use_certificates() {
  local bundle=/etc/ssl/certs/ca-certificates.crt one
  one=$(awk '/BEGIN/ { on = 1 } on { print } /END/ { exit }' "$bundle")
  openssl verify -CAfile "$bundle" <<<"$one" && [ "$(grep -c BEGIN "$bundle")" -gt 50 ]
}
use_git() {
  git init -q repository && cd repository && git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m one &&
    git -c tag.gpgsign=false tag v1 && [ "$(git describe --tags --always)" = v1 ]
}
use_curl() {
  mkdir -p page && echo served >page/index.html
  unshare --net sh -c 'ip link set lo up && busybox httpd -p 127.0.0.1:8080 -h page && curl -sSf http://127.0.0.1:8080/' | grep -qx served
}
use_jq() { [ "$(jq -r '.a[1]' <<<'{"a": [1, "two"]}')" = two ]; }
# Debian's own interpreter, with the modules of the checks in scripts/*.py.
use_python3() { [ "$(/usr/bin/python3 -c 'import json, tomllib; print(json.dumps(tomllib.loads("a = [1, 2]")["a"]))')" = "[1, 2]" ]; }
use_flock() { flock -n lock sh -c '! flock -n lock true'; }
use_unshare() { [ "$(unshare --net sh -c 'ls /sys/class/net >/dev/null; ip -o link | wc -l')" = 1 ]; }
use_nsenter() {
  touch namespace && unshare --net=namespace true
  [ "$(nsenter --net=namespace ip -o link | wc -l)" = 1 ]
  umount namespace
}
use_setsid() { [ "$(setsid --wait sh -c 'cut -d" " -f6 /proc/$$/stat; echo $$' | uniq | wc -l)" = 1 ]; }
use_mount() { mkdir -p small && unshare --mount sh -c 'mount -t tmpfs -o size=1m tmpfs small && ! head -c 2M /dev/zero >small/file'; }
use_mkfs_ext4() { truncate -s 16M disk && mkfs.ext4 -q -m 0 disk && e2fsck -f -n disk; }
use_kill() {
  sleep 600 &
  local process=$! status=0
  "$(type -P kill)" -KILL "$process"
  wait "$process" || status=$?
  [ "$status" -eq 137 ]
}
# Builds an image from scratch, loads the image with containerd and runs the image with runc, like the local Kubernetes.
use_buildah() {
  local storage=(--root "$work/buildah" --runroot "$work/buildah-run" --storage-driver vfs) container
  container=$(buildah "${storage[@]}" from scratch)
  buildah "${storage[@]}" copy -q --chmod 755 "$container" "$(type -P busybox)" /bin/busybox
  rm -f image.tar
  buildah "${storage[@]}" commit -q --rm "$container" "docker-archive:$PWD/image.tar:docker.io/local/probe:1"
  [ -s image.tar ]
}
use_containerd() {
  use_buildah
  printf 'version = 2\nroot = "%s"\nstate = "/run/probe"\n[grpc]\naddress = "/run/probe.sock"\n' "$work/containerd" >containerd.toml
  containerd -c containerd.toml >containerd.log 2>&1 &
  local daemon=$! status=0 ctr=(ctr --address /run/probe.sock)
  for ((i = 0; i < 600; i++)); do
    if "${ctr[@]}" --connect-timeout 100ms version >/dev/null 2>&1; then break; fi
    [ -d "/proc/$daemon" ] || { cat containerd.log; return 1; }
  done
  { "${ctr[@]}" images import --snapshotter native image.tar &&
    "${ctr[@]}" run --rm --snapshotter native docker.io/local/probe:1 probe /bin/busybox echo contained | grep -x contained; } || status=$?
  "$(type -P kill)" "$daemon"
  wait "$daemon" || true
  [ "$status" -eq 0 ] || tail -n 5 containerd.log
  return "$status"
}
use_containerd_shim_runc_v2() { use_containerd; }
use_ctr() { use_containerd; }
use_runc() { use_containerd; }
use_cni_plugins() {
  touch pod && unshare --net=pod true
  local config='{"cniVersion": "1.0.0", "name": "probe", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24", "dataDir": "/run/cni-probe"}}'
  CNI_COMMAND=ADD CNI_CONTAINERID=probe CNI_NETNS=$PWD/pod CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni \
    unshare --net /usr/lib/cni/ptp <<<"$config" | jq -e '.ips[0].address == "10.9.0.2/24"'
  umount pod
  CNI_COMMAND=VERSION /usr/lib/cni/portmap <<<'{"cniVersion": "1.0.0"}' | jq -e '.supportedVersions | length > 0'
  CNI_COMMAND=VERSION /usr/lib/cni/loopback <<<'{"cniVersion": "1.0.0"}' | jq -e '.supportedVersions | length > 0'
}
use_iptables() { unshare --net sh -c 'iptables -A INPUT -p tcp --dport 1 -j DROP && iptables -S INPUT | grep -e "--dport 1 -j DROP"'; }
use_iptables_save() { unshare --net sh -c 'iptables -t nat -N PROBE && iptables-save -t nat | grep "^:PROBE"'; }
use_iptables_restore() { unshare --net sh -c 'printf "*mangle\n:PROBE - [0:0]\nCOMMIT\n" | iptables-restore --noflush && iptables -t mangle -S PROBE'; }
use_conntrack() { unshare --net conntrack -L; }
use_iproute2() { unshare --net sh -c 'ip link set lo up && ip -json -4 address show lo' | jq -e '.[0].addr_info[0].local == "127.0.0.1"'; }
use_dpkg_deb() {
  mkdir -p package/DEBIAN package/opt && echo inside >package/opt/file
  printf 'Package: probe\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: probe\n' >package/DEBIAN/control
  dpkg-deb -b package probe.deb && dpkg-deb -x probe.deb unpacked && grep -qx inside unpacked/opt/file
}
use_apt_get() { apt-get -o APT::Sandbox::User=root download -q hostname && ls hostname_*.deb; }
use_static_busybox() { mkdir -p alone && cp "$(type -P busybox)" alone/ && [ "$(chroot alone /busybox echo alone)" = alone ]; }
use_promtool() { printf '# HELP probe_total Probes.\n# TYPE probe_total counter\nprobe_total 1\n' | promtool check metrics; }
use_openssl() {
  openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=probe -addext subjectAltName=DNS:probe &&
    openssl verify -CAfile cert.pem cert.pem
}
use_shellcheck() {
  # shellcheck disable=SC2016 # the argument belongs to the checked script
  printf '#!/bin/sh\necho "$1"\n' >good.sh && printf '#!/bin/sh\nif true; then\n' >bad.sh
  shellcheck good.sh && ! shellcheck bad.sh
}

mkdir -p "$work"
cd "$work"
export PATH=$PATH:/opt/rust/bin:/opt/go/bin GOCACHE=$work/go GOTOOLCHAIN=local DEBIAN_FRONTEND=noninteractive
if [ -n "${1:-}" ]; then
  cd "$work/use"
  "$1"
  exit
fi

# 1. A bare system lacks exactly the prerequisites whose package is not installed.
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
expected=$("$deps" --list | while IFS=$'\t' read -r check package _; do installed "$package" || echo "${check#@}"; done | sort)
found=$(reported_missing)
[ "$found" = "$expected" ] || { diff <(echo "$expected") <(echo "$found") || true; bad "a bare system: expected missing prerequisites (left) differ from reported ones (right)"; }
say "a bare system lacks $(wc -l <<<"$found") of $("$deps" --list | wc -l) prerequisites"

# 2. Related packages do not satisfy a check by mistake.
quietly apt-get update -q
install libclang-cpp14
lacks libclang || bad "libclang-cpp14 alone satisfies the check of libclang"
install libclang1-14
if lacks libclang; then bad "libclang1-14 does not satisfy the check of libclang"; fi
lacks clang-headers || bad "libclang1-14 alone satisfies the check of clang-headers"
install busybox
lacks static-busybox || bad "busybox satisfies the check of busybox-static"
quietly apt-get purge -y -q libclang1-14 busybox
quietly apt-get autoremove -y -q
dpkg -s libclang-cpp14 >/dev/null 2>&1 || install libclang-cpp14
say "the checks distinguish libclang-cpp14, libclang1-14 and busybox"

# 3. deps.sh installs all prerequisites; a second run does nothing.
"$deps"
[ -z "$("$deps" 2>&1)" ] || bad "a second run of deps.sh does something"

# 4. Every prerequisite works.
used=0
while IFS=$'\t' read -r check package _; do
  name=${check#@} name=${name//[-.]/_} name=use_${name//+/x}
  if ! declare -F "$name" >/dev/null; then
    bad "$check ($package): the function $name, which uses the prerequisite, is missing"
    continue
  fi
  rm -rf "$work/use"
  mkdir -p "$work/use"
  status=0
  # Runs in a separate process, because bash ignores `set -e` in functions that are part of a condition.
  "$0" "$name" </dev/null >"$work/use.log" 2>&1 || status=$?
  used=$((used + 1))
  if [ "$status" -eq 0 ]; then say "ok   $check ($package)"; else
    bad "$check ($package): $name, exit code $status"
    sed 's/^/     /' "$work/use.log"
  fi
done < <("$deps" --list)

[ "$used" -eq "$("$deps" --list | wc -l)" ] || bad "only $used prerequisites were used"

# 5. The mounted toolchains work. deps.sh does not install Rust and Go.
echo 'package main; func main() { println("go") }' >go.go
quietly env CGO_ENABLED=0 go run go.go || bad "Go does not compile"
[ "$failed" -eq 0 ]
