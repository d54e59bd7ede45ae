# shellcheck shell=bash disable=SC2154 # the caller sets the variables
# Builds Go programs from source into the cache. Sourced by k8s-tools.sh and prometheus.sh. The caller sets:
#   tool       name of the caller, for messages
#   module     folder of go.mod
#   sources    array of the files that determine the binaries, relative to the module: go.mod, go.sum and local sources
#   cache      folder for binaries, stamps and the log
#   flags      array of flags for `go build`
#   packages   associative array: package of each command
#   usual      usual duration of a complete build
# go_build COMMAND... builds missing and outdated commands and prints the folder of the binaries. The stamp of a command covers all
# inputs of its build, so a call builds only outdated commands, and a call without outdated commands returns at once. Concurrent
# calls are safe: later calls wait for the running build.
# shellcheck source=scripts/step.sh
. "$(dirname "${BASH_SOURCE[0]}")/step.sh"

say() { echo "$tool: $*" >&2; }
fail() { say "$*"; exit 1; }

stamp_of() { (cd "$module" && echo "$1 ${packages[$1]} ${flags[*]}" && cat "${sources[@]}") | sha256sum | cut -d' ' -f1; }

out_of_date() {
  local command
  for command in "$@"; do
    [ -x "$cache/bin/$command" ] && [ "$(cat "$cache/stamps/$command" 2>/dev/null)" = "$(stamp_of "$command")" ] || echo "$command"
  done
}

# Checks that Go is installed and new enough for the module. Go may download a newer toolchain, if permitted.
require_go() {
  command -v go >/dev/null || fail "Go is not installed; install Go 1.26 or newer (https://go.dev/dl) and run this again"
  (cd "$module" && go list -m >/dev/null 2>"$log") || fail "$(tail -n 1 "$log")"
}

# Reads the output of `go build -v`: writes all lines to the log, and reports every 250 compiled packages to standard error.
show_progress() {
  awk -v log_file="$log" -v tool="$tool" '{ print >> log_file; fflush(log_file) }
    /^[a-z0-9._-]+(\/|$)/ { if (++n % 250 == 0) { print tool ":   " n " packages compiled"; fflush() } }' >&2
}

build_commands() {
  local fresh=$cache/bin.new command package wanted=()
  rm -rf "$fresh"
  mkdir -p "$fresh" "$cache/bin" "$cache/stamps"
  : >"$log"
  for command in "$@"; do wanted+=("${packages[$command]}"); done
  (cd "$module" && CGO_ENABLED=0 go build -v "${flags[@]}" -o "$fresh/" "${wanted[@]}") 2>&1 | show_progress || {
    say "the build failed with these errors:"
    grep -m 10 -E '(^|: )(error|fatal|undefined|cannot|no required module)|\.go:[0-9]+:[0-9]+:|checksum mismatch|no space left' "$log" >&2 || true
    say "the end of $log:"
    tail -n 15 "$log" >&2
    exit 1
  }
  # A rename replaces a binary atomically, and running processes keep the old binary.
  for command in "$@"; do
    package=${packages[$command]}
    mv -f "$fresh/$(basename "${package%/v[0-9]*}")" "$cache/bin/$command"
    stamp_of "$command" >"$cache/stamps/$command.new"
    mv -f "$cache/stamps/$command.new" "$cache/stamps/$command"
  done
  rm -rf "$fresh"
}

go_build() {
  local log=$cache/build.log missing
  mkdir -p "$cache"
  missing=$(out_of_date "$@")
  if [ -n "$missing" ]; then
    exec 9>"$cache/lock"
    flock --nonblock 9 || { say "another build is running; waiting for it"; flock 9; }
    missing=$(out_of_date "$@")
    if [ -n "$missing" ]; then
      require_go
      # shellcheck disable=SC2086 # one word per command
      step "$tool: ${missing//$'\n'/ } from source" "$usual" build_commands $missing
    fi
  fi
  echo "$cache/bin"
}
