#!/usr/bin/env bash
# Checks that the Containerfile makes the image that scripts/image.sh makes: the same packages, user, paths, command, label
# and compiler flags; and that the charts run it as that user. Reads the files only; needs no container engine.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
container=${1:-$here/Containerfile} script=$here/scripts/image.sh
passed=0 failed=0

# same NAME ONE OTHER: both say the same, and something at all.
same() {
  if [ -n "$2" ] && [ "$2" = "$3" ]; then
    passed=$((passed + 1))
    echo "ok   $1: $2"
  else
    failed=$((failed + 1))
    echo "FAIL $1: '$2' is not '$3'" >&2
  fi
}
# first PATTERN FILE: the first capture of a pattern (sed -E, without @).
first() { sed -nE "s@.*$1.*@\1@p" "$2" | head -n 1; }
# both NAME PATTERN: the first capture of one pattern in both files.
both() { same "$1" "$(first "$2" "$script")" "$(first "$2" "$container")"; }
# quoted words of a JSON list, in order
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
same "what is left out" \
  "$(grep -oE '/usr/share/(doc|man|locale|lintian)' "$script" | sort | tr '\n' ' ')" \
  "$(grep -oE '/usr/share/(doc|man|locale|lintian)' "$container" | sort | tr '\n' ' ')"
both "copyright files that stay" '(-type f ! -name copyright -delete)'
both "licences that they refer to" '(cp -r /usr/share/common-licenses) '
both "list of packages" '>"[^ ]*(/var/lib/dpkg/status\.d/\$\(dpkg-deb -f)'
both "notices" 'scripts/notices\.py [^ ]*/(doc/THIRD-PARTY\.txt)'
both "place of the notices" '/doc/?"? (/usr/share/doc/taffrail/)'
same "flags of RocksDB" "$(first 'flags="(-m[^"]+)"' "$here/scripts/rocksdb-archive.sh")" \
  "$(first 'CXXFLAGS="([^"]+)"' "$container")"
same "crates" "$(first 'build --release (-p [a-z -]+) --bins' "$here/Makefile")" \
  "$(first 'build --locked --release (-p [a-z -]+) --bins' "$container")"

# The last stage is from scratch, as in the script; and the pods of the charts have the user of the image.
same "base" "scratch" "$(sed -nE 's/^FROM ([^ ]+).*/\1/p' "$container" | tail -n 1)"
same "user of the charts" "$(first '--user ([0-9]+):' "$script")" \
  "$(grep -rhoE 'runAsUser: [0-9]+' "$here/charts/taffrail/templates" | sort -u | awk '{print $2}')"

# Every package that is installed for building is one that scripts/deps.sh knows; gcc comes with g++.
for package in $(first '--no-install-recommends ([a-z0-9+ -]+) && ' "$container"); do
  same "build package" "$package" "$(awk -v want="$package" '$2 == want {print $2; exit}' "$here/scripts/deps.sh")"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
