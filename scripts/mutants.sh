#!/usr/bin/env bash
# Changes the code of taffrail-core and of the log (node/raft/src/log) in many small ways with the pinned version of
# cargo-mutants, and lists the changes that no unit test notices. The options and exclusions are in .cargo/mutants.toml, the known
# survivors in node/core/MUTANTS.md. The first call compiles cargo-mutants into the cache ($TAFFRAIL_CACHE, default
# ${XDG_CACHE_HOME:-$HOME/.cache}/taffrail).
#
#   MUTANTS_SHARD=K/N    runs every N-th mutant, beginning with the K-th (from 0); default 0/1, all mutants
#   MUTANTS_PART=core    runs one part only: core or log; default both
#   MUTANTS_FILES=GLOB   runs the mutants of these files only
#   PROPTEST_CASES=400   cases of each property test; default 10. Repeat with more cases before a mutant counts as a survivor.
#
# Exit code 0: at least 97 % of the viable mutants were caught. 1: fewer, or a part could not run. 2: wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/cargo-tool.sh
. scripts/cargo-tool.sh
results=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/mutants
percent_min=97

# mutate PART PACKAGE GLOB [TEST_ARGS...]: runs the mutants of the package's files. Prints missed mutants and timeouts as they occur.
mutate() {
  local part=$1 package=$2 glob=$3 status=0
  shift 3
  rm -rf "${results:?}/$part"
  mkdir -p "$results/$part"
  "$tool" mutants --package "$package" --file "${MUTANTS_FILES:-$glob}" --shard "${MUTANTS_SHARD:-0/1}" \
    --sharding round-robin --no-times --output "$results/$part" -- "$@" || status=$?
  # 2: missed mutants, 3: timeouts. Other codes are failures of the run, for example of the unmutated tests.
  case $status in
    0 | 2 | 3) ;;
    *)
      echo "mutants: cargo-mutants ended with exit code $status; its logs are in $results/$part/mutants.out/log" >&2
      exit 1
      ;;
  esac
}

# count PART NAME: prints the number of mutants with an outcome.
count() {
  local file=$results/$1/mutants.out/$2.txt
  if [ -f "$file" ]; then wc -l <"$file"; else echo 0; fi
}

# report PART: prints the figures of a part; returns 1 when the share is too low. A timeout counts as caught: a test hangs.
report() {
  local caught missed timeout viable share
  caught=$(count "$1" caught) missed=$(count "$1" missed) timeout=$(count "$1" timeout)
  viable=$((caught + missed + timeout))
  [ "$viable" -gt 0 ] || { echo "mutants, $1: no viable mutant in this selection"; return 0; }
  share=$((1000 * (caught + timeout) / viable))
  echo "mutants, $1: $caught caught, $timeout timeouts, $missed missed, $(count "$1" unviable) unviable;" \
    "$((share / 10)).$((share % 10)) % of $viable viable mutants caught"
  [ "$share" -ge $((10 * percent_min)) ]
}

run() {
  local failed=0 part
  for part in ${MUTANTS_PART:-core log}; do
    case $part in
      core) mutate core taffrail-core "node/core/**" ;;
      log)
        ROCKSDB_LIB_DIR=$(scripts/rocksdb-archive.sh)
        export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
        # The tests of the log alone: the other tests of the crate take ten times as long.
        mutate log taffrail-raft "node/raft/src/log/**" -- log::
        ;;
      *)
        echo "mutants: MUTANTS_PART is core or log, not $part" >&2
        exit 2
        ;;
    esac
    report "$part" || failed=1
  done
  return "$failed"
}

mkdir -p "$results"
cargo_tool cargo-mutants 27.1.0 "2 min on two cores"
# A target directory apart from the checkout's, because a mutant must never be mistaken for the code of the checkout.
export CARGO_TARGET_DIR=$results/target
unset MAKEFLAGS MFLAGS MAKELEVEL
# Without optimisation and debug information, a mutant costs a few seconds. Optimised code is compiled again as a whole when a
# function no longer calls another, which takes a minute.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none
# Property tests: a fixed seed, so that runs are comparable; few cases and no search for a smaller example, because any failure is
# enough; and no record of failures, which would let a later mutant fail for the example of an earlier mutant.
export PROPTEST_CASES=${PROPTEST_CASES:-10} PROPTEST_RNG_SEED=1 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
run
