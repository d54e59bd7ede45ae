#!/usr/bin/env bash
# Every dependency must offer a licence that lets us pass binaries on under ours (Apache-2.0) with nothing but a notice.
# Prints one line for each that does not and fails. A new licence is added to `allowed` on purpose, or the crate is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

allowed='Apache-2.0|MIT|MIT-0|BSD-2-Clause|BSD-3-Clause|ISC|Zlib|BSL-1.0|0BSD|Unlicense|CC0-1.0|Unicode-3.0|CDLA-Permissive-2.0'

# An SPDX expression as arithmetic: an allowed licence is 1, any other 0. An exception ("WITH ...") only adds permission; a
# slash is the old way to write OR.
as_arithmetic() {
  sed -E -e 's/ WITH [A-Za-z0-9.-]+//g' -e 's/ ?\/ ?/ OR /g' \
    -e "s/(^|[ (])($allowed)([ )]|$)/\1 1 \3/g" -e "s/(^|[ (])($allowed)([ )]|$)/\1 1 \3/g" \
    -e 's/\bOR\b/||/g' -e 's/\bAND\b/\&\&/g' -e 's/[A-Za-z][A-Za-z0-9.+-]*/0/g' <<<"$1"
}

refused=0
checked=0
while IFS=$'\t' read -r name expression; do
  checked=$((checked + 1))
  if [ -z "$expression" ] || ! (($(as_arithmetic "$expression"))); then
    echo "licences: $name: '${expression:-none named}' offers none of: ${allowed//|/, }" >&2
    refused=$((refused + 1))
  fi
done < <(scripts/cargo.sh metadata --format-version 1 --locked |
  jq -r '.packages[] | select(.source != null) | [.name + " " + .version, .license // ""] | @tsv')

# No crates at all means that the list could not be read, which must not pass as clean.
[ "$checked" -gt 0 ] || { echo "licences: cargo named no dependencies" >&2; exit 1; }
[ "$refused" -eq 0 ]
