#!/usr/bin/env bash
# Checks that the Containerfile and scripts/image.sh make the same image (packages, user, paths, command, label, build), and
# that the charts run the image as its user. Only reads the files; needs no container engine.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
container=${1:-$here/Containerfile} script=$here/scripts/image.sh
passed=0 failed=0

# same NAME FIRST SECOND: passes if both values are equal and not empty.
same() {
  if [ -n "$2" ] && [ "$2" = "$3" ]; then
    passed=$((passed + 1))
    echo "ok   $1: $2"
  else
    failed=$((failed + 1))
    echo "FAIL $1: '$2' and '$3' differ or are empty" >&2
  fi
}
# first PATTERN FILE: prints the first capture of a pattern (sed -E, without @).
first() { sed -nE "s@.*$1.*@\1@p" "$2" | head -n 1; }
# both NAME PATTERN: passes if the first captures of the pattern in both files are equal.
both() { same "$1" "$(first "$2" "$script")" "$(first "$2" "$container")"; }
# words: prints the words of a JSON list, in order.
words() { tr -d '[]",'; }

both "packages" 'packages="([^"]+)"'
both "user file" "printf '(taffrail:x:[0-9]+:[0-9]+:[^']*)' >"
both "group file" "printf '(taffrail:x:[0-9]+:[^:']*)' >"
both "data directory" '(/var/lib/taffrail)("| )'
both "certificate bundle" '(/etc/ssl/certs/ca-certificates\.crt)'
both "order of the certificates" "(-name '\*\.crt' -print0 \| sort -z \| xargs -0 cat)"
both "loader" 'ln -s (lib/x86_64-linux-gnu) '
both "title" '(org\.opencontainers\.image\.title=[a-z]+)'
both "binaries and their place" '(/usr/local/bin/)( >| *$)'
same "user" "$(first '--user ([0-9:]+)' "$script")" "$(first '^USER ([0-9:]+)$' "$container")"
same "search path" "$(first '--env PATH=([^ ]+)' "$script")" "$(first '^ENV PATH=(.+)$' "$container")"
same "entry point" "$(first "--entrypoint '(\[\])'" "$script")" "$(first '^ENTRYPOINT (\[\])$' "$container")"
same "command" "$(first '--cmd ([^ ]+)' "$script")" "$(first '^CMD (.+)$' "$container" | words)"
same "mode of the binaries" "$(first '--chmod ([0-9]+)' "$script")" "$(first '--chmod=([0-9]+) ' "$container")"
same "binaries" "$(first 'for b in ([a-z -]+); do strip' "$script")" "$(first 'for b in ([a-z -]+); do strip' "$container")"
same "directories left out" \
  "$(grep -oE '/usr/share/(doc|man|locale|lintian)' "$script" | sort | tr '\n' ' ')" \
  "$(grep -oE '/usr/share/(doc|man|locale|lintian)' "$container" | sort | tr '\n' ' ')"
both "copyright files that stay" '(-type f ! -name copyright -delete)'
both "licences named in the copyright files" '(cp -r /usr/share/common-licenses) '
both "list of packages" '>"[^ ]*(/var/lib/dpkg/status\.d/\$\(dpkg-deb -f)'
both "notices" 'scripts/notices\.py [^ ]*/(doc/THIRD-PARTY\.txt)'
both "place of the notices" '/doc/?"? (/usr/share/doc/taffrail/)'
same "cargo with the archive of RocksDB" "$(first '^CARGO := ([a-z/.]+)$' "$here/Makefile")" \
  "$(first ' ([a-z/.]+) build --locked --release' "$container")"
same "crates" "$(first 'build --release (-p [a-z -]+) --bins' "$here/Makefile")" \
  "$(first 'build --locked --release (-p [a-z -]+) --bins' "$container")"

# The last stage is from scratch, as in the script, and the pods of the charts have the user of the image.
same "base" "scratch" "$(sed -nE 's/^FROM ([^ ]+).*/\1/p' "$container" | tail -n 1)"
same "user of the charts" "$(first '--user ([0-9]+):' "$script")" \
  "$(grep -rhoE 'runAsUser: [0-9]+' "$here/charts/taffrail/templates" | sort -u | awk '{print $2}')"

# scripts/deps.sh lists every package that the build stage installs. The package g++ brings gcc.
for package in $(first '--no-install-recommends ([a-z0-9+ -]+) && ' "$container"); do
  same "build package" "$package" "$("$here/scripts/deps.sh" --list | awk -v want="$package" '$2 == want {print $2; exit}')"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
