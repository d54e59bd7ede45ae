#!/usr/bin/env bash
# Checks the subjects of commits: at most 72 characters, and the form `area: change`.
# usage: commits.sh BASE      (checks BASE..HEAD without merge commits)
set -euo pipefail
base=${1:?the tag or commit after which subjects are checked}
cd "$(dirname "$0")/.."
git rev-parse -q --verify "$base^{commit}" >/dev/null || { echo "commits: $base is not a commit of this clone; fetch the whole history first" >&2; exit 2; }
# The length of a subject is its number of UTF-8 characters.
LC_ALL=C.UTF-8
wrong=0
while IFS=$'\t' read -r hash subject; do
  [ -n "$hash" ] || continue
  problem=''
  [ "${#subject}" -le 72 ] || problem="the subject has ${#subject} characters, at most 72 are allowed"
  [[ $subject =~ ^[a-z0-9][a-z0-9_./,-]*(,\ [a-z0-9_./-]+)*:\ [^\ ] ]] || problem="${problem:+$problem, and }the subject does not have the form 'area: change'"
  [ -z "$problem" ] || {
    echo "commits: $hash: $problem: $subject" >&2
    wrong=$((wrong + 1))
  }
done < <(git log --no-merges --format='%h%x09%s' "$base..HEAD")
[ "$wrong" -eq 0 ]
