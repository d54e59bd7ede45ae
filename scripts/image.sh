#!/usr/bin/env bash
# Packs the two binaries into one image from scratch plus a few Debian packages, without a container engine.
# usage: image.sh BINARY_DIR ARCHIVE NAME:TAG      (a docker-archive; load it with any container tool)
set -euo pipefail
bin=${1:?directory of the binaries}; archive=${2:?file to write}; name=${3:?image name with tag}
cd "$(dirname "$0")/.."
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}
command -v buildah >/dev/null || { echo "image: buildah is missing; run scripts/deps.sh" >&2; exit 1; }
for b in taffrail taffrail-operator; do
  [ -x "$bin/$b" ] || { echo "image: $bin/$b is missing; build it first" >&2; exit 1; }
done
# The libraries that the binaries link to, the certificates of public authorities, and the package that holds the copyright
# file of the libraries of GCC.
packages="libc6 libgcc-s1 libstdc++6 gcc-12-base ca-certificates"
root="$cache/image-root-$(dpkg --print-architecture)-$(. /etc/os-release; echo "$VERSION_ID")"
# The root is made again whenever this script changes.
recipe=$(sha256sum scripts/image.sh)
if [ "$(cat "$root.recipe" 2>/dev/null)" != "$recipe" ]; then
  rm -rf "$root"; mkdir -p "$root" "$cache/debs"
  chmod 755 "$root"
  (cd "$cache/debs" && rm -f ./*.deb && apt-get download -q $packages >/dev/null 2>&1) ||
    { echo "image: apt-get download failed; run apt-get update first" >&2; exit 1; }
  # Scanners of images look for the packages in status.d where there is no package manager.
  mkdir -p "$root/var/lib/dpkg/status.d"
  for deb in "$cache"/debs/*.deb; do
    dpkg-deb -x "$deb" "$root"
    dpkg-deb -f "$deb" >"$root/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"
  done
  # Debian keeps certificates apart; programs look for one bundle.
  mkdir -p "$root/etc/ssl/certs"
  find "$root/usr/share/ca-certificates" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/share/lintian"
  # Copyright files stay, with the licences that they refer to.
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
trap 'rm -rf "$strip_dir"' EXIT
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
# only the archive is wanted, not a second copy in the store
buildah "${storage[@]}" rmi -a -f >/dev/null 2>&1 || true
echo "$archive"
