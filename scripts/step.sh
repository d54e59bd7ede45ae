# shellcheck shell=bash
# Progress messages for scripts with long steps. A step prints its name and usual duration at the start, and the actual duration at
# the end. If TAFFRAIL_STEPS names a file, each step also appends a line for the final table of `make up` and `make test`.
#
#   step NAME USUAL COMMAND...    runs the command in a subshell with `set -e`, and returns the exit code of the command
#   step_table                    prints all steps in order of completion, with nested steps indented
#
# `step` must be a separate statement, because bash ignores `set -e` in a command that is part of a condition.
step() {
  local name=$1 usual=$2 start=$SECONDS level=${TAFFRAIL_STEP_LEVEL:-0} status
  shift 2
  echo "==> $name (usually $usual)" >&2
  set +e
  (
    set -e
    export TAFFRAIL_STEP_LEVEL=$((level + 1))
    "$@"
  )
  status=$?
  set -e
  if [ "$status" -eq 0 ]; then
    echo "    $name: done in $((SECONDS - start)) s" >&2
  else
    echo "    $name: failed after $((SECONDS - start)) s, exit code $status" >&2
  fi
  [ -z "${TAFFRAIL_STEPS:-}" ] || printf '%s\t%s\t%s\t%s\n' "$level" "$((SECONDS - start))" "$usual" "$name" >>"$TAFFRAIL_STEPS"
  return "$status"
}

step_table() {
  [ -s "${TAFFRAIL_STEPS:-}" ] || return 0
  awk -F '\t' 'BEGIN { printf "\n%8s  %-34s %s\n", "seconds", "usually", "step" }
    { printf "%8d  %-34s %s%s\n", $2, $3, sprintf("%*s", 2 * $1, ""), $4; if ($1 == 0) sum += $2 }
    END { printf "%8d  %-34s %s\n", sum, "", "together" }' "$TAFFRAIL_STEPS" >&2
}
