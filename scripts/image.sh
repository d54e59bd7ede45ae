#!/usr/bin/env bash
# Packs the two binaries and a few Debian packages into an image, without a base image and without a container engine.
# usage: image.sh BINARY_DIR ARCHIVE NAME:TAG      (writes a docker-archive, which any container tool can load)
set -euo pipefail
bin=${1:?directory of the binaries}; archive=${2:?file to write}; name=${3:?image name with tag}
cd "$(dirname "$0")/.."
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}
command -v buildah >/dev/null || { echo "image: buildah is missing; run scripts/deps.sh" >&2; exit 1; }
for b in taffrail taffrail-operator; do
  [ -x "$bin/$b" ] || { echo "image: the binary $bin/$b is missing; run 'make build' first" >&2; exit 1; }
done
# Shared libraries of the binaries, certificates of public authorities, and gcc-12-base, which contains the copyright file of the
# GCC libraries.
packages="libc6 libgcc-s1 libstdc++6 gcc-12-base ca-certificates"
root="$cache/image-root-$(dpkg --print-architecture)-$(. /etc/os-release; echo "$VERSION_ID")"
# Any change of this script causes a rebuild of the root file system.
recipe=$(sha256sum scripts/image.sh)
if [ "$(cat "$root.recipe" 2>/dev/null)" != "$recipe" ]; then
  rm -rf "$root" "$root.recipe"; mkdir -p "$root" "$cache/debs"
  chmod 755 "$root"
  # shellcheck disable=SC2086 # one word per package
  (cd "$cache/debs" && rm -f ./*.deb && apt-get download -q $packages >/dev/null 2>&1) ||
    { echo "image: apt-get download failed; run apt-get update first" >&2; exit 1; }
  # Image scanners read status.d if the image has no package manager.
  mkdir -p "$root/var/lib/dpkg/status.d"
  for deb in "$cache"/debs/*.deb; do
    dpkg-deb -x "$deb" "$root"
    dpkg-deb -f "$deb" >"$root/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"
  done
  # Debian stores certificates as separate files, and programs expect a single bundle.
  mkdir -p "$root/etc/ssl/certs"
  find "$root/usr/share/ca-certificates" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/share/lintian"
  # Copyright files and the licences mentioned there are kept.
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  cp -r /usr/share/common-licenses "$root/usr/share/"
  for package in $packages; do
    [ -s "$root/usr/share/doc/$package/copyright" ] || { echo "image: package $package has no copyright file" >&2; exit 1; }
  done
  [ -e "$root/lib64" ] || ln -s lib/x86_64-linux-gnu "$root/lib64"
  mkdir -p "$root/var/lib/taffrail" "$root/etc"
  printf 'taffrail:x:65532:65532::/:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'taffrail:x:65532:\n' >"$root/etc/group"
  echo "$recipe" >"$root.recipe"
fi
storage=(--root "$cache/buildah" --runroot "$cache/buildah-run" --storage-driver vfs)
strip_dir=$(mktemp -d)
container=""
# A container that was not committed, for example because the disk is full, would stay in the cache for ever.
clean_up() {
  rm -rf "$strip_dir"
  [ -z "$container" ] || buildah "${storage[@]}" rm "$container" >/dev/null 2>&1 || true
}
trap clean_up EXIT
for b in taffrail taffrail-operator; do strip -o "$strip_dir/$b" "$bin/$b"; done
mkdir "$strip_dir/doc"
scripts/notices.py "$strip_dir/doc/THIRD-PARTY.txt"
cp LICENSE NOTICE "$strip_dir/doc/"
container=$(buildah "${storage[@]}" from scratch)
buildah "${storage[@]}" copy -q "$container" "$root" / >/dev/null
buildah "${storage[@]}" copy -q --chmod 755 "$container" "$strip_dir/taffrail" "$strip_dir/taffrail-operator" /usr/local/bin/ >/dev/null
buildah "${storage[@]}" copy -q "$container" "$strip_dir/doc" /usr/share/doc/taffrail/ >/dev/null
buildah "${storage[@]}" config --user 65532:65532 --env PATH=/usr/local/bin:/usr/bin --entrypoint '[]' \
  --cmd /usr/local/bin/taffrail --label org.opencontainers.image.title=taffrail "$container"
rm -f "$archive"
buildah "${storage[@]}" commit -q --rm "$container" "docker-archive:$archive:$name" >/dev/null
# Removes the second copy of the image from the store; only the archive is needed.
buildah "${storage[@]}" rmi -a -f >/dev/null 2>&1 || true
echo "$archive"
