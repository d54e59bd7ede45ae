#!/usr/bin/env bash
# What may come into the binaries: licences, sources and bans. Prints one line for each dependency that breaks a rule and
# fails. It looks at every dependency of the lock file, also those of features and platforms that are not built.
set -euo pipefail
cd "$(dirname "$0")/.."

# Every dependency must offer one of these, which let us pass binaries on under ours (Apache-2.0) with nothing but a notice.
# A new licence is added on purpose, or the crate is left out.
allowed='Apache-2.0|MIT|MIT-0|BSD-2-Clause|BSD-3-Clause|ISC|Zlib|BSL-1.0|0BSD|Unlicense|CC0-1.0|Unicode-3.0|CDLA-Permissive-2.0'

# The only source: a git dependency can change or go away, and a path outside the workspace is on no other machine.
registry='registry+https://github.com/rust-lang/crates.io-index'

# One TLS implementation (rustls) with one provider (ring): a second one is a second thing to watch for holes, and rustls
# panics at start when two providers are compiled in and none is named. serde_yaml is no longer maintained.
banned='openssl openssl-sys native-tls boring aws-lc-rs aws-lc-sys rustls-openssl rustls-graviola rustls-symcrypt serde_yaml'
required='rustls ring'

# In one version at most: their types pass between crates, or they keep state per process, or they take minutes to build.
once='tokio bytes http hyper tower tonic prost rustls ring openraft rocksdb librocksdb-sys tikv-jemalloc-sys kube-client
k8s-openapi serde serde_json uuid tracing-core prometheus'

# An SPDX expression as arithmetic: an allowed licence is 1, any other 0. An exception ("WITH ...") only adds permission; a
# slash is the old way to write OR.
as_arithmetic() {
  sed -E -e 's/ WITH [A-Za-z0-9.-]+//g' -e 's/ ?\/ ?/ OR /g' \
    -e "s/(^|[ (])($allowed)([ )]|$)/\1 1 \3/g" -e "s/(^|[ (])($allowed)([ )]|$)/\1 1 \3/g" \
    -e 's/\bOR\b/||/g' -e 's/\bAND\b/\&\&/g' -e 's/[A-Za-z][A-Za-z0-9.+-]*/0/g' <<<"$1"
}

metadata=$(scripts/cargo.sh metadata --format-version 1 --locked)
refused=0
refuse() {
  echo "licences: $*" >&2
  refused=$((refused + 1))
}

checked=0
while IFS=$'\t' read -r name expression; do
  checked=$((checked + 1))
  if [ -z "$expression" ] || ! (($(as_arithmetic "$expression"))); then
    refuse "$name: '${expression:-none named}' offers none of: ${allowed//|/, }"
  fi
done < <(jq -r '.packages[] | select(.source != null) | [.name + " " + .version, .license // ""] | @tsv' <<<"$metadata")

while read -r line; do
  refuse "$line: not from crates.io and no crate of this workspace"
done < <(jq -r --arg registry "$registry" '.workspace_members as $ours | .packages[]
  | select(.source != $registry and (.source != null or (.id as $id | $ours | index($id) | not)))
  | "\(.name) \(.version) (\(.source // .manifest_path))"' <<<"$metadata")

declare -A versions
while read -r name version; do
  versions[$name]="${versions[$name]:+${versions[$name]} }$version"
done < <(jq -r '.packages[] | select(.source != null) | "\(.name) \(.version)"' <<<"$metadata")
for name in $banned; do
  [ -z "${versions[$name]:-}" ] || refuse "$name ${versions[$name]}: banned; see who brings it: cargo tree --workspace --target all -i $name"
done
for name in $required; do
  [ -n "${versions[$name]:-}" ] || refuse "$name: missing, so that the bans of its rivals prove nothing"
done
for name in $once; do
  [ "$(wc -w <<<"${versions[$name]:-}")" -le 1 ] || refuse "$name: more than one version: ${versions[$name]}"
done

# No crates at all means that the list could not be read, which must not pass as clean.
[ "$checked" -gt 0 ] || { echo "licences: cargo named no dependencies" >&2; exit 1; }
[ "$refused" -eq 0 ]
