# shellcheck shell=bash
# Sourced by scripts with long steps. Each step says its name and usual time when it begins, and the time used when it ends.
# With TAFFRAIL_STEPS set to a file, each step also appends a line for the table that ends `make up` and `make test`.
#
#   step NAME USUAL COMMAND...    runs the command in a subshell with `set -e`; its exit code is the step's
#   step_table                    prints the steps in the order of their ends; a step within another is indented
#
# Call `step` as a statement of its own: within a condition bash ignores `set -e` in the command.
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
